"""Arguments of a call: converted, checked, and kept to what was said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llm.copy_bias import BONUS, CopyBias, open_value
from antiphon.engines.llm.spoken_numbers import in_digits, number, numbers_in
from antiphon.engines.llm.tool_args import by_unit, settle

OVEN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "degrees": {"type": "integer", "minimum": 30, "maximum": 300},
        "mode": {"type": "string", "enum": ["top heat", "fan", "grill"]},
        "dish": {"type": "string"},
        "preheat": {"type": "boolean"},
        "racks": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["degrees"],
}


@pytest.mark.parametrize(
    ("given_arguments", "settled"),
    [
        ({"degrees": "two hundred"}, {"degrees": 200}),
        ({"degrees": "180"}, {"degrees": 180}),
        ({"degrees": 180.0}, {"degrees": 180}),
        ({"Degrees": 90, "mode": "Fan"}, {"degrees": 90, "mode": "fan"}),
        ({"degrees": 90, "mode": "the grill mode"}, {"degrees": 90, "mode": "grill"}),
        ({"degrees": 90, "preheat": "yes"}, {"degrees": 90, "preheat": True}),
        ({"degrees": 90, "racks": "2"}, {"degrees": 90, "racks": [2]}),
        ({"degrees": 90, "dish": "", "mode": None}, {"degrees": 90}),
        ({"degrees": 90, "unknown": 1}, {"degrees": 90}),
    ],
)
def test_what_means_the_same_is_converted(given_arguments: dict[str, Any], settled: dict[str, Any]) -> None:
    found = settle(given_arguments, OVEN)
    assert (found.arguments, found.problem) == (settled, "")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "'degrees' is a required property"),
        ({"degrees": 999}, "degrees: 999 is greater than the maximum of 300"),
        ({"degrees": "hot"}, "degrees: 'hot' is not of type 'integer'"),
        ({"degrees": 90, "mode": "steam"}, "mode: 'steam' is not one of"),
        ({"degrees": 2.5}, "degrees: 2.5 is not of type 'integer'"),
    ],
)
def test_what_is_wrong_stays_wrong_and_is_told(wrong: dict[str, Any], told: str) -> None:
    assert settle(wrong, OVEN).problem.startswith(told)


def test_optional_values_that_nobody_spoke_of_are_left_out() -> None:
    invented = {"degrees": 200, "dish": "lasagne"}
    assert settle(invented, OVEN, "make it two hundred degrees").arguments == {"degrees": 200}
    assert settle(invented, OVEN, "a lasagna, two hundred degrees").arguments["dish"] == "lasagna"
    assert settle(invented, OVEN).arguments == invented


def test_references_and_alternatives_are_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"$ref": "#/$defs/size"}, "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "$defs": {"size": {"enum": ["small", "large"]}},
    }
    assert settle({"size": "LARGE", "count": "three"}, schema).arguments == {"size": "large", "count": 3}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_any_value_is_settled_or_told(value: Any) -> None:
    settled = settle({"degrees": 90, "mode": value, "racks": value}, OVEN, "something")
    assert settled.problem or settled.arguments.get("mode", "fan") in ("top heat", "fan", "grill")


@pytest.mark.parametrize(
    ("said", "digits"),
    [
        ("in forty five seconds", "in 45 seconds"),
        ("one hundred and five point five", "105.5"),
        ("between three and four", "between 3 and 4"),
        ("one of them", "one of them"),
        ("one hour", "1 hour"),
        ("half an hour", "30 minutes"),
        ("an hour and a half", "1 hour 30 minutes"),
        ("two and a half minutes", "2 minutes 30 seconds"),
        ("quarter to three in the afternoon", "2:45 pm"),
        ("eight o'clock", "8:00"),
        ("a thousand", "1000"),
        ("nothing to count", "nothing to count"),
    ],
)
def test_numbers_as_they_are_said(said: str, digits: str) -> None:
    assert in_digits(said) == digits


def test_a_text_that_is_a_number() -> None:
    assert [number(text) for text in ("five", "30%", "one", "minus two", "1,200", "2.5", "five apples", "")] == [
        5, 30, 1, -2, 1200, 2.5, None, None,
    ]  # fmt: skip
    assert numbers_in("twenty or 3.5") == {20.0, 3.5}


@given(st.text())
def test_digits_come_out_of_any_text(text: str) -> None:
    in_digits(text)
    number(text)
    numbers_in(text)


def test_numbers_go_where_their_unit_says() -> None:
    schema: dict[str, Any] = {
        "properties": {
            "hours": {"type": "integer"},
            "minutes": {"type": "integer"},
            "level": {"type": "integer", "description": "Percent of power."},
        }
    }
    assert by_unit({"hours": 40, "level": 3}, schema, "for 40 minutes") == {"minutes": "40"}
    assert by_unit({"hours": 2}, schema, "2 minutes, no, 3 minutes at 80 percent") == {"minutes": "3", "level": "80"}
    assert by_unit({"hours": 2}, schema, "a while") == {"hours": 2}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('{"city": "', ""),
        ('{"city": "New Y', "New Y"),
        ('{"ci', None),
        ('{"city": "Rome"', None),
        ('{"list": ["a', "a"),
        ('{"a": "x \\" y', 'x \\" y'),
        ("{", None),
    ],
)
def test_where_a_value_is_open(written: str, value: str | None) -> None:
    assert open_value(written) == value


def test_what_was_said_is_likelier_and_more_so_after_a_correction() -> None:
    tokens: dict[str, int] = {}
    bias = CopyBias(
        "to Rome, no wait, Milan", lambda text: tokens.setdefault(text.split()[0].strip(","), len(tokens)), [99]
    )
    at_start = bias.of('{"city": "')
    assert at_start[tokens["Milan"]] > at_start[tokens["Rome"]] == BONUS
    assert bias.of('{"city": "rome')[99] == BONUS
    assert 99 not in bias.of('{"city": "Ro')
    assert bias.of('{"city": "Paris') == {}
    assert bias.of('{"ci') == {}
