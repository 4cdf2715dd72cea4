"""The speaker's own pauses: the formula at known places, its bounds and its direction over any history."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.pipeline.pauses import PauseHabit


def _habit(turns: list[list[float]], **options: float) -> PauseHabit:
    habit = PauseHabit(**options)
    for pauses in turns:
        for pause_ms in pauses:
            habit.note(pause_ms)
        habit.end_of_turn()
    return habit


def test_a_speaker_unheard_is_given_the_base() -> None:
    habit = PauseHabit()
    assert habit.patience_ms == 0.0
    assert habit.stretch(600.0) == 600.0


def test_one_pause_is_nearly_believed_at_once() -> None:
    habit = PauseHabit()
    habit.note(800.0)
    assert habit.patience_ms == 800.0
    assert habit.stretch(700.0) == pytest.approx(700.0 + 0.8 * (1.15 * 800.0 - 700.0))
    assert habit.stretch(500.0) == pytest.approx(800.0)  # 1.6 times the base and no more


def test_pauses_shorter_than_the_base_leave_it_alone() -> None:
    assert _habit([[200.0, 300.0], [250.0]]).stretch(600.0) == 600.0


def test_one_long_pause_in_many_is_not_the_habit() -> None:
    assert _habit([[200.0] * 19 + [2000.0]]).patience_ms == 200.0
    assert _habit([[200.0] * 8 + [900.0] * 2]).patience_ms == 900.0


def test_recent_turns_weigh_more_than_old_ones() -> None:
    assert _habit([[1000.0], *[[300.0]] * 8]).patience_ms == 300.0
    assert _habit([*[[300.0]] * 8, [1000.0]]).patience_ms == 1000.0


def test_turn_after_turn_without_a_pause_leads_back_to_the_base() -> None:
    habit = _habit([[900.0, 900.0]])
    waits = [habit.stretch(700.0)]
    for _ in range(30):
        habit.end_of_turn()
        waits.append(habit.stretch(700.0))
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > 900.0
    assert waits[-1] == 700.0


def test_below_the_base_only_where_low_allows_it() -> None:
    silent = [[] for _ in range(40)]
    assert _habit(silent).stretch(600.0) == 600.0
    assert _habit(silent[:1], low=0.8, memory=0.5).stretch(600.0) == pytest.approx(540.0)
    eager = _habit(silent, low=0.8)
    assert eager.stretch(600.0) == pytest.approx(480.0, rel=1e-3)
    eager.note(100.0)
    assert eager.stretch(600.0) == 600.0


@pytest.mark.parametrize(
    "options",
    [{"low": 0.0}, {"low": 1.1}, {"high": 0.9}, {"margin": 0.5}, {"memory": 1.0}, {"doubt": -1.0}, {"high": math.inf}],
)
def test_bounds_out_of_range_are_named(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(options))}: found"):
        PauseHabit(**options)


@pytest.mark.parametrize("bad_ms", [-1.0, math.nan, math.inf])
def test_a_pause_that_is_none_is_refused(bad_ms: float) -> None:
    habit = PauseHabit()
    with pytest.raises(ValueError, match="pause_ms: found"):
        habit.note(bad_ms)
    with pytest.raises(ValueError, match="silence_ms: found"):
        habit.stretch(bad_ms)
    assert habit.patience_ms == 0.0


_turns = st.lists(st.lists(st.floats(0.0, 5000.0), max_size=6), max_size=12)
_options = st.fixed_dictionaries(
    {
        "low": st.floats(0.1, 1.0),
        "high": st.floats(1.0, 3.0),
        "margin": st.floats(1.0, 2.0),
        "memory": st.floats(0.0, 0.99),
        "doubt": st.floats(0.0, 5.0),
    }
)


@settings(max_examples=300, deadline=None)
@given(_turns, _options, st.floats(0.0, 5000.0))
def test_bounds_always_hold(turns: list[list[float]], options: dict[str, float], silence_ms: float) -> None:
    wait_ms = _habit(turns, **options).stretch(silence_ms)
    assert options["low"] * silence_ms <= wait_ms <= max(options["high"], 1.0) * silence_ms


@settings(max_examples=300, deadline=None)
@given(_turns, _options, st.floats(0.0, 5000.0), st.data())
def test_a_longer_pause_never_shortens_the_wait(
    turns: list[list[float]], options: dict[str, float], silence_ms: float, data: st.DataObject
) -> None:
    longer = [[pause + data.draw(st.floats(0.0, 1000.0)) for pause in pauses] for pauses in turns]
    before, after = _habit(turns, **options), _habit(longer, **options)
    assert after.patience_ms >= before.patience_ms
    assert after.stretch(silence_ms) >= before.stretch(silence_ms)


@settings(max_examples=200, deadline=None)
@given(_turns, st.floats(0.0, 5000.0), st.floats(0.0, 1000.0))
def test_a_longer_base_never_shortens_the_wait(turns: list[list[float]], silence_ms: float, more_ms: float) -> None:
    habit = _habit(turns)
    assert habit.stretch(silence_ms + more_ms) >= habit.stretch(silence_ms) - 1e-9


def test_memory_stays_bounded_in_a_turn_without_end() -> None:
    habit = PauseHabit()
    for _ in range(300):
        habit.note(900.0)
    for _ in range(256):
        habit.note(100.0)
    assert habit.patience_ms == 100.0
