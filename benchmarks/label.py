"""Finds the speech in a recording, offline, by a method that is none of the VADs under test. Pure.

It looks at the whole recording, several times:

1. Sound is taken apart into frames (25 ms, every 5 ms) and bands (100 Hz to 7.6 kHz). The noise floor of each band is
   the mean of the recording's softest tenth of frames; then, three times, of all frames that do not stand out from it.
2. How far a frame stands out is the mean excess over the floor, in dB, of its three strongest bands; nothing more than
   42 dB under the recording's loud frames counts.
3. The core of speech is voiced: 70-400 Hz by autocorrelation, for 40 ms at least, standing out clearly. Clicks, hum and
   rustling have no core, and a recording without 100 ms of it has no speech.
4. From the first and the last core the speech reaches outward through whatever stands out (fricatives, stops, a soft
   ending), by 300 ms at most. There is no hangover: the end is the last frame that stands out.

A voice in the background is a voice: who needs another truth corrects it (`antiphon bench label --review`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.engines.audio import Samples

PAUSE_MS = 150.0
"""Shorter silences inside speech are not listed."""
HOP = RATE_HZ * 5 // 1000
_SIZE = RATE_HZ * 25 // 1000
_FFT = 512
_BANDS_HZ = (100, 250, 400, 600, 800, 1100, 1500, 2000, 2700, 3600, 4800, 6200, 7600)
_STRONGEST = 3
_STANDS_OUT_DB = 6.0
_CLEARLY_DB = 10.0
_RANGE_DB = 42.0
_VOICE_RANGE_DB = 32.0
_CORE_RANGE_DB = 30.0
"""The loudest frame of a core may be so much softer than the recording's loud frames."""
_VOICED = 0.65
_PITCH_HZ = (70, 400)
_PITCH_SIZE = RATE_HZ * 40 // 1000
_DECIMATE = 4
_CORE_FRAMES = 8
_CORE_GAP_FRAMES = 6
_LEAST_VOICE_FRAMES = 20
_REACH_FRAMES = 60
_GAP_BEFORE_FRAMES = 10
_GAP_AFTER_FRAMES = 22
"""A final stop is silent before it is released."""
_BLIP_FRAMES = 3
_SMEAR_FRAMES = 2
"""A frame hears sound that begins up to 20 ms after its middle; half of that is taken back at each edge of a pause."""
_CHUNK_FRAMES = 4096

Frames = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Speech:
    """Where somebody speaks."""

    start_s: float
    end_s: float
    pauses: tuple[tuple[float, float], ...] = ()
    """Silences inside it, as (start, end) in seconds."""

    @property
    def pauses_ms(self) -> tuple[float, ...]:
        return tuple(round(1000.0 * (end - start), 1) for start, end in self.pauses)


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """What is known of each frame of a recording; frame i is about the sample i * :data:`HOP`."""

    level_db: Frames
    excess_db: Frames
    """How far it stands out from the noise floor."""
    voiced: NDArray[np.bool_]
    seconds: float


def find_speech(samples: Samples) -> Speech | None:
    """Where the speech is; None: nobody speaks.

    :param samples: float32 mono at 16 kHz, shape (n,).
    """
    return speech_in(analyse(samples))


def analyse(samples: Samples) -> Analysis:
    """Levels, noise floor and voicing of a recording at 16 kHz."""
    power = _smooth(_band_power(samples))
    level_db = _db(power.sum(axis=1))
    excess_db = _excess_db(power, level_db)
    loud_db = float(np.percentile(level_db, 97))
    voiced = (_periodicity(samples) > _VOICED) & (excess_db > _CLEARLY_DB) & (level_db > loud_db - _VOICE_RANGE_DB)
    return Analysis(level_db, excess_db, voiced, len(samples) / RATE_HZ)


def speech_in(analysis: Analysis) -> Speech | None:
    """Where the speech is; None: nobody speaks."""
    cores = _cores(analysis)
    if sum(stop - start for start, stop in cores) < _LEAST_VOICE_FRAMES:
        return None
    sounding = analysis.excess_db > _STANDS_OUT_DB
    start = _reach(sounding, cores[0][0], -1, _GAP_BEFORE_FRAMES)
    stop = _reach(sounding, cores[-1][1] - 1, 1, _GAP_AFTER_FRAMES) + 1
    return _between(analysis, start, stop)


def speech_between(analysis: Analysis, start_s: float, end_s: float) -> Speech:
    """The speech that somebody says is there, with the pauses that are in it."""
    found = _between(analysis, _frame(start_s), _frame(end_s))
    return Speech(start_s, end_s, found.pauses)


# ------------------------------------------------------------------------------------------- inside


def _frame(seconds: float) -> int:
    return round(seconds * RATE_HZ / HOP)


def _between(analysis: Analysis, start: int, stop: int) -> Speech:
    frame_s = HOP / RATE_HZ
    sounding = analysis.excess_db[start:stop] > _STANDS_OUT_DB
    for first, last in _runs(sounding):
        if last - first < _BLIP_FRAMES:
            sounding[first:last] = False
    least = PAUSE_MS / 1000.0 / frame_s - 2 * _SMEAR_FRAMES
    silent = [(a, b) for a, b in _runs(~sounding) if b - a >= least and a > 0 and b < len(sounding)]
    pauses = tuple(((start + a - _SMEAR_FRAMES) * frame_s, (start + b + _SMEAR_FRAMES) * frame_s) for a, b in silent)
    return Speech(start * frame_s, min(stop * frame_s, analysis.seconds), pauses)


def _cores(analysis: Analysis) -> list[tuple[int, int]]:
    """Voiced stretches, as frames; small gaps are closed."""
    joined: list[tuple[int, int]] = []
    for start, stop in _runs(analysis.voiced):
        if joined and start - joined[-1][1] <= _CORE_GAP_FRAMES:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    least_db = float(np.percentile(analysis.level_db, 97)) - _CORE_RANGE_DB
    return [(a, b) for a, b in joined if b - a >= _CORE_FRAMES and analysis.level_db[a:b].max() > least_db]


def _reach(sounding: NDArray[np.bool_], start: int, step: int, gap: int) -> int:
    """The last sounding frame that is reached from a core without a longer silence."""
    reached, silent = start, 0
    for frame in range(start, start + step * (_REACH_FRAMES + 1), step):
        if not 0 <= frame < len(sounding) or silent > gap:
            break
        silent = 0 if sounding[frame] else silent + 1
        reached = frame if sounding[frame] else reached
    return reached


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def _db(power: Frames) -> Frames:
    return np.asarray(10.0 * np.log10(power + 1e-12))


def _frames(signal: Frames, size: int, hop: int, count: int) -> Frames:
    """Overlapping frames around the samples 0, hop, 2 * hop, ...; a view, shape (count, size)."""
    padded = np.pad(signal, (size // 2, size + hop))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:count]


def _count(samples: Samples) -> int:
    return len(samples) // HOP + 1


def _band_power(samples: Samples) -> Frames:
    """Power of each band in each frame, shape (frames, bands)."""
    frames = _frames(samples.astype(np.float64), _SIZE, HOP, _count(samples))
    window = np.hanning(_SIZE)
    hz = np.fft.rfftfreq(_FFT, 1 / RATE_HZ)
    bands = np.searchsorted(hz, _BANDS_HZ)
    scale = 1.0 / (np.square(window).sum() * _FFT / 2)
    pieces = []
    for at in range(0, len(frames), _CHUNK_FRAMES):  # an hour of audio must not be in memory as frames
        spectrum = np.square(np.abs(np.fft.rfft(frames[at : at + _CHUNK_FRAMES] * window, _FFT, axis=1))) * scale
        pieces.append(np.add.reduceat(spectrum[:, : bands[-1]], bands[:-1], axis=1))
    return np.concatenate(pieces)


def _smooth(power: Frames) -> Frames:
    """The mean over three frames."""
    padded = np.pad(power, ((1, 1), (0, 0)), mode="edge")
    return np.asarray((padded[:-2] + padded[1:-1] + padded[2:]) / 3.0)


def _excess_db(power: Frames, level_db: Frames) -> Frames:
    """How far each frame stands out from the noise floor."""
    least = 10.0 ** ((np.percentile(level_db, 97) - _RANGE_DB) / 10.0) / power.shape[1]
    floor = power[level_db <= np.percentile(level_db, 10)].mean(axis=0)
    excess = np.zeros(len(power))
    for _ in range(3):
        over_db = _db(power) - _db(np.maximum(floor, least))
        excess = np.sort(over_db, axis=1)[:, -_STRONGEST:].mean(axis=1)
        noise = excess < _STANDS_OUT_DB
        if noise.sum() < 10:
            break
        floor = power[noise].mean(axis=0)
    return excess


def _periodicity(samples: Samples) -> Frames:
    """The highest autocorrelation of each frame at a lag of a voice's pitch, shape (frames,)."""
    spectrum = np.fft.rfft(samples.astype(np.float64))
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    spectrum[(hz < 80) | (hz > 1000)] = 0.0
    low = np.fft.irfft(spectrum, len(samples))[::_DECIMATE]
    size, rate_hz = _PITCH_SIZE // _DECIMATE, RATE_HZ // _DECIMATE
    frames = _frames(low, size, HOP // _DECIMATE, _count(samples))
    first, last = rate_hz // _PITCH_HZ[1], rate_hz // _PITCH_HZ[0]
    shrinking = 1.0 - np.arange(first, last) / size  # the further the lag, the fewer samples overlap
    pieces = []
    for at in range(0, len(frames), _CHUNK_FRAMES):
        piece = frames[at : at + _CHUNK_FRAMES]
        piece = piece - piece.mean(axis=1, keepdims=True)
        correlation = np.fft.irfft(np.square(np.abs(np.fft.rfft(piece, _FFT, axis=1))), axis=1)
        likeness = correlation[:, first:last] / (correlation[:, :1] + 1e-9) / shrinking
        pieces.append(likeness.max(axis=1))
    return np.concatenate(pieces)
