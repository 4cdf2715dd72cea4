"""What engines used: per turn, per engine, apart what was in vain; on record, and shown."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agents import Agent
from rich.console import Console
from scripted_config import Script

from antiphon.adapters.openai_agents import AgentWorkflow
from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed
from antiphon.engines.fallback import FallbackLLM, Link
from antiphon.engines.host import Meter, Ticket, current_ticket
from antiphon.engines.metering import metered
from antiphon.engines.protocols import Message, ToolCall, Usage
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, ScriptedTTS, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.cli.transcripts_show import print_session, usage_lines
from antiphon.pipeline.config.model import TranscriptConfig
from antiphon.pipeline.events import Event
from antiphon.pipeline.transcript import open_store
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.usage import EngineUsage

RATE_HZ = 16000
TOKENS = Usage(100, 7, 60)


def talk(
    folder: Path, script: Script, *, seconds: float = 6.0, workflow: Any = None, paced: bool = True
) -> list[Event]:
    config = script.config(transcript=TranscriptConfig(store="sqlite", path=folder / "t.db"))
    events: list[Event] = []

    async def main() -> None:
        async with Assembly(config) as assembly:
            silence = AudioFrame(np.zeros(round(seconds * RATE_HZ), dtype=np.float32), RATE_HZ)
            transport = RecordingTransport(recording_frames(silence, paced=paced), paced=paced)
            await assembly.session(transport, sinks=[events.append], workflow=workflow).run()

    run_virtual(main())
    return events


def used(event: Any) -> dict[tuple[str, str], tuple[float, float]]:
    return {(one.stage, one.unit): (one.amount, one.wasted) for one in event.usage}


def ended(events: list[Event]) -> Any:
    (event,) = [event for event in events if event.type == "turn_ended"]
    return event


def test_a_turn_tells_what_each_engine_used(tmp_path: Path) -> None:
    script = Script(stt=[Heard("Hello?", 0.1)], llm=[Reply(["Hi there."], usage=TOKENS)])
    event = ended(talk(tmp_path, script, paced=False))
    found = used(event)
    assert found["llm", "input_tokens"] == (100, 0) and found["llm", "output_tokens"] == (7, 0)
    assert found["llm", "cached_tokens"] == (60, 0) and found["tts", "characters"] == (len("Hi there."), 0)
    amount, wasted = found["stt", "audio_s"]
    assert 0.6 < amount < 2.0 and wasted == 0
    assert all(one.engine.startswith("scripted_config:given") for one in event.usage)


def test_an_agents_tokens_are_those_of_all_its_steps(tmp_path: Path) -> None:
    def look() -> str:
        """Look."""
        return "nothing"

    from agents import function_tool

    call = Reply(tool_calls=[ToolCall("1", "look", "{}")], usage=TOKENS)
    script = Script(stt=[Heard("Look.", 0.1)], llm=[call, Reply(["Nothing."], usage=TOKENS)])
    workflow = AgentWorkflow(Agent(name="a", tools=[function_tool(look)]))
    event = ended(talk(tmp_path, script, workflow=workflow))
    assert used(event)["llm", "input_tokens"] == (200, 0)
    assert event.input_tokens == 200, "as the workflow tells them"


def test_speculation_that_was_dropped_is_told_apart(tmp_path: Path) -> None:
    script = Script(
        speech=[(0.5, 1.5), (1.7, 2.5)],
        stt=lambda call: Heard("I would" if call.audio.end_s < 2.0 else "I would like a tea.", 0.02),
        llm=lambda call: Reply(["Like what? ", "And when?"], delta_delay_s=2.0, usage=TOKENS),
    )
    script.tts_engine = ScriptedTTS(repeat=True)
    event = ended(talk(tmp_path, script, seconds=8.0))
    found = used(event)
    assert found["stt", "audio_s"][1] > 0 and found["llm", "output_pieces"][1] > 0
    assert found["llm", "output_tokens"] == (7, 0)


def test_the_record_has_it_and_the_command_shows_it(tmp_path: Path) -> None:
    script = Script(stt=[Heard("Hello?", 0.1)], llm=[Reply(["Hi there."], usage=TOKENS)])
    script.session = {"on_error": "", "greeting": "Welcome."}
    script.tts_engine = ScriptedTTS(repeat=True)
    script.speech = [(3.0, 3.6)]
    script.__post_init__()
    events = talk(tmp_path, script, seconds=8.0)
    (greeting,) = [event for event in events if event.type == "usage"]
    assert used(greeting) == {("tts", "characters"): (len("Welcome."), 0)} and greeting.turn == 0
    with open_store("sqlite", path=tmp_path / "t.db") as store:
        (info,) = store.sessions()
        turns, total = store.turns(info.id), store.usage(info.id)
    spoken = {view.turn: view.usage for view in turns}
    assert spoken[1] == tuple(sorted(ended(events).usage, key=lambda one: ("stt", "llm", "tts").index(one.stage)))
    characters = next(one for one in total if one.unit == "characters")
    assert characters.amount == len("Welcome.") + len("Hi there.")
    console = Console(record=True, width=160, color_system=None)
    print_session(console, info, turns, times=True, usage=total)
    shown = console.export_text()
    assert "100 tokens in" in shown and f"{characters.amount:g} characters" in shown and "s of audio" in shown


def test_lines_for_people() -> None:
    usage = [
        EngineUsage(stage="stt", engine="whisper", unit="audio_s", amount=12.5, wasted=2.25),
        EngineUsage(stage="llm", engine="qwen", unit="input_tokens", amount=1200),
        EngineUsage(stage="llm", engine="qwen", unit="output_tokens", amount=80),
    ]
    assert usage_lines(usage) == [
        "stt whisper 12.5 s of audio (2.25 in vain)",
        "llm qwen 1,200 tokens in, 80 tokens out",
    ]


def test_of_a_chain_the_engine_that_worked_is_named() -> None:
    meter = Meter()

    async def main() -> None:
        current_ticket.set(Ticket(meter=meter))
        first = metered("llm", ScriptedLLM([EngineFailed("no")]), "first")
        second = metered("llm", ScriptedLLM([Reply(["Yes."], usage=TOKENS)]), "second")
        async with FallbackLLM([Link("1:first", first), Link("2:second", second)]) as chain:
            assert [event async for event in chain.stream([Message("user", "?")])]

    run_virtual(main())
    assert meter.uses == {
        ("llm", "second", "input_tokens"): 100,
        ("llm", "second", "output_tokens"): 7,
        ("llm", "second", "cached_tokens"): 60,
    }


def test_an_answer_that_is_stopped_is_noted_by_its_pieces() -> None:
    meter = Meter()

    async def main() -> None:
        current_ticket.set(Ticket(meter=meter))
        async with metered("llm", ScriptedLLM([Reply(["One ", "two ", "three."], usage=TOKENS)]), "m") as llm:
            stream = llm.stream([Message("user", "?")])
            await anext(stream)
            await anext(stream)
            await stream.aclose()

    asyncio.run(main())
    assert meter.uses == {("llm", "m", "output_pieces"): 2}


@pytest.mark.parametrize("stage", ["vad", "turn"])
def test_other_stages_are_left_as_they_are(stage: Any) -> None:
    engine = object()
    assert metered(stage, engine, "e") is engine
