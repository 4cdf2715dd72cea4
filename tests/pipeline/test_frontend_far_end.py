"""The far end by time, and the clock of what is captured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.pipeline.frontend.capture_clock import CaptureClock
from antiphon.pipeline.frontend.far_end import FarEnd

HZ = 1000


def counted(first: int, count: int) -> AudioFrame:
    """Samples that say which they are."""
    return AudioFrame(np.arange(first, first + count, dtype=np.float32), HZ)


def test_frames_lie_where_they_sound() -> None:
    far = FarEnd(HZ)
    far.add(counted(1, 5), 100.0)
    far.add(counted(6, 5), 100.005)
    assert far.read(99_998, 14).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0]
    assert far.read(100_003, 3).tolist() == [4, 5, 6]


def test_a_time_that_is_off_by_little_leaves_no_seam() -> None:
    far = FarEnd(HZ)
    far.add(counted(1, 5), 100.0)
    far.add(counted(6, 5), 100.009)
    assert far.read(100_000, 10).tolist() == list(range(1, 11))


def test_a_time_that_is_off_by_more_begins_anew() -> None:
    far = FarEnd(HZ)
    far.add(counted(1, 5), 100.0)
    far.add(counted(6, 3), 100.02)
    assert far.read(100_000, 24).tolist() == [1, 2, 3, 4, 5, *[0] * 15, 6, 7, 8, 0]


def test_what_is_told_to_sound_earlier_than_the_last_takes_its_place() -> None:
    far = FarEnd(HZ)
    far.add(counted(1, 30), 100.0)
    far.add(counted(101, 5), 100.01)
    assert far.read(100_008, 10).tolist() == [9, 10, 101, 102, 103, 104, 105, 0, 0, 0]


def test_what_was_cut_does_not_sound() -> None:
    far = FarEnd(HZ)
    far.add(counted(1, 10), 100.0)
    far.add(counted(11, 10), 100.01)
    far.cut(100.013)
    assert far.read(100_010, 6).tolist() == [11, 12, 13, 0, 0, 0]
    assert far.sounds(100.0, 100.005)
    assert not far.sounds(100.013, 101.0)
    far.add(counted(50, 2), 100.02)
    assert far.read(100_018, 5).tolist() == [0, 0, 50, 51, 0]


def test_after_a_pause_it_goes_on_at_the_sample() -> None:
    far = FarEnd(HZ)
    far.add(counted(1, 10), 100.0)
    far.hold(100.004)
    far.hold(100.008)
    assert far.read(100_000, 10).tolist() == [1, 2, 3, 4, *[0] * 6]
    far.add(counted(11, 3), 100.01)  # told while it stands still: behind what waits
    far.release(100.05)
    assert far.read(100_050, 10).tolist() == [5, 6, 7, 8, 9, 10, 11, 12, 13, 0]
    far.release(100.06)
    assert far.read(100_050, 2).tolist() == [5, 6]


def test_what_is_cut_in_a_pause_never_comes() -> None:
    far = FarEnd(HZ)
    far.add(counted(1, 10), 100.0)
    far.hold(100.004)
    far.cut(100.006)
    far.release(100.01)
    assert not far.read(100_004, 50).any()


def test_another_rate_is_resampled_to_the_last_sample() -> None:
    t = np.arange(22050) / 22050
    tone = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    far = FarEnd(16000)
    for at in range(0, 22050, 2205):
        far.add(AudioFrame(tone[at : at + 2205], 22050), 10.0 + at / 22050)
    heard = far.read(160_000, 16_000)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(heard - wanted)[200:-200].max() < 0.01
    assert np.abs(heard[-40:]).max() > 0.3, "the resampler's tail is there too"


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20), st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_any_cut_of_input_and_reading_gives_the_same(frames: list[int], reads: list[int]) -> None:
    far, told = FarEnd(HZ), 0
    for count in frames:
        far.add(counted(told + 1, count), 5.0 + told / HZ)
        told += count
    heard: list[Samples] = []
    at = 5000
    for count in reads:
        heard.append(far.read(at, count))
        at += count
    line = np.concatenate(heard)
    wanted = np.arange(1, len(line) + 1, dtype=np.float32)
    wanted[told:] = 0
    assert line.tolist() == wanted.tolist()


def test_what_nobody_reads_is_not_kept_for_ever() -> None:
    far = FarEnd(HZ)
    for second in range(300):
        far.add(counted(0, HZ), float(second))
    assert not far.sounds(0.0, 100.0)
    assert far.sounds(200.0, 201.0)


# ------------------------------------------------------------------------------------------------ the clock


def test_the_earliest_arrival_tells_the_offset() -> None:
    clock = CaptureClock()
    for number, late_s in enumerate([0.03, 0.0, 0.012, 0.04, 0.001]):
        end_s = 0.02 * (number + 1)
        clock.arrived(end_s, 50.0 + end_s + late_s, quiet=True)
    assert clock.offset_s == pytest.approx(50.0)


def test_a_small_error_waits_until_nothing_sounds() -> None:
    clock = CaptureClock()
    clock.arrived(0.02, 50.04, quiet=False)
    clock.arrived(0.04, 50.05, quiet=False)
    assert clock.offset_s == pytest.approx(50.02)
    clock.arrived(0.06, 50.08, quiet=True)
    assert clock.offset_s == pytest.approx(50.01)


def test_a_stream_that_lost_a_second_is_found_again() -> None:
    clock = CaptureClock()
    at_s = 50.0
    for number in range(300):
        end_s = 0.02 * number
        at_s = 50.0 + end_s + (1.0 if number >= 100 else 0.0)
        clock.arrived(end_s, at_s, quiet=False)
    assert clock.offset_s == pytest.approx(51.0)


def test_a_drifting_clock_is_followed() -> None:
    clock = CaptureClock()
    for number in range(50 * 600):
        end_s = 0.02 * number
        clock.arrived(end_s, 50.0 + end_s * (1 + 100e-6), quiet=number % 500 == 0)
    assert clock.offset_s == pytest.approx(50.06, abs=0.004)
