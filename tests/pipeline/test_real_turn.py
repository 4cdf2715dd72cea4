"""A whole turn on the real models: what goes in is heard, what is answered is spoken, every stage can be swapped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from openai_standin import OpenAIStandin
from whisper_normalizer.english import EnglishTextNormalizer

from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.host import EngineHost
from antiphon.engines.protocols import Stage
from antiphon.engines.registry import EngineContext
from antiphon.pipeline.audio_file import read_audio
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, EngineBlock, engine_block, load_config
from antiphon.pipeline.engine_making import make_store
from antiphon.pipeline.events import Event
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
QUESTION = "Why is the sky blue?"
normal = EnglishTextNormalizer()


class Outcome:
    """What came of one recording."""

    def __init__(self, events: list[Event], transport: RecordingTransport, stt_calls: int) -> None:
        self.events = events
        self.replies = transport.replies()
        self.stt_calls = stt_calls

    def texts(self, role: str) -> list[str]:
        found = [event.to_dict() for event in self.events if event.type == "transcript"]
        return [event["text"] for event in found if event["role"] == role and event["final"]]

    def statuses(self) -> list[str]:
        return [event.to_dict()["status"] for event in self.events if event.type == "turn_ended"]


class Counting:
    """Counts the requests to an STT engine."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def transcribe(self, *args: Any) -> Any:
        self.calls += 1
        return await self._inner.transcribe(*args)


class Kept:
    """An engine that stays loaded: who enters and leaves it does neither."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __aenter__(self) -> Kept:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Household:
    """Engines that the tests share, each loaded once for all configurations that say the same of it. One event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._host = EngineHost()
        self._context = EngineContext(self._host, make_store(load_config("tiny.yaml")))
        self._stack = contextlib.AsyncExitStack()
        self._engines: dict[tuple[str, str, str], Kept] = {}

    async def engine(self, block: EngineBlock) -> Kept:
        """:param block: of a local engine."""
        key = (block.stage, block.engine, repr(block.options))
        if key not in self._engines:
            engine = block.spec.create(block.options, self._context)
            self._engines[key] = Kept(await self._stack.enter_async_context(engine))
        return self._engines[key]

    async def stages(self, config: Config) -> dict[Stage, Any]:
        """The stages of a configuration that are one local engine each."""
        blocks: dict[Stage, tuple[EngineBlock, ...]] = {
            "vad": (config.vad,),
            "turn": (config.turn,),
            "stt": config.stt,
            "llm": config.llm,
            "tts": config.tts,
        }
        local = {stage: chain[0] for stage, chain in blocks.items() if len(chain) == 1 and chain[0].engine != "openai"}
        return {stage: await self.engine(block) for stage, block in local.items() if not block.voices}

    def run(self, config: Config, *recordings: AudioFrame) -> list[Outcome]:
        """Each recording in a session of its own."""

        async def main() -> list[Outcome]:
            return await answer(config, *recordings, replacements=await self.stages(config))

        return self._runner.run(main())

    def transcribe_back(self, samples: np.ndarray[Any, Any], rate_hz: int) -> str:
        """What whisper-base hears in our own speech."""

        async def listen() -> str:
            block = engine_block("stt", "faster_whisper", {"model": "whisper-base", "language": "en"})
            heard = await (await self.engine(block)).transcribe(AudioFrame(resample(samples, rate_hz, 16000), 16000))
            return str(heard.text)

        return self._runner.run(listen())

    def speak(self, text: str) -> AudioFrame:
        """The text in the voice of tiny.yaml, with silence around it; 16 kHz."""

        async def speak() -> AudioFrame:
            tts = await self.engine(load_config("tiny.yaml").tts[0])
            pieces = [chunk.frame async for chunk in tts.synthesize(text)]
            samples = resample(np.concatenate([piece.samples for piece in pieces]), pieces[0].rate_hz, 16000)
            silence = np.zeros(8000, dtype=np.float32)
            return AudioFrame(np.concatenate([silence, samples, silence]), 16000)

        return self._runner.run(speak())

    def close(self) -> None:
        async def close() -> None:
            await self._stack.aclose()
            await self._host.close()

        self._runner.run(close())


@pytest.fixture(scope="module")
def household() -> Iterator[Household]:
    with asyncio.Runner() as runner:
        shared = Household(runner)
        yield shared
        shared.close()


async def answer(
    config: Config, *recordings: AudioFrame, replacements: dict[Stage, Any] | None = None
) -> list[Outcome]:
    """Each recording in a session of its own, on the stream clock."""
    outcomes = []
    async with Assembly(config, replacements=replacements or {}) as assembly:
        assert assembly.engines is not None
        for recording in recordings:
            events: list[Event] = []
            counting = Counting(assembly.engines.stt)
            transport = RecordingTransport(recording_frames(recording, paced=False), paced=False)

            def count(_: Assembly, arguments: dict[str, Any], counting: Counting = counting) -> None:
                import dataclasses

                arguments["engines"] = dataclasses.replace(arguments["engines"], stt=counting)

            session = assembly.session(transport, sinks=[events.append], adjust=count)
            await session.run()
            outcomes.append(Outcome(events, transport, counting.calls))
    return outcomes


def run(config: Config, *recordings: AudioFrame) -> list[Outcome]:
    return asyncio.run(answer(config, *recordings))


@pytest.fixture(scope="module")
def question(household: Household) -> AudioFrame:
    """The question, spoken by our own voice, with silence around it; 16 kHz."""
    return household.speak(QUESTION)


@pytest.fixture(scope="module")
def standin() -> Iterator[OpenAIStandin]:
    with OpenAIStandin(replies=["Paris is the capital."], transcript=[QUESTION]) as server:
        yield server


def same_words(said: str, heard: str) -> float:
    """Word error rate."""
    return float(jiwer.wer(normal(said), normal(heard)))


def test_local_yaml_answers_and_its_speech_says_the_answer(question: AudioFrame, household: Household) -> None:
    (outcome,) = household.run(load_config("local.yaml"), question)
    assert [normal(text) for text in outcome.texts("user")] == [normal(QUESTION)]
    (reply,) = outcome.texts("assistant")
    assert "light" in reply.lower()
    assert outcome.statuses() == ["completed"]
    assert same_words(reply, household.transcribe_back(outcome.replies, 24000)) < 0.15


@pytest.mark.clips
def test_a_human_question(clips: Path, household: Household) -> None:
    asked = read_audio(clips / "google_docs_samples__brooklyn_bridge.wav")
    (outcome,) = household.run(load_config("local.yaml"), asked)
    assert [normal(text) for text in outcome.texts("user")] == ["how old is the brooklyn bridge"]
    (reply,) = outcome.texts("assistant")
    assert same_words(reply, household.transcribe_back(outcome.replies, 24000)) < 0.15


SWAPS = {
    "webrtcvad": ["vad={engine: webrtcvad}"],
    "silence": ["turn={engine: silence, silence_ms: 500}"],
    "whisper-base": ["stt.model=whisper-base"],
    "another voice speed": ["tts.speed=1.2"],
    "stt": ["stt={engine: openai, base_url: URL, model: whisper-1}"],
    "llm": ["llm={engine: openai, base_url: URL, model: gpt}"],
    "tts": ["tts={engine: openai, base_url: URL}"],
}


@pytest.mark.parametrize("stage", SWAPS)
def test_every_stage_is_swapped_by_one_key(
    stage: str, question: AudioFrame, standin: OpenAIStandin, household: Household
) -> None:
    overrides = [one.replace("URL", standin.base_url) for one in SWAPS[stage]]
    (outcome,) = household.run(load_config("tiny.yaml", overrides=overrides), question)
    assert [normal(text) for text in outcome.texts("user")] == [normal(QUESTION)]
    assert outcome.statuses() == ["completed"]
    assert len(outcome.replies) > 2400
    assert not standin.invalid
    if stage == "llm":
        assert outcome.texts("assistant") == ["Paris is the capital."]


def test_everything_in_the_cloud(question: AudioFrame, standin: OpenAIStandin) -> None:
    environment = {"OPENAI_BASE_URL": standin.base_url, "OPENAI_API_KEY": "sk-test"}
    overrides = [f"{stage}.base_url={standin.base_url}" for stage in ("stt", "llm", "tts")]
    (outcome,) = run(load_config("cloud.yaml", overrides=overrides, environ=environment), question)
    assert outcome.texts("assistant") == ["Paris is the capital."]
    assert {request.path.rpartition("/v1")[2] for request in standin.requests} >= {
        "/audio/transcriptions", "/chat/completions", "/audio/speech",
    }  # fmt: skip


@pytest.mark.clips
@pytest.mark.parametrize("config", ["tiny.yaml"])
def test_noise_starts_no_turn(config: str, clips: Path, household: Household) -> None:
    outcomes = household.run(load_config(config), *(read_audio(path) for path in sorted(clips.glob("noise__*.wav"))))
    assert len(outcomes) == 3
    for outcome in outcomes:
        assert outcome.texts("user") == [] and not len(outcome.replies)
        assert outcome.stt_calls == 0


def test_a_minute_of_silence_reaches_no_engine(household: Household) -> None:
    (outcome,) = household.run(load_config("tiny.yaml"), AudioFrame(np.zeros(60 * 16000, dtype=np.float32), 16000))
    assert outcome.stt_calls == 0 and outcome.events == []


def test_two_questions_in_one_recording(question: AudioFrame, household: Household) -> None:
    pause = np.zeros(3 * 16000, dtype=np.float32)
    both = AudioFrame(np.concatenate([question.samples, pause, question.samples, pause]), 16000)
    (outcome,) = household.run(load_config("tiny.yaml"), both)
    assert [normal(text) for text in outcome.texts("user")] == [normal(QUESTION)] * 2
    assert outcome.statuses() == ["completed", "completed"]


def test_webrtcvad_yaml_answers(question: AudioFrame) -> None:
    (outcome,) = run(load_config("webrtcvad.yaml"), question)
    assert [normal(text) for text in outcome.texts("user")] == [normal(QUESTION)]
    assert outcome.statuses() == ["completed"]


def test_hybrid_yaml_answers_by_its_server_and_without_it(question: AudioFrame, household: Household) -> None:
    with OpenAIStandin(replies=["The sky scatters blue light."]) as server:
        environment = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "sk-test"}
        config = load_config("hybrid.yaml", environ=environment, overrides=["llm.0.warm_up=false"])
        (remote,) = household.run(config, question)
        assert remote.texts("assistant") == ["The sky scatters blue light."]
        server.fail_next("500", times=10)
        (local,) = household.run(config, question)
    assert local.statuses() == ["completed"], "the local model took over"
    (reply,) = local.texts("assistant")
    assert reply and reply != "The sky scatters blue light."


@pytest.mark.clips
def test_multilingual_yaml_without_a_voice_for_the_language_replies_in_text(clips: Path, household: Household) -> None:
    (outcome,) = household.run(load_config("multilingual.yaml"), read_audio(clips / "picovoice_cheetah__test_de.wav"))
    assert outcome.statuses() == ["text_only"]
    assert len(outcome.texts("assistant")) == 1 and not len(outcome.replies)
    warnings = [event.to_dict() for event in outcome.events if event.type == "warning"]
    assert [warning["code"] for warning in warnings] == ["no_voice_for_language"]
    assert "'de'" in warnings[0]["message"]
