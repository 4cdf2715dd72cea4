"""The audio front end: its times, its modes, and what it makes of made rooms."""

from __future__ import annotations

import logging
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voice_sounds import buzz, silence

from antiphon.benchmarks.echo_room import RATE_HZ, Replies, Room, cleaned, erle_db, in_a_row
from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.config import AudioConfig
from antiphon.pipeline.frontend import AudioFrontEnd, FrontEndSettings, front_end_settings

HALF = FrontEndSettings(echo="half_duplex")
NOISE = FrontEndSettings(echo="off", noise_suppression="moderate")
BLOCK = RATE_HZ // 100


def hiss(seconds: float, rate_hz: int = RATE_HZ, level: float = 0.05) -> Samples:
    return (level * np.random.default_rng(7).standard_normal(round(seconds * rate_hz))).astype(np.float32)


def speechlike(seconds: float, seed: int = 3) -> Samples:
    """Noise in syllables: what an adaptive filter learns well from."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, round(seconds * 5) + 1) ** 2, RATE_HZ // 5)[: round(seconds * RATE_HZ)]
    return (0.2 * envelope * rng.standard_normal(len(envelope))).astype(np.float32)


def replies(*speech: Samples) -> Replies:
    return in_a_row([AudioFrame(samples, RATE_HZ) for samples in speech])


# ------------------------------------------------------------------------------------------------ times


@settings(max_examples=25)
@given(
    st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    st.lists(st.integers(1, 2000), min_size=1, max_size=12),
    st.sampled_from([FrontEndSettings(), NOISE]),
)
def test_no_sample_is_lost_or_moved_whatever_the_frames(
    rate: int, lengths: list[int], wanted: FrontEndSettings
) -> None:
    front_end = AudioFrontEnd(wanted)
    at, out = 0, []
    for length in lengths:
        frame = AudioFrame(np.zeros(length, dtype=np.float32), rate, at / rate)
        out.append(front_end.clean(frame, 100.0 + frame.end_s))
        at += length
    out.append(front_end.flush())
    assert out[-1].rate_hz == RATE_HZ
    expected_s = 0.0
    for frame in out:
        if len(frame.samples):
            assert frame.start_s == pytest.approx(expected_s, abs=1e-6)
            expected_s = frame.end_s
    assert expected_s == pytest.approx(at / rate, abs=1 / RATE_HZ)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("wanted", [FrontEndSettings(), NOISE, FrontEndSettings(echo="off", gain_control=True)])
def test_what_comes_out_lies_where_it_went_in(rate: int, wanted: FrontEndSettings) -> None:
    sound = np.concatenate([silence(1.0, rate_hz=rate), buzz(0.5, rate_hz=rate), silence(0.5, rate_hz=rate)])
    heard = cleaned(AudioFrontEnd(wanted), AudioFrame(sound, rate), replies(silence(0.1)))
    reference = np.concatenate([silence(1.0), buzz(0.5), silence(0.5)])
    assert abs(len(heard) - len(reference)) <= 2
    count = min(len(heard), len(reference))
    spectrum = np.fft.rfft(heard[:count], 2 * count) * np.conj(np.fft.rfft(reference[:count], 2 * count))
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    assert min(shift, 2 * count - shift) <= 8, "half a millisecond"


def test_a_gap_in_the_stream_is_kept() -> None:
    front_end = AudioFrontEnd()
    before = front_end.clean(AudioFrame(silence(0.1), RATE_HZ, 0.0), 10.1)
    after = front_end.clean(AudioFrame(silence(0.1), RATE_HZ, 5.0), 15.1)
    rest = front_end.flush()
    assert before.end_s == pytest.approx(0.1 - 0.008)
    assert after.start_s == pytest.approx(5.0 - 0.008), "what was inside comes out as if it stood at the gap's end"
    assert rest.end_s == pytest.approx(5.1)


def test_after_flush_a_new_stream_begins() -> None:
    front_end = AudioFrontEnd()
    for _ in range(2):
        first = front_end.clean(AudioFrame(hiss(0.055), RATE_HZ, 0.0), 3.0)
        rest = front_end.flush()
        assert first.start_s == 0.0
        assert rest.start_s == pytest.approx(first.end_s)
        assert len(first.samples) + len(rest.samples) == round(0.055 * RATE_HZ)
    assert not len(front_end.flush().samples)


def test_a_rate_that_no_microphone_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4000 Hz; allowed: 8000 to 48000 Hz"):
        AudioFrontEnd().clean(AudioFrame(silence(0.1), 4000))


# ------------------------------------------------------------------------------------------------ echo


@pytest.mark.parametrize(
    ("room", "least_db"),
    [
        (Room(delay_ms=30), 18),
        (Room(delay_ms=120), 18),
        (Room(level_db=-10), 25),
        (Room(drift_ppm=100), 18),
        (Room(drift_ppm=-100), 18),
        (Room(rt60_s=0.6), 15),
    ],
)
def test_echo_is_cancelled(room: Room, least_db: float) -> None:
    said = replies(speechlike(10.0))
    played = said.timeline(said.end_s + 1)
    captured = room.heard(played) + room.noise(len(played))
    heard = cleaned(AudioFrontEnd(), AudioFrame(captured, RATE_HZ), said)
    assert erle_db(captured, heard, played) > least_db


def test_without_the_far_end_nothing_is_cancelled() -> None:
    said = replies(speechlike(5.0))
    played = said.timeline(said.end_s)
    captured = Room().heard(played)
    front_end = AudioFrontEnd()
    heard = np.concatenate(
        [
            front_end.clean(AudioFrame(captured[at : at + 320], RATE_HZ, at / RATE_HZ)).samples
            for at in range(0, len(captured), 320)
        ]
    )
    assert abs(erle_db(captured, heard, played)) < 1.5


def test_a_delay_out_of_reach_is_met_by_the_setting() -> None:
    said, room = replies(speechlike(10.0)), Room()
    played = said.timeline(said.end_s + 1)
    captured = room.heard(played) + room.noise(len(played))
    near = AudioFrame(captured, RATE_HZ)
    lost = cleaned(AudioFrontEnd(), near, said, told_late_s=-1.0)
    found = cleaned(AudioFrontEnd(FrontEndSettings(delay_ms=1000)), near, said, told_late_s=-1.0)
    assert erle_db(captured, lost, played) < 3
    assert erle_db(captured, found, played) > 18


def test_what_was_cleared_or_paused_is_not_expected() -> None:
    """The far end follows the sink: after a pause the echo is found where it really is."""
    speech, room = speechlike(12.0), Room(noise_db=-80)
    played = np.concatenate([speech[: 6 * RATE_HZ], silence(1.5), speech[6 * RATE_HZ : 10 * RATE_HZ], silence(1.0)])
    captured = room.heard(played)
    front_end = AudioFrontEnd()
    front_end.played(AudioFrame(speech, RATE_HZ), 50.0)
    heard = []
    for at in range(0, len(captured), 320):
        frame = AudioFrame(captured[at : at + 320], RATE_HZ, at / RATE_HZ)
        if at == 6 * RATE_HZ:
            front_end.paused(56.0)
        if at == round(7.5 * RATE_HZ):
            front_end.resumed(57.5)
        if at == round(11.5 * RATE_HZ):
            front_end.stopped(61.5)
        heard.append(front_end.clean(frame, 50.0 + frame.end_s).samples)
    after = slice(8 * RATE_HZ, round(11.5 * RATE_HZ))
    assert erle_db(captured[after], np.concatenate(heard)[after], captured[after]) > 15


# ------------------------------------------------------------------------------------------------ half-duplex


def test_half_duplex_is_deaf_while_a_reply_sounds_and_a_moment_after() -> None:
    said = replies(hiss(1.0))  # 0.5 to 1.5 s
    heard = cleaned(AudioFrontEnd(HALF), AudioFrame(hiss(3.0), RATE_HZ), said)
    deaf = np.flatnonzero(heard == 0) / RATE_HZ
    assert deaf[0] == pytest.approx(0.5, abs=0.02)
    assert deaf[-1] == pytest.approx(1.75, abs=0.02)
    assert len(deaf) == pytest.approx(1.25 * RATE_HZ, abs=0.04 * RATE_HZ)


def test_half_duplex_hears_again_soon_after_a_reply_was_stopped() -> None:
    front_end = AudioFrontEnd(HALF)
    front_end.played(AudioFrame(hiss(10.0), RATE_HZ), 20.0)
    near = hiss(0.02)

    def hears(at_s: float) -> bool:
        return bool(front_end.clean(AudioFrame(near, RATE_HZ, at_s), 20.0 + at_s + 0.02).samples.any())

    assert not hears(0.0)
    assert not hears(0.5)
    front_end.stopped(20.52)
    assert not hears(0.6)
    assert hears(0.8)


def test_half_duplex_leaves_rate_length_and_the_callers_samples_alone() -> None:
    front_end = AudioFrontEnd(HALF)
    front_end.played(AudioFrame(hiss(1.0), RATE_HZ), 20.0)
    near = hiss(0.033, 44100)
    kept = near.copy()
    frame = front_end.clean(AudioFrame(near, 44100, 0.0), 20.033)
    assert (frame.rate_hz, len(frame.samples)) == (44100, len(near))
    assert not frame.samples.any()
    assert np.array_equal(near, kept)


# ------------------------------------------------------------------------------------------------ noise, gain


def test_noise_suppression_takes_steady_noise_away() -> None:
    noise = hiss(6.0, level=0.02)
    out = {}
    for level in ("low", "moderate", "high"):
        wanted = FrontEndSettings(echo="off", noise_suppression=level)  # type: ignore[arg-type]
        heard = cleaned(AudioFrontEnd(wanted), AudioFrame(noise, RATE_HZ), replies(silence(0.1)))
        out[level] = erle_db(noise[-2 * RATE_HZ :], heard[-2 * RATE_HZ :], noise[-2 * RATE_HZ :])
    assert 4 < out["low"] < out["moderate"] < out["high"]


def test_gain_control_raises_a_quiet_voice() -> None:
    voice = np.tile(np.concatenate([buzz(0.4, level=0.02), silence(0.2)]), 20)
    wanted = FrontEndSettings(echo="off", gain_control=True)
    heard = cleaned(AudioFrontEnd(wanted), AudioFrame(voice, RATE_HZ), replies(silence(0.1)))
    assert np.abs(heard).max() <= 1.0
    assert erle_db(voice, heard, voice) < -3


# ------------------------------------------------------------------------------------------------ configuration


def test_auto_cancels_where_the_transport_does_not() -> None:
    assert front_end_settings(AudioConfig(), paced=True, aec=False).echo == "aec"
    assert front_end_settings(AudioConfig(), paced=True, aec=True).idle
    assert front_end_settings(AudioConfig(echo="aec"), paced=True, aec=True).echo == "aec"
    assert front_end_settings(AudioConfig(echo="off"), paced=True, aec=False).idle
    assert front_end_settings(AudioConfig(echo="aec"), paced=False, aec=False).idle, "no time, no echo"
    assert not front_end_settings(AudioConfig(noise_suppression="low"), paced=False, aec=True).idle
    assert front_end_settings(AudioConfig(echo_delay_ms=250), paced=True, aec=False).delay_ms == 250


def test_without_the_package_auto_is_half_duplex(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pywebrtc_audio", None)
    with caplog.at_level(logging.WARNING):
        wanted = front_end_settings(AudioConfig(), paced=True, aec=False)
    assert wanted.echo == "half_duplex"
    assert "no echo canceller" in caplog.text
    AudioFrontEnd(wanted)
    with pytest.raises(EngineUnavailable, match=r'pip install "antiphon\[echo\]"'):
        AudioFrontEnd(front_end_settings(AudioConfig(echo="aec"), paced=True, aec=False))
    with pytest.raises(EngineUnavailable, match=r"need the package pywebrtc-audio"):
        AudioFrontEnd(front_end_settings(AudioConfig(noise_suppression="low"), paced=True, aec=True))
