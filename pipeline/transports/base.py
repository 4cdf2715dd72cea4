"""The contract of a transport: the one place where audio enters and leaves a session."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from antiphon.engines.audio import AudioFrame


@dataclass(frozen=True, slots=True)
class TransportCapabilities:
    paced: bool = True
    """Input comes in real time (a microphone, a call). False: as fast as it is read, time is the stream clock alone."""
    greets: bool = True
    """Somebody listens from the start: a greeting makes sense."""
    clears: bool = True
    """`clear()` takes back what has not been heard. False: what was handed over is out of reach."""
    pauses: bool = False
    """`pause()` and `resume()` work, and `heard_s()` tells what was heard: a user who begins to speak is listened to
    in silence."""
    aec: bool = True
    """What it plays does not come back in what it hears: nobody listens, or the echo is cancelled there."""
    queues: bool = False
    """What was handed over is heard in its own time, whatever is handed over behind it: the next answer may be begun as
    soon as this one is complete, and is on its way before this one has been heard."""
    cleaned: bool = False
    """Its input has been through an audio front end (:mod:`antiphon.pipeline.frontend`) already."""


class Transport(Protocol):
    """One session's audio, both ways."""

    @property
    def capabilities(self) -> TransportCapabilities: ...

    def frames(self) -> AsyncIterator[AudioFrame]:
        """Input audio, mono, any rate, in order; ends at the end of input."""
        ...

    async def play(self, frame: AudioFrame, mark: int) -> float:
        """Hand audio to the sink; waits while too much is ahead (back-pressure).

        :param mark: the turn that the audio belongs to.
        :returns: when the frame's first sample is at the sink, on the event loop's clock.
        """
        ...

    async def drain(self) -> None:
        """Wait until everything handed over has been heard."""
        ...

    def clear(self) -> None:
        """Throw away what has not been heard yet."""
        ...

    def pause(self) -> None:
        """Fall silent at once. Audio may still be handed over; it waits."""
        ...

    def resume(self) -> None:
        """Go on at the sample where :meth:`pause` stopped."""
        ...

    def heard_s(self, mark: int) -> float:
        """How many seconds of that mark's audio have been heard so far: the transport's best estimate."""
        ...


@dataclass(slots=True, eq=False)
class _Span:
    """Audio on its way to being heard: when, on the event loop's clock, if nothing pauses it."""

    mark: int
    start_s: float
    end_s: float


_ROUNDING_S = 1e-7
"""Times this close are the same: a wait that ended a rounding error too soon must not be begun again for ever."""


class Playhead:
    """Books the time of a sink that plays in real time: what is heard when, and how much of each mark was heard."""

    def __init__(self, max_ahead_s: float) -> None:
        """:param max_ahead_s: how much audio may wait at the sink before `book` makes the caller wait."""
        self.max_ahead_s = max_ahead_s
        self._end_s = 0.0
        self._paused_s: float | None = None
        self._spans: deque[_Span] = deque()
        self._heard_s: dict[int, float] = {}
        self._moved = asyncio.Event()

    @property
    def playing(self) -> bool:
        """Something is to be heard still, now or after a pause."""
        return self._end_s > self._now_s()

    @property
    def paused(self) -> bool:
        return self._paused_s is not None

    @property
    def next_s(self) -> float:
        """Where the next piece that is booked would begin."""
        return max(self._now_s(), self._end_s)

    async def book(self, duration_s: float, mark: int = 0) -> float:
        """Book a piece of audio; returns the loop time of its first sample, at once while little is ahead.

        In a pause that is the time it would have if the pause ended now.
        """
        start_s = self.next_s
        self._end_s = start_s + duration_s
        self._spans.append(span := _Span(mark, start_s, self._end_s))
        while span in self._spans and span.start_s - self._now_s() > self.max_ahead_s + _ROUNDING_S:
            await self._wait(span.start_s - self.max_ahead_s)
            self._settle()
        return start_s

    async def drain(self) -> None:
        """Wait until all that is booked by now has been heard, or taken back."""
        last = self._spans[-1] if self._spans else None
        while last is not None and last in self._spans and last.end_s > self._now_s() + _ROUNDING_S:
            await self._wait(last.end_s)

    def clear(self) -> None:
        """What has not been heard yet never will be."""
        self._settle()
        self._spans.clear()
        self._end_s = min(self._end_s, self._now_s())
        self._move()

    def pause(self) -> None:
        if self._paused_s is None:
            self._paused_s = asyncio.get_running_loop().time()
            self._settle()
            self._move()

    def resume(self) -> float:
        """Returns by how much later all that waits will be heard."""
        if self._paused_s is None:
            return 0.0
        later_s = asyncio.get_running_loop().time() - self._paused_s
        self._paused_s = None
        for span in self._spans:
            span.start_s += later_s
            span.end_s += later_s
        if self._spans:
            self._end_s += later_s
        self._move()
        return later_s

    def heard_s(self, mark: int) -> float:
        self._settle()
        return self._heard_s.get(mark, 0.0)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() if self._paused_s is None else self._paused_s

    def _settle(self) -> None:
        """Take what has been heard out of the line and into the books."""
        now_s = self._now_s()
        while self._spans and self._spans[0].start_s < now_s:
            span = self._spans[0]
            until_s = min(span.end_s, now_s)
            self._heard_s[span.mark] = self._heard_s.get(span.mark, 0.0) + until_s - span.start_s
            if span.end_s > now_s:
                span.start_s = now_s
                break
            self._spans.popleft()

    def _move(self) -> None:
        """Wake who waits: the times have changed."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def _wait(self, until_s: float) -> None:
        """Until then, or until the times change; in a pause, only the latter."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until_s if self._paused_s is None else None):
                await self._moved.wait()
