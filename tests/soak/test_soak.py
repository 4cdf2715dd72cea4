"""Many sessions over the voice API, some of which somebody leaves: nothing may grow. Seeded, on a virtual clock.

By default a short run. `ANTIPHON_SOAK=full` (`make soak`): 500 turns.
"""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import numpy as np
import pytest
from scripted_config import Script, texts
from soak_gauge import MAX_BYTES_PER_100_TURNS, Gauge

from antiphon import Conversation, StreamedAudioInput, VoicePipeline, VoiceStreamEvent
from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, Speak, run_virtual

FULL = os.environ.get("ANTIPHON_SOAK") == "full"
TURNS = 500 if FULL else 40
SESSION_TURNS = 10 if FULL else 4


class Weather:
    """Seeded good and bad days for each engine."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.turns = 0

    def hear(self, call: Any) -> Heard | Exception:
        self.turns += 1
        match self.random.randrange(12):
            case 0:
                return EngineFailed("the ear failed")
            case 1:
                return Heard("")
            case _:
                return Heard(f"Question number {self.turns}?", self.random.uniform(0.0, 0.6))

    def think(self, call: Any) -> Reply | Exception:
        if self.random.randrange(12) == 0:
            return EngineFailed("the mind failed")
        words = " ".join(self.random.choices(("yes,", "well.", "no", "perhaps", "of course."), k=12))
        broken = self.random.randrange(8) if self.random.randrange(12) == 0 else None
        reply = Reply.of(words, first_delay_s=self.random.uniform(0, 0.4), delta_delay_s=self.random.uniform(0, 0.05))
        return Reply(reply.deltas, reply.first_delay_s, reply.delta_delay_s, error_after=broken)

    def speak(self, call: Any) -> Speak | Exception:
        if self.random.randrange(40) == 0:
            return EngineFailed("the mouth failed")
        return Speak(
            first_delay_s=self.random.uniform(0, 0.1), error_after=2 if self.random.randrange(40) == 0 else None
        )


def speech(seed: int, turns: int) -> list[tuple[float, float]]:
    """When somebody speaks: short and long, with pauses that end a turn and pauses that do not."""
    chance = random.Random(seed)
    found: list[tuple[float, float]] = []
    at_s = 0.5
    for _ in range(turns):
        for _ in range(chance.choice((1, 1, 2, 3))):
            length_s = chance.uniform(0.2, 1.5)
            found.append((at_s, at_s + length_s))
            at_s += length_s + chance.uniform(0.1, 0.35)
        at_s += chance.uniform(0.5, 4.0)
    return found


async def live(
    pipeline: VoicePipeline, seconds: float, conversation: Conversation, *, cut: bool
) -> list[VoiceStreamEvent]:
    audio = StreamedAudioInput(frame_rate=16000)

    async def feed() -> None:
        for _ in range(round(seconds / 0.1)):
            await asyncio.sleep(0.1)
            await audio.add_audio(np.zeros(1600, dtype=np.int16))
        await audio.add_audio(None)

    feeding = asyncio.create_task(feed())
    result = await pipeline.run(audio, conversation=conversation)
    events: list[VoiceStreamEvent] = []
    async for event in result.stream():
        events.append(event)
        if cut and len(events) > 20:  # somebody hangs up in the middle
            await result.aclose()
    feeding.cancel()
    await asyncio.wait({feeding})
    return events


@pytest.mark.timeout(1800)
def test_many_sessions_of_the_voice_api_leave_nothing_behind() -> None:
    sessions = TURNS // SESSION_TURNS
    spoken = {number: speech(number, SESSION_TURNS) for number in range(sessions + 1)}
    weather = Weather(7)
    script = Script(
        stt=weather.hear,
        llm=weather.think,
        tts=ScriptedTTS(weather.speak, seconds_per_char=0.02),
        session={"on_error": "Sorry."},
    )
    script.vad_engine._speech = lambda stream: spoken[stream % len(spoken)]
    gauge = Gauge(every=1, warm_up=TURNS // 5)

    async def main() -> int:
        answered = 0
        async with script.pipeline() as pipeline:
            for number in range(sessions):
                seconds = spoken[number % len(spoken)][-1][1] + 2.0
                events = await live(pipeline, seconds, Conversation(), cut=number % 5 == 4)
                answered += len(texts(events, "assistant"))
                del events
                for engine in (script.stt_engine, script.llm_engine, script.tts_engine):
                    engine.calls.clear()  # type: ignore[attr-defined]
                script.llm_engine.prefills.clear()
                script.vad_engine.streams[:-1] = [None] * (len(script.vad_engine.streams) - 1)  # type: ignore[list-item]
                gauge.look((number + 1) * SESSION_TURNS)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return answered

    answered = run_virtual(main(), timeout_s=1e6)
    assert weather.turns >= TURNS * 0.8 and answered >= TURNS * 0.5
    gauge.assert_no_growth(MAX_BYTES_PER_100_TURNS * (1 if FULL else 10))
