"""`${NAME}` in values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.pipeline.config.errors import Origin, Problem
from antiphon.pipeline.config.interpolate import escape, interpolate, interpolate_tree
from antiphon.pipeline.config.tree import Entry, Items, Scalar, Section

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
values = st.text(max_size=20)
literals = st.text(max_size=20).filter(lambda text: "$" not in text)
defaults = st.text(max_size=10).filter(lambda text: not set(text) & set("{}"))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A}", "1"), ("x${A}y${A}", "x1y1"), ("${A:-9}", "1"), ("${NONE:-9}", "9"), ("${NONE:-}", ""),
        ("${EMPTY}", ""), ("${EMPTY:-9}", "9"), ("$${A}", "${A}"), ("$A", "$A"), ("$", "$"), ("a$$b", "a$$b"),
        ("${NONE:-http://h:8/v1}", "http://h:8/v1"), ("$$${A}", "$${A}"), ("{A}", "{A}"), ("${A}}", "1}"),
    ],
)  # fmt: skip
def test_cases(text: str, result: str) -> None:
    assert interpolate(text, {"A": "1", "EMPTY": ""}) == (result, [])


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${A", "${A-B}", "${A:}", "${A:-${B}}", "${ A }", "${A:?x}"])
def test_what_begins_like_an_expression_and_is_none_is_an_error(text: str) -> None:
    assert "begins no valid expression" in interpolate(text, {"A": "1", "B": "2"})[1][0]


def test_a_missing_variable_is_named() -> None:
    assert interpolate("${NONE} ${OTHER}", {})[1] == [
        "the environment variable NONE is not set",
        "the environment variable OTHER is not set",
    ]


@given(st.text(max_size=40), st.dictionaries(names, values, max_size=3))
@settings(deadline=None)
def test_escaped_text_comes_back_unchanged(text: str, environ: dict[str, str]) -> None:
    assert interpolate(escape(text), environ) == (text, [])


@given(st.lists(st.one_of(literals.map(lambda x: ("", x, "")), st.tuples(names, values, defaults)), max_size=6))
@settings(deadline=None)
def test_a_text_is_the_sum_of_its_parts(parts: list[tuple[str, str, str]]) -> None:
    environ = {name: value for name, value, _ in parts if name}
    written = "".join(f"${{{name}:-{default}}}" if name else value for name, value, default in parts)
    expected = "".join((environ[name] or default) if name else value for name, value, default in parts)
    assert interpolate(written, environ) == (expected, [])


@given(names, values)
@settings(deadline=None)
def test_a_variable_is_never_read_again(name: str, value: str) -> None:
    assert interpolate(f"${{{name}}}", {name: value})[0] == value


def test_a_tree_is_filled_and_remembers_what_was_written() -> None:
    here = Origin("a.yaml", 3)
    node = Scalar("${A}", True, here, Path())
    tree = Section({"k": Entry(here, Items((node, Scalar("plain", True, here, Path())), here))}, here)
    problems: list[Problem] = []
    filled = interpolate_tree(tree, {"A": "7"}, problems)
    assert isinstance(filled, Section)
    items = filled.entries["k"].node
    assert isinstance(items, Items)
    first, second = items.items
    assert isinstance(first, Scalar) and isinstance(second, Scalar)
    assert (first.value, first.written, first.broken) == (7, "${A}", False)
    assert (second.value, second.written) == ("plain", None)
    assert problems == []


def test_a_failure_has_its_place_and_marks_the_value() -> None:
    here = Origin("a.yaml", 3)
    tree = Section({"k": Entry(here, Items((Scalar("${A}", True, here, Path()),), here))}, here)
    problems: list[Problem] = []
    filled = interpolate_tree(tree, {}, problems)
    assert str(problems[0]).startswith("a.yaml:3: k.0: the environment variable A is not set")
    assert "${NAME:-default}" in problems[0].hint
    assert isinstance(filled, Section)
    items = filled.entries["k"].node
    assert isinstance(items, Items)
    assert isinstance(items.items[0], Scalar)
    assert items.items[0].broken
