"""The JSON Schema: what is valid for the loader is valid for an editor, and mistakes are seen."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped, unused-ignore]
import pytest
import yaml

from antiphon.engines.protocols import STAGES
from antiphon.engines.registry import BUILTINS
from antiphon.pipeline.config import config_data, json_schema, load_config, packaged_names
from antiphon.pipeline.config.sources import find_source

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def local() -> dict[str, Any]:
    data = yaml.safe_load(find_source("local").text)
    assert isinstance(data, dict)
    return data


def errors(data: object) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(data)]


def test_the_schema_is_a_schema_and_plain_json() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


@pytest.mark.parametrize("name", packaged_names())
def test_the_shipped_files_are_valid(name: str) -> None:
    assert errors(yaml.safe_load(find_source(name).text)) == []


@pytest.mark.parametrize("name", packaged_names())
def test_what_show_prints_is_valid(name: str) -> None:
    assert errors(config_data(load_config(name, environ={}))) == []


@pytest.mark.parametrize(
    ("stage", "block"),
    [
        ("stt", {"engine": "openai", "api_key": "${KEY}", "base_url": "${URL:-http://h}"}),
        ("stt", {"engine": "my.module:Class", "anything": 1}),
        ("stt", {"engine": "${ENGINE}", "model": "x"}),
        ("stt", {"engine": "faster_whisper", "threads": "${N}"}),
        ("stt", {"engine": "faster_whisper", "threads": 2, "language": False, "prompt": 12}),
        ("stt", [{"engine": "openai", "deadline_s": 2}, {"engine": "faster_whisper"}]),
        ("tts", {"engine": "piper", "voices": {"en": "x"}, "deadline_s": None}),
    ],
)
def test_what_the_loader_takes_is_valid(stage: str, block: Any) -> None:
    assert errors(local() | {stage: block}) == []


@pytest.mark.parametrize(
    ("stage", "block"),
    [
        ("stt", {"engine": "faster_wisper"}),
        ("stt", {"engine": "faster_whisper", "modle": "x"}),
        ("stt", {"engine": "faster_whisper", "compute_type": "int7"}),
        ("stt", {"engine": "faster_whisper", "threads": "many"}),
        ("stt", {"engine": "faster_whisper", "voices": {"en": "x"}}),
        ("stt", {"engine": "faster_whisper", "base_url": "http://h"}),
        ("stt", {"model": "x"}),
        ("stt", []),
        ("stt", [{"model": "x"}]),
        ("stt", "faster_whisper"),
        ("vad", [{"engine": "silero"}]),
        ("vad", {"engine": "silero", "threshold": 2}),
    ],
)
def test_what_the_loader_refuses_is_seen(stage: str, block: Any) -> None:
    assert errors(local() | {stage: block})


@pytest.mark.parametrize(
    "part", [{"sesion": {}}, {"session": {"ofline": True}}, {"session": {"max_turn_s": "long"}}, {"gate": 5}]
)
def test_mistakes_in_sections_are_seen(part: dict[str, Any]) -> None:
    assert errors(local() | part)


def test_a_file_that_extends_another_need_not_be_whole() -> None:
    assert errors({"extends": "local.yaml", "stt": {"model": "whisper-base"}, "session": None}) == []
    assert errors({"extends": ["a.yaml", "b.yaml"]}) == []
    assert errors({"extends": 5})
    missing = local()
    del missing["llm"]
    assert errors(missing)


def test_every_option_of_every_engine_is_described_with_its_unit() -> None:
    for spec in BUILTINS:
        properties = SCHEMA["$defs"][f"{spec.stage}_{spec.name}"]["properties"]
        for name, info in spec.options_class().model_fields.items():
            described = properties[info.alias or name]["description"]
            assert described.startswith(info.description)
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra.get("unit"):
                assert f"Unit: {extra['unit']}." in described


def test_every_key_of_the_schema_is_a_key_of_the_loader() -> None:
    assert set(SCHEMA["properties"]) == {"extends", *STAGES, *config_data(load_config("tiny"))}
