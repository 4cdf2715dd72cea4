"""Writes one session down as it happens: an event sink, and the barrier before anything that has an effect."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.events import Dropped, Event, TextDeltaEvent, TranscriptEvent, TurnEnded, UsageEvent
from antiphon.pipeline.transcript.errors import TranscriptError, TranscriptWriteFailed
from antiphon.pipeline.transcript.rows import (
    SESSION_ENDED,
    SPEAKING,
    Row,
    Stamp,
    audio_row,
    clean,
    entry,
    rows_of,
    session_row,
    usage_row,
    usage_rows,
    wanted,
)
from antiphon.pipeline.transcript.writer import Writer

logger = logging.getLogger(__name__)

OnFailure = Literal["stop", "continue"]
Warn = Callable[[str, str], None]
"""Called on the event loop with a stable code and a sentence for people."""


class Recorder:
    """One session's pen. Call it with each event, on the event loop; it never blocks.

    Await :meth:`settled` before the session does what cannot be undone: before a workflow may have an effect, before a
    tool runs, and before audio is handed to the sink. Then, whatever kills the process, the store has what was heard
    and done.
    """

    def __init__(
        self,
        writer: Writer,
        session: str,
        *,
        person: str | None = None,
        resumed_from: str | None = None,
        config: Mapping[str, Any] | None = None,
        version: str = "",
        partials: bool = False,
        on_failure: OnFailure = "stop",
        warn: Warn | None = None,
    ) -> None:
        """
        :param person: whose data this is, for erasure; any label.
        :param resumed_from: the session that this one continues.
        :param config: what is worth knowing later about the configuration; no secrets.
        :param partials: also keep what was heard while the user was still speaking.
        :param on_failure: "stop": :meth:`settled` raises when records cannot be committed; "continue": it warns.
        """
        self.session = session
        self._writer = writer
        self._partials = partials
        self._on_failure = on_failure
        self._warn = warn or (lambda code, message: None)
        self._seq = 0
        self._last = 0
        self._troubled = False
        self._lost = 0
        self._overdue = 0
        """Up to there, somebody has waited for it in vain."""
        self._closed = False
        self._turn, self._revision, self._audio_s = 0, 0, 0.0
        self._hypothesis = (0, "")
        """The turn in which something was heard last, and what."""
        self._given: dict[int, str] = {}
        """By turn that is not over: the text that the workflow has given."""
        began = session_row(
            session,
            _now(),
            token=uuid.uuid4().hex,
            person=person,
            resumed_from=resumed_from,
            t_s=_loop_time(),
            config=config,
            version=version,
        )
        self._put([began])

    # ------------------------------------------------------------------------ what happened

    def __call__(self, event: Event) -> None:
        """Note an event (an `EventSink`)."""
        self._turn, self._revision, self._audio_s = event.turn, event.revision, event.audio_s
        event = self._with_whole_answer(event)
        if isinstance(event, TranscriptEvent) and event.role == "user":
            self._hypothesis = (event.turn, event.text)
        if wanted(event, partials=self._partials):
            self._seq += 1
            self._put(self._with_dismissed_words(event, rows_of(event, self._seq, _now())))
        if isinstance(event, TurnEnded | UsageEvent):
            for usage in event.usage:  # each in its place: a row is known by its place, stage and unit
                self._put(usage_rows(self._stamp(event.turn, event.revision), usage))

    def note_speaking(
        self,
        text: str,
        *,
        turn: int,
        revision: int | None = None,
        audio_s: float | None = None,
        filler: bool = False,
    ) -> None:
        """This text is about to be played. Note it, await :meth:`settled`, then hand its audio over.

        :param filler: it bridges a wait: no part of the answer.
        """
        data = {"filler": True} if filler else None
        self._put([entry(self._stamp(turn, revision, audio_s), SPEAKING, role="assistant", text=text, data=data)])

    def note(self, kind: str, *, turn: int | None = None, text: str | None = None, **data: Any) -> None:
        """Anything else worth keeping, as a generic entry."""
        self._put([entry(self._stamp(turn), kind, text=text, data=data)])

    def note_usage(self, stage: str, engine: str, unit: str, amount: float, *, turn: int | None = None) -> None:
        """What an engine used: tokens, characters, seconds of audio."""
        self._put([usage_row(self._stamp(turn), stage, engine, unit, amount)])

    def note_audio(self, state: Literal["opened", "closed", "failed"], file: str, **facts: Any) -> None:
        """A recording began or ended; see :func:`~antiphon.pipeline.transcript.rows.audio_row`."""
        self._put([audio_row(self._stamp(0), state, file, **facts)])

    # ------------------------------------------------------------------------ the barrier

    async def settled(self) -> None:
        """Wait until everything noted so far is committed. Returns at once if it is.

        :raises TranscriptError: it could not be, and `on_failure` is "stop". With "continue" a warning is given, once
            until it works again. Nothing is dropped: the store is tried again as long as the session lives.
        """
        if self._troubled and (self._writer.failing or not self._writer.is_written(self._overdue)):
            return  # told already: a conversation that goes on regardless does not wait for each try
        error: TranscriptError | None = self._writer.refusal(self.session)
        if error is None:
            try:
                await self._writer.written(self._last)
            except TranscriptError as failure:
                error = failure
            error = self._writer.refusal(self.session) or error
        if error is None and self._lost:
            error = TranscriptWriteFailed(f"{self._lost} records of this session were lost: the store took no more")
        if error is None:
            self._troubled = False
            return
        self._go_on_without(error)

    def overdue(self, error: AntiphonError) -> None:
        """Whoever waited for :meth:`settled` has given up: the store hangs.

        :raises AntiphonError: `error`, if `on_failure` is "stop". With "continue" it is as with any other failure: a
            warning is given, and nobody waits again until what was noted by now is committed.
        """
        self._overdue = self._last
        self._go_on_without(error)

    async def aclose(self, reason: str = "ended") -> None:
        """The session is over. Waits until all of it is committed.

        :raises TranscriptError: as :meth:`settled`.
        """
        if self._closed:
            return
        self.note(SESSION_ENDED, reason=reason, turn=0)
        self._closed = True
        await self.settled()

    # ------------------------------------------------------------------------ inside

    def _go_on_without(self, error: AntiphonError) -> None:
        if self._on_failure == "stop":
            raise error
        if not self._troubled:
            self._troubled = True
            self._warn("transcript_failed", f"this conversation is not being recorded: {error.message}")

    def _with_whole_answer(self, event: Event) -> Event:
        """A turn that failed ends without its text: what the workflow had given of it by then is kept all the same."""
        match event:
            case TextDeltaEvent() if event.turn:
                self._given[event.turn] = self._given.get(event.turn, "") + event.text
            case Dropped():
                self._given.pop(event.turn, None)
            case TurnEnded():
                given = self._given.pop(event.turn, "")
                return event if event.text else dataclasses.replace(event, text=given)
        return event

    def _with_dismissed_words(self, event: Event, rows: list[Row]) -> list[Row]:
        """A back-channel has no final transcript: what was heard of it last is kept with its dismissal."""
        turn, heard = self._hypothesis
        if isinstance(event, Dropped) and event.reason == "backchannel" and turn == event.turn:
            return [Row(row.table, {**row.values, "text": clean(heard)}) for row in rows]
        return rows

    def _stamp(self, turn: int | None, revision: int | None = None, audio_s: float | None = None) -> Stamp:
        self._seq += 1
        return Stamp(
            self.session,
            self._seq,
            _now(),
            self._turn if turn is None else turn,
            self._revision if revision is None else revision,
            _loop_time(),
            self._audio_s if audio_s is None else audio_s,
        )

    def _put(self, rows: Sequence[Row]) -> None:
        try:
            self._last = self._writer.put(rows)
        except TranscriptWriteFailed as error:
            if not self._lost:
                logger.error("records are lost", extra={"session": self.session, "reason": error.message})
            self._lost += len(rows)


def _now() -> datetime:
    return datetime.now(UTC)


def _loop_time() -> float | None:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # made outside an event loop
        return None
