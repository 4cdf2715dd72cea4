"""llama.cpp's threads: the governor that chooses them, and the watchdog that breaks off what they spoil."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llm.llama_threads import ThreadGovernor
from antiphon.engines.llm.llama_watchdog import Watchdog


def measured(few: int, many: int, alone: Callable[[], bool] | None = None) -> ThreadGovernor:
    """One that knows what few threads take: 5 ms a token of a prompt."""
    governor = ThreadGovernor(few, many, alone)
    governor.took(few, 16, 0.080)
    return governor


def test_many_threads_for_prompts_while_nobody_else_is_at_work() -> None:
    alone = True
    governor = measured(1, 2, lambda: alone)
    threads, limit_s = governor.choose(20)
    assert threads == 2 and limit_s == pytest.approx(0.120)
    assert governor.choose(1) == (1, None)
    alone = False
    assert governor.choose(20) == (1, None)


def test_while_somebody_is_at_work_a_prompt_goes_in_small_steps() -> None:
    alone = False
    governor = measured(1, 2, lambda: alone)
    assert (governor.step(64), governor.step(3)) == (5, 3)
    alone = True
    assert governor.step(64) == 64
    governor.took(2, 20, 0.2, aborted=True)
    alone = False
    assert governor.step(64) == 64  # many threads are out of the question for now
    assert ThreadGovernor(2, 2, lambda: False).step(64) == 64


def test_few_threads_until_there_is_something_to_compare_with() -> None:
    governor = ThreadGovernor(1, 2)
    assert governor.choose(20) == (1, None)
    governor.took(1, 1, 0.010)  # a single token tells nothing of a prompt
    assert governor.choose(20) == (1, None)
    governor.took(1, 20, 0.100)
    assert governor.choose(20)[0] == 2


def test_fixed_threads_are_fixed() -> None:
    governor = ThreadGovernor(3, 3, lambda: pytest.fail("nobody needs to know"))
    for _ in range(5):
        assert governor.choose(20) == (3, None)
        governor.took(3, 20, 100.0)


def rests(governor: ThreadGovernor) -> int:
    """How many prompts go by until many threads are tried again."""
    return next(count for count in range(5000) if governor.choose(20)[0] == 2)


def test_many_threads_that_hurt_are_left_alone_for_a_while_and_tried_again() -> None:
    governor = measured(1, 2)
    assert rests(governor) == 0
    lengths = []
    for _ in range(8):
        governor.took(2, 20, 0.120, aborted=True)  # another program has come
        lengths.append(rests(governor))
    assert lengths == [4, 8, 16, 32, 64, 128, 256, 256]
    for _ in range(1000):
        governor.took(2, 20, 0.060)  # it has gone
    governor.took(2, 20, 0.120, aborted=True)
    assert rests(governor) == 4


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 64), st.floats(0, 10), st.booleans())))
def test_one_of_the_two(script: list[tuple[bool, int, float, bool]]) -> None:
    alone = True
    governor = measured(2, 5, lambda: alone)
    for alone, tokens, seconds, aborted in script:
        threads, limit_s = governor.choose(tokens)
        assert threads in (2, 5) and (alone or threads == 2)
        assert (limit_s is not None) == (threads == 5)
        governor.took(threads, tokens, seconds, aborted=aborted and threads == 5)


def test_more_than_many() -> None:
    with pytest.raises(ValueError, match=r"few \(3\) and many \(2\)"):
        ThreadGovernor(3, 2)


# ---------------------------------------------------------------------------------------- the watchdog


class Library:
    """Stands for llama.cpp: keeps the callback that it is given."""

    ggml_abort_callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)

    def __init__(self) -> None:
        self.asked: Any = None

    def llama_set_abort_callback(self, context: object, callback: Any, data: Any) -> None:
        self.asked = SimpleNamespace(callback=callback, data=data)

    def goes_on(self) -> bool:
        return not self.asked.callback(self.asked.data)


def test_the_watchdog_says_stop_when_it_is_too_late() -> None:
    watchdog, library = Watchdog(), Library()
    assert watchdog.attach(library, object())
    assert library.goes_on()
    with watchdog.within(0.02):
        until_s = time.monotonic() + 20
        while library.goes_on() and time.monotonic() < until_s:
            time.sleep(0.001)
        assert not library.goes_on()
    assert library.goes_on()
    with watchdog.within(60.0):
        assert library.goes_on()
    assert library.goes_on()
    watchdog.close()


def test_a_system_without_the_function() -> None:
    watchdog = Watchdog()
    assert not watchdog.attach(SimpleNamespace(ggml_abort_callback=None), object())
    watchdog.close()
