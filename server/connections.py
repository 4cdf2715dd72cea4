"""Connections that keep to limits: how many, how long their first words take, how long they take nothing.

uvicorn waits for ever for the rest of a request's head, for the rest of a body that nobody reads any more, and for a
client that takes nothing of an answer. Each of these holds a socket, memory, and of a conversation its place. The
limits hang on the few methods that asyncio calls (:class:`asyncio.Protocol`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from antiphon.server.access.addresses import entry_for, site_of
from antiphon.server.share import Share

logger = logging.getLogger(__name__)

_MAX_UNSENT_BYTES = 8 << 20
"""What answers itself (pongs) must not pile up for a client that sends and does not take."""
_CHUNK_BYTES = 32 << 10
_MESSAGE_S, _BYTE_S = 1e-4, 1e-8
"""About what the server spends on a message, and on each of its bytes, once it has been read."""
_MAX_FRAGMENTS = 4096
"""Of one message. Its bytes are bounded; empty pieces have none."""
_REFUSED_S = 1.0
"""A client that was refused has so long to take that; over TLS, closing would wait for it to say goodbye."""
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_BAD = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the connections of one server."""

    connections: int
    per_address: int
    """Of one client (:func:`~antiphon.server.access.addresses.site_of`)."""
    many_behind: Callable[[], Collection[str]]
    """Proxies of now: addresses and networks with many clients behind each address, which :attr:`per_address`
    spares."""
    head_s: float
    """From the first byte of a request, or from the beginning of the connection, to the end of its head."""
    slow_client_s: float
    client_share: float
    """Of the event loop's time, for the messages of one WebSocket."""
    on_refused: Callable[[str, str], object] = lambda address, reason: None
    """Told of each connection that was closed at once: from where, and whether the server was `full`, or had enough of
    that address (`address_full`)."""


class LimitedConfig(uvicorn.Config):
    """uvicorn's settings, with limits, and a TLS context that is there already."""

    def __init__(self, app: Any, limits: Limits, tls: ssl.SSLContext | None, **arguments: Any) -> None:
        super().__init__(app, http=_Http, ws=_WebSocket, **arguments)
        self.limits = limits
        self._tls = tls

    def load(self) -> None:
        super().load()
        self.ssl = self._tls


class _SlowClient:
    """Cuts off a client that takes nothing. For both protocols, before uvicorn's class."""

    transport: asyncio.Transport
    config: Any
    refused: asyncio.TimerHandle | None = None
    """Set for a connection too many: it is closed, cut off soon, and counts no more."""
    _slow: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        if self._slow is None:
            loop = asyncio.get_running_loop()
            self._slow = loop.call_later(self.config.limits.slow_client_s, self._cut)

    def resume_writing(self) -> None:
        self._keep()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep()
        super().connection_lost(exc)  # type: ignore[misc]

    def _keep(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _cut(self) -> None:
        logger.warning("a client that takes nothing, or sends nothing but pieces, was cut off")
        self.transport.abort()  # closing would wait until it has taken the rest


class _Http(_SlowClient, H11Protocol):
    """A connection for requests, until one of them makes it a WebSocket."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        reason = self._too_many()
        if reason:
            address = self.client[0] if self.client else ""
            logger.warning("a connection too many was closed", extra={"reason": reason})
            self.config.limits.on_refused(address, reason)
            transport.write(_FULL)
            transport.close()
            self.refused = asyncio.get_running_loop().call_later(_REFUSED_S, transport.abort)
            return
        self._wait_for_head()

    def _too_many(self) -> str:
        """Whether there are too many connections with this one: of all, or of its address; "": there are not."""
        limits: Limits = self.config.limits
        everyone: Collection[Any] = self.connections
        taken = [one for one in everyone if one.refused is None]
        if len(taken) > limits.connections:
            return "full"
        address = self.client[0] if self.client else ""
        if len(taken) <= limits.per_address or entry_for(address, limits.many_behind()) is not None:
            return ""
        site = site_of(address)
        same = sum(one.client is not None and site_of(one.client[0]) == site for one in taken)
        return "address_full" if same > limits.per_address else ""

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self or self._is_answering():
            self._stop_waiting()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self.refused is not None:
            self.refused.cancel()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        """A request has arrived up to its body, and there is no whole answer yet."""
        return self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE

    def _wait_for_head(self) -> None:
        if self._head is None:
            self._head = asyncio.get_running_loop().call_later(self.config.limits.head_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.abort()


class _WebSocket(_SlowClient, WebSocketsSansIOProtocol):
    """A conversation's connection. Who sends without end is read more slowly, so that the others are heard."""

    _share: Share | None = None
    _rest: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.max_size = (
            _CHUNK_BYTES  # of one read: what is read is looked through at once, by asyncio's own 256 kB
        )
        self._share = Share(self.config.limits.client_share, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest is not None:
            self._rest.cancel()
        super().connection_lost(exc)

    async def receive(self) -> Any:
        assert self._share is not None
        if (wait_s := self._share.wait_s(self.loop.time())) > 0:
            await asyncio.sleep(wait_s)  # and nothing more is read meanwhile, since a message waits
        message: Any = await super().receive()
        size = len(message.get("bytes") or message.get("text") or "")
        self._share.take(_MESSAGE_S + _BYTE_S * size, self.loop.time())
        return message

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # it is refused; uvicorn would log an error for each

    def data_received(self, data: bytes) -> None:
        began_s = time.thread_time()  # of the processor: on a busy machine nobody pays for what others do
        try:
            super().data_received(data)
        except Exception:
            if self.handshake_initiated:
                raise
            # Such as bytes that are no ASCII, which break the library's own refusal. Raised further up, it would leave
            # this connection among those that are counted, for ever.
            logger.info("the head of a WebSocket could not be read")
        if not self.handshake_initiated and not self.transport.is_closing():
            # The head came whole, from the request before, and the library refused it: it would say nothing, and wait.
            self.transport.write(_BAD)
            self.transport.close()
        unsent = self.transport.get_write_buffer_size()
        if unsent > _MAX_UNSENT_BYTES or len(self.frames) > _MAX_FRAGMENTS:
            self._cut()
        self._book(time.thread_time() - began_s)

    def _book(self, seconds: float) -> None:
        """What frames cost that are no messages (pings) is held off here; messages wait in :meth:`receive`."""
        assert self._share is not None
        now_s = self.loop.time()
        self._share.take(seconds, now_s)
        wait_s = self._share.wait_s(now_s)
        if wait_s > 0 and self._rest is None and not self.transport.is_closing():
            self.transport.pause_reading()
            self._rest = self.loop.call_later(wait_s, self._read_on)

    def _read_on(self) -> None:
        self._rest = None
        if not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()


async def cut_lingering(connections: Collection[Any], after_s: float) -> None:
    """For ever: cut off connections that were closed, and whose clients do not take the last of what was sent.

    :param connections: uvicorn's, as they come and go.
    """
    before: set[Any] = set()
    while True:
        await asyncio.sleep(after_s)
        closing = {one for one in connections if one.transport is not None and one.transport.is_closing()}
        for one in closing & before:
            one.transport.abort()
        before = closing
