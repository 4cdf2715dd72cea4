"""The governor of llama.cpp's threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llm.llama_threads import ThreadGovernor


def measured(few: int, many: int, alone: Callable[[], bool] | None = None) -> ThreadGovernor:
    """One that knows what few threads take."""
    governor = ThreadGovernor(few, many, alone)
    governor.took(few, 64, 0.064)
    governor.took(few, 1, 0.010)
    return governor


def test_many_threads_while_nobody_else_is_at_work() -> None:
    alone = True
    governor = measured(1, 2, lambda: alone)
    assert governor.choose() == 2
    alone = False
    assert governor.choose() == 1


def test_few_threads_until_there_is_something_to_compare_with() -> None:
    governor = ThreadGovernor(1, 2)
    assert governor.choose() == 1
    governor.took(1, 64, 0.064)
    assert governor.choose() == 2


def test_fixed_threads_are_fixed() -> None:
    governor = ThreadGovernor(3, 3, lambda: pytest.fail("nobody needs to know"))
    for _ in range(5):
        assert governor.choose() == 3
        governor.took(3, 1, 100.0)


def rests(governor: ThreadGovernor) -> int:
    """How many evaluations go by until many threads are tried again."""
    return next(count for count in range(5000) if governor.choose() == 2)


def test_many_threads_that_hurt_are_left_alone_for_a_while_and_tried_again() -> None:
    governor = measured(1, 2)
    governor.took(2, 1, 0.009)
    assert rests(governor) == 0
    lengths = []
    for _ in range(9):
        governor.took(2, 1, 0.060)  # another program has come
        lengths.append(rests(governor))
    assert lengths == [16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
    for _ in range(2000):
        governor.took(2, 1, 0.009)  # it has gone
    assert rests(governor) == 0
    governor.took(2, 1, 0.060)
    assert rests(governor) == 16


def test_a_prompt_is_not_compared_with_a_single_token() -> None:
    governor = measured(1, 2)
    governor.took(2, 1, 0.012)  # 12 ms a token; 1 ms in a batch
    assert governor.choose() == 2
    governor.took(2, 32, 0.090)  # 3 ms a token, in a batch
    assert governor.choose() == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 64), st.floats(0, 10))))
def test_one_of_the_two(script: list[tuple[bool, int, float]]) -> None:
    alone = True
    governor = measured(2, 5, lambda: alone)
    for alone, tokens, seconds in script:
        threads = governor.choose()
        assert threads in (2, 5) and (alone or threads == 2)
        governor.took(threads, tokens, seconds)


def test_more_than_many() -> None:
    with pytest.raises(ValueError, match=r"few \(3\) and many \(2\)"):
        ThreadGovernor(3, 2)
