"""The contract of a transport: the one place where audio enters and leaves a session."""

from __future__ import annotations

import asyncio
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
    aec: bool = True
    """What it plays does not come back in what it hears: nobody listens, or the echo is cancelled there."""
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


class Playhead:
    """Books the time of a sink that plays in real time: when the next sample will be heard."""

    def __init__(self, max_ahead_s: float) -> None:
        """:param max_ahead_s: how much audio may wait at the sink before `book` makes the caller wait."""
        self.max_ahead_s = max_ahead_s
        self._end_s = 0.0

    @property
    def playing(self) -> bool:
        return self._end_s > asyncio.get_running_loop().time()

    async def book(self, duration_s: float) -> float:
        """Book a piece of audio; returns the loop time of its first sample, at once while little is ahead."""
        loop = asyncio.get_running_loop()
        start_s = max(loop.time(), self._end_s)
        self._end_s = start_s + duration_s
        ahead_s = start_s - loop.time() - self.max_ahead_s
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        return start_s

    async def drain(self) -> None:
        await asyncio.sleep(max(0.0, self._end_s - asyncio.get_running_loop().time()))

    def clear(self) -> None:
        self._end_s = min(self._end_s, asyncio.get_running_loop().time())
