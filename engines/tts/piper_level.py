"""The sound's beginning and its loudness."""

from __future__ import annotations

import numpy as np

from antiphon.engines.audio import Samples

ONSET = 0.002
"""-54 dB of full scale: softer than any phoneme of a Piper voice, louder than its silence."""
TARGET_LEVEL = 0.1
"""-20 dB of full scale: the level of speech (silence not counted) that `normalise` aims at."""
PEAK = 0.9
"""Normalised speech peaks here; the limiter bends what goes beyond."""
_KNEE = 0.9
_MAX_GAIN = 8.0


class LeadTrimmer:
    """Cuts the silence before the first sound down to `lead_in_s`; what comes after the first sound passes untouched.

    :param lead_in_s: seconds of silence to leave; None cuts nothing.
    """

    def __init__(self, rate_hz: int, lead_in_s: float | None) -> None:
        self.cut_samples = 0
        """Samples cut so far."""
        self._keep = 0 if lead_in_s is None else round(lead_in_s * rate_hz)
        self._held: Samples = np.zeros(0, dtype=np.float32)
        self._done = lead_in_s is None

    def push(self, samples: Samples, *, last: bool) -> Samples:
        """The samples to hand over; none while only silence has come. With `last`, silence passes too."""
        if self._done:
            return samples
        joined = np.concatenate([self._held, samples])
        loud = np.flatnonzero(np.abs(joined) > ONSET)
        if not len(loud) and not last:
            start = max(0, len(joined) - self._keep)
            self._held = joined[start:]
            self.cut_samples += start
            return joined[:0]
        self._done = True
        start = max(0, int(loud[0]) - self._keep) if len(loud) else 0
        self.cut_samples += start
        return joined[start:]


def gain_for(samples: Samples) -> float:
    """The gain that brings a sample of a voice to the target level, its peaks staying below :data:`PEAK`."""
    level = np.abs(samples)
    active = samples[level > 0.02 * level.max(initial=0.0)]
    if not len(active) or not level.max():
        return 1.0
    wanted = TARGET_LEVEL / float(np.sqrt(np.mean(np.square(active, dtype=np.float64))))
    return float(np.clip(min(wanted, PEAK / float(level.max())), 1 / _MAX_GAIN, _MAX_GAIN))


def amplify(samples: Samples, gain: float) -> Samples:
    """Apply a gain; what would go beyond the knee is bent smoothly and never reaches full scale.

    Works on each sample alone, so slices join without a seam.
    """
    if gain == 1.0 and np.abs(samples).max(initial=0.0) <= _KNEE:
        return samples
    out = samples * np.float32(gain)
    level = np.abs(out)
    loud = level > _KNEE
    if loud.any():
        room = np.float32(1.0 - _KNEE)
        out[loud] = np.sign(out[loud]) * (_KNEE + room * np.tanh((level[loud] - _KNEE) / room))
    return out
