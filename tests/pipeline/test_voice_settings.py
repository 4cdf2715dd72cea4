"""What users of `agents.voice` set, and what the configuration says, on scripted engines."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_config import Script, given, kinds, one_turn, samples, spoken_audio, texts

from antiphon import (
    AntiphonError,
    Config,
    STTModelSettings,
    TTSModelSettings,
    VoicePipeline,
    VoicePipelineConfig,
    VoiceStreamEvent,
    VoiceWorkflowBase,
    load_config,
)
from antiphon.engines.protocols import TTSCapabilities
from antiphon.engines.testing import Heard, Reply, ScriptedSTT, ScriptedTTS, run_virtual
from antiphon.pipeline.config import packaged_names
from antiphon.pipeline.errors import ConfigError, SessionClosed, WorkflowError


def answered(script: Script, settings: VoicePipelineConfig | None = None, **arguments: Any) -> list[VoiceStreamEvent]:
    async def main() -> list[VoiceStreamEvent]:
        async with script.pipeline(settings=settings, **arguments) as pipeline:
            result = await pipeline.run(spoken_audio())
            return [event async for event in result.stream()]

    return run_virtual(main())


def speaking(**settings: Any) -> VoicePipelineConfig:
    return VoicePipelineConfig(tts_settings=TTSModelSettings(**settings))


# ------------------------------------------------------------------------------------------- the voice


def test_float32_audio_has_one_column() -> None:
    found = samples(answered(one_turn(), speaking(dtype=np.float32)))
    assert found.dtype == np.float32 and found.shape[1:] == (1,)
    assert np.abs(found).max() == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize("dtype", [np.int16, "int16", np.dtype(np.int16)])
def test_int16_by_any_of_its_names(dtype: Any) -> None:
    assert samples(answered(one_turn(), speaking(dtype=dtype))).dtype == np.int16


@pytest.mark.parametrize("dtype", [np.int32, "int24", np.float64, None, "text"])
def test_a_type_that_no_audio_has(dtype: Any) -> None:
    with pytest.raises(ConfigError, match=r"tts_settings\.dtype.*np\.int16 or np\.float32"):
        TTSModelSettings(dtype=dtype)


def test_samples_are_transformed_one_event_at_a_time() -> None:
    shapes: list[tuple[int, ...]] = []

    def half(data: Any) -> Any:
        shapes.append(data.shape)
        return data // 2

    events = answered(one_turn(), speaking(transform_data=half))
    assert len(shapes) == len([event for event in events if event.type.endswith("audio")]) > 1
    assert np.abs(samples(events)).max() == pytest.approx(0.15 * 32767, rel=0.01)


def test_a_broken_transform_ends_the_turn_and_not_the_session() -> None:
    def broken(data: Any) -> Any:
        raise ZeroDivisionError("in my filter")

    script = Script(stt=[Heard("Hi.")], llm=[Reply(["Hello."])], session={"on_error": "Sorry."})
    events = answered(script, speaking(transform_data=broken))
    assert kinds(events) == ["turn_started", "user", "error", "turn_ended", "session_ended"]
    error = next(event.error for event in events if event.type == "voice_stream_event_error")
    assert "transform_data: ZeroDivisionError: in my filter" in str(error)


def test_a_text_splitter_of_ones_own() -> None:
    def by_word(text: str) -> tuple[str, str]:
        head, space, rest = text.rpartition(" ")
        return (head + space, rest)

    script = one_turn("Hi.", "One two three.")
    events = answered(script, speaking(text_splitter=by_word))
    assert [call.text.strip() for call in script.tts_engine.calls] == ["One", "two", "three."]
    assert texts(events, "assistant") == ["One two three."]


@pytest.mark.parametrize(
    "splitter",
    [
        lambda text: ("", text),
        lambda text: (text, ""),
        lambda text: (text.strip(), ""),
        lambda text: (" ".join(text.split(". ")[:-1]), text.split(". ")[-1]),
    ],
)
def test_no_text_is_lost_by_a_splitter_that_strips(splitter: Any) -> None:
    text = "One is  here. Two is there. And three."
    script = one_turn("Hi.", text)
    events = answered(script, speaking(text_splitter=splitter))
    assert texts(events, "assistant") == [text]
    said = " ".join(call.text for call in script.tts_engine.calls)
    assert said.split() == text.split()


def test_a_broken_splitter_ends_the_turn_and_not_the_session() -> None:
    def broken(text: str) -> tuple[str, str]:
        raise KeyError(text[:3])

    assert "error" in kinds(answered(one_turn(), speaking(text_splitter=broken)))


def test_speed_and_a_known_voice_reach_the_engine() -> None:
    class Voices(ScriptedTTS):
        def __init__(self) -> None:
            super().__init__()
            self.capabilities = TTSCapabilities(voices=("amy", "joe"))

    script = Script(stt=[Heard("Hi.")], llm=[Reply(["Hello."])], tts=Voices())
    answered(script, speaking(voice="amy", speed=1.5))
    options = script.tts_engine.calls[0].options
    assert (options.voice, options.speed) == ("amy", 1.5)


@pytest.mark.parametrize("voice", ["ash", {"id": "voice_1234"}])
def test_an_unknown_voice_stands_for_the_configured_one(voice: Any) -> None:
    script = one_turn()
    events = answered(script, speaking(voice=voice))
    assert script.tts_engine.calls[0].options.voice is None and texts(events, "assistant") == ["It is noon."]


@pytest.mark.parametrize("speed", [0.1, 5.0, -1.0])
def test_a_speed_that_nobody_can_speak(speed: float) -> None:
    with pytest.raises(ConfigError, match=r"tts_settings\.speed.*0\.25 to 4\.0"):
        TTSModelSettings(speed=speed)


# --------------------------------------------------------------------------------------------- the ear


def test_recognition_settings_reach_the_engine() -> None:
    script = one_turn()
    settings = VoicePipelineConfig(
        stt_settings=STTModelSettings(prompt="A call.", languages=["de"], keywords=["Antiphon", "Whisper"])
    )
    answered(script, settings)
    options = script.stt_engine.calls[0].options
    assert (options.prompt, options.language, options.hotwords) == ("A call.", "de", "Antiphon, Whisper")


def test_one_of_many_languages_is_not_guessed() -> None:
    assert STTModelSettings(languages=["de", "en"]).language is None
    assert STTModelSettings(language="fr", languages=["de"]).language == "fr"


# -------------------------------------------------------------------------------- names and mappings


@pytest.mark.parametrize("name", ["gpt-4o-transcribe", "gpt-5.5", "gpt-realtime", "tts-1", ""])
def test_a_model_name_stands_for_the_configured_engine(name: str, caplog: pytest.LogCaptureFixture) -> None:
    script = one_turn()
    with caplog.at_level(logging.INFO, logger="antiphon"):
        events = answered(script, stt_model=name, tts_model=name)
    assert texts(events, "assistant") == ["It is noon."]
    assert "stands for the configured engine" in caplog.text


def test_engines_of_ones_own_take_the_place_of_the_configured_ones() -> None:
    script = Script(llm=[Reply(["Hello."])])
    stt, tts = ScriptedSTT([Heard("Hi.")]), ScriptedTTS()
    events = answered(script, stt_model=stt, tts_model=tts)
    assert texts(events, "assistant") == ["Hello."]
    assert (script.stt_engine.loads, script.tts_engine.loads, stt.loads, tts.loads) == (0, 0, 1, 1)


@pytest.mark.parametrize("name", ["stt_model", "tts_model"])
def test_what_is_no_engine_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} must be a name or an Antiphon {name[:3]} engine .*not object"):
        VoicePipeline(config=Script().config(), **{name: object()})


def test_settings_as_a_mapping() -> None:
    pipeline = VoicePipeline(
        config={"workflow_name": "Desk", "tts_settings": {"speed": 1.2}, "stt_settings": STTModelSettings("A call.")}
    )
    assert pipeline.settings.tts_settings.speed == 1.2 and pipeline.settings.stt_settings.prompt == "A call."
    assert pipeline.config.llm[0].engine == "llama_cpp", "the packaged local.yaml"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"tts_setings": {}}, "no field 'tts_setings'\nDid you mean 'tts_settings'"),
        (
            {"tts_settings": {"sped": 1}},
            r"tts_settings\.sped: TTSModelSettings has no field 'sped'\nDid you mean 'speed'",
        ),
        ({"stt_settings": {"xyzzy": 1}}, "It has: prompt, language"),
        ({"tts_settings": 7}, "tts_settings: wants a TTSModelSettings or a mapping, not int"),
        ({"stt": {"engine": "openai"}}, r"VoicePipeline\.from_config"),
    ],
)
def test_a_typo_in_the_settings_is_named(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VoicePipeline(config=mapping)


def test_fields_of_the_other_package_are_accepted_and_nothing_is_traced() -> None:
    settings = VoicePipelineConfig(
        model_provider=object(),
        tracing_disabled=False,
        tracing={"api_key": "x"},
        trace_include_sensitive_data=True,
        trace_include_sensitive_audio_data=True,
        group_id="g",
        trace_metadata={"a": 1},
        stt_settings=STTModelSettings(temperature=0.3, turn_detection={"type": "semantic_vad"}),
        tts_settings=TTSModelSettings(buffer_size=1, instructions="Read it."),
    )
    assert texts(answered(one_turn(), settings), "assistant") == ["It is noon."]


# ------------------------------------------------------------------------------------- configurations


def test_no_configuration_is_the_packaged_local_one() -> None:
    assert VoicePipeline().config == load_config("local.yaml") == VoicePipeline.from_config().config


@pytest.mark.parametrize("name", packaged_names())
def test_every_packaged_configuration_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    assert VoicePipeline.from_config(name).config == VoicePipeline(config=name).config


def test_a_file_overrides_and_settings(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: tiny.yaml\nworkflow:\n  instructions: Speak like a pirate.\n")
    pipeline = VoicePipeline.from_config(file, overrides=["llm.temperature=0.5"], settings={"group_id": "g"})
    assert pipeline.config.workflow.instructions == "Speak like a pirate."
    assert pipeline.config.llm[0].options.temperature == 0.5  # type: ignore[attr-defined]
    assert pipeline.settings.group_id == "g"


def test_a_mistake_in_the_file_is_shown_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: tiny.yaml\nstt:\n  modl: whisper-base\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml:3: stt\.modl.*(\n.*)*model"):
        VoicePipeline.from_config(file)
    with pytest.raises(ConfigError, match="nowhere"):
        VoicePipeline(config=tmp_path / "nowhere.yaml")


# ------------------------------------------------------------------------------------------- workflows


class Shouting(VoiceWorkflowBase):
    def __init__(self, mark: str = "!") -> None:
        self.mark = mark

    async def run(self, transcription: str) -> AsyncIterator[str]:
        yield transcription.upper()
        yield self.mark


async def generator(text: str) -> AsyncIterator[str]:
    yield text.upper()
    yield "!"


async def coroutine(text: str) -> str:
    return f"{text.upper()}!"


def plain(text: str) -> str:
    return f"{text.upper()}!"


@pytest.mark.parametrize("workflow", [Shouting(), Shouting, generator, coroutine, plain])
def test_every_form_of_workflow(workflow: Any) -> None:
    assert texts(answered(Script(stt=[Heard("hi")]), workflow=workflow), "assistant") == ["HI!"]


@pytest.fixture
def my_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user's in the current folder."""
    (tmp_path / "my_desk.py").write_text(
        "from antiphon import VoiceWorkflowBase\n"
        "class Desk(VoiceWorkflowBase):\n"
        "    def __init__(self, word='Hello'):\n"
        "        self.word = word\n"
        "    async def run(self, transcription):\n"
        "        yield f'{self.word}, {transcription}'\n"
        "async def answer(text):\n"
        "    return f'Yes, {text}'\n"
        "number = 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "my_desk"
    sys.modules.pop("my_desk", None)


@pytest.mark.parametrize(
    ("workflow", "answer"),
    [
        ({"kind": "my_desk:Desk"}, "Hello, Al"),
        ({"kind": "my_desk.Desk", "options": {"word": "Bye"}}, "Bye, Al"),
        ({"kind": "my_desk:answer"}, "Yes, Al"),
    ],
)
def test_a_workflow_by_dotted_path(my_module: str, workflow: dict[str, Any], answer: str) -> None:
    script = Script(stt=[Heard("Al")], workflow=workflow)
    assert texts(answered(script), "assistant") == [answer]
    assert script.llm_engine.loads == 0


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        ({"kind": "my_desk:number"}, "int is no workflow"),
        ({"kind": "my_desk:Nothing"}, "cannot be imported: module 'my_desk' has no 'Nothing'"),
        ({"kind": "no_such_module:Desk"}, "cannot be imported: No module named 'no_such_module'"),
        ({"kind": "my_desk:Desk", "options": {"wrd": 1}}, "cannot be made with workflow.options"),
    ],
)
def test_a_dotted_path_to_no_workflow(my_module: str, workflow: dict[str, Any], message: str) -> None:
    async def main() -> None:
        pipeline = Script(workflow=workflow).pipeline()
        with pytest.raises(WorkflowError, match=message):
            result = await pipeline.run(spoken_audio())
            async for _ in result.stream():
                pass
        await pipeline.aclose()

    run_virtual(main())


def test_a_pipeline_stays_in_its_event_loop() -> None:
    script = Script(stt=lambda _: Heard("Hi."), llm=lambda _: Reply(["Hello."]))
    pipeline = script.pipeline()

    async def once() -> None:
        result = await pipeline.run(spoken_audio())
        async for _ in result.stream():
            pass

    run_virtual(once())
    with pytest.raises(SessionClosed, match=r"another event loop\n.*aclose"):
        run_virtual(once())
    run_virtual(pipeline.aclose())
    run_virtual(once())
    run_virtual(pipeline.aclose())


def test_the_configuration_made_in_code_is_taken_as_it_is() -> None:
    config = Script().config()
    assert isinstance(config, Config) and VoicePipeline(config=config).config is config
    assert config.stt[0].spec.factory == "scripted_config:given" and given is not None


def test_errors_have_one_root() -> None:
    assert issubclass(WorkflowError, AntiphonError) and issubclass(ConfigError, AntiphonError)
    assert asyncio.iscoroutinefunction(VoicePipeline.run)
