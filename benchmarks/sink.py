"""The ear at the end: a sink that plays in real time, and the rules by which what it played is timed.

The same sink hears every system under test. A piece of audio is heard from the moment it arrives, or from the end of
what came before it, whichever is later. The clock is the event loop's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from antiphon.engines.audio import Samples
from antiphon.pipeline.reply import AUDIBLE

GAP_MS = 10.0
"""A shorter gap between two pieces is what any player's buffer bridges; it is no underrun."""
MAX_AHEAD_S = 0.5
"""How much unheard audio a sink takes before :meth:`Sink.play` makes its caller wait, as a sound card does."""


_PAUSED_LOOK_S = 0.01
"""How often a paused sink looks whether it goes on."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Audio in its place on the clock."""

    start_s: float
    """When its first sample was heard."""
    samples: Samples
    rate_hz: int
    mark: int = 0

    def until(self, at_s: float) -> Piece:
        """What was heard of it before then."""
        return replace(self, samples=self.samples[: max(0, round((at_s - self.start_s) * self.rate_hz))])

    def since(self, at_s: float) -> Piece:
        """The rest."""
        heard = max(0, round((at_s - self.start_s) * self.rate_hz))
        return replace(self, start_s=self.start_s + heard / self.rate_hz, samples=self.samples[heard:])

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / self.rate_hz


class Sink:
    """One session's loudspeaker. Nobody hears it; it keeps what was played, and when."""

    def __init__(self, max_ahead_s: float = MAX_AHEAD_S) -> None:
        self.pieces: list[Piece] = []
        self.hurried_s: float | None = None
        """Since when nobody listens any more."""
        self._max_ahead_s = max_ahead_s
        self._end_s = 0.0
        self._hurried = asyncio.Event()
        self._paused_s: float | None = None
        self._held: list[Piece] = []
        """In a pause: what comes after it, where it would be if the pause ended now."""

    def push(self, samples: Samples, rate_hz: int, mark: int = 0) -> float:
        """Take audio that arrives now (float32 mono, shape (n,)); returns when its first sample is heard."""
        start_s = max(self._now_s(), self._end_s)
        if len(samples):
            piece = Piece(start_s, samples, rate_hz, mark)
            (self.pieces if self._paused_s is None else self._held).append(piece)
            self._end_s = piece.end_s
        return start_s

    async def play(self, samples: Samples, rate_hz: int, mark: int = 0) -> float:
        """:meth:`push`, then wait while too much is ahead."""
        start_s = self.push(samples, rate_hz, mark)
        ahead_s = start_s - asyncio.get_running_loop().time() - self._max_ahead_s
        await self._listen(ahead_s)
        return start_s

    async def drain(self) -> None:
        """Wait until all has been heard."""
        while self.hurried_s is None and (left_s := self._end_s - self._now_s()) > 0:
            await self._listen(left_s if self._paused_s is None else _PAUSED_LOOK_S)

    async def _listen(self, seconds: float) -> None:
        if seconds > 0 and self.hurried_s is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._hurried.wait()

    def clear(self) -> None:
        """Throw away what has not been heard yet."""
        self._held.clear()
        self._cut(self._now_s())
        self._end_s = min(self._end_s, self._now_s())

    def pause(self) -> None:
        """Fall silent now; what comes waits."""
        if self._paused_s is None:
            self._paused_s = now_s = asyncio.get_running_loop().time()
            self._held = [rest for piece in self.pieces if len((rest := piece.since(now_s)).samples)]
            self._cut(now_s)

    def resume(self) -> None:
        """Go on where :meth:`pause` stopped."""
        if self._paused_s is None:
            return
        later_s = asyncio.get_running_loop().time() - self._paused_s
        self._paused_s = None
        self.pieces += [replace(piece, start_s=piece.start_s + later_s) for piece in self._held]
        if self._held:
            self._end_s += later_s
        self._held.clear()

    def heard_s(self, mark: int) -> float:
        """Seconds of that mark that have been heard."""
        now_s = self._now_s()
        mine = (piece for piece in self.pieces if piece.mark == mark)
        return sum(max(0.0, min(piece.end_s, now_s) - piece.start_s) for piece in mine)

    def _cut(self, now_s: float) -> None:
        cut = (piece.until(now_s) if piece.end_s > now_s else piece for piece in self.pieces)
        self.pieces = [piece for piece in cut if len(piece.samples)]

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() if self._paused_s is None else self._paused_s

    def hurry(self) -> None:
        """Enough was heard: from now on audio is taken as fast as it comes."""
        self.hurried_s = asyncio.get_running_loop().time()
        self._hurried.set()

    @property
    def playing(self) -> bool:
        return self._end_s > self._now_s()

    @property
    def end_s(self) -> float:
        """When the last sample so far was, or will be, heard; 0: nothing was played."""
        return self._end_s


# ---------------------------------------------------------------------------------------- timing rules


@dataclass(frozen=True, slots=True)
class Onset:
    """The first audible sample, and what it begins."""

    at_s: float
    kind: Literal["voice", "click", "breath"]


def onset(pieces: Sequence[Piece], *, after_s: float = 0.0) -> Onset | None:
    """The first sample above 1 % of full scale; None: nothing audible."""
    at_s = first_audible(pieces, after_s=after_s)
    return None if at_s is None else Onset(at_s, _kind(pieces, at_s))


def first_audible(pieces: Iterable[Piece], *, after_s: float = 0.0) -> float | None:
    for piece in pieces:
        loud = np.flatnonzero(np.abs(piece.samples) > AUDIBLE)
        if after_s > piece.start_s:
            loud = loud[loud >= (after_s - piece.start_s) * piece.rate_hz]
        if len(loud):
            return piece.start_s + float(loud[0]) / piece.rate_hz
    return None


def gaps_ms(pieces: Sequence[Piece], *, until_s: float | None = None) -> list[float]:
    """Silences that the listener heard because the next piece was late; those that begin after `until_s` left out.

    Before the first audible sample there is nothing to run dry: a reply that was taken back at once leaves a little
    silence there.
    """
    first_s = first_audible(pieces)
    heard = [] if first_s is None else [piece for piece in pieces if piece.end_s > first_s]
    found = []
    for before, after in pairwise(heard):
        gap_ms = (after.start_s - before.end_s) * 1000
        if gap_ms > GAP_MS and (until_s is None or before.end_s < until_s):
            found.append(gap_ms)
    return found


# ------------------------------------------------------------------------------------------ what it is

_LOOK_S = 0.5
"""How much of the opening is looked at."""
_FRAME_S = 0.01
_CLICK_FRAMES = 4
"""An opening with fewer audible frames in its first 200 ms (the rest of it silent) is a click."""
_BREATH_S = 0.3
"""Speech may open with a consonant without voice; one that goes on for longer without any is a breath."""
_VOICED = 0.5
"""Autocorrelation at the best pitch lag: above it a frame is voiced."""


def _kind(pieces: Sequence[Piece], at_s: float) -> Literal["voice", "click", "breath"]:
    samples, rate_hz = _stretch(pieces, at_s, _LOOK_S)
    size = round(_FRAME_S * rate_hz)
    whole = samples[: len(samples) // size * size].reshape(-1, size)
    loud = np.abs(whole).max(axis=1) > AUDIBLE if len(whole) else np.zeros(0, bool)
    if len(loud) >= 20 and int(loud[:20].sum()) < _CLICK_FRAMES:
        return "click"
    reach = round((_BREATH_S + 0.04) * rate_hz)
    if len(samples) >= reach and not _has_voice(samples[:reach], rate_hz):
        return "breath"
    return "voice"


def _stretch(pieces: Sequence[Piece], at_s: float, seconds: float) -> tuple[Samples, int]:
    """What was heard from `at_s` on, gaps as silence."""
    rate_hz = next(piece.rate_hz for piece in pieces if piece.end_s > at_s)
    out = np.zeros(round(seconds * rate_hz), np.float32)
    reached = 0
    for piece in pieces:
        start = round((piece.start_s - at_s) * rate_hz)
        if piece.rate_hz != rate_hz or start >= len(out) or start + len(piece.samples) <= 0:
            continue
        part = piece.samples[max(0, -start) :][: len(out) - max(0, start)]
        out[max(0, start) : max(0, start) + len(part)] = part
        reached = max(reached, max(0, start) + len(part))
    return out[:reached], rate_hz


def _has_voice(samples: Samples, rate_hz: int) -> bool:
    """Whether any 40 ms of it has a pitch between 60 and 500 Hz."""
    size, hop = round(0.04 * rate_hz), round(0.01 * rate_hz)
    lags = slice(round(rate_hz / 500), round(rate_hz / 60))
    for at in range(0, len(samples) - size + 1, hop):
        frame = samples[at : at + size].astype(np.float64)
        frame = frame - frame.mean()
        energy = float(frame @ frame)
        if energy / size < (AUDIBLE / 4) ** 2:
            continue
        spectrum = np.fft.rfft(frame, 2 * size)
        correlation = np.fft.irfft(spectrum * np.conj(spectrum))[:size]
        taper = 1 - np.arange(size) / size  # fewer samples overlap at longer lags
        if float((correlation[lags] / (energy * taper[lags])).max()) > _VOICED:
            return True
    return False
