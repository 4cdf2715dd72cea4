"""Slices that grow, and are never late; silence that is cut, and never a sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from antiphon.engines.tts.piper_level import ONSET, LeadTrimmer, amplify, gain_for
from antiphon.engines.tts.piper_schedule import Pace, SliceSchedule

FRAME_S = 256 / 22050


def play(schedule: SliceSchedule, total: int, rtf: float, trimmed_s: float = 0.0) -> tuple[list[int], float]:
    """Decode `total` frames on a machine of that speed while the listener plays: (slices, the least audio ahead)."""
    pace_s = rtf * FRAME_S
    slices: list[int] = []
    done, clock_s, handed_s, least_s = 0, 0.0, -trimmed_s, float("inf")
    while done < total:
        if slices:
            frames = schedule.following(len(slices), total - done, pace_s, handed_s - clock_s)
        else:
            frames = schedule.first(total - done, pace_s)
        begin, end = max(0, done - schedule.context_frames), min(total, done + frames + schedule.context_frames)
        if slices:  # the listener hears from the moment that the first slice is there
            clock_s += (end - begin) * pace_s
            least_s = min(least_s, handed_s - clock_s)
        slices.append(frames)
        done += frames
        handed_s += frames * FRAME_S
    return slices, least_s


@given(
    total=st.integers(1, 2000),
    rtf=st.floats(0.01, 0.45),
    context=st.integers(4, 32),
    steps=st.sampled_from([(16, 48, 160), (16,), (8, 200), (32, 64, 128, 256)]),
)
def test_a_listener_never_waits(total: int, rtf: float, context: int, steps: tuple[int, ...]) -> None:
    schedule = SliceSchedule(steps, context, FRAME_S)
    assume(2 * context * rtf / (0.7 - rtf) < steps[-1])  # else no slice of that size can keep up
    slices, least_s = play(schedule, total, rtf)
    assert sum(slices) == total
    assert least_s >= -1e-9
    assert all(frames > 0 for frames in slices)
    assert max(slices) <= max(steps) + context


def test_a_fast_machine_follows_the_steps() -> None:
    schedule = SliceSchedule((16, 48, 160), 12, FRAME_S)
    assert play(schedule, 600, 0.05)[0] == [16, 48, 160, 160, 160, 56]


def test_a_slower_machine_begins_with_more_and_grows_less() -> None:
    schedule = SliceSchedule((16, 48, 160), 12, FRAME_S)
    slices, least_s = play(schedule, 600, 0.4)
    assert slices[0] > 16 and least_s >= 0
    assert slices[1] < 48


def test_a_machine_slower_than_speech_decodes_in_the_longest_slices() -> None:
    schedule = SliceSchedule((16, 48, 160), 12, FRAME_S)
    slices, least_s = play(schedule, 600, 1.5)
    assert slices[0] == 160 and least_s < 0


def test_a_short_rest_is_taken_along() -> None:
    schedule = SliceSchedule((16, 48), 12, FRAME_S)
    assert schedule.first(27, 0.0005) == 27
    assert schedule.first(29, 0.0005) == 16


def test_pace_rises_at_once_and_falls_slowly() -> None:
    pace = Pace(0.001)
    pace.note(0.1, 50)
    assert pace.frame_s == pytest.approx(0.002)
    pace.note(0.05, 50)
    assert pace.frame_s == pytest.approx(0.75 * 0.002 + 0.25 * 0.001)


@given(
    quiet=st.integers(0, 400),
    loud=st.integers(1, 200),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=40),
    lead_ms=st.sampled_from([0, 10, 20]),
)
def test_silence_is_cut_and_sound_is_not(quiet: int, loud: int, sizes: list[int], lead_ms: int) -> None:
    sound = np.concatenate([np.full(quiet, ONSET / 2), np.full(loud, 0.5), np.full(30, 0.001)]).astype(np.float32)
    trimmer = LeadTrimmer(1000, lead_ms / 1000)
    pieces, position = [], 0
    for size in [*sizes, len(sound)]:
        last = position + size >= len(sound)
        pieces.append(trimmer.push(sound[position : position + size], last=last))
        position += size
        if last:
            break
    out = np.concatenate(pieces)
    cut = max(0, quiet - lead_ms)
    assert trimmer.cut_samples == cut
    assert np.array_equal(out, sound[cut:])


def test_silence_alone_passes_at_the_end() -> None:
    trimmer = LeadTrimmer(1000, 0.01)
    assert len(trimmer.push(np.zeros(50, dtype=np.float32), last=False)) == 0
    assert len(trimmer.push(np.zeros(50, dtype=np.float32), last=True)) == 60
    assert trimmer.cut_samples == 40


def test_no_lead_in_cuts_nothing() -> None:
    trimmer = LeadTrimmer(1000, None)
    assert len(trimmer.push(np.zeros(50, dtype=np.float32), last=False)) == 50


@given(hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1, 1, width=32)), st.floats(0, 8))
def test_amplified_speech_never_clips_and_keeps_its_order(samples: np.ndarray, gain: float) -> None:
    out = amplify(samples, gain)
    assert np.abs(out).max() <= 1.0
    order = np.argsort(samples, kind="stable")
    assert (np.diff(out[order]) >= 0).all()
    joined = np.concatenate([amplify(part, gain) for part in np.array_split(samples, 3)])
    assert np.array_equal(joined, out)


def test_the_gain_brings_voices_to_one_level() -> None:
    rng = np.random.default_rng(0)
    speech = (rng.normal(size=20000) * 0.02).astype(np.float32)
    padded = np.concatenate([np.zeros(5000, dtype=np.float32), speech])
    level = np.sqrt(np.mean(np.square(speech * gain_for(speech))))
    assert level == pytest.approx(0.1, rel=0.05)
    assert gain_for(padded) == pytest.approx(gain_for(speech), rel=0.01)
    assert gain_for(speech * 10) == pytest.approx(gain_for(speech) / 10, rel=0.01)
    assert gain_for(np.zeros(10, dtype=np.float32)) == 1.0
    assert gain_for(np.zeros(0, dtype=np.float32)) == 1.0
