"""Whatever a file holds, a ConfigError comes out, or a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from antiphon.pipeline.config import Config, load_config, packaged_names, parse_config
from antiphon.pipeline.config.sources import find_source
from antiphon.pipeline.errors import ConfigError

KEYS = st.sampled_from(
    ["vad", "turn", "stt", "llm", "tts", "engine", "session", "gate", "text", "lexicon", "workflow", "options",
     "models", "store", "catalogs", "extends", "<<", "voices", "deadline_s", "model", "size", "api_key", "words",
     "threads", "", "no"]
)  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from(
        ["toy_engines:Toy", "silero", "local", "tiny.yaml", "fuzz.yaml", "${A}", "${", "${B:-1}", "no", ".nan", ".inf",
         "~", "9" * 500, "-1", "1e999", "./x", "~/x", "~nobody_at_all", "\0", "a:b", ".:", "..:x"]
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
@example("{" * 3000)
@example("- " * 3000)
@example("a: " * 3000)
@settings(deadline=None)
def test_any_text(text: str) -> None:
    try_text(text)


@given(TREES)
@settings(deadline=None, max_examples=300)
def test_any_tree(data: Any) -> None:
    try_text(yaml.safe_dump(data))


@given(st.dictionaries(KEYS, TREES, max_size=3), st.sampled_from(packaged_names()))
@settings(deadline=None)
def test_any_tree_over_a_shipped_file(data: dict[str, Any], base: str) -> None:
    try_text(yaml.safe_dump({**data, "extends": base}))


@given(st.sampled_from(packaged_names()), st.data())
@settings(deadline=None)
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
@example("-")
@example("*")
@settings(deadline=None)
def test_any_name(name: str) -> None:
    try:
        load_config(name, environ={})
    except ConfigError as error:
        assert error.problem
