"""The `webrtcvad` engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from antiphon.engines.audio import Samples
from antiphon.engines.errors import EngineError, EngineFailed, EngineRequestInvalid
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.vad.webrtc import WebRTCVAD, WebRTCVADOptions


def entered(body: Callable[[WebRTCVAD], None], **options: Any) -> None:
    async def run() -> None:
        spec = find("vad", "webrtcvad")
        async with spec.create(WebRTCVADOptions(**options), EngineContext(EngineHost(), ModelStore())) as vad:
            body(vad)

    asyncio.run(run())


def buzz(seconds: float, rate_hz: int = 16000) -> Samples:
    """A voiced sound: 120 Hz pulses through three formants, swelling and fading like syllables."""
    count = int(seconds * rate_hz)
    time_s = np.arange(count) / rate_hz
    sound = sum(
        np.cos(2 * np.pi * 120 * n * time_s) / (1 + ((120 * n - formant) / 120) ** 2)
        for formant in (600.0, 1200.0, 2500.0)
        for n in range(1, 28)
    )
    wave = sound * (1.1 + np.sin(2 * np.pi * 4 * time_s))
    return np.asarray(0.5 * wave / np.abs(wave).max(), dtype=np.float32)


def heard(vad: WebRTCVAD, samples: Samples) -> list[float]:
    stream, size = vad.stream(), vad.window_samples
    return [stream.probability(samples[at : at + size]) for at in range(0, len(samples) - size + 1, size)]


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_every_setting_hears_speech_and_then_silence(mode: int, frame_ms: int, rate_hz: int) -> None:
    def body(vad: WebRTCVAD) -> None:
        assert (vad.rate_hz, vad.window_samples) == (rate_hz, rate_hz * frame_ms // 1000)
        assert vad.release_threshold <= vad.threshold
        room = np.random.default_rng(0).normal(0, 0.001, 60 * vad.window_samples).astype(np.float32)
        silence = np.zeros(rate_hz, dtype=np.float32)
        answers = heard(vad, np.concatenate([room, buzz(0.6, rate_hz), silence]))
        speech_end = 60 + 600 // frame_ms
        assert not any(answers[20:60])
        assert all(answers[60:speech_end])
        held = int(sum(answers[speech_end:]))
        assert abs(held * frame_ms - vad.hidden_hangover_ms) <= frame_ms, "the stated hangover is the measured one"
        assert not any(answers[speech_end + held :]), "the hold is in one piece"

    entered(body, mode=mode, frame_ms=frame_ms, rate_hz=rate_hz)


@pytest.mark.parametrize(
    ("mode", "hold_ms"), [(0, [140, 140, 150]), (1, [140, 140, 150]), (2, [90, 100, 90]), (3, [90, 100, 90])]
)
def test_the_stated_hangover(mode: int, hold_ms: list[int]) -> None:
    stated = [WebRTCVAD(WebRTCVADOptions(mode=mode, frame_ms=ms)).hidden_hangover_ms for ms in (10, 20, 30)]
    assert stated == hold_ms


def test_two_streams_do_not_mix() -> None:
    def body(vad: WebRTCVAD) -> None:
        sound, size = buzz(1.0), vad.window_samples
        alone = heard(vad, sound)
        talking, quiet = vad.stream(), vad.stream()
        for at, expected in zip(range(0, len(sound) - size + 1, size), alone, strict=True):
            assert talking.probability(sound[at : at + size]) == expected
            assert quiet.probability(np.zeros(size, dtype=np.float32)) == 0.0

    entered(body)


def test_reset_starts_anew() -> None:
    def body(vad: WebRTCVAD) -> None:
        stream, size = vad.stream(), vad.window_samples
        silent = np.zeros(size, dtype=np.float32)
        sound = buzz(0.5)
        for at in range(0, len(sound) - size + 1, size):
            stream.probability(sound[at : at + size])
        assert stream.probability(silent) == 1.0, "the hold after speech"
        stream.reset()
        assert stream.probability(silent) == 0.0

    entered(body)


def test_enters_and_leaves_again() -> None:
    async def run() -> None:
        vad = WebRTCVAD(WebRTCVADOptions())
        for _ in range(2):
            with pytest.raises(EngineFailed, match="not entered"):
                vad.stream()
            async with vad as same:
                assert same is vad
                assert vad.stream().probability(np.zeros(vad.window_samples, dtype=np.float32)) == 0.0

    asyncio.run(run())


@pytest.mark.parametrize(
    "window",
    [
        np.zeros(0, dtype=np.float32),
        np.zeros(319, dtype=np.float32),
        np.zeros(512, dtype=np.float32),
        np.zeros((1, 320), dtype=np.float32),
        np.zeros(320, dtype=np.float64),
        np.zeros(320, dtype=np.int16),
        [0.0] * 320,
    ],
)
def test_another_window_is_refused(window: Any) -> None:
    def body(vad: WebRTCVAD) -> None:
        with pytest.raises(EngineRequestInvalid, match=r"float32 of shape \(320,\), 20 ms at 16000 Hz") as caught:
            vad.stream().probability(window)
        assert isinstance(caught.value, EngineError)
        assert (caught.value.stage, caught.value.engine) == ("vad", "webrtcvad")

    entered(body)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.0, -1.0, 1e30])
def test_extreme_samples_leave_no_trace(value: float) -> None:
    def body(vad: WebRTCVAD) -> None:
        stream, size = vad.stream(), vad.window_samples
        for _ in range(50):
            assert stream.probability(np.full(size, value, dtype=np.float32)) in (0.0, 1.0)
        answers = [stream.probability(np.zeros(size, dtype=np.float32)) for _ in range(50)]
        assert not any(answers[-25:])

    entered(body)


@pytest.mark.parametrize("bad", [{"mode": 4}, {"mode": -1}, {"frame_ms": 25}, {"rate_hz": 44100}, {"threshold": 0.5}])
def test_bad_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        WebRTCVADOptions(**bad)
