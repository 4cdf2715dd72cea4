"""Live sessions on real engines, in real time, with people who interrupt: nothing may grow. Seeded.

By default a few turns of one session. `ANTIPHON_SOAK=full` (`make soak`): three sessions at once on the same engines,
100 turns to fill every pool and cache, and 100 more.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from room import RATE_HZ, Person, Room, Tally, Utterance
from soak_gauge import Gauge, fill_thread_pool
from soak_report import Stopwatch, write_turns

from antiphon import load_config
from antiphon.engines.audio import Samples, resample
from antiphon.pipeline.build import Assembly

FULL = os.environ.get("ANTIPHON_SOAK") == "full"
PEOPLE = 3 if FULL else 1
TURNS = 210 if FULL else 5
WARM_UP = 100 if FULL else 1
ROUND = 4 if FULL else 1
"""Turns of each person between two looks."""
WEIGHTS = {
    "barge_in": 5.0,
    "ask": 2.0,
    "nod": 2.0,
    "cough": 1.5,
    "go_on": 1.0,
    "hold": 1.0,
    "cancel": 1.0,
    "announce": 1.0,
}
QUESTIONS = ("What is the capital of France?", "How are you today?", "Tell me a story.", "Is it late?", "And then?")
NODS = ("Yeah.", "Okay.")


async def spoken(assembly: Assembly, texts: Sequence[str]) -> list[Samples]:
    """The texts as audio, by the engine under test itself."""
    assert assembly.engines is not None
    tts = assembly.engines.tts
    found = []
    for text in texts:
        pieces = [chunk.frame.samples async for chunk in tts.synthesize(text)]
        found.append(resample(np.concatenate(pieces), tts.rate_hz, RATE_HZ))
    return found


class Voices:
    """What a person may utter. Noise is seeded, too."""

    def __init__(self, questions: Sequence[Samples], nods: Sequence[Samples]) -> None:
        self._questions, self._nods = questions, nods

    def __call__(self, chance: random.Random, kind: str) -> Utterance:
        if kind == "noise":
            samples = round(chance.uniform(0.05, 0.4) * RATE_HZ)
            noise = np.random.default_rng(chance.randrange(2**32)).normal(0, 0.1, samples)
            return Utterance("", np.clip(noise, -1, 1).astype(np.float32))
        return Utterance("", chance.choice(self._questions if kind == "question" else self._nods))


@pytest.mark.real
@pytest.mark.timeout(3600)
def test_live_sessions_on_real_engines(tmp_path: Path) -> None:
    store = tmp_path / "t.db"
    config = load_config(
        "tiny.yaml",
        overrides=[
            "tts.cache_mb=4",  # full before the warm-up is over
            "session.answer_deadline_s=60",
            "session.stt_deadline_s=60",
            "llm.max_tokens=24",
            "workflow.history_turns=6",
            "transcript.store=sqlite",
            f"transcript.path={store}",
            "transcript.record_audio=true",
        ],
    )
    tally, gauge, watch = Tally(), Gauge(every=1, warm_up=WARM_UP), Stopwatch()

    async def main() -> None:
        await fill_thread_pool()
        async with Assembly(config) as assembly:
            voices = Voices(await spoken(assembly, QUESTIONS), await spoken(assembly, NODS))
            async with asyncio.TaskGroup() as sessions:
                people = [
                    await enter(assembly, voices, random.Random(11 + number), sessions) for number in range(PEOPLE)
                ]
                while tally.turns < TURNS:
                    async with asyncio.TaskGroup() as group:
                        for person in people:
                            group.create_task(person.talk(person.turns + ROUND, WEIGHTS))
                    gauge.look(tally.turns)
                for person in people:
                    person.leave()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def enter(assembly: Assembly, voice: Voices, chance: random.Random, sessions: asyncio.TaskGroup) -> Person:
        room = Room()
        person = Person(room, voice, chance, tally)
        session = assembly.session(room, sinks=[person, tally])
        sessions.create_task(session.run())
        return person.meet(session)

    asyncio.run(main())
    assert tally.statuses["completed"] and tally.events["playback_paused"]
    if FULL:
        gauge.assert_no_growth()
        assert tally.statuses["interrupted"] > 20 and tally.statuses["failed"] == 0
        write_turns("real_engines", tally, gauge, watch.seconds, PEOPLE)
    else:
        first, last = gauge.samples[1], gauge.samples[-1]
        assert last.tasks <= first.tasks and last.threads <= first.threads
