"""What a subject hears: clips in real time, 20 ms chunks on one absolute clock, a room's noise before and after.

A microphone never stops, so neither does this one: a clip is followed by its own noise floor, and no end of input is
ever signalled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from antiphon.benchmarks.clips import RATE_HZ, Clip
from antiphon.engines.audio import Samples

CHUNK_S = 0.02
CHUNK = round(CHUNK_S * RATE_HZ)
LEAD_S = 0.3
"""Noise floor before the first clip: a microphone is open before somebody speaks."""

_CLEAR_S = 0.12
"""Away from speech by this much: consonants fade out there, and labels are not exact."""
_SHORTEST_S = 0.3
_LOOP_S = 1.0
_FADE_S = 0.05


def noise_floor(samples: Samples, speech: tuple[float, float] | None) -> Samples:
    """A stretch of a recording's own noise that can be repeated without a seam, at the level of its end.

    :param samples: float32 at 16 kHz.
    :param speech: begin and end of its speech in seconds; None: there is none.
    :returns: float32, at least one chunk long; silence where there is too little noise to take.
    """
    silence = np.zeros(CHUNK, np.float32)
    total_s = len(samples) / RATE_HZ
    spans = [(0.0, total_s)] if speech is None else [(0.0, speech[0] - _CLEAR_S), (speech[1] + _CLEAR_S, total_s)]
    found = [samples[round(max(0.0, a) * RATE_HZ) : round(b * RATE_HZ)] for a, b in spans if b - a >= _SHORTEST_S]
    if not found:
        return silence
    quietest = min((_quietest(span) for span in found), key=_level)
    tail = found[-1] if speech is None or spans[1][1] - spans[1][0] >= _SHORTEST_S else quietest
    level, wanted = _level(quietest), _level(_quietest(tail))
    if level == 0.0:
        return silence
    fade = round(_FADE_S * RATE_HZ)
    ramp = np.sqrt(np.linspace(0.0, 1.0, fade, endpoint=False, dtype=np.float32))  # equal power: noise does not add up
    loop = quietest[fade:].copy()
    loop[-fade:] = loop[-fade:] * ramp[::-1] + quietest[:fade] * ramp
    return (loop * np.float32(wanted / level)).astype(np.float32)


def _quietest(span: Samples) -> Samples:
    size = min(len(span), round(_LOOP_S * RATE_HZ))
    starts = range(0, len(span) - size + 1, round(0.1 * RATE_HZ))
    return min((span[at : at + size] for at in starts), key=_level)


def _level(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


@dataclass(slots=True)
class Track:
    """A clip and the noise that goes on after it."""

    clip: Clip
    samples: Samples
    floor: Samples

    @classmethod
    def of(cls, clip: Clip) -> Track:
        """:raises ClipError: the clip cannot be read."""
        samples = clip.samples()
        speech = None if clip.speech_end_s is None else (clip.speech_start_s or 0.0, clip.speech_end_s)
        return cls(clip, samples, noise_floor(samples, speech))


@dataclass(slots=True)
class Microphone:
    """Feeds one session. Start :meth:`run` as a task; :meth:`say` puts a clip on the air."""

    hear: Callable[[Samples], Awaitable[None]]
    track: Track
    """Whose noise is heard while nobody speaks."""
    late_s: float = 0.0
    """The longest that a chunk came too late: the event loop, or the subject, held it up."""
    _position: int = field(default=-1, init=False)
    """Samples of the clip that were sent; -1: it is not on the air."""
    _floor_at: int = field(default=0, init=False)
    _waiting: tuple[Track, asyncio.Future[float]] | None = field(default=None, init=False)

    async def say(self, track: Track) -> float:
        """Begin a clip at the next chunk; returns the loop time of its first sample."""
        begun: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting = (track, begun)
        return await begun

    async def run(self) -> None:
        """Chunk k is handed over when a microphone would have: (k + 1) * 20 ms after the start."""
        loop = asyncio.get_running_loop()
        origin_s = loop.time()
        number = 0
        while True:
            begin_s, due_s = origin_s + number * CHUNK_S, origin_s + (number + 1) * CHUNK_S
            if self._waiting is not None:
                self.track, begun = self._waiting
                self._waiting = None
                self._position = 0
                if not begun.done():
                    begun.set_result(begin_s)
            chunk = self._next()
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            self.late_s = max(self.late_s, loop.time() - due_s)
            await self.hear(chunk)
            number += 1

    def _next(self) -> Samples:
        chunk = np.empty(0, np.float32)
        if self._position >= 0:
            chunk = self.track.samples[self._position : self._position + CHUNK]
            self._position += len(chunk)
        if len(chunk) < CHUNK:
            if len(chunk) or self._position >= 0:
                self._position = -1
            chunk = np.concatenate([chunk, self._noise(CHUNK - len(chunk))])
        return chunk

    def _noise(self, count: int) -> Samples:
        floor = self.track.floor
        index = (self._floor_at + np.arange(count)) % len(floor)
        self._floor_at = (self._floor_at + count) % len(floor)
        return floor[index]
