"""`extends:` and `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.protocols import STAGES
from antiphon.pipeline.config.errors import Origin, Problem
from antiphon.pipeline.config.fields import value_of
from antiphon.pipeline.config.layers import apply_overrides, load_layers, merge
from antiphon.pipeline.config.sources import find_source
from antiphon.pipeline.config.tree import Entry, Items, Node, Scalar, Section

HERE = Origin("x.yaml", 1)

plain_keys = st.sampled_from(["a", "b", "c", "d"])
leaves = st.one_of(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=2))
mappings = st.recursive(
    st.dictionaries(plain_keys, leaves, max_size=3),
    lambda inner: st.dictionaries(plain_keys, st.one_of(leaves, inner), max_size=3),
    max_leaves=8,
)


def tree_of(data: Any) -> Node:
    if isinstance(data, dict):
        return Section({key: Entry(HERE, tree_of(value)) for key, value in data.items()}, HERE)
    if isinstance(data, list):
        return Items(tuple(tree_of(item) for item in data), HERE)
    return Scalar(str(data), True, HERE, Path())


def section_of(data: dict[str, Any]) -> Section:
    node = tree_of(data)
    assert isinstance(node, Section)
    return node


def merged(base: dict[str, Any], over: dict[str, Any]) -> Any:
    return value_of(merge(section_of(base), section_of(over), {}))


def deep(base: Any, over: Any) -> Any:
    """The definition: mappings merge, everything else replaces."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {key: deep(base[key], over[key]) if key in base and key in over else {**base, **over}[key]
            for key in {**base, **over}}  # fmt: skip


def override(data: dict[str, Any], *overrides: str) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    tree = apply_overrides(section_of(data), overrides, {}, Path("/cwd"), problems)
    return value_of(tree), problems


def load(path: Path) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    tree = load_layers(find_source(path), {}, problems)
    return (None if tree is None else value_of(tree)), problems


# ---------------------------------------------------------------------------------------------- merge


@given(mappings, mappings)
@settings(deadline=None)
def test_merge_is_deep_for_mappings_and_replaces_the_rest(base: dict[str, Any], over: dict[str, Any]) -> None:
    assert merged(base, over) == deep(base, over)


@given(mappings)
@settings(deadline=None)
def test_nothing_over_a_file_or_a_file_over_nothing_is_the_file(data: dict[str, Any]) -> None:
    assert merged(data, {}) == data == merged({}, data)
    assert merged(data, data) == data


@given(mappings, mappings, mappings)
@settings(deadline=None)
def test_merge_is_associative(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    left = merge(merge(section_of(a), section_of(b), {}), section_of(c), {})
    if not _replaces_a_mapping(a, b) and not _replaces_a_mapping(b, c):
        right = merge(section_of(a), merge(section_of(b), section_of(c), {}), {})
        assert value_of(left) == value_of(right)


def _replaces_a_mapping(base: Any, over: Any) -> bool:
    """A value over a mapping hides what is below it, and a mapping over that begins anew: order then matters."""
    if isinstance(base, dict) and isinstance(over, dict):
        return any(key in over and _replaces_a_mapping(base[key], over[key]) for key in base)
    return isinstance(base, dict) or isinstance(over, dict)


@pytest.mark.parametrize("stage", STAGES)
def test_another_engine_drops_the_options_of_the_one_below_but_not_the_deadline(stage: str) -> None:
    base = {stage: {"engine": "one", "model": "m", "voices": {"en": "x"}, "deadline_s": 3}}
    assert merged(base, {stage: {"engine": "two", "size": 1}}) == {stage: {"engine": "two", "size": 1, "deadline_s": 3}}


def test_the_same_engine_keeps_its_options() -> None:
    base = {"stt": {"engine": "one", "model": "m"}}
    assert merged(base, {"stt": {"engine": "one", "size": 1}}) == {"stt": {"engine": "one", "model": "m", "size": 1}}
    assert merged(base, {"stt": {"size": 1}}) == {"stt": {"engine": "one", "model": "m", "size": 1}}


def test_engines_are_compared_with_their_variables_filled_in() -> None:
    base = section_of({"stt": {"engine": "${E}", "model": "m"}})
    over = section_of({"stt": {"engine": "one"}})
    assert value_of(merge(base, over, {"E": "one"})) == {"stt": {"engine": "one", "model": "m"}}
    assert value_of(merge(base, over, {"E": "two"})) == {"stt": {"engine": "one"}}


def test_an_engine_key_elsewhere_is_a_key_like_any_other() -> None:
    base = {"workflow": {"options": {"engine": "one", "x": 1}}}
    assert merged(base, {"workflow": {"options": {"engine": "two"}}}) == {
        "workflow": {"options": {"engine": "two", "x": 1}}
    }


# -------------------------------------------------------------------------------------------- extends


def test_a_file_lies_over_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("session: {max_turn_s: 5, offline: true}\ngate: {start_ms: 1}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\nsession: {max_turn_s: 7}\n")
    assert load(tmp_path / "own.yaml") == (
        {"session": {"max_turn_s": 7, "offline": True}, "gate": {"start_ms": 1}},
        [],
    )


def test_several_bases_lie_one_over_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: {p: 1, q: 1, r: 1}\n")
    (tmp_path / "b.yaml").write_text("x: {q: 2, r: 2}\n")
    (tmp_path / "own.yaml").write_text("extends: [a.yaml, b.yaml]\nx: {r: 3}\n")
    assert load(tmp_path / "own.yaml")[0] == {"x": {"p": 1, "q": 2, "r": 3}}


def test_the_same_base_twice_by_two_ways_is_no_circle(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("x: {p: 1}\n")
    (tmp_path / "a.yaml").write_text("extends: base.yaml\n")
    (tmp_path / "own.yaml").write_text("extends: [base.yaml, a.yaml]\n")
    assert load(tmp_path / "own.yaml") == ({"x": {"p": 1}}, [])


def test_a_packaged_base_by_name_and_one_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text("extends: tiny\ngate: {start_ms: 1}\n")
    (tmp_path / "sub" / "own.yaml").write_text("extends: ../base.yaml\n")
    data, problems = load(tmp_path / "sub" / "own.yaml")
    assert problems == []
    assert data["gate"] == {"start_ms": 1}
    assert data["llm"]["model"] == "smollm2-135m-instruct"


def test_a_file_that_extends_its_own_name_means_the_packaged_one(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("extends: tiny.yaml\ngate: {start_ms: 1}\n")
    data, problems = load(tmp_path / "tiny.yaml")
    assert problems == []
    assert data["llm"]["engine"] == "llama_cpp"


def test_a_circle_is_refused_and_shown(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("x: 1\nextends: c.yaml\n")
    (tmp_path / "c.yaml").write_text("extends: a.yaml\n")
    data, problems = load(tmp_path / "a.yaml")
    assert data is None
    assert [problem.message.count("->") for problem in problems] == [3]
    assert "in a circle" in problems[0].message
    assert problems[0].origin.file.endswith("c.yaml")
    assert problems[0].origin.line == 1


def test_a_missing_base_has_its_place_and_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("x: 1\n")
    (tmp_path / "own.yaml").write_text("# c\nextends: bse.yaml\n")
    _, problems = load(tmp_path / "own.yaml")
    assert len(problems) == 1
    assert (problems[0].origin.line, problems[0].key) == (2, "extends")
    assert problems[0].message == "there is no file 'bse.yaml'; did you mean 'base.yaml'?"
    assert "local.yaml" in problems[0].hint


@pytest.mark.parametrize("value", ["{a: b}", "null", "[[x]]", "['', null]", "''", '"\\0"', "~nobody_at_all/x.yaml"])
def test_what_names_no_file_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "own.yaml").write_text(f"extends: {value}\n")
    data, problems = load(tmp_path / "own.yaml")
    assert data is None
    assert problems[0].origin.line == 1


def test_a_variable_in_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("x: 1\n")
    (tmp_path / "own.yaml").write_text("extends: ${BASE:-base.yaml}\n")
    assert load(tmp_path / "own.yaml")[0] == {"x": 1}
    (tmp_path / "own.yaml").write_text("extends: ${BASE}\n")
    _, problems = load(tmp_path / "own.yaml")
    assert "BASE is not set" in problems[0].message


def test_a_mistake_in_a_base_is_placed_in_the_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("x: 1\ny: [\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\n")
    _, problems = load(tmp_path / "own.yaml")
    assert problems[0].origin == Origin(str(tmp_path / "base.yaml"), 3)


# ------------------------------------------------------------------------------------------ overrides


@given(mappings, st.lists(plain_keys, min_size=1, max_size=3), st.integers(0, 9))
@settings(deadline=None)
def test_an_override_is_a_small_file_over_the_rest(data: dict[str, Any], path: list[str], value: int) -> None:
    over: Any = value
    for key in reversed(path):
        over = {key: over}
    below: Any = data
    for key in path[:-1]:
        below = below.get(key, {}) if isinstance(below, dict) else below
    changed, problems = override(data, f"{'.'.join(path)}={value}")
    if isinstance(below, dict):
        assert (changed, problems) == (deep(data, over), [])
    else:  # the path leads through a value or a list
        assert changed == data
        assert len(problems) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("0.5", 0.5), ("true", True), ("no", "no"), ("null", None), ("", None), ("a=b", "a=b"), ("'5'", "5"),
     ("[1, x]", [1, "x"]), ("{k: 1}", {"k": 1}), ("a: b", "a: b"), ("http://h:1/v1?x=y", "http://h:1/v1?x=y")],
)  # fmt: skip
def test_values_are_typed_as_in_yaml(text: str, value: object) -> None:
    assert override({"a": {"b": 1}}, f"a.b={text}") == ({"a": {"b": value}}, [])


def test_later_overrides_win() -> None:
    assert override({}, "a.b=1", "a.b=2") == ({"a": {"b": 2}}, [])


def test_a_new_engine_is_set_first_whatever_the_order() -> None:
    data = {"stt": {"engine": "one", "model": "m", "deadline_s": 2}}
    expected = {"stt": {"engine": "two", "model": "n", "deadline_s": 2}}
    assert override(data, "stt.model=n", "stt.engine=two") == (expected, [])
    assert override(data, "stt.engine=two", "stt.model=n") == (expected, [])
    assert override(data, "stt.engine=one") == (data, [])


def test_a_block_of_a_chain_by_its_number() -> None:
    data = {"llm": [{"engine": "one", "x": 1}, {"engine": "two", "y": 1}]}
    assert override(data, "llm.1.y=2")[0] == {"llm": [{"engine": "one", "x": 1}, {"engine": "two", "y": 2}]}
    assert override(data, "llm.0.engine=three")[0] == {"llm": [{"engine": "three"}, {"engine": "two", "y": 1}]}


def test_a_single_block_is_the_first_of_its_chain() -> None:
    assert override({"llm": {"engine": "one"}}, "llm.0.x=2") == ({"llm": {"engine": "one", "x": 2}}, [])
    assert override({"llm": {"engine": "one", "x": 1}}, "llm.0.engine=two") == ({"llm": {"engine": "two"}}, [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("llm.x=1", "'llm' is a list of 2: name one by its number, llm.0 to llm.1"),
        ("llm.2.x=1", "'llm' is a list of 2"),
        ("llm.-1.x=1", "'llm' is a list of 2"),
        ("llm.\u00b2.x=1", "'llm' is a list of 2"),
        (f"llm.{'9' * 5000}.x=1", "'llm' is a list of 2"),
        ("none.0=1", "'none' is an empty list"),
        ("size.x=1", "'size' holds no further keys"),
        ("size", "takes KEY=VALUE, for example stt.model=whisper-base (found 'size')"),
        ("=5", "takes KEY=VALUE"),
        ("", "takes KEY=VALUE"),
        ("a b=5", "takes KEY=VALUE"),
        ("size=[", "no valid YAML"),
        ("extends=tiny", "only a file can extend another one"),
    ],
)
def test_what_cannot_be_set_is_refused(text: str, says: str) -> None:
    data = {"llm": [{"engine": "one"}, {"engine": "two"}], "none": [], "size": 1}
    changed, problems = override(data, text)
    assert changed == data
    assert says in problems[0].message
    assert problems[0].origin.file == "--set"


def test_a_value_is_not_shown_when_the_key_is_forgotten() -> None:
    _, problems = override({}, "=sk-secret")
    assert "sk-secret" not in str(problems[0])


def test_null_makes_room_for_keys() -> None:
    assert override({"gate": "null"}, "gate.start_ms=5") == ({"gate": {"start_ms": 5}}, [])
