"""Plays clips to a subject and writes down what happened. Judging it is :mod:`antiphon.benchmarks.judge`'s."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from antiphon.benchmarks.feed import LEAD_S, Microphone, Track
from antiphon.benchmarks.meter import Meter
from antiphon.benchmarks.sink import Piece, first_audible
from antiphon.benchmarks.subject import Listener, Subject, SubjectSession
from antiphon.pipeline.events import Committed, Dropped, Event, SpeechStarted, TurnEnded

logger = logging.getLogger(__name__)

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the driver waits, in seconds."""

    answer_s: float = 10.0
    """For the first audible sample, from the end of speech; without one the turn is missed."""
    listen_s: float = 3.0
    """So much of a reply is listened to at its pace (for underruns); then the rest is taken as fast as it comes."""
    finish_s: float = 20.0
    """For the rest of the reply, after that."""
    reply_s: float = 90.0
    """The longest reply that is listened to in full, where a conversation goes on after it."""
    grace_s: float = 1.0
    """After the end of speech, before a turn that seems to be over counts as over."""
    noise_s: float = 2.5
    """After a clip without speech: time for a turn to start by mistake."""
    idle_s: float = 1.5
    """Silence after a reply that ends it, of a subject that does not tell."""


@dataclass(slots=True)
class Observation:
    """One clip, played to one subject. Times are of the event loop's clock."""

    track: Track
    begin_s: float
    """The clip's first sample."""
    zero_s: float
    """Time zero: its last speech sample by ground truth; of a clip without speech its last sample; of a finished
    recording, when it had been handed over."""
    end_s: float = 0.0
    events: list[Event] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    hurried_s: float | None = None
    failure: str = ""
    """What broke the session."""
    cpu_s: float | None = None
    late_s: float = 0.0
    live: bool = True


async def play_clips(
    subject: Subject,
    tracks: Sequence[Track],
    patience: Patience,
    meter: Meter | None = None,
    on_seen: Callable[[Observation], None] | None = None,
) -> list[Observation]:
    """Play clips in one conversation, each after the reply to the one before has been heard.

    :param on_seen: is told each clip of a live conversation when it is over.
    """
    if subject.finished_recording:
        return [await _play_recording(subject, track, patience, meter) for track in tracks]
    seen: list[Observation] = []
    listener = Listener()
    try:
        async with _opened(subject, listener) as session:
            await _play_live(subject, session, listener, tracks, patience, meter, seen, on_seen)
    except _NoSession as error:
        seen = [_never(track, str(error)) for track in tracks]
    return seen


class _NoSession(Exception):
    """The subject could not begin a conversation."""


@contextlib.asynccontextmanager
async def _opened(subject: Subject, listener: Listener) -> AsyncIterator[SubjectSession]:
    """A session; on the way out nobody listens any more, and what breaks then breaks no turn."""
    try:
        session = await subject.open(listener)
    except Exception as error:
        raise _NoSession(f"no session could be opened: {_told(error)}") from error
    try:
        yield session
    finally:
        listener.sink.hurry()
        try:
            await session.close()
        except Exception as error:
            logger.warning("a session did not end well", extra={"subject": subject.name, "code": type(error).__name__})


async def _play_live(
    subject: Subject,
    session: SubjectSession,
    listener: Listener,
    tracks: Sequence[Track],
    patience: Patience,
    meter: Meter | None,
    seen: list[Observation],
    on_seen: Callable[[Observation], None] | None,
) -> None:
    microphone = Microphone(session.hear, tracks[0])
    feeding = asyncio.create_task(microphone.run(), name="bench-microphone")
    saying: asyncio.Task[float] | None = None
    try:
        await asyncio.sleep(LEAD_S)
        for number, track in enumerate(tracks):
            cpu_0 = meter.cpu_s() if meter else None
            saying = asyncio.create_task(microphone.say(track), name="bench-saying")
            await asyncio.wait({saying, feeding}, return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                saying.cancel()
                seen.append(_never(track, _ended(feeding)))
                continue
            begin_s = saying.result()
            clip = track.clip
            end_s = clip.seconds if clip.speech_end_s is None else clip.speech_end_s
            watch = _Watch(subject, listener, Observation(track, begin_s, begin_s + end_s), patience)
            await watch.until_over(feeding, hurries=number == len(tracks) - 1)
            if feeding.done():
                watch.observation.failure = _ended(feeding)
            seen.append(watch.finished(microphone, meter, cpu_0))
            if on_seen is not None:
                on_seen(seen[-1])
    finally:
        tasks = {task for task in (feeding, saying) if task is not None}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _play_recording(subject: Subject, track: Track, patience: Patience, meter: Meter | None) -> Observation:
    """A whole clip at once, in a session of its own; the clock starts when it has been handed over."""
    listener = Listener()
    loop = asyncio.get_running_loop()
    try:
        async with _opened(subject, listener) as session:
            cpu_0 = meter.cpu_s() if meter else None
            begin_s = loop.time()
            watch = _Watch(subject, listener, Observation(track, begin_s, begin_s, live=False), patience)
            try:
                await session.hear(track.samples)
            except Exception as error:
                watch.observation.failure = f"the session broke: {_told(error)}"
            else:
                watch.observation.zero_s = loop.time()
                await watch.until_over(None, hurries=True)
            return watch.finished(None, meter, cpu_0)
    except _NoSession as error:
        return _never(track, str(error))


class _Watch:
    """Waits until nothing more is to come of a clip."""

    def __init__(self, subject: Subject, listener: Listener, observation: Observation, patience: Patience) -> None:
        self.observation = observation
        self._tells = subject.tells_turns
        self._listener = listener
        self._patience = patience
        self._first_event = len(listener.events)
        self._first_piece = len(listener.sink.pieces)

    async def until_over(self, feeding: asyncio.Task[None] | None, *, hurries: bool) -> None:
        """
        :param feeding: the microphone; if it ends, so does the watch. None: there is none.
        :param hurries: the reply need not be heard in full.
        """
        never = asyncio.get_running_loop().create_future()
        while not (feeding and feeding.done()) and not self._over(hurries):
            await asyncio.wait({feeding or never}, timeout=POLL_S)

    def finished(self, microphone: Microphone | None, meter: Meter | None, cpu_0: float | None) -> Observation:
        seen = self.observation
        seen.end_s = asyncio.get_running_loop().time()
        seen.events = self._listener.events[self._first_event :]
        seen.pieces = self._listener.sink.pieces[self._first_piece :]
        seen.hurried_s = self._listener.sink.hurried_s
        seen.late_s = microphone.late_s if microphone else 0.0
        seen.cpu_s = meter.cpu_s() - cpu_0 if meter and cpu_0 is not None else None
        return seen

    def _over(self, hurries: bool) -> bool:
        now_s = asyncio.get_running_loop().time()
        seen, patience, sink = self.observation, self._patience, self._listener.sink
        since_s = now_s - seen.zero_s
        if not seen.track.clip.has_speech:
            return since_s >= patience.noise_s and (not self._busy() or since_s >= patience.noise_s + patience.answer_s)
        if since_s < patience.grace_s and seen.live:
            return False
        heard_s = first_audible(sink.pieces[self._first_piece :])
        if heard_s is None:
            return since_s >= patience.answer_s or (self._tells and self._turns_ended())
        return self._reply_over(now_s, max(heard_s, seen.zero_s), hurries)

    def _reply_over(self, now_s: float, heard_s: float, hurries: bool) -> bool:
        """Whether a reply that is heard since `heard_s` has been heard well enough."""
        patience, sink = self._patience, self._listener.sink
        if hurries and now_s >= heard_s + patience.listen_s and sink.hurried_s is None:
            sink.hurry()
        if now_s >= heard_s + (patience.listen_s + patience.finish_s if hurries else patience.reply_s):
            return True
        if self._tells:
            return self._turns_ended() and (hurries or not sink.playing)
        return sink.hurried_s is not None or now_s >= sink.end_s + patience.idle_s

    def _turns_ended(self) -> bool:
        """Turns were committed, all have ended, and none is open."""
        return self._committed() > 0 and not self._busy()

    def _committed(self) -> int:
        return sum(isinstance(event, Committed) for event in self._listener.events[self._first_event :])

    def _busy(self) -> bool:
        """A turn is open, or committed and not ended."""
        open_turn = False
        waiting: set[int] = set()
        for event in self._listener.events[self._first_event :]:
            if isinstance(event, SpeechStarted):
                open_turn = True
            elif isinstance(event, Committed):
                open_turn = False
                waiting.add(event.turn)
            elif isinstance(event, TurnEnded):
                waiting.discard(event.turn)
            elif isinstance(event, Dropped) and event.reason == "reopened":
                open_turn = True
                waiting.discard(event.turn)
            elif isinstance(event, Dropped) and event.reason in ("cleared", "cancelled"):
                open_turn = False
        return open_turn or bool(waiting)


def _never(track: Track, failure: str) -> Observation:
    now_s = asyncio.get_running_loop().time()
    return Observation(track, now_s, now_s, now_s, failure=failure)


def _ended(feeding: asyncio.Task[None]) -> str:
    error = None if feeding.cancelled() else feeding.exception()
    return f"the session broke: {_told(error)}" if error else "the session ended"


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
