"""Every VAD, turn detector and STT engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from contract import Opened, cancelled_after, cases, noise, opened, ours, silence, use

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineError
from antiphon.engines.protocols import STT, VAD, STTOptions, Transcript, TurnDetector

ODD_TEXTS = [None, "", " ", "hello", "x" * 100_000, "\x00\ud800\U0001f600", "今日は"]


# ------------------------------------------------------------------------------------------------ VAD


@pytest.fixture(scope="module", params=cases("vad"))
def vad_engine(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with opened(request.param) as engine:
        yield engine


def test_vad_attributes_make_sense(vad_engine: Opened) -> None:
    async def check(vad: VAD) -> None:
        assert 0 < vad.release_threshold <= vad.threshold < 1
        assert vad.hidden_hangover_ms >= 0
        assert 5 <= 1000 * vad.window_samples / vad.rate_hz <= 100

    vad_engine.run(check)


def test_vad_probabilities_whatever_the_sound(vad_engine: Opened) -> None:
    async def check(vad: VAD) -> None:
        n = vad.window_samples
        sounds = [np.zeros(n), np.ones(n), -np.ones(n), np.tile([1.0, -1.0], n)[:n], np.full(n, 1e-30)]
        stream = vad.stream()
        for sound in sounds:
            for _ in range(20):
                assert 0 <= stream.probability(sound.astype(np.float32)) <= 1
        stream.reset()
        quiet = [stream.probability(np.zeros(n, np.float32)) for _ in range(40)]
        assert quiet[-1] < vad.release_threshold

    vad_engine.run(check)


def test_vad_streams_are_independent_and_reset_forgets(vad_engine: Opened) -> None:
    async def check(vad: VAD) -> None:
        n = vad.window_samples
        loud, quiet = (
            audio.samples[: 30 * n].reshape(30, n) for audio in (noise(3, vad.rate_hz, 0.3), silence(3, vad.rate_hz))
        )
        alone = vad.stream()
        expected = [alone.probability(window) for window in loud]
        first, second = vad.stream(), vad.stream()
        for one, other, probability in zip(loud, quiet, expected, strict=True):
            assert first.probability(one) == pytest.approx(probability, abs=1e-6)
            second.probability(other)
        first.reset()
        assert [first.probability(window) for window in loud] == pytest.approx(expected, abs=1e-6)

    vad_engine.run(check)


def test_vad_refuses_a_wrong_window_and_goes_on(vad_engine: Opened) -> None:
    async def check(vad: VAD) -> None:
        stream = vad.stream()
        n = vad.window_samples
        for shape in [(0,), (n - 1,), (n + 1,), (n, 2), (1, n)]:
            with pytest.raises(EngineError):
                stream.probability(np.zeros(shape, np.float32))
        assert 0 <= stream.probability(np.zeros(n, np.float32)) <= 1

    vad_engine.run(check)


# ----------------------------------------------------------------------------------------------- turn


@pytest.fixture(scope="module", params=cases("turn"))
def turn_engine(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with opened(request.param) as engine:
        yield engine


def test_turn_policy_makes_sense(turn_engine: Opened) -> None:
    async def check(turn: TurnDetector) -> None:
        policy = turn.policy
        assert 0 < policy.silence_ms <= policy.max_silence_ms
        probabilities = [probability for probability, _ in policy.steps]
        assert probabilities == sorted(probabilities, reverse=True)
        silences = [silence_ms for _, silence_ms in policy.steps]
        assert silences == sorted(silences), "the less sure, the longer the wait"
        assert list(policy.check_at_ms) == sorted(policy.check_at_ms)

    turn_engine.run(check)


def test_turn_answers_or_refuses_whatever_it_is_given(turn_engine: Opened) -> None:
    async def check(turn: TurnDetector) -> None:
        loud = noise(1.0)
        audios = [
            loud, silence(1.0), silence(0.001), silence(0.0), noise(40.0), replace(loud, rate_hz=8000),
            replace(loud, samples=np.full(16000, np.nan, np.float32)),
            replace(loud, samples=np.full(16000, 1e30, np.float32)),
        ]  # fmt: skip
        for audio in audios:
            probability = await ours(turn.end_probability(audio, "so"))
            assert probability is None or 0 <= probability <= 1
        for text in ODD_TEXTS:
            probability = await ours(turn.end_probability(loud, text))
            assert (probability is None) == (not turn.policy.check_at_ms), "one whose policy never asks never answers"

    turn_engine.run(check)


def test_turn_at_once_and_cancelled(turn_engine: Opened) -> None:
    async def check(turn: TurnDetector) -> None:
        if not turn.policy.check_at_ms:
            return
        audios = [noise(1.0 + index / 2, seed=index) for index in range(4)]
        alone = [await turn.end_probability(audio, None) for audio in audios]
        together = await asyncio.gather(*(turn.end_probability(audio, None) for audio in audios))
        assert together == pytest.approx(alone, abs=1e-4)
        for delay_s in (0, 0.001, 0.01):
            await cancelled_after(turn.end_probability(audios[0], None), delay_s)
        assert await turn.end_probability(audios[1], None) == pytest.approx(alone[1], abs=1e-4)

    turn_engine.run(check)


# ------------------------------------------------------------------------------------------------ STT


@pytest.fixture(scope="module", params=cases("stt"))
def stt_engine(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with opened(request.param) as engine:
        yield engine


def checked(transcript: Transcript | None, audio: AudioFrame) -> None:
    if transcript is None:
        return
    assert transcript.final and transcript.text == transcript.text.strip()
    for word in transcript.words or ():
        assert 0 <= word.start_s <= word.end_s <= audio.duration_s + 0.1


def test_stt_nothing_to_hear_is_an_empty_transcript(stt_engine: Opened) -> None:
    async def check(stt: STT) -> None:
        for seconds in (0.0, 1 / 16000) if stt_engine.case.name == "openai" else (0.0, 1 / 16000, 0.5, 2.0):
            assert (await stt.transcribe(silence(seconds, stt.rate_hz))).text == "", f"{seconds} s of silence"

    stt_engine.run(check)


def test_stt_hears_or_refuses_whatever_it_is_given(stt_engine: Opened) -> None:
    async def check(stt: STT) -> None:
        loud = noise(1.0, stt.rate_hz)
        n = len(loud.samples)
        audios = [
            noise(0.011, stt.rate_hz), noise(35.0, stt.rate_hz, 0.02), replace(loud, start_s=1e6),
            replace(loud, rate_hz=0), replace(loud, rate_hz=-1), noise(1.0, 8000), noise(1.0, 48000),
            *(replace(loud, samples=np.full(n, bad, np.float32)) for bad in (np.nan, np.inf, 1e30, 1.0)),
            replace(loud, samples=loud.samples.reshape(-1, 2)),
            replace(loud, samples=loud.samples.astype(np.float64)),
        ]  # fmt: skip
        for audio in audios:
            checked(await ours(stt.transcribe(audio)), audio)
        await use("stt", stt)

    stt_engine.run(check)


def test_stt_odd_options_are_taken_or_refused(stt_engine: Opened) -> None:
    async def check(stt: STT) -> None:
        audio = noise(1.0, stt.rate_hz)
        for text in ["", "x" * 5000, "\x00\ud800\U0001f600"]:
            for options in (STTOptions(prompt=text), STTOptions(hotwords=text), STTOptions(agreed_prefix=text)):
                checked(await ours(stt.transcribe(audio, options)), audio)
        for options in (
            STTOptions(language="en"), STTOptions(language="xx"), STTOptions(language=""),
            STTOptions(max_tokens=1), STTOptions(max_tokens=0), STTOptions(max_tokens=100_000),
            STTOptions(word_times=True),
        ):  # fmt: skip
            checked(await ours(stt.transcribe(audio, options)), audio)

    stt_engine.run(check)


def test_stt_at_once_and_cancelled(stt_engine: Opened) -> None:
    async def check(stt: STT) -> None:
        audios = [noise(0.5 + index / 4, stt.rate_hz, seed=index) for index in range(4)]
        alone = [(await stt.transcribe(audio)).text for audio in audios]
        together = await asyncio.gather(*(stt.transcribe(audio) for audio in audios))
        assert [transcript.text for transcript in together] == alone
        for delay_s in (0, 0.002, 0.02):
            await cancelled_after(stt.transcribe(audios[0]), delay_s)
        assert (await stt.transcribe(audios[1])).text == alone[1]

    stt_engine.run(check)


def test_stt_leaves_the_callers_audio_alone(stt_engine: Opened) -> None:
    async def check(stt: STT) -> None:
        audio = noise(1.0, stt.rate_hz)
        before = audio.samples.copy()
        audio.samples.flags.writeable = False
        await stt.transcribe(audio)
        np.testing.assert_array_equal(audio.samples, before)

    stt_engine.run(check)
