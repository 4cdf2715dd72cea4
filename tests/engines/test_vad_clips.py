"""Both VADs on the human clip set: every clip opens the default gate, noise never does with the default engine."""

from __future__ import annotations

import asyncio
import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.benchmarks.vad_compare import Clip, Listener, Row, decide, measure, read_clips
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import EngineContext, find

CLIPS = Path(os.environ.get("ANTIPHON_CLIPS", Path(__file__).parents[2].parent / "shared" / "audio"))

pytestmark = [
    pytest.mark.real,
    pytest.mark.clips,
    pytest.mark.skipif(not (CLIPS / "index.tsv").is_file(), reason="needs the human clip set"),
]


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return read_clips(CLIPS)


def measured(engine: str, clips: list[Clip], **options: Any) -> Row:
    async def run() -> Row:
        spec = find("vad", engine)
        context = EngineContext(EngineHost(), ModelStore())
        async with spec.create(spec.options_class()(**options), context) as vad:
            return measure(engine, vad, clips)

    return asyncio.run(run())


def test_the_default_engine_misses_nothing_and_is_not_started_by_noise(clips: list[Clip]) -> None:
    row = measured("silero", clips)
    assert (row.missed, row.false_starts) == (0, 0)
    assert row.most_noise_ms < 96 < row.least_speech_ms / 4, "the gate's start_ms lies far from both"
    assert abs(row.end_label[1]) <= 32
    assert row.onset_energy[2] <= 150, "the gate's pre-roll of 300 ms has room"


def test_at_8_khz_too(clips: list[Clip]) -> None:
    row = measured("silero", clips, rate_hz=8000)
    assert (row.missed, row.false_starts) == (0, 0)
    assert abs(row.end_label[1]) <= 48


@pytest.mark.parametrize(("mode", "hold_ms"), [(1, (140, 180)), (3, (90, 120))])
def test_webrtcvad_hears_every_clip_and_holds_as_stated(clips: list[Clip], mode: int, hold_ms: tuple[int, int]) -> None:
    row = measured("webrtcvad", clips, mode=mode)
    assert row.missed == 0
    assert hold_ms[0] <= row.hold[1] <= hold_ms[1]
    assert row.false_starts > 0, "if this ever fails, docs/engines-vad.md wants new words"


def test_noise_twenty_decibels_louder_stays_below_the_gates_opening(clips: list[Clip]) -> None:
    async def run() -> None:
        spec = find("vad", "silero")
        context = EngineContext(EngineHost(), ModelStore())
        async with spec.create(spec.options_class()(), context) as vad:
            for clip in (clip for clip in clips if clip.start_s is None):
                for gain in (2.0, 4.0, 10.0, 30.0):
                    heard = Listener(vad).hear(np.clip(clip.samples * np.float32(gain), -1, 1))
                    assert heard.openings == 0, (clip.name, gain)

    asyncio.run(run())


def test_the_index_and_the_clips_agree(clips: list[Clip]) -> None:
    with (CLIPS / "index.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    assert [clip.name for clip in clips] == [row["file"] for row in rows]
    assert sum(clip.start_s is None for clip in clips) == sum(row["kind"] == "noise" for row in rows)


def test_hysteresis_keeps_speech_from_flickering() -> None:
    assert decide([0.4, 0.5, 0.4, 0.35, 0.34, 0.4], 0.5, 0.35).tolist() == [False, True, True, True, False, False]
