"""The arithmetic of comparisons."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.benchmarks import paired
from antiphon.benchmarks.metrics import summarise
from antiphon.benchmarks.paired import LEAST_CLIPS, Estimate
from antiphon.benchmarks.records import TurnRecord

values = st.floats(1, 5000)
clips = st.dictionaries(
    st.text("abcdefghij", min_size=1, max_size=3),
    st.lists(st.tuples(values, values), min_size=1, max_size=3),
    min_size=1,
)


def turn(clip: str, run: int = 0, **fields: Any) -> TurnRecord:
    return TurnRecord(**{"clip": clip, "kind": "", "lang": "en", "run": run, "outcome": "answered", **fields})


@settings(max_examples=25)
@given(clips)
def test_an_interval_holds_its_value_and_repeats(pairs: dict[str, list[tuple[float, float]]]) -> None:
    for statistic in (paired.ratio, paired.difference, paired.mean_difference):
        found = statistic(pairs)
        assert found is not None
        assert found == statistic(pairs), "the same turns give the same interval"
        assert (found.pairs, found.clips) == (sum(map(len, pairs.values())), len(pairs))
        assert (found.interval is None) == (len(pairs) < LEAST_CLIPS)
        if found.interval is not None:
            assert found.interval[0] <= found.interval[1]


@settings(max_examples=25)
@given(clips, st.floats(0.5, 3))
def test_what_is_slower_by_a_factor_has_that_ratio_exactly(
    pairs: dict[str, list[tuple[float, float]]], factor: float
) -> None:
    slower = {clip: [(a, a * factor) for a, _ in found] for clip, found in pairs.items()}
    found = paired.ratio(slower)
    assert found is not None
    assert found.value == pytest.approx(factor)
    if found.interval is not None:
        assert found.interval == pytest.approx((factor, factor))


def test_the_median_of_pairwise_ratios_is_not_the_ratio_of_medians() -> None:
    pairs = {"a": [(100.0, 200.0)], "b": [(1000.0, 1100.0)], "c": [(400.0, 400.0)]}
    assert paired.ratio(pairs) == Estimate(1.1, None, 3, 3)
    assert paired.difference(pairs) == Estimate(100.0, None, 3, 3)
    mean = paired.mean_difference(pairs)
    assert mean is not None
    assert mean.value == pytest.approx(200 / 3)


def test_whole_clips_are_drawn_so_repeating_runs_does_not_make_surer() -> None:
    changes = (-40.0, 10.0, 25.0, 30.0, 60.0, 90.0)
    once = {str(n): [(100.0, 100.0 + change)] for n, change in enumerate(changes)}
    often = {clip: found * 20 for clip, found in once.items()}
    one, many = paired.mean_difference(once), paired.mean_difference(often)
    assert one is not None
    assert many is not None
    assert many.interval == pytest.approx(one.interval)


def test_nothing_to_divide_by_is_left_out() -> None:
    assert paired.ratio({"a": [(0.0, 5.0)], "b": [(2.0, 3.0)]}) == Estimate(1.5, None, 1, 1)
    assert paired.ratio({"a": [(0.0, 5.0)]}) is None
    assert paired.difference({}) is None
    assert paired.rate_difference({"a": [(0.0, 1.0)]}, {"a": [(0.0, 0.0)]}) is None


def test_word_error_rates_are_of_all_words_not_of_all_turns() -> None:
    errors = {"long": [(1.0, 3.0)], "short": [(1.0, 0.0)]}
    words = {"long": [(40.0, 40.0)], "short": [(2.0, 2.0)]}
    found = paired.rate_difference(errors, words)
    assert found is not None
    assert found.value == pytest.approx((3 - 2) / 42)


@pytest.mark.parametrize(
    ("worse", "better", "chance"),
    [(0, 0, 1.0), (5, 0, 1 / 32), (4, 0, 1 / 16), (5, 1, 7 / 64), (0, 5, 1.0), (8, 1, 10 / 512)],
)
def test_the_sign_test_counts_each_clip_once(worse: int, better: int, chance: float) -> None:
    pairs: dict[str, list[tuple[float, float]]] = {f"same{n}": [(1.0, 1.0), (0.0, 0.0)] for n in range(7)}
    pairs |= {f"worse{n}": [(0.0, 1.0), (0.0, 1.0), (1.0, 1.0)] for n in range(worse)}
    pairs |= {f"better{n}": [(1.0, 0.0)] for n in range(better)}
    assert paired.rose_significantly(pairs) == pytest.approx(chance)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_sign_test_is_a_probability_and_falls_with_each_worse_clip(worse: int, better: int) -> None:
    def chance(count: int) -> float:
        pairs = {f"w{n}": [(0.0, 1.0)] for n in range(count)} | {f"b{n}": [(1.0, 0.0)] for n in range(better)}
        return paired.rose_significantly(pairs)

    assert 0 < chance(worse) <= 1
    assert chance(worse + 1) < chance(worse) or math.isclose(chance(worse), 1)


def test_turns_are_paired_by_clip_run_and_repetition_without_the_cold_ones() -> None:
    a = summarise("x", [turn("a", cold=True), turn("a"), turn("a", 1), turn("b"), turn("b")])
    b = summarise("x", [turn("b"), turn("a", 1), turn("c"), turn("a", 2)])
    assert list(paired.turns_of(a)) == [("a", 0, 0), ("a", 1, 0), ("b", 0, 0), ("b", 0, 1)]
    assert [(x.clip, x.run) for x, _ in paired.same_turns(a, b)] == [("a", 1), ("b", 0)]
    assert not any(x.cold or y.cold for x, y in paired.same_turns(a, b))


def test_values_that_are_missing_in_one_make_no_pair() -> None:
    rows = [("a", 1.0, 2.0), ("a", None, 2.0), ("b", 1.0, None), ("c", False, True)]
    assert paired.by_clip(rows) == {"a": [(1.0, 2.0)], "c": [(0.0, 1.0)]}
