"""The arithmetic of the report: intervals, paired differences, the Pareto front, the share answered within a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from antiphon.benchmarks.records import ConfigResult, TurnRecord

RESAMPLES = 4000
SEED = 20
LEAST_PAIRS = 5
"""With fewer pairs an interval says nothing."""

Floats: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its 95 % interval, and from how many pairs of turns."""

    value: float
    interval: tuple[float, float] | None
    n: int


def wilson(part: int, whole: int) -> tuple[float, float] | None:
    """95 % interval of a rate (Wilson's score interval); None: of nothing, or no part of the whole."""
    if not 0 <= part <= whole or whole == 0:
        return None
    z, p = 1.959964, part / whole
    scale = 1 + z * z / whole
    middle = (p + z * z / (2 * whole)) / scale
    half = z * math.sqrt(p * (1 - p) / whole + z * z / (4 * whole * whole)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def warm_ttfa(result: ConfigResult) -> list[float]:
    """TTFA of the warm turns, ms."""
    return [turn.ttfa_ms for turn in result.turn_records if turn.ttfa_ms is not None and not turn.cold]


def spoken_turns(result: ConfigResult) -> list[TurnRecord]:
    """Turns with speech in them: those that deserve an answer."""
    return [turn for turn in result.turn_records if turn.outcome not in ("quiet", "false_start")]


def difference(base: ConfigResult, other: ConfigResult) -> Estimate | None:
    """Median over clips of (other's TTFA - base's), ms, clips answered in both; None: there is none."""
    pairs = _pairs(base, other)
    if not len(pairs):
        return None
    changes = pairs[:, 1] - pairs[:, 0]
    return _estimate(changes, lambda drawn: np.median(drawn, axis=1))


def ratio(base: ConfigResult, other: ConfigResult) -> Estimate | None:
    """Other's median TTFA over base's, clips answered in both; the interval resamples clips, in pairs."""
    pairs = _pairs(base, other)
    if not len(pairs) or np.median(pairs[:, 0]) <= 0:
        return None
    return _estimate(pairs, lambda drawn: _safe_ratio(np.median(drawn, axis=1)))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats in both numbers (less is better), from left to right.

    Of points with the same two numbers the first is taken.
    """
    order = sorted(range(len(points)), key=lambda index: (*points[index], index))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] < points[front[-1]][1]:
            front.append(index)
    return front


def answered_within(result: ConfigResult) -> list[tuple[float, float]]:
    """Steps (ms, share of all warm turns with speech answered within that time).

    A turn that was cut off or missed is never answered: a curve ends at the share that was.
    """
    warm = [turn for turn in spoken_turns(result) if not turn.cold]
    times = sorted(turn.ttfa_ms for turn in warm if turn.ttfa_ms is not None)
    return [(time, number / len(warm)) for number, time in enumerate(times, 1)]


def _pairs(base: ConfigResult, other: ConfigResult) -> Floats:
    """One row a clip that both answered: the median TTFA of its warm turns, shape (clips, 2)."""
    ours, theirs = _by_clip(base), _by_clip(other)
    shared = [clip for clip in ours if clip in theirs]
    return np.array([(median(ours[clip]), median(theirs[clip])) for clip in shared], dtype=np.float64).reshape(-1, 2)


def _by_clip(result: ConfigResult) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for turn in result.turn_records:
        if turn.ttfa_ms is not None and not turn.cold:
            found.setdefault(turn.clip, []).append(turn.ttfa_ms)
    return found


def _safe_ratio(medians: Floats) -> Floats:
    return np.asarray(medians[..., 1] / np.maximum(medians[..., 0], 1e-9))


def _estimate(rows: Floats, statistic: Callable[[Floats], Floats]) -> Estimate:
    """A statistic of rows with its percentile bootstrap interval; the same rows give the same interval."""
    value = float(statistic(rows[np.newaxis])[0])
    if len(rows) < LEAST_PAIRS:
        return Estimate(value, None, len(rows))
    drawn = np.random.default_rng(SEED).integers(0, len(rows), (RESAMPLES, len(rows)))
    low, high = np.percentile(statistic(rows[drawn]), (2.5, 97.5))
    return Estimate(value, (float(low), float(high)), len(rows))
