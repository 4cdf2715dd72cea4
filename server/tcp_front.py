"""Protocols with a port of their own beside the HTTP one: who may listen where, how many are let in, how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from antiphon.engines.net import is_loopback
from antiphon.pipeline.config.wyoming import OpenPort
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.addresses import entry_for, site_of
from antiphon.server.access.principal import Principal, calling
from antiphon.server.listening import listen_at
from antiphon.server.observing.context import request_id
from antiphon.server.service import Service

logger = logging.getLogger(__name__)

_BACKLOG = 64
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
    :raises ConfigError: the address is others' to reach and nobody said whose, or it cannot be listened at.
    """
    if not is_loopback(keys.host) and not keys.allowed_addresses:
        raise ConfigError(
            f"'{keys.host}' can be reached from other machines, and this protocol has no keys to ask for",
            key=f"{section}.host",
            hint=f"use 127.0.0.1, or name who may use it: {section}.allowed_addresses: [192.168.1.0/24]",
        )
    return listen_at(keys.host, port, section=section, backlog=_BACKLOG)


class TcpFront:
    """Accepts connections on a listening socket, and holds them. An async context manager.

    Leaving it ends all of them at once; :meth:`drain` lets them finish first.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Caller],
        *,
        service: Service,
        name: str,
        keys: OpenPort,
        max_connections: int,
        limit_bytes: int = 1 << 16,
        too_many: bytes = b"",
    ) -> None:
        """
        :param make: of a client's connection, before anything is read.
        :param name: of the protocol, for logs and figures.
        :param keys: whose connections are taken, and how many of one address.
        :param limit_bytes: what is read ahead of a connection.
        :param too_many: said to a client for whom there is no room, before it is closed.
        """
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._listener = listener
        self._make = make
        self._service = service
        self._name = name
        self._allowed = keys.allowed_addresses
        self._max_per_address = keys.max_connections_per_address
        self._max = max_connections
        self._limit_bytes = limit_bytes
        self._too_many = too_many
        self._callers: dict[asyncio.Task[None], Caller] = {}
        self._sites: dict[asyncio.Task[None], str] = {}
        """Where each of them comes from."""
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
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        entry = entry_for(address, self._allowed)
        if entry is None:
            return self._refuse(writer, address, "address")
        site = site_of(address)
        if self._max_per_address is not None and list(self._sites.values()).count(site) >= self._max_per_address:
            return self._refuse(writer, address, "address_full")
        if len(self._callers) >= self._max:
            return self._refuse(writer, address, "full")
        with self._working_for(Principal("", frozenset({"realtime"}), address=address, via=f"{self._name}:{entry}")):
            caller = self._make(reader, writer)
            task = asyncio.create_task(self._hold(caller, writer), name=f"{self._name}-connection")
        self._callers[task] = caller
        self._sites[task] = site
        task.add_done_callback(self._callers.pop)
        task.add_done_callback(self._sites.pop)

    @staticmethod
    @contextmanager
    def _working_for(principal: Principal) -> Iterator[None]:
        """What is begun inside belongs to one connection, with an id of its own."""
        token = request_id.set(f"con_{uuid.uuid4().hex}")
        try:
            with calling(principal):
                yield
        finally:
            request_id.reset(token)

    def _refuse(self, writer: asyncio.StreamWriter, address: str, reason: str) -> None:
        logger.warning("a connection was refused", extra={"front": self._name, "reason": reason})
        self._service.metrics.count("antiphon_connections_refused_total", front=self._name, reason=reason)
        self._service.access.connection_refused(self._name, address, reason)
        if reason == "address":
            writer.transport.abort()  # who is not meant is told nothing
            return
        writer.write(self._too_many)
        writer.close()

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
