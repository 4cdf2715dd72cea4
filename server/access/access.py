"""The door of the server: who may come in, how much they may do, and what is written down of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from starlette.requests import HTTPConnection

from antiphon.pipeline.config.model import ServerConfig
from antiphon.server.access.audit import Audit, Value
from antiphon.server.access.guessing import WrongKeys
from antiphon.server.access.key_file import keys_path
from antiphon.server.access.keyring import Keyring
from antiphon.server.access.keys import Key
from antiphon.server.access.principal import ANYONE, PRINCIPAL, Denied, Principal, Scope, check_scope
from antiphon.server.access.protection import audit_target, check_address, protection, tls_of
from antiphon.server.access.rates import Allowance, Rates, headers_of
from antiphon.server.access.routes import Rule, rule_for
from antiphon.server.access.tokens import shown_in_query, token_of
from antiphon.server.observing.context import request_id

logger = logging.getLogger(__name__)

Resolver = Callable[[str], Principal | None]
"""Says whose an ephemeral key is; None: unknown, or its time is over."""

RATES = "antiphon.rates"
"""Under which key of an ASGI scope the headers are that tell a client what it has left."""
SHOWN = "antiphon.key"
"""Under which key of an ASGI scope the id of a key stands that was shown, good or not: for the audit log."""
NOBODY = Principal("", frozenset())
"""Who shows no key where none is asked for, while other routes ask for one."""
CALLER = Principal("", frozenset({"realtime"}), via="signed")
"""Who comes by a route that checks its callers itself: by their signature."""

_POLL_S = 1.0


class Limited(Exception):
    """Raised where somebody does too much, or too often: 429."""

    def __init__(self, message: str, *, code: str = "rate_limit_exceeded", retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, eq=False, slots=True)
class _Held:
    """A conversation under way."""

    key_id: str
    on_revoked: Callable[[], object]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A session, for the audit log."""

    principal: Principal
    protocol: str
    at_s: float
    request: str
    """Its id: that of the request, or of the connection."""


class Access:
    """Keys, rates and audit of one server.

    :raises ConfigError: a file that it needs cannot be used, or the settings would let anybody in.
    """

    def __init__(self, settings: ServerConfig) -> None:
        self.keyring = Keyring(keys_path(settings.keys_file))
        self.audit = Audit(audit_target(settings, self.keyring), as_log=settings.log_format == "json")
        self.tls = tls_of(settings)
        self.host = settings.host
        """Where it listens, whatever a reload says."""
        self._settings = settings
        self._requests = Rates(settings.requests_per_minute)
        self._sessions = Rates(settings.sessions_per_minute)
        self._wrong_keys = WrongKeys(settings.wrong_keys_per_minute)
        self._resolvers: dict[str, Resolver] = {}
        self._held: set[_Held] = set()
        self._begun: dict[str, _Begun] = {}

    def reload(self, settings: ServerConfig) -> None:
        """Other limits from now on. Address and files (keys, certificate, audit log) stay those that it began with;
        where an audit log is required from now on, and there was none, it goes to standard error."""
        self._settings = settings
        if settings.audit_required:
            self.audit.begin()
        self._requests.set_limit(settings.requests_per_minute)
        self._sessions.set_limit(settings.sessions_per_minute)
        self._wrong_keys.set_limit(settings.wrong_keys_per_minute)

    def check(self, settings: ServerConfig) -> None:
        """Whether these may be in force from now on: with the address and the keys that it has, not those they name.

        :raises ConfigError: as :func:`check_address`.
        """
        check_address(settings.model_copy(update={"host": self.host}), self.keyring)

    def protection(self) -> str:
        """What protects the server, in a line for whoever starts it."""
        return protection(self._settings, self.keyring, self.tls)

    # ------------------------------------------------------------------------------------------ who

    def add_resolver(self, prefix: str, resolve: Resolver) -> None:
        """Ask `resolve` about keys that begin so."""
        self._resolvers[prefix] = resolve

    def admit(self, connection: HTTPConnection) -> Principal:
        """Who sends a request, if they may.

        :raises Denied: they may not.
        :raises Limited: not so often.
        """
        return self._admit(connection, rule_for(connection.scope["path"]))

    def admit_as(self, connection: HTTPConnection, scope: Scope) -> Principal:
        """The same for a route that checks its callers itself, and takes keys too.

        :raises Denied: they may not.
        :raises Limited: not so often.
        """
        return self._admit(connection, Rule(connection.scope["path"], scope, begins="websocket"))

    def _admit(self, connection: HTTPConnection, rule: Rule) -> Principal:
        principal = replace(self._who(connection, rule), address=address_of(connection))
        connection.scope[PRINCIPAL] = principal
        if rule.needs != "any" and rule.needs != "public" and rule.needs != "own":
            check_scope(principal, rule.needs)
        if principal.key_id and rule.needs != "public":
            allowance = self._requests.take(principal.key_id)
            connection.scope[RATES] = headers_of(allowance)
            _within(allowance, "requests")
            if rule.begins and rule.path == connection.scope["path"] and _begins(connection) == rule.begins:
                _within(self._sessions.take(principal.key_id), "conversations")
        return principal

    def _who(self, connection: HTTPConnection, rule: Rule) -> Principal:
        if rule.needs == "own":
            return CALLER
        token = token_of(connection)
        ephemeral = next((ask for prefix, ask in self._resolvers.items() if token and token.startswith(prefix)), None)
        if ephemeral is not None:
            principal = ephemeral(token or "")
            if principal is not None and (not self.keyring.keyed or self.keyring.is_valid(principal.key_id)):
                if not rule.ephemeral and self.keyring.keyed and rule.needs != "public":
                    raise Denied(403, "insufficient_permissions", "an ephemeral key begins conversations, no more")
                return principal
        if not self.keyring.keyed:
            return ANYONE
        if rule.needs == "public":
            return NOBODY
        if token is None:
            raise Denied(401, "missing_api_key", _missing(connection))
        key = None if ephemeral is not None else self.keyring.find(token)
        if key is None:
            _not_too_wrong(self._wrong_keys.wrong(address_of(connection)))
            raise Denied(401, "invalid_api_key", "this is no key of this server, or its time is over")
        _not_too_wrong(self._wrong_keys.right(address_of(connection), key.id))
        connection.scope[SHOWN] = key.id
        return _principal(key)

    # ------------------------------------------------------------------------------------------ how much

    def left(self, principal: Principal) -> Allowance | None:
        """What is left of the requests of a key; None: they are not counted."""
        return self._requests.look(principal.key_id) if principal.key_id else None

    def spend(self, principal: Principal) -> Allowance | None:
        """Something counts as a request though it came as none (a response of a conversation). What is left then."""
        return self._requests.take(principal.key_id) if principal.key_id else None

    @contextmanager
    def holding(self, principal: Principal, on_revoked: Callable[[], object] = lambda: None) -> Iterator[None]:
        """While inside, a conversation counts for its key.

        :param on_revoked: called when the key is revoked meanwhile; ends the conversation.
        :raises Limited: the key has as many as it may have.
        """
        limit = self._settings.sessions_per_key
        if principal.key_id and limit is not None and self.sessions_of(principal.key_id) >= limit:
            message = f"this key has {limit} conversations under way, and may have no more at a time"
            raise Limited(message, code="too_many_sessions", retry_after_s=10)
        one = _Held(principal.key_id, on_revoked)
        self._held.add(one)
        try:
            yield
        finally:
            self._held.discard(one)

    def sessions_of(self, key_id: str) -> int:
        """Conversations under way with a key."""
        return sum(one.key_id == key_id for one in self._held)

    # ------------------------------------------------------------------------------------------ on record

    def note(self, connection: HTTPConnection, event: str, **fields: Value) -> None:
        """Write down what somebody did by a request: who, from where, and `fields`."""
        principal: Principal | None = connection.scope.get(PRINCIPAL)
        key_id = principal.key_id if principal is not None else connection.scope.get(SHOWN)
        self.audit.write(
            event,
            key=key_id,
            ephemeral=(principal is not None and principal.ephemeral) or None,
            address=address_of(connection),
            request=request_id.get(),
            **fields,
        )

    def session_begun(self, principal: Principal, protocol: str, session_id: str) -> None:
        """A conversation has begun; :meth:`session_ended` follows."""
        self._begun[session_id] = _Begun(principal, protocol, time.monotonic(), request_id.get())
        self._write_session("session_begun", session_id, self._begun[session_id])

    def session_ended(self, session_id: str, **summary: Value) -> None:
        """It is over.

        :param summary: numbers and short words: turns, usage. Nothing that was said.
        """
        begun = self._begun.pop(session_id, None)
        if begun is not None:
            seconds = round(time.monotonic() - begun.at_s, 1)
            self._write_session("session_ended", session_id, begun, seconds=seconds, **summary)

    def _write_session(self, event: str, session_id: str, begun: _Begun, **fields: Value) -> None:
        who = begun.principal
        self.audit.write(
            event,
            key=who.key_id,
            via=who.via,
            address=who.address,
            request=begun.request,
            session=session_id,
            protocol=begun.protocol,
            **fields,
        )

    def connection_refused(self, front: str, address: str, reason: str) -> None:
        """Somebody was turned away at a port whose protocol knows no keys."""
        self.audit.write("connection_refused", protocol=front, address=address, reason=reason)

    # ------------------------------------------------------------------------------------------ over time

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """While inside, files of keys and certificates that change are taken up; at the end the audit log is whole."""
        self.audit.write("server_started", keys=len(self.keyring), tls=self.tls is not None)
        watching = asyncio.create_task(self._watch(), name="access")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            self.audit.write("server_stopped")
            await asyncio.to_thread(self.audit.close)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_S)
            try:
                await self.refresh()
            except Exception:  # what the door goes by must not end with one surprise
                logger.exception("the files of keys and certificates were not looked at")

    async def refresh(self) -> None:
        """Take up keys and certificates that have changed, and end the conversations of keys that were revoked."""
        change = await self.keyring.refresh()
        if change is not None:
            if self.keyring.keyed and self._settings.audit_log is None:
                self.audit.begin()
            for key in change.created:
                self.audit.write("key_created", key=key.id, name=key.name, scopes=sorted(key.scopes), by=key.by)
            for key in change.revoked:
                self.audit.write("key_revoked", key=key.id, name=key.name)
            gone = {key.id for key in change.revoked}
            for one in [one for one in self._held if one.key_id in gone]:
                try:
                    one.on_revoked()
                except Exception:  # the others must end all the same
                    logger.exception("a conversation was not ended when its key was revoked")
        if self.tls is not None and await self.tls.refresh():
            self.audit.write("certificate_renewed")


def address_of(connection: HTTPConnection) -> str:
    """Where a request comes from, as far as that can be believed (:mod:`antiphon.server.access.entry`)."""
    client = connection.scope.get("client")
    return str(client[0]) if client else ""


def _principal(key: Key) -> Principal:
    """
    :raises Denied: the key opens nothing any more. Whoever has it may know why.
    """
    condition = key.condition(time.time())
    if condition == "valid":
        return Principal(key.id, key.scopes)
    raise Denied(
        401, f"{condition}_api_key", "this key has expired" if condition == "expired" else "this key is revoked"
    )


def _begins(connection: HTTPConnection) -> str:
    """How a conversation would be begun by this: "websocket", or the method."""
    return "websocket" if connection.scope["type"] == "websocket" else str(connection.scope["method"])


def _within(allowance: Allowance, what: str) -> None:
    if not allowance.allowed:
        message = f"this key may begin {allowance.limit} {what} a minute; try again in {allowance.retry_s:.1f} s"
        if what == "requests":
            message = f"this key may send {allowance.limit} requests a minute; try again in {allowance.retry_s:.1f} s"
        raise Limited(message, retry_after_s=allowance.retry_s)


def _not_too_wrong(refused: Allowance | None) -> None:
    if refused is not None:
        message = f"too many wrong keys came from this address; try again in {refused.retry_s:.1f} s"
        raise Limited(message, code="too_many_wrong_keys", retry_after_s=refused.retry_s)


def _missing(connection: HTTPConnection) -> str:
    message = "an API key is needed: send it in the header Authorization: Bearer KEY"
    if connection.scope["type"] == "websocket":
        message += ", or, from a browser, as the subprotocol openai-insecure-api-key.KEY"
    if shown_in_query(connection):
        message += "; none is taken from the query, which ends up in logs and histories: revoke that one"
    return message
