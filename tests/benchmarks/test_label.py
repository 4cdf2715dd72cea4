"""The offline labeller on sounds whose times are known, and on the human clip set."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voice_sounds import buzz, hiss, silence

from antiphon.benchmarks.clips import load_clips
from antiphon.benchmarks.label import analyse, find_speech, speech_between
from antiphon.benchmarks.scenario_audio import NOISES, noise
from antiphon.engines.audio import Samples

CLIPS = Path(os.environ.get("ANTIPHON_CLIPS") or Path(__file__).parents[2].parent / "shared" / "audio")


def noisy(*pieces: Samples, level: float = 0.0003) -> Samples:
    """The pieces one after another, over a noise floor."""
    joined = np.concatenate(pieces)
    return joined + hiss(len(joined) / 16000, level=level)[: len(joined)]


@given(
    lead_ms=st.integers(100, 2000),
    speech_ms=st.integers(200, 1500),
    tail_ms=st.integers(100, 2000),
    gain_db=st.integers(-20, 8),
    floor_db=st.sampled_from([-100, -75, -65]),
)
@settings(deadline=None, max_examples=40)
def test_start_and_end_are_found_at_any_level(
    lead_ms: int, speech_ms: int, tail_ms: int, gain_db: int, floor_db: int
) -> None:
    voice = buzz(speech_ms / 1000, level=0.2 * 10 ** (gain_db / 20))
    found = find_speech(noisy(silence(lead_ms / 1000), voice, silence(tail_ms / 1000), level=10 ** (floor_db / 20)))
    assert found is not None
    assert found.start_s == pytest.approx(lead_ms / 1000, abs=0.03)
    assert found.end_s == pytest.approx((lead_ms + speech_ms) / 1000, abs=0.03)
    assert found.pauses == ()


@given(pause_ms=st.integers(0, 1500))
@settings(deadline=None, max_examples=30)
def test_pauses_from_150_ms_are_listed(pause_ms: int) -> None:
    found = find_speech(noisy(silence(0.5), buzz(0.5), silence(pause_ms / 1000), buzz(0.5), silence(0.5)))
    assert found is not None
    if pause_ms >= 190:
        (pause,) = found.pauses
        assert pause[1] - pause[0] == pytest.approx(pause_ms / 1000, abs=0.05)
        assert pause[0] == pytest.approx(1.0, abs=0.03)
    elif pause_ms < 145:
        assert found.pauses == ()
    assert found.end_s == pytest.approx(1.5 + pause_ms / 1000, abs=0.03)


def test_a_fricative_belongs_to_the_word_and_a_click_far_off_does_not() -> None:
    fricative = hiss(0.15, level=0.02, seed=2)
    click = np.zeros(16000, dtype=np.float32)
    click[8000:8040] = 0.8
    found = find_speech(noisy(click, fricative, buzz(0.5), fricative, silence(0.05), hiss(0.03, level=0.03), click))
    assert found is not None
    assert found.start_s == pytest.approx(1.0, abs=0.03)
    assert found.end_s == pytest.approx(1.88, abs=0.03), "with the stop that is released after a short silence"


def test_two_voices_far_apart_are_one_stretch_with_a_pause() -> None:
    found = find_speech(noisy(silence(0.3), buzz(0.4), silence(3.0), buzz(0.4), silence(0.3)))
    assert found is not None and len(found.pauses) == 1
    assert (found.start_s, found.end_s) == (pytest.approx(0.3, abs=0.03), pytest.approx(4.1, abs=0.03))


@pytest.mark.parametrize("name", sorted(set(NOISES) - {"knocks"}))
def test_noises_are_no_speech(name: str) -> None:
    assert find_speech(noise(name)) is None


@pytest.mark.parametrize("samples", [silence(1.0), hiss(1.0), hiss(1.0, level=0.3), silence(0.001), buzz(0.06)])
def test_what_holds_no_voice_is_no_speech(samples: Samples) -> None:
    assert find_speech(samples) is None


def test_a_recording_that_is_cut_close_is_speech_from_end_to_end() -> None:
    words = [np.concatenate([buzz(0.3, hz=110.0 + 15 * i), silence(0.06)]) for i in range(5)]
    found = find_speech(noisy(*words)[: -int(0.06 * 16000)])
    assert found is not None and found.pauses == ()
    assert (found.start_s, found.end_s) == (pytest.approx(0.0, abs=0.03), pytest.approx(1.74, abs=0.03))


def test_a_long_recording_is_no_other_than_a_short_one() -> None:
    """Frames are worked off in pieces of 20 s."""
    found = find_speech(noisy(silence(24.7), buzz(1.0), silence(1.0)))
    assert found is not None
    assert (found.start_s, found.end_s) == (pytest.approx(24.7, abs=0.03), pytest.approx(25.7, abs=0.03))


def test_somebody_elses_times_get_the_pauses_within() -> None:
    analysis = analyse(noisy(silence(0.5), buzz(0.5), silence(0.4), buzz(0.5), silence(0.4), buzz(0.5)))
    whole, part = speech_between(analysis, 0.5, 2.8), speech_between(analysis, 0.45, 1.95)
    assert len(whole.pauses) == 2
    assert (part.start_s, part.end_s, len(part.pauses)) == (0.45, 1.95, 1)
    assert part.pauses_ms[0] == pytest.approx(400, abs=40)


@pytest.mark.clips
@pytest.mark.skipif(not CLIPS.is_dir(), reason="needs the human clip set")
def test_human_speech_is_found_where_people_say_it_is() -> None:
    starts, ends = [], []
    for clip in load_clips(CLIPS, where=["kind!=noise"]):
        found = find_speech(clip.samples())
        assert found is not None, clip.name
        assert clip.speech_start_s is not None and clip.speech_end_s is not None
        starts.append(abs(found.start_s - clip.speech_start_s))
        ends.append(abs(found.end_s - clip.speech_end_s))
    for differences in (starts, ends):
        assert np.median(differences) < 0.04
        assert np.mean(np.round(differences, 3) <= 0.1) >= 0.9
