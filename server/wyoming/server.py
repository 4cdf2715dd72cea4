"""The Wyoming server's port: connections, conversations that outlive them, satellites, and being found."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import socket
from contextlib import AsyncExitStack

from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.config import Config
from antiphon.pipeline.patience import end_tasks
from antiphon.server.service import Service
from antiphon.server.tcp_front import TcpFront, listen_tcp
from antiphon.server.wyoming.connection import WyomingConnection
from antiphon.server.wyoming.discovery import announced, check_discovery
from antiphon.server.wyoming.satellites import check_satellites, keep_connected
from antiphon.server.wyoming.thinking import Talks

logger = logging.getLogger(__name__)


def listen_wyoming(config: Config) -> socket.socket | None:
    """The listening socket; None: there is to be none.

    :raises ConfigError: it may not, or cannot, be listened there.
    :raises EngineUnavailable: a package is missing.
    """
    keys = config.server.wyoming
    if keys.port is None and not keys.satellites:
        return None
    if importlib.util.find_spec("wyoming") is None:
        raise EngineUnavailable("server.wyoming needs the package wyoming", hint='pip install "antiphon[wyoming]"')
    check_satellites(keys.satellites, offline=config.session.offline)
    if keys.port is None:
        return None
    if keys.zeroconf:
        check_discovery(offline=config.session.offline)
    return listen_tcp(keys, keys.port, "server.wyoming")


class WyomingServer:
    """An async context manager. The service is ready when it is entered."""

    def __init__(self, service: Service, listener: socket.socket | None) -> None:
        self._service = service
        self._listener = listener
        self._talks = Talks(service)
        self._front: TcpFront | None = None
        self._satellites: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens."""
        return None if self._front is None else self._front.address

    async def __aenter__(self) -> WyomingServer:
        keys = self._service.settings.wyoming
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._talks)
            if self._listener is not None:
                self._front = await stack.enter_async_context(self._make_front(self._listener))
                if keys.zeroconf:
                    await stack.enter_async_context(announced(keys.name, *self._front.address))
            self._satellites = [
                asyncio.create_task(keep_connected(self._service, self._talks, uri), name="wyoming-satellite")
                for uri in keys.satellites
            ]
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_tasks(self._satellites)
        await self._stack.aclose()

    async def drain(self) -> None:
        """Take no more, and wait until what is under way is done."""
        if self._front is not None:
            await self._front.drain()

    def _make_front(self, listener: socket.socket) -> TcpFront:
        from wyoming.error import Error

        from antiphon.engines.wyoming_wire import MAX_HEADER_BYTES, event_bytes

        def make(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> WyomingConnection:
            return WyomingConnection(self._service, reader, writer, self._talks)

        most = self._service.settings.wyoming.max_connections
        return TcpFront(
            listener,
            make,
            service=self._service,
            name="wyoming",
            keys=self._service.settings.wyoming,
            max_connections=most,
            limit_bytes=MAX_HEADER_BYTES,
            too_many=event_bytes(Error(text=f"{most} connections are open, no more are allowed", code="full").event()),
        )
