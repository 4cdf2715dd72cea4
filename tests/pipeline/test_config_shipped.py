"""The files in configs/: whole, valid, and what their comments say."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.engines.protocols import STAGES
from antiphon.pipeline.config import Config, load_config, packaged_names
from antiphon.pipeline.config.sources import find_source
from antiphon.pipeline.config.tree import parse

FOLDER = Path(__file__).parents[2] / "configs"
NAMES = ["agent.yaml", "cloud.yaml", "hybrid.yaml", "local.yaml", "multilingual.yaml", "tiny.yaml", "webrtcvad.yaml"]


def load(name: str) -> Config:
    return load_config(name, environ={})


def engines(config: Config) -> list[str]:
    return [block.engine for block in config.blocks()]


def test_these_files_are_shipped() -> None:
    assert packaged_names() == NAMES
    assert sorted(path.name for path in FOLDER.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_valid_by_name_and_by_path_without_any_variable(name: str) -> None:
    assert load(name) == load(name.removesuffix(".yaml")) == load_config(FOLDER / name, environ={})


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_is_whole_and_says_what_it_is_for(name: str) -> None:
    source = find_source(name)
    tree = parse(source.text, name, FOLDER, [])
    assert tree is not None
    assert {*STAGES, "workflow", "session"} == set(tree.entries) - {"gate"}
    assert source.text.startswith("# ")
    assert all(len(line) <= 120 for line in source.text.splitlines())


def test_local_is_the_default_and_for_people() -> None:
    config = load("local.yaml")
    assert load_config(environ={}) == config
    assert engines(config) == ["silero", "smart_turn", "faster_whisper", "llama_cpp", "piper"]
    assert config.session.offline


def test_tiny_has_the_smallest_models() -> None:
    config = load("tiny.yaml")
    assert engines(config) == engines(load("local.yaml"))
    assert config.llm[0].options.model_dump()["model"] == "smollm2-135m-instruct"


def test_webrtcvad_is_local_with_another_vad() -> None:
    config, local = load("webrtcvad.yaml"), load("local.yaml")
    assert config.vad.engine == "webrtcvad"
    assert config.model_copy(update={"vad": local.vad, "gate": local.gate}) == local


def test_multilingual_detects_the_language_and_has_voices_by_it() -> None:
    config = load("multilingual.yaml")
    options = config.stt[0].options.model_dump()
    assert (options["model"], options["language"]) == ("whisper-base", None)
    assert dict(config.tts[0].voices) == {"en": "en_US-joe-medium"}


def test_cloud_hears_thinks_and_speaks_elsewhere() -> None:
    config = load("cloud.yaml")
    assert engines(config) == ["silero", "smart_turn", "openai", "openai", "openai"]
    assert not config.session.offline
    key = {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://localhost:8000/v1"}
    for block in load_config("cloud", environ=key).blocks()[2:]:
        options = block.options.model_dump()
        assert (options["api_key"], options["base_url"]) == ("sk-1", "http://localhost:8000/v1")


def test_cloud_is_allowed_offline_when_its_server_is_here() -> None:
    environ = {"OPENAI_BASE_URL": "http://localhost:8000/v1"}
    assert load_config("cloud", overrides=["session.offline=true"], environ=environ).session.offline


def test_hybrid_falls_back_to_a_local_model() -> None:
    config = load("hybrid.yaml")
    assert [block.engine for block in config.llm] == ["openai", "llama_cpp"]
    assert config.llm[0].deadline_s is not None
    assert not config.session.offline
    assert all(block.spec.local for block in config.blocks() if block.stage != "llm")


def test_one_key_swaps_a_stage() -> None:
    config = load_config("local", overrides=["llm.engine=openai", "session.offline=false"], environ={})
    assert engines(config) == ["silero", "smart_turn", "faster_whisper", "openai", "piper"]
