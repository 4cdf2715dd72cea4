"""Percentiles, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from antiphon.benchmarks.records import Summary

RESAMPLES = 2000
SEED = 20260001
"""Fixed: the same turns give the same intervals."""


def summary(values: Iterable[float | None]) -> Summary:
    """Percentiles (linear between neighbours) with 95 % intervals by the percentile bootstrap; None values left out."""
    numbers = np.array([value for value in values if value is not None], dtype=np.float64)
    if not len(numbers):
        return Summary()
    p50, p90, p95 = (_rounded(q) for q in np.percentile(numbers, (50, 90, 95)))
    found = Summary(n=len(numbers), p50=p50, p90=p90, p95=p95, max=_rounded(numbers.max()))
    if len(numbers) < 2:
        return found  # one number says nothing about its spread
    rng = np.random.default_rng(SEED)
    drawn = np.percentile(rng.choice(numbers, (RESAMPLES, len(numbers))), (50, 95), axis=1)
    intervals = [(_rounded(low), _rounded(high)) for low, high in (np.percentile(row, (2.5, 97.5)) for row in drawn)]
    return replace(found, p50_interval=intervals[0], p95_interval=intervals[1])


def ratio_of_sums(parts: Iterable[float], wholes: Iterable[float]) -> float | None:
    """None: there is nothing to divide by."""
    whole = sum(wholes)
    return round(sum(parts) / whole, 6) if whole else None


def _rounded(value: float) -> float:
    return round(float(value), 3)
