"""The log-mel features that Whisper-style encoders take, in numpy alone.

The recipe is that of Radford et al. 2022 (Whisper), on 8 s: Hann window of 25 ms every 10 ms, centred with reflection,
power spectrum, 80 slaney mel bands, log10, eight decades of range, and an affine map to about [-1, 1].
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from antiphon.engines.audio import Samples

RATE_HZ = 16000
SECONDS = 8
SAMPLES = SECONDS * RATE_HZ
MELS = 80
FFT = 400
HOP = 160
FRAMES = SAMPLES // HOP

_VARIANCE_FLOOR = 1e-7
_POWER_FLOOR = 1e-10
_DECADES = 8.0

_SLANEY_HZ_PER_MEL = 200.0 / 3.0
"""Below 1 kHz the slaney mel scale is linear,"""
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = np.log(6.4) / 27.0
"""above it logarithmic: 27 mel for a factor of 6.4."""


def last_seconds(samples: Samples) -> Samples:
    """The last 8 s, with silence in front where there is less.

    :param samples: float32 mono at 16 kHz, shape (n,).
    :returns: float32, shape (128000,).
    """
    if len(samples) >= SAMPLES:
        return samples[-SAMPLES:]
    padded = np.zeros(SAMPLES, dtype=np.float32)
    if len(samples):
        padded[-len(samples) :] = samples
    return padded


def normalised(samples: Samples) -> Samples:
    """Zero mean and unit variance; silence stays silence."""
    mean = samples.mean(dtype=np.float64)
    deviation = np.sqrt(samples.var(dtype=np.float64) + _VARIANCE_FLOOR)
    return np.asarray((samples - np.float32(mean)) / np.float32(deviation), dtype=np.float32)


def log_mel(samples: Samples) -> NDArray[np.float32]:
    """Log-mel features of 8 s of audio, as they stand (see :func:`normalised`).

    :param samples: float32 mono at 16 kHz, shape (128000,).
    :returns: float32, shape (80, 800).
    """
    padded = np.pad(samples, FFT // 2, mode="reflect")
    frames = sliding_window_view(padded, FFT)[: FRAMES * HOP : HOP]
    spectrum = np.fft.rfft(frames * _hann(), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    decades = np.log10(np.maximum(_mel_power(power), np.float32(_POWER_FLOOR)))
    floored = np.maximum(decades, decades.max() - np.float32(_DECADES))
    return np.ascontiguousarray(((floored + np.float32(4.0)) / np.float32(4.0)).T)


@cache
def _hann() -> NDArray[np.float32]:
    """The periodic Hann window, shape (400,)."""
    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(FFT) / FFT), dtype=np.float32)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * (mel - _SLANEY_BREAK_MEL))
    return np.where(mel < _SLANEY_BREAK_MEL, mel * _SLANEY_HZ_PER_MEL, logarithmic)


def _mel_power(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power spectra, shape (n, 201), to mel bands, shape (n, 80).

    Not a matrix product: BLAS would wake a thread a core for it and wait for them, which on a busy machine takes
    ten times longer than this, and most of the matrix is zeros.
    """
    bins, weights, starts = _mel_bands()
    return np.add.reduceat(np.take(power, bins, axis=1) * weights, starts, axis=1)


@cache
def _mel_bands() -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
    """Triangles of equal area from 0 Hz to 8 kHz: FFT bins and weights, band after band; where each starts."""
    highest_mel = _SLANEY_BREAK_MEL + np.log(RATE_HZ / 2 / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    edges_hz = _mel_to_hz(np.linspace(0.0, highest_mel, MELS + 2))
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    bins_hz = np.fft.rfftfreq(FFT, 1.0 / RATE_HZ)
    rising = (bins_hz - left) / (centre - left)
    falling = (right - bins_hz) / (right - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))
    bands, bins = np.nonzero(weights)
    starts = np.searchsorted(bands, np.arange(MELS))
    return bins, np.asarray(weights[bands, bins], dtype=np.float32), starts
