"""What the `wyoming` engines share: their options, connections to a Wyoming server, deadlines, and errors in words.

One connection a request, as Home Assistant does: a request that nobody wants any more is ended by closing it, and
nothing of one request can get into another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import field_validator

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.errors import (
    EngineError,
    EngineFailed,
    EngineLoadFailed,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
    OfflineForbidden,
)
from antiphon.engines.host import current_ticket
from antiphon.engines.lifecycle import Loadable
from antiphon.engines.net import is_loopback
from antiphon.engines.protocols import Stage
from antiphon.engines.wyoming_wire import MAX_HEADER_BYTES, WireBroken, event_bytes, read_event

if TYPE_CHECKING:
    from wyoming.event import Event
    from wyoming.info import Info

    from antiphon.engines.registry import EngineContext

_FIRST_PAUSE_S = 0.2
"""Before the first retry; doubles each time."""
_QUOTE_CHARS = 300
_BUSY_CODES = frozenset({"loading", "full", "draining", "overloaded", "busy"})
_INVALID_CODES = frozenset({"bad-event", "too-long", "unknown-voice", "unknown-model", "not-offered", "invalid"})

_log = logging.getLogger(__name__)


def primary_language(name: object) -> str | None:
    """The code (`en`) of a language as servers name it (`en`, `en_US`, `en-us`); None: it is none."""
    code = str(name or "").strip().lower().replace("_", "-").partition("-")[0]
    return code if code.isalpha() and 2 <= len(code) <= 3 else None


class WyomingOptions(EngineOptions):
    """The options that every `wyoming` engine has."""

    uri: str = option(..., "Where the server is: `tcp://HOST:PORT`, or `unix:///PATH`.")
    program: str | None = option(
        None, "Which of the server's programs, by name, where it has several; unset: the first.", min_length=1
    )
    connect_timeout_s: float = option(5.0, "Longest wait for a connection.", unit="s", gt=0, le=120)
    timeout_s: float = option(
        20.0, "Longest wait for the answer to begin, retries included (stt: for the whole answer).", unit="s", gt=0
    )
    stall_timeout_s: float = option(10.0, "Longest pause inside an answer.", unit="s", gt=0)
    max_retries: int = option(
        1, "How often a request is tried again where no connection could be had, or it broke before anything of the "
        "answer had arrived.", ge=0, le=10
    )  # fmt: skip
    warm_up: bool = option(
        True, "Whether to ask the server at loading what it has. One that is not there yet is no error; one that lacks "
        "the service is."
    )  # fmt: skip

    @field_validator("uri")
    @classmethod
    def _is_wyoming_uri(cls, value: str) -> str:
        text = value.strip()
        parts = urlsplit(text)
        port = None
        with contextlib.suppress(ValueError):
            port = parts.port
        tcp = parts.scheme == "tcp" and bool(parts.hostname) and port is not None
        if not tcp and not (parts.scheme == "unix" and parts.path.startswith("/")):
            raise ValueError("uri must be like tcp://127.0.0.1:10200 or unix:///run/piper.sock")
        return text


class WyomingEngine(Loadable):
    """Entering and leaving, connections and errors, the same for every stage."""

    engine = "wyoming"

    def __init__(self, stage: Stage, options: WyomingOptions, context: EngineContext) -> None:
        self.stage = stage
        self.uri = options.uri
        self.local = is_loopback(options.uri)
        """Whether requests stay on this machine."""
        self._shared = options
        self._offline = context.offline
        self.info: Info | None = None
        """What the server says it has, once it was asked."""

    # ------------------------------------------------------------------------------------ life cycle

    async def _load(self) -> None:
        if self._offline and not self.local:
            raise OfflineForbidden(
                f"the {self.stage} engine 'wyoming' would connect to {self.uri}, and the session is offline",
                hint=f"set {self.stage}.uri to a server on this machine (tcp://127.0.0.1:PORT), "
                "or session.offline to false",
            )
        if not self._shared.warm_up:
            return
        try:
            info = await self._describe()
        except EngineError as error:
            _log.warning(
                "the Wyoming server does not answer yet", extra={"stage": self.stage, "code": type(error).__name__}
            )
            return
        self._check(info)
        self.info = info

    async def _free(self) -> None:
        self.info = None

    def _check(self, info: Info) -> None:
        """
        :raises EngineLoadFailed: the server has no such service.
        """
        programs = info.asr if self.stage == "stt" else info.tts
        names = [program.name for program in programs]
        wanted = self._shared.program
        if not names or (wanted is not None and wanted not in names):
            offered = f"it has: {', '.join(names)}" if names else f"it offers no {self.stage}"
            raise EngineLoadFailed(
                f"{self.uri} has no {self.stage} program" + (f" '{wanted}'" if wanted else "") + f"; {offered}",
                stage=self.stage, engine=self.engine, hint=f"see {self.stage}.uri and {self.stage}.program",
            )  # fmt: skip

    async def probe(self) -> None:
        """Ask what the server has, with a short limit: for chains, off the way of any request.

        :raises EngineError: it does not answer.
        """
        info = await self._describe()
        self._check(info)
        self.info = info

    async def _describe(self) -> Info:
        from wyoming.info import Describe, Info

        limit_s = self._shared.connect_timeout_s
        try:
            async with asyncio.timeout(limit_s), self.connected() as exchange:
                await exchange.send(Describe().event())
                while True:
                    event = await exchange.receive()
                    if Info.is_type(event.type):
                        return Info.from_event(event)
        except TimeoutError:
            raise self.timed_out(f"gave no answer within {limit_s:g} s") from None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self.failed(f"{self.uri} describes itself in a way that cannot be read") from None

    # ------------------------------------------------------------------------------------ requests

    @property
    def patience_s(self) -> float:
        """How long the answer may take to begin."""
        return min(self._shared.timeout_s, current_ticket.get().timeout_s or math.inf)

    async def pause_before_retry(self, error: EngineError, tried: int, deadline_s: float) -> None:
        """Wait a moment, then the caller tries again.

        :param tried: how many tries have failed.
        :param deadline_s: of the request, on the event loop's clock.
        :raises EngineError: `error`, where there is to be no other try.
        """
        pause_s = _FIRST_PAUSE_S * 2 ** (tried - 1)
        again = isinstance(error, _ConnectionLost) and tried <= self._shared.max_retries
        if not again or asyncio.get_running_loop().time() + pause_s >= deadline_s:
            raise error
        _log.info("trying a request again", extra={"stage": self.stage, "tried": tried, "pause_s": pause_s})
        await asyncio.sleep(pause_s)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Exchange]:
        """A connection of its own, for one request. Leaving it, however, ends the request.

        :raises EngineError: there is none to be had.
        """
        self._require_entered()
        parts = urlsplit(self.uri)
        try:
            async with asyncio.timeout(self._shared.connect_timeout_s):
                if parts.scheme == "unix":
                    opening = asyncio.open_unix_connection(parts.path, limit=MAX_HEADER_BYTES)
                else:
                    opening = asyncio.open_connection(parts.hostname, parts.port, limit=MAX_HEADER_BYTES)
                reader, writer = await opening
        except TimeoutError:
            raise self.timed_out(f"gave no connection within {self._shared.connect_timeout_s:g} s") from None
        except OSError as error:
            raise _ConnectionLost(
                f"no connection to {self.uri}: {error.strerror or error}", stage=self.stage, engine=self.engine,
                hint=f"is the server running, and is {self.stage}.uri right?",
            ) from error  # fmt: skip
        try:
            exchange = Exchange(self, reader, writer)
            if self._shared.program is not None:
                from wyoming.info import SelectProgram

                await exchange.send(SelectProgram(self._shared.program).event())
            yield exchange
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    # ------------------------------------------------------------------------------------ errors

    def failed(self, message: str) -> EngineFailed:
        return EngineFailed(message, stage=self.stage, engine=self.engine)

    def lost(self, message: str) -> EngineFailed:
        """The connection broke: another one may do."""
        return _ConnectionLost(message, stage=self.stage, engine=self.engine)

    def timed_out(self, what: str) -> EngineTimeout:
        return EngineTimeout(
            f"{self.uri} {what}", stage=self.stage, engine=self.engine,
            hint=f"see {self.stage}.timeout_s and {self.stage}.stall_timeout_s",
        )  # fmt: skip

    def refused(self, text: object, code: object) -> EngineError:
        """An `error` event of the server's, as one of ours."""
        said = str(text)[:_QUOTE_CHARS] or "no reason given"
        message = f"{self.uri} says: {said}"
        if code in _BUSY_CODES:
            return EngineOverloaded(message, stage=self.stage, engine=self.engine)
        if code in _INVALID_CODES:
            return EngineRequestInvalid(message, stage=self.stage, engine=self.engine)
        return self.failed(message)


class _ConnectionLost(EngineFailed):
    """Raised where there is no connection, or no longer."""


class Exchange:
    """One request's connection: events out, events in."""

    def __init__(self, engine: WyomingEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._engine = engine
        self._reader = reader
        self._writer = writer

    async def send(self, *events: Event) -> None:
        """
        :raises EngineError: the connection broke.
        """
        try:
            for event in events:
                self._writer.write(event_bytes(event))
            await self._writer.drain()
        except OSError as error:
            raise self._broken(error) from error

    async def send_unless_answered(self, events: Sequence[Event]) -> None:
        """Send one after the other; a connection that is closed meanwhile is no error yet: it may hold the reason."""
        for event in events:
            if self._writer.is_closing() or self._reader.at_eof():
                return
            try:
                self._writer.write(event_bytes(event))
                await self._writer.drain()
            except OSError:
                return

    async def receive(self) -> Event:
        """
        :raises EngineError: the server says so, closes, breaks off, or sends what is no event.
        """
        try:
            event = await read_event(self._reader)
        except WireBroken as error:
            raise self._engine.failed(f"{self._engine.uri} sent something that is no Wyoming event: {error}") from None
        except OSError as error:
            raise self._broken(error) from error
        if event is None:
            raise self._engine.lost(f"{self._engine.uri} closed the connection without an answer")
        if event.type == "error":
            raise self._engine.refused(event.data.get("text", ""), event.data.get("code"))
        return event

    def _broken(self, error: OSError) -> EngineFailed:
        return self._engine.lost(
            f"the connection to {self._engine.uri} broke ({error.strerror or type(error).__name__})"
        )
