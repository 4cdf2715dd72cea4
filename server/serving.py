"""`antiphon serve`: listens, loads, and leaves in order."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from antiphon.pipeline.config import Config
from antiphon.pipeline.config.serving import ServerKeys
from antiphon.pipeline.errors import ConfigError
from antiphon.server.app import create_app
from antiphon.server.service import Service


def check_address(settings: ServerKeys) -> None:
    """
    :raises ConfigError: the address is not this machine's own. Without keys, who reaches the port may talk and listen.
    """
    if settings.host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(settings.host.strip("[]")).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"'{settings.host}' can be reached from other machines, and there are no keys to ask for",
            key="server.host",
            hint="use 127.0.0.1, and a proxy that asks for a password in front of it",
        )


class _Server(uvicorn.Server):
    """Ends in order at the first signal, and at once at the second."""

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_signal = on_signal
        self._signalled = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signalled:
            super().handle_exit(sig, frame)
        self._signalled = True
        self._on_signal()


def listen(settings: ServerKeys) -> socket.socket:
    """The listening socket.

    :raises ConfigError: the address cannot be listened at.
    """
    check_address(settings)
    try:
        return socket.create_server(
            (settings.host.strip("[]"), settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=256,
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {settings.host} port {settings.port}: {error.strerror or error}",
            key="server.port",
            hint="another program uses it: choose another with --port",
        ) from error


async def serve(
    config: Config,
    listener: socket.socket,
    *,
    service: Service | None = None,
    on_ready: Callable[[Service], None] = lambda _: None,
) -> None:
    """Serve until a signal comes; the engines are loaded while the port already answers (`/readyz` says 503).

    :param on_ready: called once conversations are taken.
    :raises AntiphonError: an engine cannot be loaded.
    """
    loop = asyncio.get_running_loop()
    async with service or Service(config) as service:
        leaving: list[asyncio.Task[None]] = []

        async def leave() -> None:
            await service.drain()
            server.should_exit = True

        def on_signal() -> None:
            leaving.append(loop.create_task(leave()))

        server = _Server(_settings(service), lambda: loop.call_soon_threadsafe(on_signal))
        serving = asyncio.create_task(server.serve([listener]))
        loading = asyncio.create_task(service.load())
        await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            loading.cancel()  # a signal came first
            await asyncio.wait({loading})
        elif loading.exception() is not None:
            server.should_exit = True
        else:
            on_ready(service)
        await serving
        if not loading.cancelled():
            loading.result()  # raises what went wrong


def _settings(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service),
        ws="websockets-sansio",
        ws_max_size=service.settings.max_message_kb * 1024,
        ws_per_message_deflate=False,  # PCM hardly shrinks, and packing it costs time that answers need
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
