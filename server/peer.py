"""The other end of a connection, as two functions: a whole conversation can be tested without sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from antiphon.server.outbox import Message


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection."""

    receive: Callable[[], Awaitable[Message | None]]
    """The next message; None: the client has gone."""
    send: Callable[[Message], Awaitable[None]]
