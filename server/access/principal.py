"""Who is asking, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from starlette.requests import HTTPConnection

Scope = Literal["realtime", "audio", "chat", "transcripts", "approvals", "metrics", "admin"]
"""What a key may be for: conversations, recordings and speech, text, what was said before, deciding what waits for a
person, figures, and the server itself."""
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    key_id: str
    """Of the key that was shown; "" where none is asked for. Never the key."""
    scopes: frozenset[Scope]
    session: Mapping[str, Any] | None = None
    """Settings of conversations that are bound to the key (an ephemeral one)."""


ANYONE = Principal("", SCOPES)
"""Where there are no keys."""


class Denied(Exception):
    """Raised where somebody may not do what they ask for.

    :param status: 401: no key, or none that is known; 403: a key that is not for this.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def principal_of(connection: HTTPConnection, scope: Scope) -> Principal:
    """Who is behind a request or a WebSocket.

    :raises Denied: they may not do this.
    """
    return ANYONE
