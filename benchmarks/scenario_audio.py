"""The sound of the scenario set: pauses of an exact length, ground truth, room noise, and noises. Pure.

Loudness is the RMS of 5 ms around each sample. A sample is *audible* where it lies 10 dB above the noise floor that
the finished clip has; the first and the last audible sample are the ground truth, and pauses are what lies between.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.engines.audio import Samples

FLOOR_DB = -65.0
"""Noise under every clip, in dB of full scale: without it a VAD would hear digital silence, as no microphone gives."""
AUDIBLE_DB = FLOOR_DB + 10.0
PAUSE_MS = 150.0
"""Shorter silences are parts of words (stops) and are not listed."""
_WINDOW = RATE_HZ // 200
_SEARCH = RATE_HZ // 10
"""How far from a word boundary its silence is looked for."""
_KEEP = RATE_HZ // 50
"""What is left of a word's own decay, and of the next one's onset, beside an inserted pause."""
_FADE = RATE_HZ // 200
_SYLLABLE = RATE_HZ * 180 // 1000
"""What is drawn out before a hesitation."""

Gap = tuple[int, int]
"""First sample of a silence, and the first after it."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Where the speech of a clip is."""

    start: int
    """The first audible sample."""
    end: int
    """The one after the last audible sample."""
    pauses: tuple[Gap, ...]


def randomness(name: str) -> np.random.RandomState:
    """A generator that gives the same numbers for the same name in every version of NumPy (`Generator` may not)."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def audible(samples: Samples) -> NDArray[np.bool_]:
    """Which samples are loud enough to be heard over the floor, shape (n,)."""
    power = np.square(samples, dtype=np.float64)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    places = np.arange(len(samples))
    first, last = np.maximum(places - _WINDOW // 2, 0), np.minimum(places + _WINDOW // 2, len(samples))
    return np.asarray((sums[last] - sums[first]) / _WINDOW > 10.0 ** (AUDIBLE_DB / 10.0))


def silences(heard: NDArray[np.bool_]) -> list[Gap]:
    """All silences, those at the two ends included."""
    edges = np.diff(np.concatenate([[0], (~heard).astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True))


def truth(samples: Samples) -> Truth | None:
    """Where the speech is; None: nothing can be heard."""
    heard = audible(samples)
    places = np.flatnonzero(heard)
    if not len(places):
        return None
    start, end = int(places[0]), int(places[-1]) + 1
    long = PAUSE_MS * RATE_HZ / 1000.0
    return Truth(start, end, tuple(gap for gap in silences(heard) if start < gap[0] < end and gap[1] - gap[0] >= long))


def with_pause(samples: Samples, boundary_s: float, pause_ms: float, *, draw_out: float = 1.0) -> Samples:
    """The same speech with a silence of `pause_ms` where two words meet.

    A silence that the speaker makes there is brought to that length, so nothing of a word is lost. Where the words run
    into one another they are parted at the softest place near the boundary, with fades of 5 ms.

    :param boundary_s: where one word ends and the next begins.
    :param draw_out: factor on the length of the last syllable before it.
    """
    start, end = _silence_near(samples, round(boundary_s * RATE_HZ))
    if draw_out != 1.0:
        syllable = stretched(samples[max(0, start - _SYLLABLE) : start], draw_out)
        head = samples[: max(0, start - _SYLLABLE)]
        shift = len(head) + len(syllable) - start
        samples = np.concatenate([head, syllable, samples[start:]])
        start, end = start + shift, end + shift
    wanted = round(pause_ms * RATE_HZ / 1000.0)
    before, after = samples[:start].copy(), samples[end:].copy()
    if start == end:
        fade = np.linspace(1.0, 0.0, _FADE, dtype=np.float32)
        before[-_FADE:] *= fade[-len(before) :]
        after[:_FADE] *= fade[::-1][: len(after)]
    keep = min(_KEEP, (end - start) // 2, wanted // 2)
    decay, onset = samples[start : start + keep], samples[end - keep : end]
    silence = np.zeros(wanted - 2 * keep, dtype=np.float32)
    joined = np.concatenate([before, decay, silence, onset, after])
    # the window of the loudness reaches over the joints: what it adds or takes is given back, so the length is exact
    middle = start + keep + len(silence) // 2
    made = next((gap for gap in silences(audible(joined)) if gap[0] <= middle <= gap[1]), None)
    missing = wanted - (made[1] - made[0]) if made else 0
    if missing >= 0:
        return np.insert(joined, middle, np.zeros(missing, dtype=np.float32))
    return np.delete(joined, slice(middle, middle - missing))


def stretched(samples: Samples, factor: float) -> Samples:
    """The sound made longer at the same pitch: WSOLA (Verhelst and Roelands, 1993).

    :returns: float32, shape (round(n * factor),).
    """
    size, hop, reach = RATE_HZ * 30 // 1000, RATE_HZ * 15 // 1000, RATE_HZ * 8 // 1000
    count = round(len(samples) * factor)
    window = np.hanning(size + 1)[:size]
    source = np.pad(samples.astype(np.float64), (0, 2 * size))
    out, weight = np.zeros(count + size), np.zeros(count + size)
    place = 0
    for at in range(0, count, hop):
        natural = source[place + hop : place + hop + size]  # what would come next if nothing were stretched
        near = round(at / factor)
        starts = range(max(0, near - reach), min(len(samples) - 1, near + reach) + 1) if at else range(1)
        place = max(starts, key=lambda start: _likeness(source[start : start + size], natural))
        shape = window if at else np.concatenate([np.ones(size // 2), window[size // 2 :]])  # nothing fades in
        out[at : at + size] += shape * source[place : place + size]
        weight[at : at + size] += shape
    return np.asarray(out[:count] / np.maximum(weight[:count], 1e-3), dtype=np.float32)


def _likeness(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.dot(one, other) / (np.linalg.norm(one) + 1e-6))


def _silence_near(samples: Samples, boundary: int) -> Gap:
    """The longest silence around a word boundary; where there is none, the softest place, as an empty one."""
    low, high = max(0, boundary - _SEARCH), min(len(samples), boundary + _SEARCH)
    near = [gap for gap in silences(audible(samples)) if gap[0] < high and gap[1] > low and 0 < gap[0]]
    near = [gap for gap in near if gap[1] < len(samples)]
    if near:
        return max(near, key=lambda gap: gap[1] - gap[0])
    low, high = max(0, boundary - _SEARCH // 2), min(len(samples), boundary + _SEARCH // 2)
    power = np.convolve(np.square(samples, dtype=np.float64), np.ones(_WINDOW), mode="same")
    place = low + int(np.argmin(power[low:high])) if high > low else boundary
    return place, place


def pink(count: int, rng: np.random.RandomState, *, slope: float = 1.0) -> NDArray[np.float64]:
    """Noise whose power falls by `slope` * 3 dB an octave (0 white, 1 pink, 2 brown), RMS 1, shape (count,)."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    bins = np.maximum(np.arange(len(spectrum)), count * 30 / RATE_HZ)  # flat below 30 Hz
    shaped = np.fft.irfft(spectrum / bins ** (slope / 2.0), count)
    return np.asarray(shaped / np.sqrt(np.mean(np.square(shaped))))


def gain(db: float) -> float:
    return float(10.0 ** (db / 20.0))


def in_room(speech: Samples, name: str, *, tail_s: float = 0.8) -> tuple[Samples, float]:
    """Speech as recorded: silence of 0.3-1.0 s before it, some after it, and the noise floor under all.

    :returns: the clip, and how many seconds come before the speech.
    """
    rng = randomness(name)
    lead = int(rng.uniform(0.3, 1.0) * RATE_HZ)
    clip = np.concatenate([np.zeros(lead), speech.astype(np.float64), np.zeros(int(tail_s * RATE_HZ))])
    return (clip + gain(FLOOR_DB) * pink(len(clip), rng)).astype(np.float32), lead / RATE_HZ


# ------------------------------------------------------------------------------------------- noises

Noise = Callable[[int, np.random.RandomState], NDArray[np.float64]]
"""(samples wanted, randomness) -> the sound."""


def _hum(count: int, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Mains hum with harmonics."""
    t = np.arange(count) / RATE_HZ
    tones = [np.sin(2 * math.pi * 50.0 * k * t + rng.uniform(0, 2 * math.pi)) / k for k in (1, 2, 3, 5, 7)]
    return gain(-38.0) * np.asarray(np.sum(tones, axis=0)) + gain(-60.0) * pink(count, rng)


def _fan(count: int, rng: np.random.RandomState) -> NDArray[np.float64]:
    """A ventilator: low noise that swells and ebbs."""
    swell = 1.0 + 0.3 * np.sin(2 * math.pi * 0.7 * np.arange(count) / RATE_HZ)
    return gain(-38.0) * pink(count, rng, slope=2.0) * swell


def _strokes(
    count: int, rng: np.random.RandomState, *, every_s: float, hz: float, decay_s: float, db: float
) -> NDArray[np.float64]:
    """Short decaying sounds at random times, over a soft floor."""
    out = gain(FLOOR_DB) * pink(count, rng)
    size = int(8 * decay_s * RATE_HZ)
    t = np.arange(size) / RATE_HZ
    at_s = rng.uniform(0.3, 0.6)
    while (start := int(at_s * RATE_HZ)) + size < count:
        body = np.sin(2 * math.pi * hz * rng.uniform(0.8, 1.2) * t) + 0.7 * rng.standard_normal(size)
        out[start : start + size] += gain(db) * rng.uniform(0.5, 1.0) * body * np.exp(-t / decay_s)
        at_s += rng.uniform(0.5, 1.5) * every_s
    return out


def _rustle(count: int, rng: np.random.RandomState) -> NDArray[np.float64]:
    """Cloth or paper: bursts of bright noise with soft edges."""
    bright = np.diff(rng.standard_normal(count + 1))
    envelope = np.zeros(count)
    at_s = 0.5
    while (start := int(at_s * RATE_HZ)) + RATE_HZ < count:
        size = int(rng.uniform(0.1, 0.5) * RATE_HZ)
        envelope[start : start + size] = np.hanning(size) * rng.uniform(0.3, 1.0)
        at_s += rng.uniform(0.5, 1.8)
    return gain(-40.0) * bright * envelope + gain(FLOOR_DB) * pink(count, rng)


NOISES: Mapping[str, Noise] = {
    "white": lambda count, rng: gain(-50.0) * pink(count, rng, slope=0.0),
    "pink": lambda count, rng: gain(-45.0) * pink(count, rng),
    "hum": _hum,
    "fan": _fan,
    "keys": lambda count, rng: _strokes(count, rng, every_s=0.22, hz=2600.0, decay_s=0.006, db=-22.0),
    "clicks": lambda count, rng: _strokes(count, rng, every_s=0.9, hz=3800.0, decay_s=0.0015, db=-12.0),
    "knocks": lambda count, rng: _strokes(count, rng, every_s=1.2, hz=110.0, decay_s=0.03, db=-14.0),
    "rustle": _rustle,
}
"""Sounds without speech, by name."""


def noise(name: str, seconds: float = 8.0) -> Samples:
    """One of :data:`NOISES`, the same each time."""
    sound = NOISES[name](int(seconds * RATE_HZ), randomness(f"noise {name}"))
    return np.clip(sound, -1.0, 1.0).astype(np.float32)


def pauses_ms(pauses: Sequence[Gap]) -> tuple[float, ...]:
    return tuple(round(1000.0 * (end - start) / RATE_HZ, 1) for start, end in pauses)
