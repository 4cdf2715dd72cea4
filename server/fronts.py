"""The ports beside the HTTP one, as configured: Wyoming and AudioSocket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from antiphon.pipeline.config import Config
from antiphon.server.service import Service
from antiphon.server.tcp_front import TcpFront
from antiphon.server.telephony.audiosocket import audiosocket_front, listen_audiosocket
from antiphon.server.wyoming.server import WyomingServer, listen_wyoming


class Fronts:
    """Listens from when it is made; takes connections inside :meth:`open`."""

    def __init__(self, config: Config) -> None:
        """
        :raises ConfigError: an address may not, or cannot, be listened at.
        :raises EngineUnavailable: a package is missing.
        """
        self._wyoming = listen_wyoming(config)
        try:
            self._audiosocket = listen_audiosocket(config)
        except BaseException:
            self.close()
            raise
        self._has_satellites = bool(config.server.wyoming.satellites)
        self._open: list[WyomingServer | TcpFront] = []

    _audiosocket: socket.socket | None = None

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Where each protocol listens, by its name."""
        listeners = {"wyoming": self._wyoming, "audiosocket": self._audiosocket}
        return {name: one.getsockname()[:2] for name, one in listeners.items() if one is not None}

    @asynccontextmanager
    async def open(self, service: Service) -> AsyncIterator[None]:
        """While inside, connections are taken. The service is ready."""
        async with AsyncExitStack() as stack:
            if self._wyoming is not None or self._has_satellites:
                self._open.append(await stack.enter_async_context(WyomingServer(service, self._wyoming)))
            if self._audiosocket is not None:
                self._open.append(await stack.enter_async_context(audiosocket_front(service, self._audiosocket)))
            try:
                yield
            finally:
                self._open.clear()

    async def drain(self, limit_s: float) -> None:
        """Take no more, and let what is under way be finished; for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*(one.drain() for one in self._open))

    def close(self) -> None:
        """Listen no longer."""
        for one in (self._wyoming, self._audiosocket):
            if one is not None:
                one.close()
