"""`agents.voice` as a peer: the real package, on scripted engines, and on the small real models."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from agents import Agent, OpenAIChatCompletionsModel, set_tracing_disabled
from agents.voice.testing import ScriptedSTTModel, ScriptedTTSModel
from openai import AsyncOpenAI
from openai_standin import OpenAIStandin

from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.peers.catalog import find_peer
from antiphon.benchmarks.peers.child import ChildPeer
from antiphon.benchmarks.peers.job import peer_job
from antiphon.benchmarks.peers.process import DRIVERS
from antiphon.benchmarks.run import Entry, Options, run_turn_about
from antiphon.engines.models.store import ModelStore
from antiphon.pipeline.config import load_config

TONE = (np.sin(np.arange(2400) / 10) * 9000).astype("<i2")


class Told:
    """In place of the wire."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self.audio_s = 0.0

    def event(self, name: str, text: str = "") -> None:
        self.events.append((name, text))

    def send(self, type: str, **fields: Any) -> None:
        self.errors.append(fields["message"])

    def audio(self, pcm: bytes, rate_hz: int) -> None:
        self.audio_s += len(pcm) / 2 / rate_hz


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(DRIVERS)
    spec = importlib.util.spec_from_file_location("run_agents", DRIVERS / "run_agents.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("peer_wire", None)


def talk(driver: ModuleType, stt: ScriptedSTTModel, tts: ScriptedTTSModel, replies: list[str]) -> tuple[Told, Any]:
    """As many recordings as there are replies, each in a conversation of its own."""
    told = Told()
    set_tracing_disabled(True)

    async def run(base_url: str) -> None:
        client = AsyncOpenAI(base_url=base_url, api_key="none")
        agent = Agent(
            name="Assistant",
            instructions="Be brief.",
            model=OpenAIChatCompletionsModel(model="tiny", openai_client=client),
        )
        voice = driver.Voice({}, told, stt, tts, agent)
        for _ in replies:
            await voice.open(keep=False)
            await voice.audio(np.arange(320, dtype="<i2").tobytes())
            await voice.audio(np.arange(320, dtype="<i2").tobytes())
            await voice.end()
            await voice._turn
            await voice.close()
        await voice.aclose()
        await client.close()

    with OpenAIStandin(replies=replies) as server:
        asyncio.run(run(server.base_url))
        assert not server.invalid
        return told, server.bodies("/chat/completions")


def test_a_recording_goes_through_the_whole_pipeline(driver: ModuleType) -> None:
    stt, tts = ScriptedSTTModel(["what time is it"]), ScriptedTTSModel([[TONE.tobytes()]])
    told, asked = talk(driver, stt, tts, ["It is noon."])
    assert [name for name, _ in told.events] == ["commit", "first_token", "first_audio", "done"]
    assert told.errors == [] and told.audio_s == pytest.approx(0.1)
    (call,) = stt.calls
    assert call.input.frame_rate == 16000 and len(call.input.buffer) == 640
    assert [message["role"] for message in asked[0]["messages"]] == ["system", "user"]
    assert [call.text for call in tts.calls] == ["It is noon."]


def test_each_conversation_begins_anew(driver: ModuleType) -> None:
    stt, tts = ScriptedSTTModel(["one", "two"]), ScriptedTTSModel([[TONE.tobytes()]] * 2)
    told, asked = talk(driver, stt, tts, ["First.", "Second."])
    assert told.errors == []
    assert [len(body["messages"]) for body in asked] == [2, 2], "no history of another clip"


def test_an_engine_that_breaks_is_told(driver: ModuleType) -> None:
    stt, tts = ScriptedSTTModel([RuntimeError("no ears")]), ScriptedTTSModel()
    told, _ = talk(driver, stt, tts, ["Never."])
    assert told.errors and "no ears" in told.errors[0]
    assert told.events[-1] == ("done", "")


@pytest.mark.real
@pytest.mark.clips
def test_on_the_real_models_with_a_real_llm_server(clips: Path) -> None:
    """Its whole way: two child processes, Whisper, llama.cpp's server, Piper."""
    chosen: list[Clip] = load_clips(clips, where=["file=rhasspy__what_time_is_it*"])[:1]
    job = peer_job(load_config("tiny.yaml"), ModelStore())
    entry = Entry(ChildPeer(find_peer("agents"), Path(sys.executable), job))
    asyncio.run(run_turn_about([entry], chosen, Options(warmup=0)))
    (record,) = [*entry.cold, *entry.records[1]]
    assert record.outcome == "answered", record.why
    assert record.word_errors == 0 and record.reply
    assert record.ttfa_ms is not None and record.stages.stt_ms is not None
    assert record.stages.stt_ms < (record.stages.first_token_ms or 0) < record.ttfa_ms
    assert entry.meter is not None and entry.meter.peak_rss_mb > 100
