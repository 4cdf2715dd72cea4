"""Percentiles and intervals, word errors, and the summary of a configuration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmarks.metrics import summarise
from antiphon.benchmarks.records import StageTimes, Summary, TurnRecord
from antiphon.benchmarks.stats import summary
from antiphon.benchmarks.words import compare


def record(**fields: Any) -> TurnRecord:
    given: dict[str, Any] = {"clip": "a.wav", "kind": "made", "lang": "en", "run": 0, "outcome": "answered"}
    return TurnRecord(**{**given, **fields})


def answered(ttfa_ms: float, **fields: Any) -> TurnRecord:
    return record(ttfa_ms=ttfa_ms, commit_delay_ms=ttfa_ms - 50, compute_after_commit_ms=50.0, **fields)


# ---------------------------------------------------------------------------------------------- stats


def test_percentiles_of_known_numbers() -> None:
    found = summary([float(n) for n in range(101)])
    assert (found.n, found.p50, found.p90, found.p95, found.max) == (101, 50.0, 90.0, 95.0, 100.0)
    assert found.p50_interval is not None
    low, high = found.p50_interval
    assert 35 < low < 50 < high < 65


def test_the_same_numbers_have_the_same_interval_and_more_numbers_a_smaller_one() -> None:
    few, many = summary([float(n % 10) for n in range(20)]), summary([float(n % 10) for n in range(2000)])
    assert few == summary([float(n % 10) for n in range(20)])
    assert few.p50_interval is not None
    assert many.p50_interval is not None
    assert many.p50_interval[1] - many.p50_interval[0] < few.p50_interval[1] - few.p50_interval[0]


def test_no_numbers_have_no_percentiles_and_one_has_no_interval() -> None:
    assert summary([None, None]) == Summary()
    assert summary([None, 7.0]) == Summary(n=1, p50=7.0, p90=7.0, p95=7.0, max=7.0)


@given(st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=40))
def test_percentiles_are_in_order_and_intervals_hold_finite_numbers(values: list[float]) -> None:
    found = summary(values)
    assert found.p50 is not None
    assert found.p90 is not None
    assert found.p95 is not None
    assert found.max is not None
    assert found.p50 <= found.p90 <= found.p95 <= found.max + 1e-3
    for interval in (found.p50_interval, found.p95_interval):
        assert interval is not None
        assert all(math.isfinite(end) for end in interval)
        assert interval[0] <= interval[1]
        assert min(values) - 1e-3 <= interval[0]
        assert interval[1] <= max(values) + 1e-3


# ---------------------------------------------------------------------------------------------- words


def test_case_punctuation_numbers_and_contractions_are_no_errors_in_english() -> None:
    found = compare("What's the time? It is twenty-five past.", "what is the time it's 25 past", "en")
    assert found is not None
    assert (found.word_errors, found.character_errors) == (0, 0)


def test_substitutions_insertions_and_deletions_count_once_each() -> None:
    found = compare("turn on the lamp please", "turn off the big lamp", "en")
    assert found is not None
    assert (found.words, found.word_errors) == (5, 3)


def test_words_missing_at_the_ends_are_told_apart_from_those_inside() -> None:
    end = compare("turn on the living room lamp", "turn on the", "en")
    start = compare("turn on the living room lamp", "living room lamp", "en")
    inside = compare("turn on the living room lamp", "turn on lamp", "en")
    nothing = compare("turn on the lamp", "", "en")
    assert end is not None
    assert start is not None
    assert inside is not None
    assert nothing is not None
    assert (end.lost_at_start, end.lost_at_end) == (0, 3)
    assert (start.lost_at_start, start.lost_at_end) == (3, 0)
    assert (inside.lost_at_start, inside.lost_at_end) == (0, 0)
    assert (nothing.words, nothing.word_errors) == (4, 4)


def test_other_languages_keep_their_letters_and_lose_only_punctuation() -> None:
    german = compare("Schalte das Licht ein!", "schalte das licht ein", "de")
    assert german is not None
    assert german.word_errors == 0


def test_languages_without_spaces_are_compared_letter_by_letter() -> None:
    chinese = compare("今天天气怎么样", "今天天气怎么办", "zh")
    assert chinese is not None
    assert (chinese.words, chinese.word_errors) == (7, 1)


def test_a_reference_without_words_is_left_out() -> None:
    assert compare("...", "hello", "en") is None


# -------------------------------------------------------------------------------------------- summary


def test_rates_are_of_turns_with_speech_and_word_errors_of_all_words_together() -> None:
    found = summarise(
        "x",
        [
            answered(300.0, words=10, word_errors=0, characters=50, character_errors=0),
            record(outcome="cutoff", words=2, word_errors=2, characters=10, character_errors=10),
            record(outcome="missed"),
            record(outcome="failed"),
            record(outcome="quiet", kind="noise"),
            record(outcome="false_start", kind="noise"),
        ],
    )
    assert (found.turns, found.answered, found.cutoffs, found.missed, found.failed) == (4, 1, 1, 1, 1)
    assert (found.false_cutoff_rate, found.missed_rate) == (0.25, 0.25)
    assert (found.noise_clips, found.false_start_rate) == (2, 0.5)
    assert (found.words, found.word_errors) == (12, 2)
    assert found.wer == pytest.approx(2 / 12, abs=1e-6)
    assert found.cer == pytest.approx(10 / 60, abs=1e-6)
    assert found.ttfa_ms.n == 1


def test_cold_turns_stand_apart_and_are_compared_on_the_same_clip() -> None:
    records = [
        answered(900.0, clip="a.wav", cold=True),
        answered(300.0, clip="a.wav"),
        answered(500.0, clip="b.wav"),
        record(outcome="cutoff", cold=True),
    ]
    found = summarise("x", records)
    assert (found.turns, found.cutoffs) == (2, 0)
    assert (found.ttfa_ms.max, found.ttfa_cold_ms.p50, found.cold_over_warm) == (500.0, 900.0, 3.0)
    assert len(found.turn_records) == 4


def test_the_hit_rate_is_of_turns_said_in_one_breath() -> None:
    records = [
        answered(300.0, clip="breath.wav", speculation_hit=True),
        answered(300.0, clip="breath.wav", speculation_hit=False),
        answered(300.0, clip="pauses.wav", speculation_hit=False),
        answered(300.0, clip="breath.wav", speculation_hit=None),
    ]
    assert summarise("x", records, one_breath=["breath.wav"]).speculation_hit_rate == 0.5
    assert summarise("x", records).speculation_hit_rate is None


def test_nothing_measured_gives_nulls_and_no_division_by_zero() -> None:
    found = summarise("x", [])
    assert (found.turns, found.wer, found.false_cutoff_rate, found.cpu_s_per_turn) == (0, None, None, None)
    assert found == replace(found, ttfa_ms=Summary(), stages_p50_ms=StageTimes())


def test_cpu_that_cannot_be_told_apart_is_shared_by_all_turns() -> None:
    records = [answered(300.0, cpu_s=1.0), answered(300.0, cpu_s=3.0)]
    assert summarise("x", records).cpu_s_per_turn == 2.0
    assert summarise("x", records, cpu_s=10.0).cpu_s_per_turn == 5.0
