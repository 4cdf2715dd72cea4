"""Several conversations at once, on scripted engines and a virtual clock; and how late an event loop is."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_clips import Made, made_clips
from loud_vad import LoudVad
from scripted_config import Script

from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.load import STAGGER_S, Heard, Load, LoadOptions, Step
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.ticker import Ticker
from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Heard as Said
from antiphon.engines.testing import Reply, ScriptedLLM, ScriptedTTS, run_virtual

QUICK: dict[str, Any] = {"warmup": 0, "costs": False, "turns": 3}


def script(**fields: Any) -> Script:
    made = Script(
        **{
            "stt": [Said("what time is it", 0.1)],
            "llm": [Reply.of("It is noon.")],
            "repeat": True,
            **fields,
        }
    )
    made.vad_engine = LoudVad()
    return made


@pytest.fixture
def six(tmp_path: Path) -> Sequence[Clip]:
    return made_clips(tmp_path, *(Made(f"{n}.wav") for n in range(6)))


def measured(made: Script, clips: Sequence[Clip], **options: Any) -> tuple[Load, list[Heard]]:
    load = Load(AntiphonSubject("x.yaml", made.config()), clips, LoadOptions(**{**QUICK, **options}))
    heard: list[Heard] = []
    run_virtual(load.run(heard.append))
    return load, heard


def test_each_step_has_its_sessions_and_everybody_has_as_many_turns(six: Sequence[Clip]) -> None:
    made = script()
    load, heard = measured(made, six, sessions=(1, 2, 3))
    assert made.stt_engine.loads == 1
    assert [(step.sessions, step.result.concurrency) for step in load.steps] == [(1, 1), (2, 2), (3, 3)]
    for step in load.steps:
        assert (step.result.turns, step.result.answered) == (3 * step.sessions, 3 * step.sessions)
        assert all(record.concurrency == step.sessions for record in step.result.turn_records)
        assert (step.broken, step.result.underruns) == ("", 0)
        keys = Counter((record.clip, record.run) for record in step.result.turn_records)
        assert set(keys.values()) == {1}, "a turn can be found again by its clip and run"
    assert load.breaks_at is None
    assert [one.done for one in heard if one.sessions == 3] == list(range(1, 10))
    assert {one.total for one in heard if one.sessions == 3} == {9}


def test_a_session_is_one_conversation_and_its_first_turn_does_not_count(six: Sequence[Clip]) -> None:
    made = script()
    load, _ = measured(made, six, sessions=(1,))
    (step,) = load.steps
    assert [record.clip for record in step.result.turn_records] == ["1.wav", "2.wav", "3.wav"]
    answered = [len(call.messages) for call in made.llm_engine.calls]
    assert answered[:4] == [2, 4, 6, 8], "each turn knows those before it"


def test_people_begin_one_after_another_on_clips_of_their_own(six: Sequence[Clip]) -> None:
    made = script()
    load, _ = measured(made, six, sessions=(2,))
    first, second = sorted(call.began_s for call in made.stt_engine.calls)[:2]
    assert second - first == pytest.approx(STAGGER_S / 2, abs=0.05)
    (step,) = load.steps
    clips = [record.clip for record in step.result.turn_records]
    assert sorted(clips) == ["0.wav", "1.wav", "2.wav", "3.wav", "4.wav", "5.wav"]


def test_who_is_through_goes_on_until_all_are(tmp_path: Path) -> None:
    """The second person's clips are longer: the first has had his turns long before."""
    clips = made_clips(
        tmp_path, Made("a.wav"), Made("b.wav"), Made("c.wav", (0.2, 6.0), 6.5), Made("d.wav", (0.2, 6.0), 6.5)
    )
    made = script()
    load, heard = measured(made, clips, sessions=(2,), turns=1)
    (step,) = load.steps
    assert [record.clip for record in step.result.turn_records] == ["b.wav", "d.wav"]
    assert len(heard) == 2
    assert len(made.stt_engine.calls) > 4, "and what he said then is in no record"


def test_with_minutes_new_conversations_are_begun_until_the_time_is_over(six: Sequence[Clip]) -> None:
    made = script()
    load, heard = measured(made, six, sessions=(1,), turns=2, minutes=0.5)
    (step,) = load.steps
    assert step.wall_s >= 30
    assert step.result.turns > 4
    assert step.result.turns % 2 == 0
    assert {one.total for one in heard} == {None}
    assert max(len(call.messages) for call in made.llm_engine.calls) == 6, "three turns, the first not counted"


def test_the_cold_turn_is_apart_and_stands_in_the_first_step(six: Sequence[Clip]) -> None:
    load, _ = measured(script(), six, sessions=(1, 2), warmup=2)
    first, second = load.steps
    assert [record.clip for record in first.result.turn_records if record.cold] == ["5.wav"]
    assert not any(record.cold for record in second.result.turn_records)
    assert (first.result.turns, first.result.ttfa_cold_ms.n, second.result.ttfa_cold_ms.n) == (3, 1, 0)
    assert first.result.ready_s is not None


class Crowded(ScriptedLLM):
    """Answers one at a time."""

    def __init__(self, seconds: float) -> None:
        super().__init__([Reply.of("It is noon.")], repeat=True)
        self._seconds = seconds
        self._busy = asyncio.Semaphore(1)

    async def stream(self, *arguments: Any, **named: Any) -> Any:
        async with self._busy:
            await asyncio.sleep(self._seconds)
        async for event in super().stream(*arguments, **named):
            yield event


def test_it_breaks_where_the_p95_passes_the_limit(six: Sequence[Clip]) -> None:
    def at(limit_ms: float) -> Load:
        made = script()
        made.llm_engine = Crowded(1.2)
        return measured(made, six, sessions=(1, 4), most_p95_ms=limit_ms, turns=4)[0]

    load = at(1700)
    alone, crowd = load.steps
    assert (alone.broken, crowd.broken) == ("", "p95 above 1700 ms")
    assert load.breaks_at == 4
    assert (alone.result.ttfa_ms.p95 or 0) < 1700 < (crowd.result.ttfa_ms.p95 or 0)
    assert at(9000).breaks_at is None
    assert at(10).breaks_at == 1


def test_it_breaks_where_too_many_turns_are_missed_or_fail(six: Sequence[Clip]) -> None:
    def broken(share: float, replies: Sequence[Reply]) -> str:
        load, _ = measured(script(llm=list(replies) * 3), six, sessions=(1,), turns=10, most_missed=share)
        return load.steps[0].broken

    some_fail = [Reply.of("Yes.")] * 4 + [Reply(error_after=0)]
    some_silent = [Reply.of("Yes.")] * 4 + [Reply.of("")]
    assert broken(0.05, some_fail) == "2 of 10 turns missed or failed"
    assert broken(0.05, some_silent) == "2 of 10 turns missed or failed"
    assert broken(0.2, some_fail) == ""


def test_the_block_is_what_the_report_reads(six: Sequence[Clip]) -> None:
    load, _ = measured(script(), six, sessions=(1, 2), most_p95_ms=1)
    block = load.block()
    assert (block["config"], block["breaks_at"], block["limits"]) == ("x.yaml", 1, {"p95_ms": 1, "missed_rate": 0.05})
    for index, step in enumerate(block["steps"]):
        assert (step["sessions"], step["result"], step["broken"]) == (index + 1, index, "p95 above 1 ms")
        assert step["loop_lag_ms"]["n"] > 100
        assert step["loop_lag_p999_ms"] == step["loop_lag_ms"]["p999"] == 0.0, "a virtual clock is never late"
        assert step["wall_s"] > 5


def test_noise_counts_apart_and_nothing_but_noise_breaks_nothing(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, Made("n.wav", speech=None), Made("m.wav", speech=None))
    load, _ = measured(script(), clips, sessions=(2,), warmup=1)
    (step,) = load.steps
    assert (step.result.turns, step.result.noise_clips, step.result.false_start_rate, step.broken) == (0, 6, 0.0, "")


def test_processor_time_is_of_all_turns(six: Sequence[Clip]) -> None:
    load, _ = measured(script(), six, sessions=(1,), costs=True)
    (step,) = load.steps
    assert step.cores_busy is not None
    assert step.result.cpu_s_per_turn is not None
    assert step.result.cpu_s_per_turn > 0
    assert (step.result.peak_rss_mb or 0) > 10


def test_steps_that_were_finished_before_a_stop_are_kept_and_nobody_goes_on(six: Sequence[Clip]) -> None:
    load = Load(AntiphonSubject("x.yaml", script().config()), six, LoadOptions(**{**QUICK, "sessions": (1, 2)}))

    async def run() -> None:
        def on_heard(heard: Heard) -> None:
            if heard.sessions == 2:
                running.cancel()

        running = asyncio.create_task(load.run(on_heard))
        await asyncio.wait({running})
        assert running.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(run())
    assert [step.sessions for step in load.steps] == [1]


def test_an_engine_that_does_not_load_is_told(six: Sequence[Clip]) -> None:
    broken = script(tts=ScriptedTTS(load_errors=[EngineFailed("no such voice", stage="tts")]))
    with pytest.raises(EngineFailed, match="no such voice"):
        measured(broken, six, sessions=(1,))


def test_a_session_that_breaks_fails_its_turns_and_the_others_go_on(six: Sequence[Clip]) -> None:
    class Fragile(AntiphonSubject):
        opened = 0

        async def open(self, listener: Any) -> Any:
            Fragile.opened += 1
            if Fragile.opened == 1:
                raise ConnectionRefusedError("nobody there")
            return await super().open(listener)

    load = Load(Fragile("x.yaml", script().config()), six, LoadOptions(**{**QUICK, "sessions": (2,)}))
    steps: list[Step] = []
    run_virtual(load.run(on_step=steps.append))
    (step,) = steps
    assert (step.result.failed, step.result.answered) == (3, 3)
    assert step.broken == "3 of 6 turns missed or failed"


def test_the_audio_of_long_replies_is_let_go_but_its_length_stays(six: Sequence[Clip]) -> None:
    long = script(llm=[Reply.of("It is noon. " + "And then some more of the same. " * 8)])
    load, _ = measured(long, six, sessions=(1,), turns=2)
    for record in load.steps[0].result.turn_records:
        assert record.outcome == "answered"
        assert record.reply_s is not None
        assert record.reply_s > 10


# -------------------------------------------------------------------------------------------- the ticker


def test_a_loop_that_is_held_up_is_late_for_every_tick_of_that_time() -> None:
    async def run() -> dict[str, Any]:
        async with Ticker(period_s=0.004) as ticker:
            await asyncio.sleep(0.02)
            time.sleep(0.2)  # noqa: ASYNC251 (what an engine on the loop would do)
            await asyncio.sleep(0.02)
        return ticker.lag_ms()

    lag = asyncio.run(run())
    assert lag["max"] >= 190
    assert lag["n"] >= 50, "50 ticks fell due while the loop was held up"
    assert lag["p50"] >= 50, "half of those were late by half of the time: one late wake-up would not tell"
    assert lag["p50"] <= lag["p95"] <= lag["p99"] <= lag["p999"] <= lag["max"]


def test_without_a_tick_there_is_no_lag() -> None:
    async def run() -> dict[str, Any]:
        async with Ticker(period_s=1000.0) as ticker:
            pass
        return ticker.lag_ms()

    assert asyncio.run(run()) == {"n": 0, "p50": None, "p95": None, "p99": None, "p999": None, "max": None}


def test_percentiles_are_those_of_the_ticks() -> None:
    ticker = Ticker()
    ticker._late_s = list(np.arange(10_001) / 1e6)  # 0 to 10 ms
    assert ticker.lag_ms() == {"n": 10_001, "p50": 5.0, "p95": 9.5, "p99": 9.9, "p999": 9.99, "max": 10.0}
