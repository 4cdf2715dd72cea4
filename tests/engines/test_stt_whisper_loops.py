"""The loop guard: finding repetitions, and undoing those that nobody said."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.stt.whisper_loops import (
    agreed_text,
    collapse,
    compression_ratio,
    find_repetition,
    loop_reason,
    normalised_words,
    said_once,
)

units = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@given(units, st.integers(2, 6), st.lists(st.integers(10, 99), max_size=5, unique=True))
def test_every_repetition_is_found(unit: list[int], count: int, before: list[int]) -> None:
    sequence = before + unit * count
    found = find_repetition(sequence)
    assert found is not None
    assert found.covered >= len(unit) * count


@given(st.lists(st.integers(0, 3), max_size=40))
def test_what_is_found_is_there(sequence: list[int]) -> None:
    found = find_repetition(sequence)
    if found is None:
        assert all(a != b for a, b in itertools.pairwise(sequence))
        return
    unit = sequence[found.start : found.start + found.period]
    covered = sequence[found.start : found.start + found.covered]
    assert found.count >= 2
    assert found.count == found.covered // found.period
    assert covered == [unit[i % found.period] for i in range(found.covered)]


@given(st.lists(st.integers(), unique=True, max_size=40))
def test_without_a_repetition_there_is_none(sequence: list[int]) -> None:
    assert find_repetition(sequence) is None


@given(st.text(alphabet="abc ,.!", max_size=60))
def test_collapse_never_adds_words_and_ends(text: str) -> None:
    once = collapse(text)
    assert len(once.split()) <= len(text.split())
    assert set(once.split()) <= set(text.split())


@pytest.mark.parametrize(
    ("looped", "once"),
    [
        ("What time is it? What time is it? What time is it?", "What time is it?"),
        ("10 of clubs 10 of clubs 10 of clubs 10 of", "10 of clubs"),
        ("I'm Abigail. You can call me Abi. You can call me Abi.", "I'm Abigail. You can call me Abi."),
        ("turn on the lamp", "turn on the lamp"),
        ("", ""),
    ],
)
def test_collapse_says_it_once(looped: str, once: str) -> None:
    assert collapse(looped) == once


@pytest.mark.parametrize(
    "text",
    ["turn on the lamp", "no no no", "bye bye", "ask not what your country can do for you ask what you can do", ""],
)
def test_what_people_say_is_no_loop(text: str) -> None:
    assert loop_reason(text, True, 2.4) is None


@pytest.mark.parametrize(
    ("text", "finished", "reason"),
    [
        ("turn on the", False, "token cap reached"),
        ("What time is it? what time is it.", True, "repetition"),
        ("Yeah, yeah, yeah, yeah", True, "repetition"),
        ("la la " * 20, True, "repetition"),
        ("チョコレートのお店のお店のお店のお店", True, "repetition"),
        ("abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc x", True, "repetition"),
    ],
)
def test_loops_are_suspected(text: str, finished: bool, reason: str) -> None:
    assert loop_reason(text, finished, 2.4) == reason


def test_a_compressible_text_without_exact_repetition_is_suspected() -> None:
    text = " ".join(f"go to the door{number % 3} and come back{number % 7}" for number in range(30))
    assert compression_ratio(text) > 2.4
    assert loop_reason(text, True, 2.4) is not None


def test_the_compression_ratio_of_nothing_is_0() -> None:
    assert compression_ratio("") == 0.0


def test_said_twice_with_time_to_say_it_twice_stays() -> None:
    twice = "Turn on the lamp. Turn on the lamp."
    assert agreed_text(twice, twice.lower(), True, active_s=2.4) == twice.lower()


def test_said_twice_without_the_time_is_said_once() -> None:
    twice = "Turn on the lamp. Turn on the lamp."
    assert agreed_text(twice, twice, True, active_s=0.9) == "Turn on the lamp."


def test_a_loop_that_never_ended_is_said_once_however_long_the_audio() -> None:
    assert agreed_text("10 of clubs 10 of clubs 10", "10 of clubs. 10 of clubs. 10 of", False, 9.0) == "10 of clubs."


def test_windows_that_differ_agree_on_nothing() -> None:
    assert agreed_text("go left go left go left", "go right go right go right", False, 1.0) is None
    assert agreed_text("go left", "go right", True, 5.0) is None


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert normalised_words("It's - 10 o'clock, SIR!") == ["its", "10", "oclock", "sir"]


def test_a_script_without_spaces_is_compared_letter_by_letter() -> None:
    assert normalised_words("チョコレートのお店のお店の") == list("チョコレートのお店のお店の")


@pytest.mark.parametrize(
    ("text", "active_s", "once"),
    [
        ("Turn on the lamp. Turn on the lamp. Turn on", 1.0, "Turn on the lamp."),
        ("10 of clubs 10 of clubs 10 of clubs 10 o", 0.8, None),  # a cut-off word does not continue the pattern
        ("10 of clubs 10 of clubs 10 of clubs 10", 0.8, "10 of clubs"),
        ("Turn on the lamp. Turn on the lamp.", 3.0, None),  # there was time to say it twice
        ("well turn on the lamp turn on the lamp turn", 0.8, None),  # something came before it
        ("no no no no no no no no no no", 0.8, None),
        ("Turn on the lamp.", 0.5, None),
        ("", 1.0, None),
    ],
)
def test_a_phrase_that_cannot_have_been_said_twice(text: str, active_s: float, once: str | None) -> None:
    assert said_once(text, active_s) == once
