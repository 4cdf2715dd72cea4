"""Clips that are played into replies, on scripted engines and a virtual clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench_clips import Made, made_clips
from loud_vad import LoudVad
from scripted_config import GivenOptions, Script

from antiphon.benchmarks.barge_in import barge_in
from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import BargeInRecord, ConfigResult
from antiphon.benchmarks.run import Entry, Options, Progress, run_turn_about
from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, InterruptionConfig, engine_block

SPOKEN = Made(name="stop.wav", speech=(0.2, 1.4), seconds=1.6)
KNOCK = Made(name="knock.wav", speech=None, seconds=0.6)
LOUD = Made(name="loud.wav", speech=None, seconds=1.6, floor=0.2)


def config(**sections: Any) -> Config:
    made = Script(
        stt=[Heard("stop that now", 0.1)],
        llm=[Reply.of("Yes.")],
        tts=ScriptedTTS(first_delay_s=0.03, seconds_per_char=0.05),
        repeat=True,
    ).config(**sections)
    return made.model_copy(update={"vad": engine_block("vad", "scripted_config:given", GivenOptions(engine=LoudVad()))})


def measured(clips: Sequence[Clip], seen: list[Progress] | None = None, **sections: Any) -> ConfigResult:
    async def run() -> ConfigResult:
        entry = Entry(AntiphonSubject("scripted.yaml", config(**sections)))
        on_progress = None if seen is None else seen.append
        options = Options(warmup=0, costs=False)
        await run_turn_about([entry], [clips[0]], options, on_progress, into_replies=clips)
        (result,) = entry.results(clips)
        return result

    return run_virtual(run())


def test_a_word_into_a_reply_stops_it_and_soft_noise_does_not(tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = measured(made_clips(tmp_path, SPOKEN, KNOCK), seen)
    knock, spoken = sorted(result.barge_in_records, key=lambda record: record.clip)
    assert (spoken.speech, spoken.right, knock.speech, knock.right) == (True, True, False, True)
    assert knock.stop_ms is None and knock.decided_ms is None
    assert spoken.stop_ms is not None and spoken.decided_ms is not None
    assert 0 < spoken.stop_ms <= 200 < spoken.decided_ms, "it is silent before it is sure"
    assert result.barge_in_stop_ms is not None
    assert (result.barge_in_stop_ms.n, result.barge_in_stop_ms.p50) == (1, spoken.stop_ms)
    assert (result.missed_interruption_rate, result.false_interruption_rate) == (0.0, 0.0)
    assert [record.clip for record in result.turn_records] == ["stop.wav"], "words into replies are no turns"
    assert [(step.done, step.total) for step in seen[1:]] == [(1, 2), (2, 2)]


def test_noise_that_ends_a_reply_counts(tmp_path: Path) -> None:
    result = measured(made_clips(tmp_path, SPOKEN, LOUD))
    assert (result.missed_interruption_rate, result.false_interruption_rate) == (0.0, 1.0)


def test_a_reply_that_goes_on_into_speech_counts(tmp_path: Path) -> None:
    result = measured(made_clips(tmp_path, SPOKEN), interruption=InterruptionConfig(enabled=False))
    assert result.missed_interruption_rate == 1.0
    assert result.barge_in_stop_ms is not None and result.barge_in_stop_ms.n == 0
    assert result.false_interruption_rate is None


def test_not_asked_for_is_not_measured(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, SPOKEN)

    async def run() -> ConfigResult:
        entry = Entry(AntiphonSubject("scripted.yaml", config()))
        await run_turn_about([entry], clips, Options(warmup=0, costs=False))
        (result,) = entry.results(clips)
        return result

    result = run_virtual(run())
    assert result.barge_in_stop_ms is None
    assert result.missed_interruption_rate is None
    assert result.barge_in_records == ()


def test_a_reply_that_never_sounds_is_told(tmp_path: Path) -> None:
    clips = made_clips(tmp_path, SPOKEN)

    async def run() -> BargeInRecord:
        silent = ScriptedTTS([EngineFailed("no voice")], repeat=True)
        async with Assembly(Script(tts=silent, speech=()).config()) as assembly:
            return await barge_in(assembly, clips[0])

    record = run_virtual(run())
    assert (record.right, record.stop_ms, record.why) == (False, None, "the reply ended before the clip began")
