"""A whole product on scripted engines for soaks: agent, tools, policy, transcripts, recordings; engines that fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from loud_vad import LoudVad
from room import RATE_HZ, Person, Room, Tally, Utterance
from scripted_config import Script

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, Speak
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, InterruptionConfig, SpeculationConfig
from antiphon.pipeline.config.model import PolicyConfig, TranscriptConfig
from antiphon.pipeline.conversation import Conversation

WEIGHTS = {
    "ask": 4.0,
    "barge_in": 5.0,
    "nod": 2.0,
    "cough": 2.0,
    "go_on": 3.0,
    "hold": 1.5,
    "cancel": 1.5,
    "announce": 1.5,
    "mute": 0.5,
    "press": 1.0,
}
QUESTIONS = (
    "What time is it?",
    "How is the weather in Paris?",
    "My card is 4111 1111 1111 1111, keep it.",
    "Tell me a long story about the sea and the hills.",
    "And what about",
    "Set a timer, please.",
)
STORY = "Once upon a time there was a ship. It sailed for nine days, and then it came home. Nobody was sad. "


async def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Name of the city.
    """
    await asyncio.sleep(0.4)
    return f"The weather in {city} is sunny."


async def set_timer(minutes: int) -> str:
    """Set a timer.

    Args:
        minutes: How long.
    """
    await asyncio.sleep(1.5)
    return f"The timer is set to {minutes} minutes."


def voice(chance: random.Random, kind: str) -> Utterance:
    """A level that the VAD hears, and words that the STT will find there."""
    text, least_s, most_s = {
        "question": (chance.choice(QUESTIONS), 0.3, 1.6),
        "backchannel": (chance.choice(("Uh-huh.", "Yeah.", "Okay.")), 0.2, 0.4),
        "noise": ("", 0.03, 0.4),
    }[kind]
    return Utterance(text, np.full(round(chance.uniform(least_s, most_s) * RATE_HZ), 0.3, dtype=np.float32))


@dataclass
class Weather:
    """Seeded good and bad days for each engine."""

    chance: random.Random
    people: dict[str, Person] = field(default_factory=dict)
    """By session."""
    calls: int = 0

    def hear(self, call: Any) -> Heard | Exception:
        if self.chance.random() < 0.03:
            return EngineFailed("the ear failed", stage="stt")
        person = self.people[call.ticket.session]
        text = person.said_between(call.audio.start_s, call.audio.end_s)
        return Heard(text, self.chance.choice((0.05, 0.05, 0.3, 1.0)))

    def think(self, call: Any) -> Reply | Exception:
        self.calls += 1
        last = call.messages[-1]
        usage = Usage(input_tokens=100, output_tokens=20)
        match self.chance.randrange(60):
            case 0:
                return EngineFailed("the mind failed", stage="llm")
            case 1:
                return Reply(["I begin ", "but "], error_after=2)
            case 2:
                return Reply(["Too late."], first_delay_s=60.0)
        if last.role == "tool":
            return Reply.of(f"I looked it up. {last.content}")
        name, arguments = None, ""
        if "weather" in last.content:
            name, arguments = "get_weather", '{"city": "Paris"}'
        elif "timer" in last.content:
            name, arguments = "set_timer", '{"minutes": 5}'
        if name is not None and call.tools:
            return Reply(tool_calls=[ToolCall(f"call_{self.calls}", name, arguments)], usage=usage)
        reply = Reply.of(STORY * 2 if "story" in last.content else "It is noon, I think. " * 2)
        return Reply(reply.deltas, self.chance.uniform(0.0, 0.6), self.chance.uniform(0.0, 0.05), usage=usage)

    def speak(self, call: Any) -> Speak | Exception:
        match self.chance.randrange(60):
            case 0:
                return EngineFailed("the mouth failed", stage="tts")
            case 1:
                return Speak(error_after=2)
        return Speak(first_delay_s=self.chance.uniform(0, 0.1))


class Product:
    """Everything that sessions share. Its scripted engines forget their calls when told to."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.weather = Weather(random.Random(seed))
        self.script = Script(
            stt=self.weather.hear,
            llm=self.weather.think,
            tts=ScriptedTTS(self.weather.speak, seconds_per_char=0.03),
            session={"on_error": "Sorry.", "answer_deadline_s": 5.0, "stt_deadline_s": 5.0, "filler": "Let me see."},
            workflow={
                "kind": "agent",
                "instructions": "Be brief.",
                "history_turns": 8,
                "tools": {
                    "get_weather": {"function": "soak_scripted:get_weather", "say": "One moment."},
                    "set_timer": {
                        "function": "soak_scripted:set_timer",
                        "on_interrupt": "finish",
                        "announce": True,
                    },
                },
            },
        )
        self.script.vad_engine = LoudVad()
        self._folder = folder

    def config(self) -> Config:
        return self.script.config(
            transcript=TranscriptConfig(store="sqlite", path=self._folder / "t.db", record_audio=True),
            policy=PolicyConfig.model_validate(
                {
                    "transcript": ["pii"],
                    "tool_call": [{"check": "tools", "allow": ["get_weather", "set_timer"]}],
                    "speech": {"checks": [{"check": "pattern", "patterns": [r"secret\d+"]}]},
                    "turn": [{"check": "max_length", "chars": 5000}],
                }
            ),
            interruption=InterruptionConfig(min_speech_ms=500.0),
            speculation=SpeculationConfig(rerun_ms=300.0),
        )

    def forget(self) -> None:
        script = self.script
        script.stt_engine.calls.clear()
        script.llm_engine.calls.clear()
        script.llm_engine.prefills.clear()
        script.tts_engine.calls.clear()

    async def visit(
        self,
        assembly: Assembly,
        tally: Tally,
        chance: random.Random,
        turns: int,
        *,
        between: Callable[[], None] = lambda: None,
        end: str = "",
    ) -> None:
        """One session with one person, until so many turns have ended.

        :param between: called when all is quiet, between one thing that the person does and the next.
        :param end: "hang up", "break" (the transport fails), "drop" (the session is cancelled), each in the middle of
            something; "" for a proper end.
        """
        room = Room(frame_s=0.04)
        person = Person(room, voice, chance, tally)
        session = assembly.session(room, sinks=[person, tally], conversation=Conversation())
        self.weather.people[session.id] = person.meet(session)
        running = asyncio.create_task(session.run())
        try:
            await person.talk(turns, WEIGHTS, between)
            if end:
                await leave(person, running, chance, end)
            else:
                session.end()
                await running
        finally:
            running.cancel()
            await asyncio.wait({running})
            del self.weather.people[session.id]


async def leave(person: Person, running: asyncio.Task[None], chance: random.Random, how: str) -> None:
    """End a session in the middle of something."""
    talking = asyncio.create_task(person.ask())
    await asyncio.sleep(chance.uniform(0.1, 4.0))
    match how:
        case "hang up":
            person.room.hang_up()
        case "break":
            person.room.break_off()
        case "drop":
            running.cancel()
    await asyncio.wait({running})
    talking.cancel()
    await asyncio.wait({talking})
    failed = None if running.cancelled() else running.exception()
    expected = {"hang up": type(None), "break": ExceptionGroup, "drop": type(None)}[how]
    assert isinstance(failed, expected), failed
