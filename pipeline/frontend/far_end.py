"""What sounds at the sink, by time: the far end of echo cancellation."""

from __future__ import annotations

from collections import deque

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler

_SAME_STRETCH_S = 0.005
"""Frames whose told time is off by less go on where the last one ended: a seam would harm more than the error."""
_MAX_KEPT_S = 120.0
"""So much is kept at most, should nobody read it; the oldest is lost first."""
_KEPT_BEHIND_S = 10.0
"""How far behind the last read one may still ask."""


class FarEnd:
    """Played audio on one clock, at one rate; silence where nothing was told."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._pieces: deque[tuple[int, Samples]] = deque()
        """In order, without overlap: the clock at the first sample, in samples; the samples."""
        self._kept = 0
        self._held: list[tuple[int, Samples]] | None = None
        """While paused: what is still to sound, its places counted from the pause."""
        self._resampler: StreamResampler | None = None
        self._resampled_to = 0
        """Where the open stretch goes on, once its resampler gives more."""
        self._told_end_s = 0.0

    def add(self, frame: AudioFrame, at_s: float) -> None:
        """:param at_s: when the frame's first sample sounds; frames come in order."""
        if not len(frame.samples):
            return
        rate_changed = self._resampler is not None and self._resampler.from_hz != frame.rate_hz
        if self._resampler is None or rate_changed or abs(at_s - self._told_end_s) > _SAME_STRETCH_S:
            self._begin(frame.rate_hz, at_s)
        assert self._resampler is not None
        self._told_end_s += frame.duration_s
        self._append(self._resampler.push(frame.samples))

    def cut(self, at_s: float) -> None:
        """Nothing that was told for `at_s` and later will sound."""
        self._finish_stretch()
        self._held = None
        self._cut(round(at_s * self.rate_hz))

    def hold(self, at_s: float) -> None:
        """Playback stands still from `at_s` on: what is told for later sounds after :meth:`release`."""
        if self._held is not None:
            return
        self._finish_stretch()
        at = round(at_s * self.rate_hz)
        later = [(max(start, at) - at, samples[max(0, at - start) :]) for start, samples in self._pieces]
        self._cut(at)
        self._held = [(place, samples) for place, samples in later if len(samples)]

    def release(self, at_s: float) -> None:
        """Playback goes on at `at_s` with the next sample."""
        if self._held is None:
            return
        self._finish_stretch()
        held, self._held = self._held, None
        at = round(at_s * self.rate_hz)
        for place, samples in held:
            self._put(at + place, samples)

    def read(self, at: int, count: int) -> Samples:
        """The `count` samples from `at` on (clock times rate): float32, shape (count,)."""
        if self._resampler is not None and at + count > self._resampled_to:
            self._finish_stretch()
        out = np.zeros(count, dtype=np.float32)
        for start, samples in reversed(self._pieces):
            low, high = max(start, at), min(start + len(samples), at + count)
            if low < high:
                out[low - at : high - at] = samples[low - start : high - start]
            if start <= at:
                break
        self._forget(at - round(_KEPT_BEHIND_S * self.rate_hz))
        return out

    def sounds(self, from_s: float, until_s: float) -> bool:
        """Whether anything was told to sound in that time, be it quiet."""
        first, last = from_s * self.rate_hz, until_s * self.rate_hz
        for start, samples in reversed(self._pieces):
            if start < last:
                return start + len(samples) > first
        return False

    # ---------------------------------------------------------------------------- inside

    def _begin(self, rate_hz: int, at_s: float) -> None:
        self._finish_stretch()
        self._resampler = StreamResampler(rate_hz, self.rate_hz)
        self._told_end_s = at_s
        if self._held is None:
            self._resampled_to = round(at_s * self.rate_hz)
            self._cut(self._resampled_to)
        else:
            place, samples = self._held[-1] if self._held else (0, np.empty(0, dtype=np.float32))
            self._resampled_to = place + len(samples)

    def _finish_stretch(self) -> None:
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            self._append(resampler.push(np.empty(0, dtype=np.float32), last=True))

    def _append(self, samples: Samples) -> None:
        if not len(samples):
            return
        if self._held is None:
            self._put(self._resampled_to, samples)
        else:
            self._held.append((self._resampled_to, samples))
        self._resampled_to += len(samples)

    def _put(self, at: int, samples: Samples) -> None:
        self._pieces.append((at, samples))
        self._kept += len(samples)
        while self._kept > _MAX_KEPT_S * self.rate_hz and len(self._pieces) > 1:
            self._kept -= len(self._pieces.popleft()[1])

    def _cut(self, at: int) -> None:
        while self._pieces:
            start, samples = self._pieces[-1]
            if start + len(samples) <= at:
                return
            self._pieces.pop()
            self._kept -= len(samples)
            if start < at:
                self._put(start, samples[: at - start])
                return

    def _forget(self, before: int) -> None:
        while self._pieces and self._pieces[0][0] + len(self._pieces[0][1]) < before:
            self._kept -= len(self._pieces.popleft()[1])
