"""Many turns: nothing may grow. Seeded, on scripted engines and a virtual clock; in full also on the real ones.

By default a short run. `ANTIPHON_SOAK=full` (`make soak`): 500 turns on scripted engines, 100 on real ones.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import random
import statistics
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted_config import Script, texts

from antiphon import AudioInput, Conversation, StreamedAudioInput, VoicePipeline, VoiceStreamEvent, load_config
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import TTS
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, Speak, run_virtual
from antiphon.pipeline.build import Assembly

FULL = os.environ.get("ANTIPHON_SOAK") == "full"
SCRIPTED_TURNS = 500 if FULL else 60
REAL_TURNS = 100 if FULL else 6
WARM_UP = 0.2
"""The part of a run in which caches and pools fill."""
MAX_BYTES_PER_TURN = 10_000
"""1 MB in 100 turns. Held on purpose: history, and with it the prompts' text."""


@dataclass
class Held:
    """What a process holds."""

    tasks: int
    threads: int
    handles: int
    bytes: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        handles = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        tasks = len(asyncio.all_tasks())
        traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else resident_bytes()
        return cls(tasks, threading.active_count(), handles, traced)


def resident_bytes() -> int:
    """Resident memory, less what the allocator has been given back and keeps for later."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def assert_no_growth(before: Held, after: Held, turns: int, allowed_bytes: int) -> None:
    assert after.tasks <= before.tasks, "tasks"
    assert after.threads <= before.threads, "threads"
    assert after.handles <= before.handles, "file handles"
    assert after.bytes - before.bytes < allowed_bytes, f"{(after.bytes - before.bytes) / turns:.0f} bytes a turn"


# ------------------------------------------------------------------------------------ scripted engines


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
def test_many_scripted_turns_leave_nothing_behind() -> None:
    session_turns = 10
    sessions = SCRIPTED_TURNS // session_turns
    spoken = {number: speech(number, session_turns) for number in range(sessions + 1)}
    weather = Weather(7)
    script = Script(
        stt=weather.hear,
        llm=weather.think,
        tts=ScriptedTTS(weather.speak, seconds_per_char=0.02),
        session={"on_error": "Sorry."},
    )
    script.vad_engine._speech = lambda stream: spoken[stream % len(spoken)]

    async def main() -> tuple[list[Held], int]:
        held: list[Held] = []
        answered = 0
        async with script.pipeline() as pipeline:
            for number in range(sessions):
                seconds = spoken[number % len(spoken)][-1][1] + 2.0
                events = await live(pipeline, seconds, Conversation(), cut=number % 5 == 4)
                answered += len(texts(events, "assistant"))
                del events
                for engine in (script.stt_engine, script.llm_engine, script.tts_engine):
                    engine.calls.clear()  # type: ignore[attr-defined]
                script.vad_engine.streams[:-1] = [None] * (len(script.vad_engine.streams) - 1)  # type: ignore[list-item]
                held.append(Held.now())
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return held, answered

    tracemalloc.start()
    try:
        held, answered = run_virtual(main(), timeout_s=1e6)
    finally:
        tracemalloc.stop()
    assert weather.turns >= SCRIPTED_TURNS * 0.8 and answered >= SCRIPTED_TURNS * 0.5
    warm = held[round(len(held) * WARM_UP)]
    assert_no_growth(warm, held[-1], SCRIPTED_TURNS, MAX_BYTES_PER_TURN * SCRIPTED_TURNS)


@pytest.mark.timeout(1800)
def test_one_long_conversation_grows_by_its_text_only() -> None:
    turns = SCRIPTED_TURNS
    script = Script(
        speech=[(4.0 * number + 0.5, 4.0 * number + 1.5) for number in range(turns)],
        stt=lambda call: Heard("What time is it?", 0.1),
        llm=lambda call: Reply(["It is noon."]),
        tts=ScriptedTTS(seconds_per_char=0.01),
    )

    async def main() -> tuple[list[Held], list[VoiceStreamEvent]]:
        held: list[Held] = []
        ended: list[VoiceStreamEvent] = []
        audio = StreamedAudioInput(frame_rate=16000)

        async def feed() -> None:
            for _ in range(turns * 40):
                await asyncio.sleep(0.1)
                await audio.add_audio(np.zeros(1600, dtype=np.int16))
            await audio.add_audio(None)

        async with script.pipeline() as pipeline:
            feeding = asyncio.create_task(feed())
            result = await pipeline.run(audio)
            async for event in result.stream():
                if event.type == "voice_stream_event_lifecycle" and event.event == "turn_ended":
                    ended.append(event)
                    script.stt_engine.calls.clear()
                    script.llm_engine.calls.clear()
                    script.tts_engine.calls.clear()
                    held.append(Held.now())
            await feeding
        assert len(pipeline.conversation) == 2 * turns
        return held, ended

    tracemalloc.start()
    try:
        held, ended = run_virtual(main(), timeout_s=1e6)
    finally:
        tracemalloc.stop()
    assert len(ended) == turns
    warm = held[round(len(held) * WARM_UP)]
    assert_no_growth(warm, held[-1], turns, MAX_BYTES_PER_TURN * turns)


# ---------------------------------------------------------------------------------------- real engines


@pytest.mark.real
@pytest.mark.timeout(3600)
def test_turns_on_real_engines_leave_nothing_behind() -> None:
    config = load_config(
        "tiny.yaml",
        overrides=["session.answer_deadline_s=300", "session.stt_deadline_s=300", "llm.max_tokens=12"],
    )
    questions = ("What is the capital of France?", "How are you today?", "Tell me a story.", "Is it late?")

    async def spoken() -> list[AudioInput]:
        async with Assembly(config, needs_llm=False) as assembly:
            assert assembly.engines is not None
            tts: TTS = assembly.engines.tts
            found = []
            for text in questions:
                pieces = [chunk.frame.samples async for chunk in tts.synthesize(text)]
                found.append(AudioInput(np.concatenate([np.zeros(8000, dtype=np.float32), *pieces]), tts.rate_hz))
            return found

    async def main() -> tuple[list[Held], int]:
        recordings = await spoken()
        chance = random.Random(11)
        answered = 0
        held: list[Held] = []
        async with VoicePipeline(config=config) as pipeline:
            for _ in range(REAL_TURNS):
                result = await pipeline.run(chance.choice(recordings), conversation=Conversation())
                cut_after = chance.randrange(3, 8) if chance.randrange(5) == 0 else None
                seen = 0
                async for event in result.stream():
                    seen += 1
                    answered += event.type == "voice_stream_event_audio"
                    if cut_after is not None and seen == cut_after:
                        await result.aclose()
                held.append(Held.now())
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return held, answered

    held, answered = asyncio.run(main())
    assert answered >= REAL_TURNS // 2
    warm = held[round(REAL_TURNS * WARM_UP) :]
    assert_no_growth(warm[0], warm[-1], REAL_TURNS, 40_000_000)
    if FULL:
        # One reading is good to 10 MB: it depends on where in its work each library stands. Medians show a trend.
        quarter = len(warm) // 4
        first, last = (statistics.median(one.bytes for one in part) for part in (warm[:quarter], warm[-quarter:]))
        assert last - first < 5_000_000, f"{(last - first) / len(warm):.0f} bytes a turn"
