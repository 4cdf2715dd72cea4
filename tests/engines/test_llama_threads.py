"""The governor of llama.cpp's threads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llm.llama_threads import ThreadGovernor


def test_many_threads_while_nobody_else_is_at_work() -> None:
    alone = True
    governor = ThreadGovernor(1, 2, lambda: alone)
    assert governor.choose() == 2
    alone = False
    assert governor.choose() == 1


def test_fixed_threads_are_fixed() -> None:
    governor = ThreadGovernor(3, 3, lambda: pytest.fail("nobody needs to know"))
    for _ in range(5):
        assert governor.choose() == 3
        governor.took(3, 1, 100.0)


def test_many_threads_that_hurt_are_left_alone_for_a_while_and_tried_again() -> None:
    governor = ThreadGovernor(1, 2)
    governor.took(1, 1, 0.010)
    governor.took(2, 1, 0.009)
    assert governor.choose() == 2
    for _ in range(3):
        governor.took(2, 1, 0.060)
    chosen = [governor.choose() for _ in range(60)]
    assert chosen[0] == 1 and 2 in chosen
    first = chosen.index(2)
    assert 10 < first < 60
    governor.took(2, 1, 0.009)  # the other program has gone
    assert governor.choose() == 2


def test_a_prompt_is_not_compared_with_a_single_token() -> None:
    governor = ThreadGovernor(1, 2)
    governor.took(1, 64, 0.064)  # 1 ms a token, in a batch
    governor.took(2, 1, 0.010)
    assert governor.choose() == 2


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 64), st.floats(0, 10))))
def test_one_of_the_two(script: list[tuple[bool, int, float]]) -> None:
    alone = True
    governor = ThreadGovernor(2, 5, lambda: alone)
    for alone, tokens, seconds in script:
        threads = governor.choose()
        assert threads in (2, 5) and (alone or threads == 2)
        governor.took(threads, tokens, seconds)


def test_more_than_many() -> None:
    with pytest.raises(ValueError, match=r"few \(3\) and many \(2\)"):
        ThreadGovernor(3, 2)
