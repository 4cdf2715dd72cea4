"""How many conversations a machine carries: the controller, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.server.capacity import (
    FALL_EVERY_S,
    FEWEST_LATE,
    MOST_LAG_S,
    RISE_EVERY_S,
    RISE_UNHEARD_EVERY_S,
    WINDOW_S,
    Capacity,
    measured_capacity,
)
from antiphon.server.observing.lag import watch_lag

steps = st.tuples(
    st.floats(0.0, 30.0),  # time that passes
    st.one_of(st.none(), st.floats(0.05, 20.0)),  # an answer
    st.one_of(st.none(), st.floats(0.0, 2.0)),  # a lag
    st.integers(0, 40),  # live conversations
)


@settings(max_examples=150, deadline=None)
@given(st.integers(-3, 30), st.lists(steps, max_size=120))
def test_it_stays_in_its_bounds_and_does_not_swing(
    ceiling: int, history: list[tuple[float, float | None, float | None, int]]
) -> None:
    capacity = Capacity(ceiling)
    now_s, changed_s, last = 0.0, None, capacity.now
    assert last == max(1, ceiling)
    for passes_s, ttfa_s, lag_s, live in history:
        now_s += passes_s
        if ttfa_s is not None:
            capacity.answered(now_s, ttfa_s, live)
        if lag_s is not None:
            capacity.lagged(now_s, lag_s)
        value = capacity.judge(now_s, live)
        assert 1 <= value <= capacity.ceiling
        if value > last:
            assert value == last + 1
            every_s = RISE_EVERY_S if live > 1 else RISE_UNHEARD_EVERY_S
            assert changed_s is not None and now_s - changed_s >= every_s - 1e-9
        if value < last:
            assert value == max(1, min(last, live) - 1)
            assert changed_s is None or now_s - changed_s >= FALL_EVERY_S - 1e-9
        if value != last:
            changed_s, last = now_s, value


@given(st.integers(2, 12), st.floats(1.6, 10.0))
def test_late_answers_lower_it_to_one_in_the_end_and_good_ones_raise_it_again(ceiling: int, late_s: float) -> None:
    capacity = Capacity(ceiling)
    now_s = 0.0
    for _ in range(ceiling * 40):
        now_s += 1.0
        capacity.answered(now_s, late_s, capacity.now + 1)
        capacity.judge(now_s, capacity.now)
    assert capacity.now == 1
    for _ in range(ceiling * 80):
        now_s += 1.0
        capacity.answered(now_s, 0.4, 2)
        capacity.judge(now_s, 2)
    assert capacity.now == ceiling


@given(st.integers(2, 12), st.lists(st.floats(0.05, 1.4), max_size=60))
def test_answers_in_time_never_lower_it(ceiling: int, answers: list[float]) -> None:
    capacity = Capacity(ceiling)
    for number, ttfa_s in enumerate(answers):
        capacity.answered(float(number), ttfa_s, 4)
        assert capacity.judge(float(number), 4) == ceiling


def test_a_few_late_answers_among_many_do_not_matter() -> None:
    capacity = Capacity(8)
    for number in range(59):
        capacity.answered(float(number), 9.0 if number in (5, 30) else 0.5, 4)
        assert capacity.judge(float(number), 4) == 8


def test_it_falls_below_those_that_are_there() -> None:
    capacity = Capacity(16)
    for number in range(FEWEST_LATE):
        capacity.answered(float(number), 3.0, 5)
    assert capacity.judge(3.0, 5) == 4


def test_a_machine_that_is_slow_when_nobody_else_is_there_is_not_too_busy() -> None:
    capacity = Capacity(8)
    for number in range(10):
        capacity.answered(float(number), 2.5, 1)
    assert capacity.late_s == pytest.approx(3.75)
    for number in range(10, 20):
        capacity.answered(float(number), 3.0, 3)
    assert capacity.judge(20.0, 3) == 8
    for number in range(20, 24):
        capacity.answered(float(number), 4.0, 3)
    assert capacity.judge(24.0, 3) == 2


def test_a_late_event_loop_lowers_it_too() -> None:
    capacity = Capacity(8)
    for number in range(200):
        capacity.lagged(number * 0.05, 2 * MOST_LAG_S if number % 10 == 0 else 0.001)
    assert capacity.judge(10.0, 6) == 5


def test_one_stall_and_a_single_conversation_lower_nothing() -> None:
    capacity = Capacity(8)
    for number in range(200):
        capacity.lagged(number * 0.05, 0.5 - 0.05 * number if number < 9 else 0.001)
    assert capacity.judge(10.0, 6) == 8
    for number in range(20):
        capacity.answered(10.0 + number, 30.0, 1)
        assert capacity.judge(10.0 + number, 1) == 8


def test_what_is_old_says_nothing() -> None:
    capacity = Capacity(8)
    for number in range(10):
        capacity.answered(float(number), 5.0, 4)
    assert capacity.judge(10.0 + WINDOW_S, 4) == 8


def test_it_rises_while_nobody_is_there() -> None:
    capacity = Capacity(4)
    for number in range(5):
        capacity.answered(float(number), 5.0, 3)
    assert capacity.judge(5.0, 3) == 2
    assert [capacity.judge(5.0 + RISE_UNHEARD_EVERY_S * number, 0) for number in (0.5, 1, 1.5, 2)] == [2, 3, 3, 4]


def test_it_rises_more_slowly_while_somebody_is_answered() -> None:
    capacity = Capacity(4)
    for number in range(5):
        capacity.answered(float(number), 5.0, 3)
    assert capacity.judge(5.0, 3) == 2
    capacity.answered(6.0, 0.5, 1)
    assert capacity.judge(5.0 + RISE_UNHEARD_EVERY_S, 1) == 2
    capacity.answered(60.0, 0.5, 1)
    assert capacity.judge(5.0 + RISE_EVERY_S, 1) == 3


@pytest.mark.parametrize("seed", range(5))
def test_it_rises_while_one_talks_to_a_machine_that_is_slow_alone(seed: int) -> None:
    capacity, chance = Capacity(8), random.Random(seed)
    for number in range(FEWEST_LATE):
        capacity.answered(float(number), 3.2, 2)
    assert capacity.judge(3.0, 2) == 1
    for second in range(4, 1200):
        if second % 4 == 0:
            capacity.answered(float(second), chance.uniform(1.6, 2.4), 1)
        capacity.judge(float(second), 1)
    assert capacity.now == 8


def test_a_loop_that_was_held_up_is_told_once_with_all_moments_that_it_missed() -> None:
    async def main() -> list[Sequence[float]]:
        told: list[Sequence[float]] = []
        watching = asyncio.create_task(watch_lag(told.append, 0.01))
        await asyncio.sleep(0.03)
        asyncio.get_running_loop().call_soon(time.sleep, 0.2)
        await asyncio.sleep(0.25)
        watching.cancel()
        return told

    stall = max(asyncio.run(main()), key=len)
    assert len(stall) >= 15 and stall[0] == max(stall) >= 0.15


# --------------------------------------------------------------------------- what the benchmark measured


def result(tmp_path: Path, steps: object) -> Path:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"load": {"steps": steps}}))
    return path


def test_the_most_that_held_before_anything_broke(tmp_path: Path) -> None:
    measured = [{"sessions": 1}, {"sessions": 4}, {"sessions": 2}, {"sessions": 8, "broken": "p95"}, {"sessions": 16}]
    assert measured_capacity(result(tmp_path, measured)) == 4


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"sessions": 1, "broken": "p95"}], "not even its first step held"),
        ([], "not even its first step held"),
        ("none", "no result"),
        ([{"no": 1}], "no result"),
        (7, "no result"),
    ],
)
def test_a_result_that_says_nothing_is_told(tmp_path: Path, steps: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured_capacity(result(tmp_path, steps))


def test_a_result_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        measured_capacity(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="no result"):
        measured_capacity(tmp_path / "other.json")
