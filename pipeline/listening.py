"""Hears a turn while it grows: transcriptions of what there is so far, the last one of which may be the turn's own.

A batch STT engine is asked again and again on the growing audio. The transcription that is begun at the first silent
moment covers all that was said, if the user really has stopped; then nobody needs to ask once more.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.errors import EngineTimeout
from antiphon.engines.host import Meter, Priority, Ticket, current_ticket
from antiphon.engines.protocols import STT, STTOptions, Transcript
from antiphon.pipeline.errors import StageError, had_no_time
from antiphon.pipeline.patience import within
from antiphon.pipeline.text.encodable import encodable

_TAIL_S = 0.032
"""A VAD tells the last speech sample to about a window; a transcription that lacks less has heard it all."""

logger = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task that belongs to the session."""


@dataclass(slots=True, eq=False)
class Hearing:
    """One transcription of the turn so far."""

    turn: int
    until_s: float
    """How far it heard, on the stream clock."""
    result: asyncio.Future[Transcript]
    """Has the transcript, or the :class:`StageError`."""
    draft: bool = False
    """Asked for in mid-speech: a quick look."""
    meter: Meter = field(default_factory=Meter)
    due: bool = False
    """The turn is committed: an answer waits for this."""

    @property
    def was_refused(self) -> bool:
        """The engine had no time for it; for the turn itself it may have."""
        if not self.result.done() or self.result.cancelled():
            return False
        error = self.result.exception()
        return isinstance(error, StageError) and had_no_time(error.__cause__)


async def transcribe(stt: STT, audio: AudioFrame, options: STTOptions, timeout_s: float, ticket: Ticket) -> Transcript:
    """
    :param timeout_s: besides the audio's own length.
    :raises StageError: the engine failed, gave no answer in time, or gave something else than a transcript.
    """
    if audio.rate_hz != stt.rate_hz:
        audio = AudioFrame(resample(audio.samples, audio.rate_hz, stt.rate_hz), stt.rate_hz, audio.start_s)
    timeout_s += audio.duration_s
    current_ticket.set(ticket)
    try:
        heard = _checked(await within(timeout_s, stt.transcribe(audio, options)))
    except TimeoutError:
        raise StageError("stt", EngineTimeout(f"no transcript within {timeout_s:.0f} s", stage="stt")) from None
    except Exception as error:
        raise StageError("stt", error) from error
    return heard


def _checked(heard: Any) -> Transcript:
    """:raises TypeError: an STT engine gave something else than a transcript."""
    if not isinstance(heard, Transcript):
        raise TypeError(f"the STT engine gave a {type(heard).__name__}, not a Transcript")
    if not isinstance(heard.text, str):
        raise TypeError(f"the STT engine gave a transcript whose text is a {type(heard.text).__name__}")
    if not isinstance(heard.language, str | None):
        raise TypeError(f"the STT engine gave a language that is a {type(heard.language).__name__}")
    text = encodable(heard.text)
    return heard if text == heard.text else dataclasses.replace(heard, text=text)


class Listener:
    """One per session: at most one transcription of the open turn at a time, besides those that runs make themselves.

    :param on_heard: told of each transcription that succeeded.
    """

    def __init__(
        self,
        stt: STT,
        options: STTOptions,
        *,
        session: str,
        timeout_s: float,
        spawn: Spawn,
        on_heard: Callable[[Hearing, Transcript], None],
    ) -> None:
        self._stt = stt
        self.options = options
        """May be replaced at any time."""
        self._session = session
        self._timeout_s = timeout_s
        self._spawn = spawn
        self._on_heard = on_heard
        self.task: asyncio.Task[None] | None = None
        """At work on the last transcription."""
        self.last: Hearing | None = None
        """The last one begun; it may not be done yet, and may fail."""

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()

    def listen(self, audio: AudioFrame, *, turn: int, revision: int, until_s: float, priority: Priority) -> Hearing:
        """Begin a transcription. It goes on whatever becomes of the turn: batch engines cannot be stopped anyway."""
        draft = priority is Priority.RERUN
        hearing = Hearing(turn, until_s, asyncio.get_running_loop().create_future(), draft)
        ticket = Ticket(self._session, turn, revision, priority, meter=hearing.meter)
        self.last = hearing
        self.task = self._spawn(self._hear(hearing, audio, ticket))
        return hearing

    def covering(self, turn: int, at_s: float) -> Hearing | None:
        """A transcription of this turn, done or under way, that heard all up to then; None if there is none."""
        last = self.last
        if last is None or last.turn != turn or last.until_s < at_s - _TAIL_S:
            return None
        if not last.result.done():
            return None if last.draft else last
        failed = last.result.cancelled() or last.result.exception() is not None
        return None if failed or not last.result.result().final else last

    async def _hear(self, hearing: Hearing, audio: AudioFrame, ticket: Ticket) -> None:
        options = dataclasses.replace(self.options, draft=hearing.draft)
        try:
            try:
                heard = await transcribe(self._stt, audio, options, self._timeout_s, ticket)
            except StageError as error:
                if not hearing.due or ticket.priority is Priority.COMMITTED or not had_no_time(error.__cause__):
                    raise
                # It was asked for as a guess, and has become the turn itself meanwhile.
                ticket = dataclasses.replace(ticket, priority=Priority.COMMITTED)
                heard = await transcribe(self._stt, audio, self.options, self._timeout_s, ticket)
        except StageError as error:
            hearing.result.set_exception(error)
            hearing.result.exception()  # looked at: a failure that no answer waits for is no news
            logger.info("a transcription of the growing turn failed", extra={"code": error.code})
        except BaseException:
            hearing.result.cancel()
            raise
        else:
            hearing.result.set_result(heard)
            self._on_heard(hearing, heard)
