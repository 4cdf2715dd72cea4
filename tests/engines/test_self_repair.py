"""What speakers take back is left out; what only looks like it stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llm.self_repair import repaired


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Fly to Rome, no wait, to Milan, on Sunday.", "Fly to Milan, on Sunday."),
        ("Meet me on Friday, no, Saturday at 11.", "Meet me on Saturday at 11."),
        ("The oven to forty, I mean fifty degrees.", "The oven to fifty degrees."),
        ("Play track six, sorry, track nine.", "Play track nine."),
        ("Give me a small coffee, no, make it a large coffee.", "Give me a large coffee."),
        ("What is four cubed, no, five cubed?", "What is five cubed?"),
        ("Heat the hall. No sorry, the attic.", "Heat the attic."),
        ("Switch the pump off, er, I mean on.", "Switch the pump on."),
        ("So at two, no, at three, sorry, at four.", "So at four."),
    ],
)
def test_what_was_taken_back_is_left_out(said: str, meant: str) -> None:
    assert repaired(said) == meant


@pytest.mark.parametrize(
    "said",
    [
        "No, I would not say so.", "There is no wine left.", "Sorry, what was that?", "I am sorry to hear it.",
        "Wait for me at the door.", "It rains, actually all the time here.", "", "no", ", no, ",
    ],
)  # fmt: skip
def test_other_words_stay(said: str) -> None:
    assert repaired(said) == said


@given(st.text(st.sampled_from("ab ,.no wait sorry I mean A1"), max_size=60))
def test_nothing_is_invented(said: str) -> None:
    meant = repaired(said)
    rest = iter(said)
    assert all(char in rest for char in meant)
