"""The resampler of live voices: nothing waits, nothing is lost, what does not fit the lower rate is gone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.audio import Samples, resample
from antiphon.engines.live_resampler import CROSSINGS, LiveResampler

RATES = [(48000, 16000), (24000, 16000), (8000, 16000), (44100, 16000), (16000, 24000), (22050, 48000), (16000, 16000)]


def tone(hz: float, rate_hz: int, duration_s: float = 0.5) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate_hz)) / rate_hz)).astype(np.float32)


def level_db(samples: Samples) -> float:
    middle = samples[len(samples) // 5 : -len(samples) // 5].astype(float)
    return float(20 * np.log10(np.sqrt(np.mean(middle**2)) + 1e-12))


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
def test_nothing_waits_longer_than_the_filter_looks_ahead(from_hz: int, to_hz: int) -> None:
    resampler = LiveResampler(from_hz, to_hz)
    given_s = got_s = 0.0
    for _ in range(50):
        given_s += (from_hz // 50) / from_hz
        got_s += len(resampler.push(np.zeros(from_hz // 50, dtype=np.float32))) / to_hz
        assert -1e-9 <= given_s - got_s <= (CROSSINGS + 2) / min(from_hz, to_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), RATES)
@pytest.mark.parametrize("hz", [100.0, 1000.0, 3000.0])
def test_a_tone_stays_where_and_as_loud_as_it_was(from_hz: int, to_hz: int, hz: float) -> None:
    out = LiveResampler(from_hz, to_hz).push(tone(hz, from_hz), last=True)
    wanted = tone(hz, to_hz)
    assert abs(len(out) - len(wanted)) <= 2
    count = min(len(out), len(wanted))
    inner = slice(count // 5, -count // 5)
    assert np.abs(out[:count][inner] - wanted[:count][inner]).max() < 0.005


@pytest.mark.parametrize("hz", [9500, 12000, 15000, 20000])
def test_what_the_lower_rate_cannot_hold_is_gone(hz: int) -> None:
    assert level_db(LiveResampler(48000, 16000).push(tone(hz, 48000), last=True)) < -60


def test_speech_band_as_soxr_has_it() -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 48000).astype(np.float32)
    smooth = resample(resample(noise, 48000, 12000), 12000, 48000)  # nothing above 6 kHz
    live, soxr = LiveResampler(48000, 16000).push(smooth, last=True), resample(smooth, 48000, 16000)
    assert level_db((live - soxr[: len(live)]).astype(np.float32)) < level_db(soxr) - 45


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 700), max_size=12), st.integers(0, 2**32 - 1))
def test_the_pieces_join_without_a_seam(rates: tuple[int, int], sizes: list[int], seed: int) -> None:
    sound = np.random.default_rng(seed).uniform(-1, 1, sum(sizes)).astype(np.float32)
    whole = LiveResampler(*rates).push(sound, last=True)
    live, at, pieces = LiveResampler(*rates), 0, []
    for size in sizes:
        pieces.append(live.push(sound[at : at + size]))
        at += size
    pieces.append(live.push(np.zeros(0, dtype=np.float32), last=True))
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)


def test_after_the_end_the_stream_begins_anew() -> None:
    resampler = LiveResampler(24000, 16000)
    first = resampler.push(tone(440, 24000), last=True)
    np.testing.assert_array_equal(resampler.push(tone(440, 24000), last=True), first)
