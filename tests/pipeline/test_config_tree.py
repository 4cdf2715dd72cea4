"""YAML text to a tree with places."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.pipeline.config.errors import Origin, Problem
from antiphon.pipeline.config.tree import (
    MAX_VALUES,
    Items,
    Node,
    Scalar,
    Section,
    parse,
    parse_value,
    resolve,
)


def read(text: str) -> tuple[Section | None, list[Problem]]:
    problems: list[Problem] = []
    return parse(text, "a.yaml", Path("/base"), problems), problems


def good(text: str) -> Section:
    tree, problems = read(text)
    assert problems == []
    assert tree is not None
    return tree


def at(tree: Node, *path: str | int) -> Node:
    for part in path:
        tree = tree.items[part] if isinstance(tree, Items) else tree.entries[part].node  # type: ignore[union-attr,index]
    return tree


def scalar(tree: Node, *path: str | int) -> Scalar:
    node = at(tree, *path)
    assert isinstance(node, Scalar)
    return node


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("NULL", None), ("Null", None),
        ("true", True), ("True", True), ("FALSE", False), ("false", False),
        ("no", "no"), ("No", "No"), ("on", "on"), ("off", "off"), ("y", "y"), ("yes", "yes"),
        ("0", 0), ("-12", -12), ("+3", 3), ("012", 12), ("0x1F", 31), ("0o17", 15), ("1_000", "1_000"),
        ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-2.5E-1", -0.25), ("1e3x", "1e3x"),
        ("10:30", "10:30"), ("2026-11-22", "2026-11-22"), ("1.2.3", "1.2.3"), ("0x", "0x"), (".", "."), ("-", "-"),
        (".inf", float("inf")), ("-.Inf", float("-inf")), ("inf", "inf"), ("nan", "nan"), ("nULL", "nULL"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    resolved = resolve(text)
    assert resolved == value
    assert type(resolved) is type(value)


def test_a_number_longer_than_python_converts_is_no_crash() -> None:
    assert resolve("9" * 6000) == float("inf")
    assert resolve("0x" + "f" * 6000) == "0x" + "f" * 6000


def test_every_key_and_value_knows_its_line() -> None:
    tree = good("a: 1\nb:\n  c:\n    - x\n    - |\n      long\n      text\n  d: {e: 2}\n")
    assert tree.entries["b"].origin == Origin("a.yaml", 2)
    assert scalar(tree, "b", "c", 0).origin.line == 4
    assert scalar(tree, "b", "c", 1).origin.line == 5
    assert scalar(tree, "b", "d", "e").origin.line == 8
    assert scalar(tree, "a").directory == Path("/base")


def test_quotes_make_text() -> None:
    tree = good("a: '5'\nb: \"true\"\nc: !!str 7\nd: !!int '8'\ne: |-\n  9\n")
    assert [scalar(tree, key).value for key in "abcde"] == ["5", "true", "7", 8, "9"]


def test_keys_are_text_whatever_they_look_like() -> None:
    assert list(good("no: a\ntrue: b\n1.0: c\n~: d\n").entries) == ["no", "true", "1.0", "~"]


def test_a_key_written_twice_is_refused_with_both_lines() -> None:
    tree, problems = read("stt:\n  model: a\n  size: 1\n  model: b\n")
    assert tree is not None
    assert [str(problem) for problem in problems] == ["a.yaml:4: stt.model: written twice, first in line 2"]


def test_all_duplicates_are_reported_at_once() -> None:
    _, problems = read("a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert [(problem.origin.line, problem.key) for problem in problems] == [(2, "a"), (3, "b.c")]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: [1\n", 3, "no valid YAML: while parsing a flow sequence"),
        ("a: b: c\n", 1, "mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", 2, "no valid YAML"),
        ("a: 'x\n", 2, "no valid YAML"),
        ("a: *nowhere\n", 1, "found undefined alias 'nowhere'"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document"),
        ("a: 1\nb: \x07\n", 2, "character U+0007 is not allowed in YAML"),
        ("a: !thing 5\n", 1, "YAML tags such as '!thing' mean nothing here"),
        ("a: !!python/object:os.system x\n", 1, "YAML tags such as '!python/object:os.system' mean nothing here"),
        ("a: !!set {x}\n", 1, "YAML tags such as '!set'"),
        ("? [a, b]\n: 1\n", 1, "a key must be text"),
        ("- a\n- b\n", 1, "the file holds a list, not a mapping of sections"),
        ("just text\n", 1, "the file holds a single value"),
        ("<<: 5\n", 1, "'<<' takes a mapping or a list of mappings"),
    ],
)
def test_what_is_no_configuration_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    _, problems = read(text)
    assert len(problems) == 1
    assert problems[0].origin == Origin("a.yaml", line)
    assert says in problems[0].message


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~", "---\n...\n"])
def test_an_empty_file_is_refused_and_told_what_is_enough(text: str) -> None:
    tree, problems = read(text)
    assert tree is None
    assert [problem.message for problem in problems] == ["the file is empty"]
    assert "extends: local.yaml" in problems[0].hint


def test_syntax_errors_have_a_hint_where_there_is_a_usual_cause() -> None:
    assert "in quotes" in read("a: {b: ${X}}\n")[1][0].hint
    assert "spaces" in read("a:\n\tb: 2\n")[1][0].hint
    assert "': '" in read("a: Say: hello\n")[1][0].hint


def test_a_syntax_error_shows_nothing_of_the_text() -> None:
    _, problems = read("api_key: 'sk-very-secret\n")
    assert "sk-very" not in str(problems[0])


def test_aliases_and_merge_keys_are_expanded() -> None:
    tree = good("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nboth: {<<: [*b, {z: 4}]}\ncopy: *b\n")
    assert {key: scalar(tree, "use", key).value for key in ("x", "y")} == {"x": 1, "y": 3}
    assert {key: scalar(tree, "both", key).value for key in ("x", "y", "z")} == {"x": 1, "y": 2, "z": 4}
    assert scalar(tree, "copy", "x").value == 1


def test_a_quoted_merge_sign_is_a_key() -> None:
    assert list(good("'<<': 1\n").entries) == ["<<"]


def test_an_alias_within_itself_is_refused() -> None:
    tree, problems = read("a: &a {b: *a}\n")
    assert tree is None
    assert [problem.message for problem in problems] == ["an alias that contains itself"]


def test_a_billion_laughs_are_refused_before_they_cost_anything() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    tree, problems = read("\n".join(lines))
    assert tree is None
    assert str(MAX_VALUES) in problems[0].message


@pytest.mark.parametrize("depth", [60, 5000])
def test_deep_nesting_is_refused(depth: int) -> None:
    tree, problems = read("a: " + "[" * depth + "]" * depth)
    assert tree is None
    assert "nested" in problems[0].message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("", None),
        ("a: b", "a: b"),
        ("*x", "*x"),
        ("'5'", "5"),
        (" hello ", "hello"),
        ("# no comment", "# no comment"),
    ],
)
def test_a_value_on_the_command_line_is_a_scalar(text: str, value: object) -> None:
    problems: list[Problem] = []
    node = parse_value(text, Origin("--set"), Path(), problems)
    assert isinstance(node, Scalar)
    assert (node.value, problems) == (value, [])


def test_a_value_on_the_command_line_may_be_a_list_or_mapping_in_flow_form() -> None:
    problems: list[Problem] = []
    node = parse_value("[1, {a: b}]", Origin("--set"), Path(), problems)
    assert isinstance(node, Items)
    assert scalar(node, 1, "a").text == "b"
    assert scalar(node, 0).origin == Origin("--set")
    assert parse_value("[1, ", Origin("--set"), Path(), problems) is None
    assert problems[0].origin == Origin("--set")
