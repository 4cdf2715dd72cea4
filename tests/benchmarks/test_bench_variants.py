"""Variants side by side: which models they share, in which order clips are played, and what happens without memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_clips import Made, made_clips
from scripted_config import Script

from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.run import Options
from antiphon.benchmarks.shared_host import SharedHost
from antiphon.benchmarks.variants import RESERVE_BYTES, Memory, Variant, Variants, without_replays
from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.config import load_config, parse_config

QUICK = Options(warmup=1, costs=False)
MB = 2**20


class Room(Memory):
    """A machine on which every variant takes as much."""

    def __init__(self, free_mb: int | None, takes_mb: int = 100) -> None:
        self.free_mb, self.takes_mb = free_mb, takes_mb
        self.loaded = 0
        self.most = 0

    def free(self) -> int | None:
        return None if self.free_mb is None else (self.free_mb - self.loaded * self.takes_mb) * MB + RESERVE_BYTES

    def used(self) -> int:
        return self.loaded * self.takes_mb * MB


def script(room: Room | None = None, **fields: Any) -> Script:
    """Engines of one variant; they tell the room when they are loaded and freed."""

    class Voice(ScriptedTTS):
        async def _load(self) -> None:
            await super()._load()
            if room is not None:
                room.loaded += 1
                room.most = max(room.most, room.loaded)

        async def __aexit__(self, *arguments: Any) -> None:
            await super().__aexit__(*arguments)
            if room is not None:
                room.loaded -= 1

    return Script(
        **{
            "speech": [(0.52, 1.32)],
            "stt": [Heard("what time is it", 0.1)],
            "llm": [Reply.of("It is noon.")],
            "tts": Voice(),
            "repeat": True,
            **fields,
        }
    )


def variants(count: int, room: Room | None = None) -> list[Variant]:
    return [
        Variant("x.yaml", script(room).config(), {"n": str(number)}, {"all": "1"}, ("told",)) for number in range(count)
    ]


def played(run: Variants) -> list[tuple[str, str]]:
    """What was played, in order, as (value of n, clip); warm-up left out."""
    seen: list[tuple[str, str]] = []

    def on_progress(step: Any) -> None:
        if not step.record.cold:
            seen.append((step.subject.removeprefix("x.yaml n="), step.record.clip))

    run_virtual(run.run(on_progress))
    return seen


@pytest.fixture
def two(tmp_path: Path) -> Sequence[Clip]:
    return made_clips(tmp_path, Made("a.wav"), Made("b.wav"))


# ------------------------------------------------------------------------------------------- the order


def test_each_clip_is_played_to_every_variant_before_the_next(two: Sequence[Clip]) -> None:
    run = Variants(variants(3), two, QUICK, memory=Room(None))
    assert played(run) == [(n, clip) for clip in ("a.wav", "b.wav") for n in "012"]
    assert run.order == "each clip to every variant in turn"
    found = run.results()
    assert [(at, one.config, one.settings) for at, one in found] == [
        (n, "x.yaml", {"all": "1", "n": str(n)}) for n in range(3)
    ]
    for _, one in found:
        assert (one.turns, one.answered, one.notes) == (2, 2, ("told",))
        assert [record.cold for record in one.turn_records] == [False, False], "nothing was cold beside loaded models"
        assert (one.peak_rss_mb, one.ready_s, one.ttfa_cold_ms.n) == (None, None, 0)


def test_as_many_as_fit_are_measured_at_a_time(two: Sequence[Clip]) -> None:
    room = Room(200)
    run = Variants(variants(5, room), two, QUICK, memory=room)
    in_twos = [(n, clip) for pair in ("01", "23") for clip in ("a.wav", "b.wav") for n in pair]
    assert played(run) == [*in_twos, ("4", "a.wav"), ("4", "b.wav")]
    assert run.order == "2 variants at a time, each clip to each of them: memory does not hold more"
    assert (room.most, room.loaded) == (2, 0)
    assert [at for at, _ in run.results()] == [0, 1, 2, 3, 4]


def test_where_all_must_meet_the_first_they_go_one_after_another_instead(two: Sequence[Clip]) -> None:
    room = Room(200)
    run = Variants(variants(3, room), two, QUICK, grouping="all or one", memory=room)
    assert played(run) == [(n, clip) for n in "012" for clip in ("a.wav", "b.wav")]
    assert run.order.startswith("one variant after another")
    (_, first), *_ = run.results()
    assert first.ready_s is not None, "alone on the machine, loading is its own again"
    assert first.ttfa_cold_ms.n == 1


def test_without_room_for_two_one_is_loaded_all_the_same(two: Sequence[Clip]) -> None:
    room = Room(10)
    run = Variants(variants(2, room), two, QUICK, memory=room)
    assert len(played(run)) == 4
    assert (room.most, run.order) == (1, "one variant after another: memory does not hold them all")


def test_what_was_measured_before_an_engine_failed_stays(two: Sequence[Clip]) -> None:
    room = Room(100)
    broken = script(room, tts=ScriptedTTS(load_errors=[EngineFailed("no such voice", stage="tts")]))
    run = Variants([*variants(1, room), Variant("x.yaml", broken.config())], two, QUICK, memory=room)
    room.free_mb = 100  # one after another
    with pytest.raises(EngineFailed, match="no such voice"):
        run_virtual(run.run())
    assert [(at, one.turns) for at, one in run.results()] == [(0, 2)]


def test_before_anything_ran_there_are_no_results(two: Sequence[Clip]) -> None:
    run = Variants(variants(2), two, QUICK, memory=Room(None))
    assert (run.order, run.results()) == ("", [])


def test_the_real_machine_says_what_it_has() -> None:
    memory = Memory()
    assert memory.used() > 10 * MB
    free = memory.free()
    assert free is None or free > 0


# ------------------------------------------------------------------------------------------ what is shared


class Model:
    def __init__(self, made: list[str], name: str) -> None:
        self._made, self._name = made, name
        made.append(f"{name} loaded")

    def close(self) -> None:
        self._made.append(f"{self._name} closed")


def test_models_that_forget_are_shared_and_those_that_remember_are_not() -> None:
    made: list[str] = []

    async def run() -> None:
        async with SharedHost() as shared:
            hosts = [shared.part(), shared.part()]
            for name in ("tts", "faster_whisper", "turn", "llm", "mystery"):
                workers = [
                    await host.acquire((name, "same model"), lambda name=name: Model(made, name)) for host in hosts
                ]
                assert (workers[0] is workers[1]) == (name not in ("llm", "mystery"))
                await hosts[0].release(workers[0])
                await hosts[0].close()  # as an assembly does when it ends
                assert (f"{name} closed" in made) == (workers[0] is not workers[1]), "the other one still speaks"
                assert hosts[1].stats()
                await hosts[1].release(workers[1])
                assert made.count(f"{name} closed") == made.count(f"{name} loaded")

    asyncio.run(run())
    assert [made.count(f"{name} loaded") for name in ("tts", "faster_whisper", "turn", "llm", "mystery")] == [
        1, 1, 1, 2, 2
    ]  # fmt: skip


def test_nothing_is_left_when_the_shared_host_ends() -> None:
    made: list[str] = []

    async def run() -> None:
        async with SharedHost() as shared:
            await shared.part().acquire("a key that is no tuple", lambda: Model(made, "x"))

    asyncio.run(run())
    assert made == ["x loaded", "x closed"]


def test_who_is_at_work_is_asked_of_all() -> None:
    async def run() -> None:
        async with SharedHost() as shared:
            one, other = shared.part(), shared.part()
            await one.acquire(("llm", 1), lambda: Model([], "x"))
            assert list(other.stats()) == list(one.stats()) != []
            assert other.at_most_one_at_work()
            assert other.cores_free()
            assert other.drop("session", 1, 1) == 0

    asyncio.run(run())


def test_no_voice_speaks_from_memory() -> None:
    assert without_replays(load_config("tiny.yaml")) == ["tts.cache_mb=0"]
    without = load_config("tiny.yaml", overrides=["tts.cache_mb=0"])
    assert without_replays(without) == []
    chain = "extends: tiny.yaml\ntts: [{engine: piper}, {engine: piper, cache_mb: 0}, {engine: piper}]"
    assert without_replays(parse_config(chain)) == ["tts.0.cache_mb=0", "tts.2.cache_mb=0"]
    assert without_replays(script().config()) == []


@pytest.mark.real
@pytest.mark.clips
@pytest.mark.timeout(900)
def test_real_models_are_shared_and_every_variant_answers(clips: Path) -> None:
    chosen = [clip for clip in load_clips(clips, where=["lang=en"]) if clip.transcript][:1]
    settings = ({}, {"speculation.enabled": "false"}, {"llm.threads": "1"})
    made = [
        Variant("tiny.yaml", load_config("tiny.yaml", overrides=[f"{key}={value}" for key, value in one.items()]), one)
        for one in settings
    ]
    run = Variants(made, chosen, replace(QUICK, costs=True))
    asyncio.run(run.run())
    found = [one for _, one in run.results()]
    assert [one.settings for one in found] == list(settings)
    assert [(one.turns, one.failed) for one in found] == [(1, 0)] * 3
    assert all(one.cpu_s_per_turn is not None and one.cpu_s_per_turn > 0 for one in found)
    assert [one.turn_records[0].speculation_hit for one in found][1] is None
