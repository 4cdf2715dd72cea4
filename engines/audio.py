"""Audio values: the one in-memory form (float32 mono) and the conversions at its edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Mono samples, float32 in [-1, 1], shape (n,)."""

AnySamples = NDArray[np.float32] | NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class AudioFrame:
    """A piece of a mono audio stream."""

    samples: Samples
    """float32 mono in [-1, 1], shape (n,)."""
    rate_hz: int
    """Samples per second."""
    start_s: float = 0.0
    """Stream time of the first sample, in seconds."""

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate_hz

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


def to_mono_float32(samples: AnySamples, channels: int = 1) -> Samples:
    """Bring int16 or float samples, interleaved or shaped (n, channels), to float32 mono in [-1, 1].

    Non-finite floats become silence and out-of-range floats are clipped, so that one bad block cannot poison a
    recursive filter further on.

    :raises ValueError: the sample type is neither int16 nor floating point, the length is no multiple of `channels`, or
        there is no channel.
    """
    array = np.asarray(samples)
    if array.dtype == np.int16:
        mono = array.astype(np.float32) / np.float32(32768.0)
    elif np.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 becomes infinite, and is clipped
            narrow = array.astype(np.float32)
        mono = np.clip(np.nan_to_num(narrow, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
    else:
        raise ValueError(f"audio samples must be int16 or float32, not {array.dtype}")
    if mono.ndim == 2:
        if not mono.shape[1]:
            raise ValueError(f"audio samples of shape {mono.shape} have no channel")
        return np.ascontiguousarray(mono.mean(axis=1, dtype=np.float32))
    if channels > 1:
        if len(mono) % channels:
            raise ValueError(f"{len(mono)} interleaved samples do not divide into {channels} channels")
        return np.ascontiguousarray(mono.reshape(-1, channels).mean(axis=1, dtype=np.float32))
    return np.ascontiguousarray(mono.reshape(-1))


def to_pcm16(samples: Samples) -> NDArray[np.int16]:
    """Float32 in [-1, 1] to int16, clipped and rounded."""
    return np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Resample a finished piece of audio (high quality, linear phase)."""
    if from_hz == to_hz or not len(samples):
        return samples
    return np.asarray(soxr.resample(samples, from_hz, to_hz, quality="HQ"), dtype=np.float32)


class StreamResampler:
    """Resamples a stream piece by piece; the pieces join without a seam."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._soxr = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def push(self, samples: Samples, *, last: bool = False) -> Samples:
        """Feed a piece and take what is ready. `last` flushes the filter's tail; after it the stream starts anew."""
        if self._soxr is None:
            return samples
        out = np.asarray(self._soxr.resample_chunk(samples, last=last), dtype=np.float32)
        if last:
            self._soxr.clear()
        return out
