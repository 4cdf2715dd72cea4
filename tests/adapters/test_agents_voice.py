"""Our engines in the vendor's own VoicePipeline: scripted ones, and once the small real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from agents import Agent, function_tool
from agents.voice import (
    AudioInput,
    SingleAgentVoiceWorkflow,
    StreamedAudioInput,
    TTSModelSettings,
    VoicePipeline,
    VoicePipelineConfig,
    VoiceWorkflowBase,
)
from scripted_config import Script

from antiphon import load_config
from antiphon.adapters.openai_agents import AntiphonTTSModel, AntiphonVoiceModelProvider
from antiphon.engines.audio import to_pcm16
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.errors import AudioInputError, SessionClosed

pytestmark = pytest.mark.interop


class Echo(VoiceWorkflowBase):
    async def run(self, transcription: str) -> AsyncIterator[str]:
        yield f"You said: {transcription}."


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny."


def pipeline(provider: AntiphonVoiceModelProvider, workflow: Any, **settings: Any) -> VoicePipeline:
    config = VoicePipelineConfig(model_provider=provider, tracing_disabled=True, **settings)
    return VoicePipeline(workflow=workflow, stt_model="gpt-4o-transcribe", tts_model="tts-1", config=config)


async def audio_of(result: Any) -> Any:
    pieces = [event.data async for event in result.stream() if event.type == "voice_stream_event_audio"]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int16)


def recording(seconds: float = 1.0) -> AudioInput:
    return AudioInput(buffer=np.zeros(round(seconds * 24000), dtype=np.int16))


def test_a_recording_is_heard_answered_by_an_agent_and_spoken() -> None:
    call = ToolCall("1", "get_weather", '{"city": "Paris"}')
    script = Script(stt=[Heard("Weather in Paris?")], llm=[Reply(tool_calls=[call]), Reply.of("It is sunny.")])

    async def main() -> Any:
        async with AntiphonVoiceModelProvider(script.config()) as provider:
            agent = Agent(name="Assistant", model=provider.model, tools=[get_weather])
            result = await pipeline(provider, SingleAgentVoiceWorkflow(agent)).run(recording())
            return await audio_of(result), result.total_output_text

    audio, text = run_virtual(main())
    assert text == "It is sunny."
    assert len(audio) == pytest.approx(len(text) * 0.06 * 24000, rel=0.05) and np.abs(audio).max() > 1000
    heard = script.stt_engine.calls[0]
    assert heard.audio_s == pytest.approx(1.0, abs=0.01)


def test_settings_reach_the_engines() -> None:
    script = Script(stt=[Heard("Hi")])
    settings = {
        "stt_settings": {"language": "en", "prompt": "Names: Ann.", "keywords": ["Ann", "Bob"]},
        "tts_settings": {"voice": "alloy", "speed": 1.5, "dtype": np.float32},
    }

    async def main() -> Any:
        async with AntiphonVoiceModelProvider(script.config(), needs_llm=False) as provider:
            return await audio_of(await pipeline(provider, Echo(), **settings).run(recording()))

    audio = run_virtual(main())
    assert audio.dtype == np.float32
    options = script.stt_engine.calls[0].options
    assert (options.language, options.prompt, options.hotwords) == ("en", "Names: Ann.", "Ann, Bob")
    spoken = script.tts_engine.calls[-1]
    assert spoken.text == "You said: Hi." and spoken.options.speed == 1.5 and spoken.options.voice is None


def test_a_live_stream_is_cut_into_turns_by_our_detector() -> None:
    script = Script(speech=((0.2, 0.8), (2.2, 2.8)), stt=[Heard("One"), Heard("Two")])

    async def main() -> list[str]:
        async with AntiphonVoiceModelProvider(script.config(), needs_llm=False, input_hz=16000) as provider:
            source = StreamedAudioInput()
            result = await pipeline(provider, Echo()).run(source)

            async def speak() -> None:
                for _ in range(40):
                    await source.add_audio(np.zeros(1600, dtype=np.int16))
                    await asyncio.sleep(0.1)
                await source.add_audio(None)

            speaking = asyncio.create_task(speak())
            kinds = [event.event async for event in result.stream() if event.type == "voice_stream_event_lifecycle"]
            await speaking
            return [*kinds, result.total_output_text]

    *kinds, text = run_virtual(main())
    assert text == "You said: One.You said: Two."
    assert kinds == ["turn_started", "turn_ended", "turn_started", "turn_ended", "session_ended"]


def test_a_failure_of_an_engine_comes_out_of_their_stream() -> None:
    script = Script(stt=[EngineFailed("deaf")])

    async def main() -> None:
        async with AntiphonVoiceModelProvider(script.config(), needs_llm=False) as provider:
            await audio_of(await pipeline(provider, Echo()).run(recording()))

    with pytest.raises(EngineFailed, match="deaf"):
        run_virtual(main())


def test_text_is_made_speakable_and_pieces_are_small() -> None:
    async def main() -> list[bytes]:
        async with ScriptedTTS(rate_hz=22050, repeat=True) as tts:
            model = AntiphonTTSModel(tts)
            silent = [piece async for piece in model.run("---", TTSModelSettings())]
            assert silent == []
            pieces = [piece async for piece in model.run("**Hello** there.", TTSModelSettings())]
            assert "*" not in tts.calls[-1].text
            return pieces

    pieces = run_virtual(main())
    assert all(len(piece) <= 1024 for piece in pieces) and sum(map(len, pieces)) > 20000


def test_before_it_is_entered_and_wrong_audio() -> None:
    script = Script(stt=[Heard("x")])
    provider = AntiphonVoiceModelProvider(script.config(), needs_llm=False)
    with pytest.raises(SessionClosed, match="not loaded"):
        provider.get_stt_model(None)

    async def main() -> None:
        async with provider:
            with pytest.raises(SessionClosed, match="no LLM"):
                _ = provider.model
            model = provider.get_stt_model(None)
            wrong = AudioInput(buffer=np.zeros((2, 2, 2), dtype=np.int16))
            from agents.voice import STTModelSettings

            with pytest.raises(AudioInputError):
                await model.transcribe(wrong, STTModelSettings(), False, False)
            assert await model.transcribe(recording(), STTModelSettings(), False, False) == "x"

    run_virtual(main())


@pytest.mark.real
@pytest.mark.timeout(900)
def test_the_real_engines_in_their_pipeline() -> None:
    """Their AudioInput, their agent class, their pipeline; every engine is local."""

    async def main() -> tuple[str, str, Any]:
        heard: list[str] = []

        class Listening(SingleAgentVoiceWorkflow):
            async def run(self, transcription: str) -> AsyncIterator[str]:
                heard.append(transcription)
                async for piece in super().run(transcription):
                    yield piece

        config = load_config("tiny.yaml")
        async with AntiphonVoiceModelProvider(config) as provider:
            tts = provider.get_tts_model(None)
            pcm = b"".join([piece async for piece in tts.run("What is the capital of France?", TTSModelSettings())])
            agent = Agent(name="Assistant", instructions="Answer in one short sentence.", model=provider.model)
            asked = AudioInput(buffer=np.frombuffer(pcm, dtype=np.int16))
            result = await pipeline(provider, Listening(agent)).run(asked)
            audio = await audio_of(result)
            return heard[0], result.total_output_text, audio

    heard, answer, audio = asyncio.run(main())
    assert "capital of france" in heard.lower()
    assert answer.strip() and len(audio) > 12000 and np.abs(audio).max() > to_pcm16(np.array([0.05], np.float32))[0]
