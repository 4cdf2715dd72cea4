"""What a configuration needs: the models that its engines name."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.engines.models.catalog import Catalog
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import BUILTINS
from antiphon.pipeline.config import Config, load_config, parse_config
from antiphon.pipeline.needs import block_paths, models_of, needed_models


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", Catalog.load())


def extended(text: str) -> Config:
    return parse_config(f"extends: tiny.yaml\n{text}")


def test_the_models_of_the_shipped_configurations(store: ModelStore) -> None:
    hearing = ["silero-vad", "smart-turn-v3.2-cpu"]
    voice = "en_US-joe-medium"
    qwen = "qwen2.5-coder-0.5b-instruct"
    assert models_of(load_config("tiny"), store) == [*hearing, "whisper-tiny.en", "smollm2-135m-instruct", voice]
    assert models_of(load_config("local"), store) == [*hearing, "whisper-tiny.en", qwen, voice]
    assert models_of(load_config("webrtcvad"), store) == [hearing[1], "whisper-tiny.en", qwen, voice]
    assert models_of(load_config("multilingual"), store) == [*hearing, "whisper-base", qwen, voice]
    assert models_of(load_config("cloud"), store) == hearing
    assert models_of(load_config("hybrid"), store) == [*hearing, "whisper-tiny.en", qwen, voice]


def test_each_model_says_where_it_is_named(store: ModelStore) -> None:
    config = extended("tts: {voices: {en: en_US-joe-medium, de: /some-voice}, more_voices: [./third]}")
    keys = {model.reference: model.keys for model in needed_models(config, store)}
    assert keys["en_US-joe-medium"] == ("tts.voice", "tts.voices.en")
    assert keys["silero-vad"] == ("vad.model",)
    assert keys["/some-voice"] == ("tts.voices.de",)
    assert keys[str(Path("third").absolute())] == ("tts.more_voices",)
    remote = extended("tts: {engine: openai, base_url: 'http://localhost:1/v1', voices: {en: alloy}}")
    assert "alloy" not in models_of(remote, store), "a server's voice is no model of the store"


def test_every_block_of_a_chain_counts(store: ModelStore) -> None:
    config = extended(
        "llm:\n- {engine: openai, base_url: 'http://localhost:1/v1', model: remote}\n"
        "- {engine: llama_cpp, model: qwen2.5-coder-0.5b-instruct}\n"
    )
    assert list(block_paths(config)) == ["vad", "turn", "stt", "llm.0", "llm.1", "tts"]
    keys = {model.reference: model.keys for model in needed_models(config, store)}
    assert keys["qwen2.5-coder-0.5b-instruct"] == ("llm.1.model",)
    assert "remote" not in keys


def test_files_of_the_users_own_cannot_be_pulled(store: ModelStore, tmp_path: Path) -> None:
    own = tmp_path / "mine.gguf"
    config = extended(f"llm: {{model: {own}}}\nstt: {{model: 'hub:owner/name@v1'}}")
    pullable = {model.reference: model.pullable for model in needed_models(config, store)}
    assert pullable[str(own)] is False
    assert pullable["hub:owner/name@v1"] is True
    assert pullable["silero-vad"] is True


def test_every_local_engine_with_a_model_or_voice_says_so() -> None:
    """A new engine whose author forgot `model=True` would have its model neither pulled nor checked."""
    for spec in BUILTINS:
        fields = spec.options_class().model_fields
        marked = {
            name
            for name, info in fields.items()
            if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("model_reference")
        }
        expected = {"voice", "more_voices"} if "voice" in fields else {"model"} & fields.keys()
        assert marked == (expected if spec.local else set()), spec.name
