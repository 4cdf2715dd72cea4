"""Whatever a file holds, a ConfigError comes out, or a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from antiphon.pipeline.config import Config, InvalidConfig, load_config, packaged_names, parse_config
from antiphon.pipeline.config.model import SECTIONS
from antiphon.pipeline.config.sources import find_source
from antiphon.pipeline.errors import ConfigError

KEYS = st.sampled_from(
    sorted(
        {key for section in SECTIONS.values() for key in section.model_fields}
        | {*Config.model_fields, "engine", "extends", "<<", "voices", "deadline_s", "model", "size", "api_key", "words"}
        | {"threads", "", "no", "check", "patterns", "action", "function", "command", "url", "transcript_", "Session"}
    )
)
"""Keys that mean something, somewhere else perhaps; and some that mean nothing."""
SCALARS = st.one_of(
    st.sampled_from(
        ["toy_engines:Toy", "silero", "local", "tiny.yaml", "fuzz.yaml", "${A}", "${", "${B:-1}", "no", ".nan", ".inf",
         "~", "9" * 500,
         "sqlite", "pii", "agent", "os:system", "30d", "postgresql://u:p@h/d",
         "-1", "1e999", "./x", "~/x", "~nobody_at_all", "\0", "a:b", ".:", "..:x"]
    ),
    st.text(max_size=8),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(),
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=12,
)


def try_text(text: str, *overrides: str) -> None:
    try:
        assert isinstance(parse_config(text, overrides=overrides, environ={"A": "1"}), Config)
    except ConfigError as error:
        assert str(error)
        assert "Traceback" not in str(error)
        assert "pydantic" not in str(error)


@given(st.binary(max_size=200))
@example(b"\xff\xfe\x00")
@example("﻿a: 1".encode())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_config(path, environ={})


@given(st.text(max_size=100))
@example('a: "\\UFFFFFFFF"')
@example("\x85")
@example("%YAML 9.9\n---\na: 1")
@example("%TAG ! x\n--- !a b")
@example("? ")
@example("&a *a")
@example("- &a [*a]")
@example("a: &x\nb: *x")
@example("<<: {a: 1}")
@example("a: !!binary x")
@example("a: !!timestamp x")
@example("a: !!python/object/apply:os.system [echo]")
@example("a: !!set {b, c}")
@example("a: 1\na: 2")
@example("a: " + "x" * 100_000)
@example("\n".join(f"k{number}: {number}" for number in range(3000)))
@example("{" * 3000)
@example("- " * 3000)
@example("a: " * 3000)
@settings(deadline=None)
def test_any_text(text: str) -> None:
    try_text(text)


@given(TREES)
@settings(deadline=None, max_examples=150)
def test_any_tree(data: Any) -> None:
    try_text(yaml.safe_dump(data))


@given(st.dictionaries(KEYS, TREES, max_size=3), st.sampled_from(packaged_names()))
@settings(deadline=None, max_examples=50)
def test_any_tree_over_a_shipped_file(data: dict[str, Any], base: str) -> None:
    try_text(yaml.safe_dump({**data, "extends": base}))


@given(st.sampled_from(packaged_names()), st.data())
@settings(deadline=None, max_examples=50)
def test_a_shipped_file_with_a_piece_missing_or_doubled(name: str, data: st.DataObject) -> None:
    text = find_source(name).text
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 60)))
    try_text(text[:start] + text[end:])
    try_text(text[:end] + text[start:])


@given(st.one_of(st.text(max_size=30), st.tuples(st.lists(KEYS, max_size=4), st.text(max_size=10)).map(
    lambda pair: f"{'.'.join(pair[0])}={pair[1]}")))  # fmt: skip
@example("stt.0.0.engine=x")
@example("stt.0=x")
@example("stt.=x")
@example("stt..engine=x")
@example("extends=tiny")
@example("vad.0.threshold=0.4")
@settings(deadline=None)
def test_any_override(override: str) -> None:
    try_text(find_source("tiny").text, override)


@given(st.text(max_size=20))
@example("/dev/null")
@example("/proc/self/mem")
@example("~\0")
@example("-")
@example("*")
@settings(deadline=None)
def test_any_name(name: str) -> None:
    try:
        load_config(name, environ={})
    except ConfigError as error:
        assert error.problem


# ------------------------------------------------------------------- one mistake, and the error that names its place

Place = tuple[str | int, ...]


def places(node: Any, path: Place = ()) -> list[Place]:
    """Every place in a tree."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [*([path] if path else []), *(found for key, value in inner for found in places(value, (*path, key)))]


def changed(node: Any, path: Place, value: Any) -> Any:
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = changed(node[path[0]], path[1:], value)
    return copy


SHIPPED = {name: yaml.safe_load(find_source(name).text) for name in packaged_names()}
RICH = yaml.safe_load(
    """
extends: tiny.yaml
interruption: {min_words: 2, backchannels: [uh-huh, yes], mute_ms: 100}
policy:
  transcript: [pii, {check: max_length, words: 50, timeout_s: 0.5}]
  tool_call: [{check: approve, tools: [pay], question: Pay now, by: voice}]
  speech: {hold: full, checks: [{check: pattern, patterns: [a+]}]}
approvals: {timeout_s: 5, on_timeout: refuse}
transcript: {store: sqlite, keep: 30d, record_audio: true}
workflow:
  kind: agent
  tools: {pay: {function: "m:pay", on_interrupt: finish}, files: {command: x, args: [y]}}
  agents: {other: {instructions: Be kind., uses: [pay]}}
text: {lexicon: {SQL: sequel}}
"""
)
"""Every kind of section."""


def test_without_a_mistake_they_are_valid() -> None:
    for tree in (RICH, *SHIPPED.values()):
        assert isinstance(parse_config(yaml.safe_dump(tree), environ={"OPENAI_API_KEY": "x"}), Config)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_one_wrong_value_is_told_with_its_place(data: st.DataObject) -> None:
    """The error names the key, or one around it, and the line; nothing else is complained of first."""
    tree = data.draw(st.sampled_from([RICH, *SHIPPED.values()]))
    path = data.draw(st.sampled_from([path for path in places(tree) if path != ("extends",)]))
    wrong = data.draw(st.one_of(TREES, st.just([[]]), st.just({"": {}}), st.just("x" * 5000), st.just(10**400)))
    text = yaml.safe_dump(changed(tree, path, wrong), sort_keys=False)
    try:
        parse_config(text, environ={"A": "1"})
    except InvalidConfig as error:
        keys = {problem.key.split(".")[0] for problem in error.problems}
        # A wrong engine makes the options beside it wrong, a wrong `kind` other keys of `workflow`; never another
        # section (but for `session`: what is not said to be online must be local).
        assert all(problem.origin.line or problem.key for problem in error.problems), "a file and a line, or a key"
        assert path[0] == "session" or keys <= {str(path[0]), ""}, (path, wrong, str(error))
        assert len(str(error)) < 200_000


@given(st.sampled_from(sorted(SHIPPED)), st.data())
@settings(deadline=None)
def test_an_unknown_key_is_named(name: str, data: st.DataObject) -> None:
    tree = SHIPPED[name]
    mappings = [path for path in places(tree) if isinstance(_at(tree, path), dict) and path[-1] not in _FREE]
    path = data.draw(st.sampled_from([(), *mappings]))
    key = data.draw(st.text("abcdefghij_", min_size=6, max_size=12).filter(lambda key: key not in Config.model_fields))
    inner = {**_at(tree, path), key: 1}
    with pytest.raises(InvalidConfig) as caught:
        parse_config(yaml.safe_dump(changed(tree, path, inner)), environ={"OPENAI_API_KEY": "x"})
    assert any(key in str(problem) and problem.key for problem in caught.value.problems)


_FREE = ("voices", "tools", "agents", "lexicon", "options")
"""Mappings whose keys are names of the user's own."""


def _at(node: Any, path: Place) -> Any:
    for part in path:
        node = node[part]
    return node


@given(
    st.dictionaries(st.sampled_from("AB"), st.text(max_size=20), max_size=2),
    st.lists(
        st.sampled_from(["${A}", "${B:-x}", "$${A}", "${", "}", "$", "x", "${A:-${B}}", "1", ": ", "#", "\n"]),
        max_size=6,
    ),
    st.sampled_from(
        ["session.on_error", "vad.threshold", "llm.model", "stt.model", "workflow.instructions", "llm.engine"]
    ),
)
@settings(deadline=None)
def test_any_environment(environ: dict[str, str], parts: list[str], key: str) -> None:
    """A variable's value is never shown, and never read as YAML."""
    secret = "s3cr3t-" + environ.get("A", "")
    environ = {**environ, "A": secret}
    stage, name = key.split(".")
    tree = changed(SHIPPED["tiny.yaml"], (stage,), {**SHIPPED["tiny.yaml"][stage], name: "".join(parts)})
    try:
        config = parse_config(yaml.safe_dump(tree), environ=environ)
    except ConfigError as error:
        assert "s3cr3t" not in str(error)
    else:
        if parts == ["${A}"] and key == "session.on_error":
            assert config.session.on_error == secret


def test_aliases_cannot_explode() -> None:
    rows = [f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]" for number in range(1, 12)]
    with pytest.raises(ConfigError, match="values once aliases are expanded"):
        parse_config("\n".join(["a0: &a0 [x, x]", *rows]))
