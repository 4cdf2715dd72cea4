"""Resampling without waiting, for a voice that somebody answers."""

from __future__ import annotations

import math

import numpy as np

from antiphon.engines.audio import Samples

CROSSINGS = 16
"""Zero crossings of the filter on either side, at the lower of the two rates: its delay, 1 ms at 16 kHz."""
PASSES = 0.9
"""Share of the band that passes; the rest is the filter's slope."""
_BETA = 7.0
"""Of the Kaiser window: what is beyond the band is 70 dB down."""


class LiveResampler:
    """Resamples a stream piece by piece; what went in comes out at once, but for the filter's 16 crossings.

    :class:`~antiphon.engines.audio.StreamResampler` is the better filter, and gathers up to 40 ms before it gives any:
    that is time that a listener waits for the answer.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        common = math.gcd(from_hz, to_hz)
        self._up, self._down = to_hz // common, from_hz // common
        self._half = math.ceil(CROSSINGS * max(1.0, from_hz / to_hz))
        self._filters = self._make_filters()
        self._waiting: Samples = np.zeros(0, dtype=np.float32)
        self._at = 0
        """Where the next output sample is: in input samples from `half - 1` on, times `up`."""
        self._reset()

    def push(self, samples: Samples, *, last: bool = False) -> Samples:
        """Feed a piece and take what is ready: float32 mono, shape (n,).

        :param last: there will be no more: the rest comes out; then the stream begins anew.
        """
        if self.from_hz == self.to_hz:
            return samples
        behind = [np.zeros(self._half, dtype=np.float32)] if last else []
        self._waiting = np.concatenate([self._waiting, samples, *behind])
        out = self._take()
        if last:
            self._reset()
        return out

    def _make_filters(self) -> Samples:
        """For each place of an output sample between two input samples, what each input around it counts."""
        width = PASSES * min(1.0, self.to_hz / self.from_hz)
        at = np.arange(1 - self._half, self._half + 1)[None, :] - (np.arange(self._up) / self._up)[:, None]
        inside = np.clip(1.0 - (at / self._half) ** 2, 0.0, None)
        taps = np.sinc(width * at) * np.i0(_BETA * np.sqrt(inside))
        return np.asarray(taps / taps.sum(axis=1, keepdims=True), dtype=np.float32)

    def _reset(self) -> None:
        self._waiting = np.zeros(self._half - 1, dtype=np.float32)
        self._at = 0

    def _windows(self) -> Samples:
        """What lies around each place, shape (n, 2 * half); a view. (numpy's own function for it takes longer than all
        the rest.)"""
        (step,) = self._waiting.strides
        shape = (len(self._waiting) - 2 * self._half + 1, 2 * self._half)
        return np.ndarray(shape, np.float32, buffer=self._waiting, strides=(step, step))

    def _take(self) -> Samples:
        last = len(self._waiting) - 2 * self._half  # the last place with enough behind it
        count = max(0, ((last + 1) * self._up - 1 - self._at) // self._down + 1) if last >= 0 else 0
        if not count:
            return np.zeros(0, dtype=np.float32)
        places = self._at + np.arange(count) * self._down
        windows = self._windows()[places // self._up]
        out = np.einsum("ij,ij->i", windows, self._filters[places % self._up])
        self._at += count * self._down
        gone = min(self._at // self._up, len(self._waiting))
        self._waiting = self._waiting[gone:].copy()
        self._at -= gone * self._up
        return np.asarray(out, dtype=np.float32)
