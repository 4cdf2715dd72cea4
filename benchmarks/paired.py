"""Two runs over the same clips, compared turn by turn: how much of a difference there is, and how sure that is.

Turns of one clip are not independent of each other, so intervals draw whole clips (cluster bootstrap, 95 %, percentile
method, fixed seed), and the test of yes-or-no outcomes counts each clip once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from antiphon.benchmarks.records import ConfigResult, TurnRecord

RESAMPLES = 2000
SEED = 20260003
LEAST_CLIPS = 5
"""With fewer, an interval says nothing."""
SIGNIFICANT = 0.05

TurnKey = tuple[str, int, int]
"""Clip, run, and how often that clip had come before in that run."""
Pairs: TypeAlias = "Mapping[str, Sequence[tuple[float, float]]]"
"""Values of A and of B by clip, one pair a turn."""
Rows: TypeAlias = "NDArray[np.float64]"
"""Shape (pairs, 2)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its 95 % interval (None: too few clips), and of how many pairs and clips."""

    value: float
    interval: tuple[float, float] | None
    pairs: int
    clips: int

    @property
    def rose(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.interval is not None and self.interval[0] > 0


def turns_of(result: ConfigResult) -> dict[TurnKey, TurnRecord]:
    """The warm turns by what they are paired by."""
    seen: Counter[tuple[str, int]] = Counter()
    found = {}
    for record in result.turn_records:
        if not record.cold:
            found[record.clip, record.run, seen[record.clip, record.run]] = record
            seen[record.clip, record.run] += 1
    return found


def same_turns(a: ConfigResult, b: ConfigResult) -> list[tuple[TurnRecord, TurnRecord]]:
    """The turns that are in both: the same clip in the same run."""
    ours, theirs = turns_of(a), turns_of(b)
    return [(ours[key], theirs[key]) for key in ours if key in theirs]


def ratio(pairs: Pairs) -> Estimate | None:
    """Median of B over A, pair by pair; pairs in which A is not above zero are left out. None: no pair is left."""
    positive = {clip: [pair for pair in found if pair[0] > 0] for clip, found in pairs.items()}
    return _estimate(positive, lambda rows: float(np.median(rows[:, 1] / rows[:, 0])))


def difference(pairs: Pairs) -> Estimate | None:
    """Median of B less A, pair by pair. None: there is no pair."""
    return _estimate(pairs, lambda rows: float(np.median(rows[:, 1] - rows[:, 0])))


def mean_difference(pairs: Pairs) -> Estimate | None:
    """Mean of B less A: of outcomes that are 0 or 1, the difference of the two rates. None: there is no pair."""
    return _estimate(pairs, lambda rows: float(np.mean(rows[:, 1] - rows[:, 0])))


def rate_difference(parts: Pairs, wholes: Pairs) -> Estimate | None:
    """Sum of parts over sum of wholes, of B less of A: the difference of two word error rates. None: nothing whole."""
    joined = {clip: [(*part, *whole) for part, whole in zip(parts[clip], wholes[clip], strict=True)] for clip in parts}

    def statistic(rows: Rows) -> float:
        sums = rows.sum(axis=0)
        return float(sums[1] / sums[3] - sums[0] / sums[2]) if sums[2] and sums[3] else math.nan

    return _estimate(joined, statistic)


def rose_significantly(pairs: Pairs) -> float:
    """Sign test over clips, one-sided: how probable it is that B fails on so many more clips than A by chance.

    :param pairs: 1 where a turn failed, 0 where it did not. A clip counts as worse if B failed in it more often.
    """
    worse = better = 0
    for found in pairs.values():
        change = sum(b - a for a, b in found)
        worse += change > 0
        better += change < 0
    n = worse + better
    ways: int = sum(math.comb(n, k) for k in range(worse, n + 1))
    return float(ways / 2**n)


def by_clip(rows: Iterable[tuple[str, float | None, float | None]]) -> dict[str, list[tuple[float, float]]]:
    """Pairs by clip, those with a value missing left out."""
    found: dict[str, list[tuple[float, float]]] = {}
    for clip, a, b in rows:
        if a is not None and b is not None:
            found.setdefault(clip, []).append((float(a), float(b)))
    return found


def _estimate(pairs: Mapping[str, Sequence[tuple[float, ...]]], statistic: Callable[[Rows], float]) -> Estimate | None:
    groups = [np.array(found, dtype=np.float64) for found in pairs.values() if found]
    if not groups:
        return None
    rows = np.concatenate(groups)
    value = statistic(rows)
    if not math.isfinite(value):
        return None
    if len(groups) < LEAST_CLIPS:
        return Estimate(value, None, len(rows), len(groups))
    rng = np.random.default_rng(SEED)
    drawn = [
        statistic(np.concatenate([groups[at] for at in chosen]))
        for chosen in rng.integers(0, len(groups), (RESAMPLES, len(groups)))
    ]
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return Estimate(value, (float(low), float(high)), len(rows), len(groups))
