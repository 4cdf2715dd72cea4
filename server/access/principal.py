"""Who is asking, and what they may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, get_args

from starlette.requests import HTTPConnection

Scope = Literal["realtime", "audio", "chat", "transcripts", "approvals", "metrics", "admin"]
"""What a key may be for: conversations, recordings and speech, text, what was said before, deciding what waits for a
person, figures, and the server itself."""
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))

PRINCIPAL = "antiphon.principal"
"""Under which key of an ASGI scope the gate leaves the :class:`Principal` of a request."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking."""

    key_id: str
    """Of the key that was shown, or that an ephemeral one was made with; "" where none is asked for. Never the key."""
    scopes: frozenset[Scope]
    session: Mapping[str, Any] | None = None
    """Settings of conversations that are bound to the key (an ephemeral one)."""
    ephemeral: bool = False
    """It was made for one client for some minutes, and begins conversations only."""
    address: str = ""
    """Where they are, as far as that can be believed; "": not known."""
    via: str = ""
    """By what they came in where the protocol knows no keys: the front, and the entry of its list of addresses, such
    as `wyoming:192.168.1.0/24`. The configuration bounds how many of these there are."""

    @property
    def counted_as(self) -> str:
        """Under which name figures count what they use; "": they are nobody in particular."""
        return self.key_id or self.via


ANYONE = Principal("", SCOPES)
"""Where there are no keys."""

_caller: ContextVar[Principal] = ContextVar("antiphon_caller", default=ANYONE)


def caller() -> Principal:
    """For whom the running task works, at a front whose protocol knows no keys."""
    return _caller.get()


@contextmanager
def calling(principal: Principal) -> Iterator[None]:
    """While inside, this is the :func:`caller`; so it is for tasks that are begun inside."""
    token = _caller.set(principal)
    try:
        yield
    finally:
        _caller.reset(token)


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
    """Who is behind a request or a WebSocket, as the gate found (:mod:`antiphon.server.access.gate`).

    :raises Denied: they may not do this. Also where no gate stands before the route: nobody is let in by an omission.
    """
    principal: Principal | None = connection.scope.get(PRINCIPAL)
    if principal is None:
        raise Denied(401, "missing_api_key", "nobody has asked who this is")
    check_scope(principal, scope)
    return principal


def check_scope(principal: Principal, scope: Scope) -> None:
    """
    :raises Denied: the key is not for this.
    """
    if scope not in principal.scopes:
        message = f"this key may not do that: it lacks the scope '{scope}'"
        raise Denied(403, "insufficient_permissions", message)
