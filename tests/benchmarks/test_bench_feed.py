"""What a subject hears: 20 ms chunks on one clock, and a room that goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from bench_clips import Made, made_clips, samples
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.benchmarks.feed import CHUNK, CHUNK_S, Microphone, Track, noise_floor
from antiphon.engines.audio import Samples
from antiphon.engines.testing import run_virtual


def level(part: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(part, dtype=np.float64))))


def test_the_floor_is_the_clips_own_noise_and_has_no_seam() -> None:
    made = Made(speech=(0.5, 1.0), seconds=2.5, floor=0.002)
    floor = noise_floor(samples(made), made.speech)
    assert 0.5 < len(floor) / RATE_HZ <= 1.0
    assert level(floor) == pytest.approx(0.002, rel=0.1)
    twice = np.concatenate([floor, floor])
    seam = twice[len(floor) - 800 : len(floor) + 800]
    assert level(seam) == pytest.approx(level(floor), rel=0.15), "the loop's seam is louder or softer than the rest"
    steps = np.abs(np.diff(twice))
    assert steps[len(floor) - 1] <= steps.max(), "no jump at the seam"


def test_the_floor_keeps_away_from_speech() -> None:
    made = Made(speech=(0.0, 1.0), seconds=1.6, floor=0.001)
    assert np.abs(noise_floor(samples(made), made.speech)).max() < 0.01


def test_the_floor_is_at_the_level_of_the_clips_end() -> None:
    quiet_lead = samples(Made(speech=None, seconds=1.0, floor=0.0005))
    loud_tail = samples(Made(speech=None, seconds=1.0, floor=0.004))
    speech = samples(Made(speech=(0.0, 0.5), seconds=0.5, floor=0.0))
    floor = noise_floor(np.concatenate([quiet_lead, speech, loud_tail]), (1.0, 1.5))
    assert level(floor) == pytest.approx(0.004, rel=0.15)


@pytest.mark.parametrize(
    "made", [Made(speech=(0.0, 1.0), seconds=1.0), Made(speech=(0.1, 0.9), seconds=1.2), Made(floor=0.0)]
)
def test_without_noise_to_take_it_is_silence(made: Made) -> None:
    floor = noise_floor(samples(made), made.speech)
    assert len(floor) >= 1
    assert not floor.any()


@given(st.floats(0.02, 3.0), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.0, 0.001, 0.05]), st.booleans())
def test_any_clip_has_a_floor_that_can_be_played(
    seconds: float, begin: float, end: float, noise: float, spoken: bool
) -> None:
    speech = (min(begin, end) * seconds, max(begin, end) * seconds) if spoken else None
    made = Made(speech=speech, seconds=seconds, floor=noise)
    floor = noise_floor(samples(made), speech)
    assert len(floor) > 0
    assert floor.dtype == np.float32
    assert np.isfinite(floor).all()


def _listened(
    tracks: list[Track], seconds: float, say_at: list[float]
) -> tuple[list[tuple[float, Samples]], list[float]]:
    heard: list[tuple[float, Samples]] = []

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()

        async def hear(chunk: Samples) -> None:
            heard.append((loop.time(), chunk))

        microphone = Microphone(hear, tracks[0])
        feeding = asyncio.create_task(microphone.run())
        begins = []
        for track, at_s in zip(tracks, say_at, strict=True):
            await asyncio.sleep(at_s - loop.time())
            begins.append(await microphone.say(track))
        await asyncio.sleep(seconds - loop.time())
        feeding.cancel()
        assert microphone.late_s == pytest.approx(0.0, abs=1e-9)
        return begins

    return heard, run_virtual(run())


def test_chunks_come_every_20_ms_for_ever_and_hold_the_clips_exactly(tmp_path: Path) -> None:
    tracks = [Track.of(clip) for clip in made_clips(tmp_path, Made("a.wav", seconds=1.713), Made("b.wav"))]
    heard, begins = _listened(tracks, 5.01, [0.31, 2.5])
    times = [at_s for at_s, _ in heard]
    assert times == pytest.approx([(n + 1) * CHUNK_S for n in range(250)])
    assert all(len(chunk) == CHUNK and chunk.dtype == np.float32 for _, chunk in heard)
    stream = np.concatenate([chunk for _, chunk in heard])
    for track, begin_s in zip(tracks, begins, strict=True):
        assert begin_s / CHUNK_S == pytest.approx(round(begin_s / CHUNK_S))
        at = round(begin_s * RATE_HZ)
        assert np.array_equal(stream[at : at + len(track.samples)], track.samples)
    after = stream[round((begins[0] + 1.72) * RATE_HZ) : round((begins[0] + 2.1) * RATE_HZ)]
    assert level(after) == pytest.approx(0.001, rel=0.2), "after the clip its noise goes on"


def test_a_subject_that_holds_the_microphone_up_is_found_out(tmp_path: Path) -> None:
    (track,) = [Track.of(clip) for clip in made_clips(tmp_path)]
    times = []

    async def run() -> float:
        loop = asyncio.get_running_loop()

        async def hear(chunk: Samples) -> None:
            times.append(loop.time())
            if len(times) == 5:
                await asyncio.sleep(0.2)

        microphone = Microphone(hear, track)
        feeding = asyncio.create_task(microphone.run())
        await asyncio.sleep(2.01)
        feeding.cancel()
        return microphone.late_s

    assert run_virtual(run()) == pytest.approx(0.18)
    assert times[-1] == pytest.approx(2.0), "it catches up: the clock is absolute"
    assert len(times) == 100
