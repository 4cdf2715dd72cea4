"""Protocols with a port of their own beside the HTTP one: who may listen where, how many are let in, how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Protocol

from antiphon.engines.net import is_loopback
from antiphon.pipeline.config.wyoming import OpenPort
from antiphon.pipeline.errors import ConfigError

logger = logging.getLogger(__name__)

_GOODBYE_S = 1.0
"""What was sent last has so long to be taken."""


class Caller(Protocol):
    """One client's connection."""

    async def run(self) -> None:
        """Serve until the client goes, or all is done."""
        ...

    def close(self) -> None:
        """No more work is taken; :meth:`run` returns once what is under way is done."""
        ...


def listen_tcp(keys: OpenPort, port: int, section: str) -> socket.socket:
    """The listening socket of a protocol without keys.

    :param section: of the configuration, such as `server.wyoming`.
    :raises ConfigError: the address is others' to reach and nobody said that it may be, or it cannot be listened at.
    """
    host = keys.host.strip("[]")
    if not is_loopback(host) and not keys.allow_unauthenticated:
        raise ConfigError(
            f"'{keys.host}' can be reached from other machines, and this protocol has no keys to ask for",
            key=f"{section}.host",
            hint=f"use 127.0.0.1, or set {section}.allow_unauthenticated: true in a network where everybody may use it",
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=64)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {keys.host} port {port}: {error.strerror or error}",
            key=f"{section}.port",
            hint="another program uses it, or the address is not this machine's",
        ) from error


class TcpFront:
    """Accepts connections on a listening socket, and holds them. An async context manager.

    Leaving it ends all of them at once; :meth:`drain` lets them finish first.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Caller],
        *,
        name: str,
        max_connections: int,
        limit_bytes: int = 1 << 16,
        too_many: bytes = b"",
    ) -> None:
        """
        :param make: of a client's connection, before anything is read.
        :param name: of the protocol, for logs.
        :param limit_bytes: what is read ahead of a connection.
        :param too_many: said to a client for whom there is no room, before it is closed.
        """
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._listener = listener
        self._make = make
        self._name = name
        self._max = max_connections
        self._limit_bytes = limit_bytes
        self._too_many = too_many
        self._callers: dict[asyncio.Task[None], Caller] = {}
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        return len(self._callers)

    async def __aenter__(self) -> TcpFront:
        self._server = await asyncio.start_server(self._accept, sock=self._listener, limit=self._limit_bytes)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._callers)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def drain(self) -> None:
        """Accept no more, and wait until those that are there have finished."""
        assert self._server is not None
        self._server.close()
        for caller in self._callers.values():
            caller.close()
        if tasks := list(self._callers):
            await asyncio.wait(tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._callers) >= self._max:
            logger.warning("no room for another connection", extra={"front": self._name, "connections": self._max})
            writer.write(self._too_many)
            writer.close()
            return
        caller = self._make(reader, writer)
        task = asyncio.create_task(self._hold(caller, writer), name=f"{self._name}-connection")
        self._callers[task] = caller
        task.add_done_callback(self._callers.pop)

    async def _hold(self, caller: Caller, writer: asyncio.StreamWriter) -> None:
        try:
            await caller.run()
        except (OSError, asyncio.IncompleteReadError):
            logger.info("a client has gone in the middle", extra={"front": self._name})
        except Exception:
            logger.exception("a connection broke", extra={"front": self._name})
        finally:
            writer.close()
            try:
                async with asyncio.timeout(_GOODBYE_S):
                    await writer.wait_closed()
            except (OSError, TimeoutError):
                writer.transport.abort()
