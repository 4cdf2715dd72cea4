"""The filter for what Whisper invents, and the acoustics that it looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.stt.whisper_filter import Acoustics, Evidence, FilterLimits, measure, rejection

RATE = 16_000
SPEECHLIKE = Acoustics(peak_dbfs=-14.0, dynamic_db=30.0, active_s=1.5)
GOOD = Evidence("turn on the lamp", 5, -0.3, 0.05, False, 8.0, SPEECHLIKE)
LIMITS = FilterLimits()


def test_clear_speech_is_believed() -> None:
    assert rejection(GOOD, LIMITS) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": " ... "}, "no words"),
        ({"text": "♪♪"}, "no words"),
        ({"no_speech": 0.75, "logprob": -0.6}, "no speech"),
        ({"no_speech": 0.52, "logprob": -1.1}, "no speech, low probability"),
        ({"no_speech": 0.4, "logprob": -1.3}, "no speech, low probability"),
        ({"logprob": -2.5}, "low probability"),
        ({"looped": True, "no_speech": 0.4}, "loop on doubtful speech"),
        ({"acoustics": Acoustics(-20.0, 0.5, 3.0), "no_speech": 0.4}, "steady sound"),
        ({"logprob": -1.4, "acoustics": Acoustics(-30.0, 12.0, 18.0)}, "too few words for so much sound"),
        ({"text": "Thank you.", "no_speech": 0.35}, "known invention"),
        ({"text": "Thanks for watching!", "logprob": -0.9, "acoustics": Acoustics(-58, 12, 1)}, "known invention"),
    ],
)
def test_inventions_are_thrown_away(change: dict[str, object], reason: str) -> None:
    assert rejection(replace(GOOD, **change), LIMITS) == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"text": "Thank you."},
        {"text": "You"},
        {"no_speech": 0.55},
        {"logprob": -1.75, "no_speech": 0.3, "acoustics": Acoustics(-14.0, 8.0, 0.9)},
        {"looped": True, "no_speech": 0.05},
    ],
)
def test_one_weak_sign_is_not_enough(change: dict[str, object]) -> None:
    assert rejection(replace(GOOD, **change), LIMITS) is None  # type: ignore[arg-type]


def test_a_long_window_makes_the_same_no_speech_probability_worth_more() -> None:
    doubtful = replace(GOOD, no_speech=0.35, logprob=-1.1)
    assert rejection(doubtful, LIMITS) is None
    assert rejection(replace(doubtful, window_s=30.0), LIMITS) is not None


def test_the_limits_are_used() -> None:
    noisy = replace(GOOD, no_speech=0.7, logprob=-0.6)
    assert rejection(noisy, LIMITS) is not None
    assert rejection(noisy, FilterLimits(no_speech=0.95)) is None


def test_where_there_is_other_doubt_a_low_probability_is_enough() -> None:
    weak = replace(GOOD, logprob=-1.0)
    assert rejection(weak, LIMITS) is None
    assert rejection(weak, LIMITS, strict=True) == "low probability"
    assert rejection(GOOD, LIMITS, strict=True) is None


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(-4.0, 0.0))
def test_more_no_speech_never_makes_a_text_more_credible(one: float, other: float, logprob: float) -> None:
    low, high = sorted((one, other))
    if rejection(replace(GOOD, no_speech=low, logprob=logprob), LIMITS) is not None:
        assert rejection(replace(GOOD, no_speech=high, logprob=logprob), LIMITS) is not None


def test_levels_are_measured_in_dbfs() -> None:
    sine = np.sin(np.arange(RATE) * 2 * np.pi * 400 / RATE).astype(np.float32) * 0.1
    found = measure(sine)
    assert found.peak_dbfs == pytest.approx(-23.0, abs=0.2)
    assert found.dynamic_db < 0.5
    assert found.active_s == pytest.approx(1.0)
    assert not found.silent


def test_gaps_show_as_dynamics_and_do_not_count_as_active() -> None:
    sine = np.sin(np.arange(RATE) * 0.2).astype(np.float32) * 0.1
    sine[RATE // 2 :] *= 0.001
    found = measure(sine)
    assert found.dynamic_db == pytest.approx(60.0, abs=1.0)
    assert found.active_s == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(1), np.zeros(RATE), np.full(RATE, 1e-4)])
def test_nothing_to_hear_is_silent(samples: np.ndarray) -> None:
    assert measure(samples.astype(np.float32)).silent


def test_a_piece_shorter_than_a_frame_has_a_level() -> None:
    assert measure(np.full(5, 0.5, np.float32)).peak_dbfs == pytest.approx(-6.02, abs=0.01)
