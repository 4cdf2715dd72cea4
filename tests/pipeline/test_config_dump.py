"""A configuration back to YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.pipeline.config import (
    Config,
    config_data,
    dump_config,
    engine_block,
    load_config,
    packaged_names,
    parse_config,
    trace_config,
)
from antiphon.pipeline.config.model import SECTIONS

TOY = "toy_engines:Toy"
BASE = "".join(f"{stage}: {{engine: {TOY}}}\n" for stage in ("vad", "turn", "stt", "llm", "tts"))

texts = st.text(max_size=30)
numbers = st.floats(allow_nan=False, allow_infinity=False)
free_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def with_parts(**parts: Any) -> Config:
    blocks: dict[str, Any] = {stage: engine_block(stage, TOY) for stage in ("vad", "turn")}
    blocks |= {stage: (engine_block(stage, TOY),) for stage in ("stt", "llm", "tts")}
    sections = {name: SECTIONS[name](**value) for name, value in parts.items() if name in SECTIONS}
    return Config(**(blocks | {key: value for key, value in parts.items() if key not in SECTIONS} | sections))


@pytest.mark.parametrize("name", packaged_names())
def test_a_dumped_configuration_loads_to_the_same_again(name: str) -> None:
    config = load_config(name, environ={"OPENAI_API_KEY": "sk-1"})
    assert parse_config(dump_config(config, mask_secrets=False), environ={}) == config


@given(texts, st.dictionaries(texts.filter(bool), texts, max_size=3), st.dictionaries(texts, free_values, max_size=3))
@settings(deadline=None)
def test_any_text_survives(instructions: str, lexicon: dict[str, str], options: dict[str, Any]) -> None:
    config = with_parts(workflow={"instructions": instructions, "options": options}, text={"lexicon": lexicon})
    loaded = parse_config(dump_config(config, mask_secrets=False), environ={})
    assert loaded.workflow == config.workflow
    assert loaded.text == config.text


@given(texts, texts, st.dictionaries(texts, texts, max_size=3), st.lists(texts, max_size=3))
@settings(deadline=None)
def test_any_option_survives(model: str, key: str, words: dict[str, str], names: list[str]) -> None:
    if any(text.startswith(("./", "../", "~/")) for text in (model, key, *words.values(), *names)):
        return  # in a file these are paths, and a loaded configuration holds them resolved
    options = {"model": model or "m", "api_key": key, "words": words, "names": names, "pin": key}
    config = with_parts(stt=(engine_block("stt", TOY, options, deadline_s=1.5), engine_block("stt", TOY)))
    assert parse_config(dump_config(config, mask_secrets=False), environ={}) == config


@pytest.mark.parametrize(
    "text",
    [
        "${A}",
        "$${A}",
        "no",
        "5",
        "1e3",
        "null",
        "~",
        "",
        " x ",
        "a: b",
        "# c",
        "x\x85y",
        "\u2028",
        "\ufeff",
        "a\nb",
        "a\n\n",
        "\n",
        " a\nb",
        "\t",
        "\x7f",
        "'\"",
        "- a",
        "?",
        "*a",
        "&a",
        "!x",
        "%",
        "@",
        "`",
        "<<",
        "=",
        "\U0001f600",
    ],
)
def test_awkward_text_survives_as_value_and_as_key(text: str) -> None:
    config = with_parts(
        workflow={"instructions": text, "options": {text: [text]}}, text={"lexicon": {f"{text}k": text}}
    )
    assert parse_config(dump_config(config, mask_secrets=False), environ={}) == config


def test_the_dump_is_whole_and_in_the_order_of_the_audio() -> None:
    data = config_data(parse_config(BASE))
    assert list(data) == [
        "audio", "vad", "turn", "stt", "llm", "tts",
        "wake_word", "workflow", "session", "gate", "text", "models", "speculation", "interruption",
        "policy", "approvals", "transcript", "server",
    ]  # fmt: skip
    assert data["stt"]["engine"] == TOY
    assert data["stt"]["size"] == 3
    assert data["session"]["offline"] is True


def test_data_is_plain(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("models: {}\n")
    data = config_data(parse_config(BASE + "models: {catalogs: [a.yaml]}\n", directory=tmp_path))
    assert json.loads(json.dumps(data)) == data
    assert data["models"]["catalogs"] == [str(tmp_path / "a.yaml")]


def test_secrets_are_masked_and_unset_ones_are_seen_to_be_unset() -> None:
    yaml = BASE.replace(f"stt: {{engine: {TOY}", f"stt: {{engine: {TOY}, api_key: hunter2, pin: '4711'")
    yaml += "workflow: {kind: 'a:B', options: {api_token: hunter2, deep: [{password: hunter2}], url: 'http://u:hunter2@h'}}\n"
    config = parse_config(yaml)
    shown = dump_config(config)
    assert "hunter2" not in shown
    assert "4711" not in shown
    assert "http://***@h" in shown
    data = config_data(config)
    assert (data["stt"]["api_key"], data["stt"]["pin"], data["llm"]["api_key"]) == ("***", "***", None)
    assert data["workflow"]["options"] == {"api_token": "***", "deep": [{"password": "***"}], "url": "http://***@h"}
    assert "hunter2" in dump_config(config, mask_secrets=False)


def test_of_a_secret_mapping_only_the_keys_are_shown() -> None:
    config = load_config("cloud", overrides=["stt.extra_headers={X-Key: hunter2}"], environ={})
    assert config_data(config)["stt"]["extra_headers"] == {"X-Key": "***"}
    assert config_data(config)["llm"]["extra_headers"] == {}


def test_every_value_has_its_origin(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE + "session:\n  max_turn_s: 5\n")
    own = tmp_path / "own.yaml"
    blocks = "stt: {model: '${M:-x}', names: [a], api_key: '${K:-hunter2}'}\ntts: [{engine: 'toy_engines:Plain'}]\n"
    own.write_text(f"extends: base.yaml\n{blocks}")
    config, tree = trace_config(own, overrides=["gate.start_ms=50"], environ={})
    shown = dump_config(config, origins=tree)
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    base = tmp_path / "base.yaml"
    assert f"max_turn_s: 5.0 # {base}:7" in lines
    assert f"engine: {TOY} # {base}:3" in lines
    assert f"model: x # {own}:2, $M" in lines
    assert f"api_key: '***' # {own}:2, $K" in lines
    assert "hunter2" not in shown
    assert f"- a # {own}:2" in lines
    assert f"engine: toy_engines:Plain # {own}:3" in lines
    assert "start_ms: 50.0 # --set" in lines
    assert "pre_roll_ms: 300.0 # default" in lines
    unmasked = dump_config(config, mask_secrets=False, origins=tree)
    assert parse_config(unmasked, environ={}) == config


def test_origins_do_not_disturb_long_and_multi_line_values() -> None:
    yaml = BASE + f"workflow:\n  instructions: |\n    One.\n    Two # three.\nsession:\n  on_error: {'long ' * 40}\n"
    config = parse_config(yaml)
    _, tree = trace_config("tiny")
    assert parse_config(dump_config(config, origins=tree), environ={}) == config
