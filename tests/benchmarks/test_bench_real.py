"""The benchmark on the small real models, in real time. No timings are asserted, only what must hold at any speed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import soundfile

from antiphon.benchmarks.clips import RATE_HZ, Clip, load_clips, write_index
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import ConfigResult, TurnRecord
from antiphon.benchmarks.run import Entry, Options, run_turn_about
from antiphon.engines.audio import resample
from antiphon.pipeline.config import load_config
from antiphon.pipeline.engine_making import engine_context, make_engine

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
QUESTION = "Why is the sky blue?"


async def spoken(folder: Path) -> list[Clip]:
    """The question, said by our own voice, between half a second of silence before and one after."""
    config = load_config("tiny.yaml")
    async with engine_context(config) as context, make_engine(config.tts, context) as tts:
        chunks = [chunk.frame.samples async for chunk in tts.synthesize(QUESTION)]
        samples = resample(np.concatenate(chunks), tts.rate_hz, RATE_HZ)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    whole = np.concatenate([np.zeros(RATE_HZ // 2, np.float32), samples, np.zeros(RATE_HZ, np.float32)])
    path = folder / "sky.wav"
    soundfile.write(path, whole, RATE_HZ, subtype="PCM_16")
    start_s, end_s = 0.5 + loud[0] / RATE_HZ, 0.5 + loud[-1] / RATE_HZ
    write_index(folder, [Clip(path, "made", "en", len(whole) / RATE_HZ, start_s, end_s, transcript=QUESTION)])
    return load_clips(folder)


def in_order(record: TurnRecord) -> None:
    """What comes after something else in the chain is not before it in time."""
    stages = record.stages
    chain = [stages.stt_ms, stages.first_token_ms, stages.first_clause_ms, stages.first_audio_ms, stages.audible_ms]
    known = [at for at in chain if at is not None]
    assert len(known) == len(chain), stages
    assert known == sorted(known)
    assert stages.commit_ms is not None
    assert stages.vad_stop_ms is not None
    assert 0 < stages.vad_stop_ms <= stages.commit_ms <= known[-1]
    assert record.ttfa_ms == stages.audible_ms


def test_a_question_of_our_own_voice_live_and_as_a_recording(tmp_path: Path) -> None:
    async def run() -> list[ConfigResult]:
        clips = await spoken(tmp_path)
        config = load_config("tiny.yaml")
        subjects = [AntiphonSubject("tiny.yaml", config, finished_recording=given) for given in (False, True)]
        entries = [Entry(subject) for subject in subjects]
        await run_turn_about(entries, clips, Options(warmup=1))
        return [result for entry in entries for result in entry.results(clips)]

    live, given = asyncio.run(run())
    cold, warm = live.turn_records
    assert (cold.cold, cold.outcome, warm.cold, warm.outcome) == (True, "answered", False, "answered")
    assert (warm.word_errors, warm.words) == (0, 5)
    assert warm.reply.strip()
    in_order(warm)
    assert live.cpu_s_per_turn is not None
    assert live.cpu_s_per_turn > 0
    assert live.peak_rss_mb is not None
    assert live.peak_rss_mb > 100
    assert live.ready_s is not None
    assert (given.answered, given.turn_records[-1].commit_delay_ms) == (1, None)


@pytest.mark.clips
def test_two_people_at_once_are_both_understood(clips: Path) -> None:
    chosen = [clip for clip in load_clips(clips, where=["lang=en"]) if clip.transcript][:3]

    async def run() -> list[ConfigResult]:
        entry = Entry(AntiphonSubject("tiny.yaml", load_config("tiny.yaml")))
        await run_turn_about([entry], chosen, Options(warmup=0, concurrency=(2,)))
        return entry.results(chosen)

    (result,) = asyncio.run(run())
    assert len(result.turn_records) == 3
    assert all(record.outcome == "answered" for record in result.turn_records), result.turn_records
    assert all(record.words for record in result.turn_records)
    for record in result.turn_records:
        in_order(record)
