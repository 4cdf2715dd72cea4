"""`antiphon serve`: listens, loads, and leaves in order."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import FrameType
from typing import Any

import uvicorn

from antiphon.pipeline.config import Config
from antiphon.pipeline.config.model import ServerConfig
from antiphon.server.access.protection import check_address
from antiphon.server.app import create_app
from antiphon.server.connections import LimitedConfig, Limits, cut_lingering
from antiphon.server.fronts import Fronts
from antiphon.server.listening import listen_at
from antiphon.server.service import Service

logger = logging.getLogger(__name__)

BACKLOG = 256
"""Connections that the system may hold until they are taken."""
KEEP_ALIVE_S = 5.0
"""A connection waits so long for its next request."""


class _Server(uvicorn.Server):
    """Ends in order at the first signal, and at once at the second."""

    config: LimitedConfig

    def __init__(self, config: LimitedConfig, on_signal: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_signal = on_signal
        self._signalled = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class for sockets that are given, with a bound on how long a TLS handshake may take."""
        loop = asyncio.get_running_loop()

        def protocol() -> Any:
            make: Any = self.config.http_protocol_class
            return make(config=self.config, server_state=self.server_state, app_state={}, _loop=loop)

        handshake_s = self.config.limits.head_s if self.config.ssl is not None else None
        self.servers = [
            await loop.create_server(
                protocol, sock=one, ssl=self.config.ssl, backlog=BACKLOG, ssl_handshake_timeout=handshake_s
            )
            for one in sockets or ()
        ]
        self.started = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signalled:
            super().handle_exit(sig, frame)
        self._signalled = True
        self._on_signal()


def listen(settings: ServerConfig) -> socket.socket:
    """The listening socket.

    :raises ConfigError: the address cannot be listened at.
    """
    check_address(settings)
    return listen_at(settings.host, settings.port, section="server", backlog=BACKLOG)


async def serve(
    config: Config,
    listener: socket.socket,
    *,
    service: Service | None = None,
    fronts: Fronts | None = None,
    on_ready: Callable[[Service], None] = lambda _: None,
) -> None:
    """Serve until a signal comes; the engines are loaded while the port already answers (`/readyz` says 503).

    :param fronts: the ports beside this one; None: those of `config`.
    :param on_ready: called once conversations are taken.
    :raises AntiphonError: an engine cannot be loaded.
    """
    loop = asyncio.get_running_loop()
    service = service or Service(config)
    service.reloading.checks.append(lambda taken: service.access.check(taken.server))
    fronts = fronts or Fronts(config)
    async with service, service.access.watching(), AsyncExitStack() as stack:
        stack.callback(fronts.close)
        leaving: list[asyncio.Task[None]] = []

        async def leave() -> None:
            ended = asyncio.gather(service.drain(), fronts.drain(service.settings.drain_s), return_exceptions=True)
            for error in await ended:
                if error is not None:
                    logger.error("not everything was ended in order", exc_info=error)
            server.should_exit = True

        def on_signal() -> None:
            leaving.append(loop.create_task(leave()))

        server = _Server(_settings(service), lambda: loop.call_soon_threadsafe(on_signal))
        serving = asyncio.create_task(server.serve([listener]))
        cutting = asyncio.create_task(cut_lingering(server.server_state.connections, service.settings.slow_client_s))
        loading = asyncio.create_task(service.load())
        await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            loading.cancel()  # a signal came first
            await asyncio.wait({loading})
        elif loading.exception() is not None:
            server.should_exit = True
        else:
            try:
                await stack.enter_async_context(fronts.open(service))
            except BaseException:
                server.should_exit = True
                await serving
                raise
            on_ready(service)
        await serving
        cutting.cancel()
        await asyncio.wait({cutting})
        if not loading.cancelled():
            loading.result()  # raises what went wrong


def _settings(service: Service) -> LimitedConfig:
    settings = service.settings
    tls = service.access.tls

    def refused(address: str, reason: str) -> None:
        service.metrics.count("antiphon_connections_refused_total", front="http", reason=reason)
        service.access.connection_refused("http", address, reason)

    limits = Limits(
        connections=settings.max_connections,
        per_address=settings.max_connections_per_address or settings.max_connections // 2,
        many_behind=lambda: service.settings.proxy_headers,  # a reload may change them
        head_s=settings.request_head_s,
        slow_client_s=settings.slow_client_s,
        client_share=settings.client_share,
        on_refused=refused,
    )
    return LimitedConfig(
        create_app(service),
        limits,
        None if tls is None else tls.context,
        ws_max_size=settings.max_message_kb * 1024,
        ws_per_message_deflate=False,  # PCM hardly shrinks, and packing it costs time that answers need
        h11_max_incomplete_event_size=settings.max_header_kb * 1024,
        proxy_headers=False,  # whom to believe is decided in server.access.entry
        lifespan="off",
        log_config=None,
        log_level="error",  # below it stand what clients wrote, and a line for each that sends no HTTP
        access_log=False,
        server_header=False,
        timeout_keep_alive=min(KEEP_ALIVE_S, settings.request_head_s),
        timeout_graceful_shutdown=5,
    )
