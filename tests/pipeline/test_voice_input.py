"""What goes into the voice API: every form of samples, and every form that is none."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scripted_config import Script, kinds, texts

from antiphon import AudioInput, StreamedAudioInput, VoiceStreamEvent
from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.errors import AudioInputError

RATES = (8000, 16000, 22050, 24000, 44100, 48000)


def tone(seconds: float, rate_hz: int) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def encoded(samples: NDArray[np.float32], dtype: Any, channels: int) -> NDArray[Any]:
    if channels > 1:
        samples = np.stack([samples] * channels, axis=1)
    return np.round(samples * 32767).astype(np.int16) if dtype is np.int16 else samples


def heard_by_stt(audio: AudioInput) -> NDArray[np.float32]:
    """What reaches the STT engine of a recording in which all is speech."""

    async def main() -> NDArray[np.float32]:
        script = Script(speech=((0.0, 60.0),), stt=[Heard("Hi.")], llm=[Reply(["Hello."])])
        async with script.pipeline() as pipeline:
            result = await pipeline.run(audio)
            async for _ in result.stream():
                pass
        call = script.stt_engine.calls[0]
        assert call.audio.rate_hz == 16000
        return call.audio.samples

    return run_virtual(main())


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_type_and_channels_are_the_same_sound(rate_hz: int, dtype: Any, channels: int) -> None:
    found = heard_by_stt(AudioInput(encoded(tone(1.0, rate_hz), dtype, channels), rate_hz))
    wanted = tone(1.0, 16000)
    assert abs(len(found) - len(wanted)) <= 512, "at most the last window is filled up"
    middle = slice(2000, 14000)  # a resampler's ends ring
    assert np.abs(found[middle] - wanted[middle]).max() < 2e-3


def test_interleaved_samples_are_brought_to_mono() -> None:
    samples = np.empty(8, dtype=np.int16)
    samples[0::2], samples[1::2] = 8192, 16384
    assert AudioInput(samples, 16000, channels=2).frame().samples == pytest.approx([0.375] * 4)


def test_samples_that_are_no_numbers_are_silence() -> None:
    samples = np.array([0.5, np.nan, np.inf, -np.inf, 7.0], dtype=np.float32)
    assert AudioInput(samples, 16000).frame().samples.tolist() == [0.5, 0.0, 1.0, -1.0, 1.0]


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (AudioInput(np.zeros(10, dtype=np.int32), 16000), "int16 or float32, not int32"),  # type: ignore[arg-type]
        (AudioInput([1, 2, 3], 16000), "int16 or float32"),  # type: ignore[arg-type]
        (AudioInput(b"\0\0", 16000), "int16 or float32"),  # type: ignore[arg-type]
        (AudioInput(None, 16000), "cannot have the shape"),  # type: ignore[arg-type]
        (AudioInput(np.zeros((2, 2, 2), dtype=np.int16), 16000), "shape"),
        (AudioInput(np.zeros((2, 16000), dtype=np.int16), 16000), "16000 channels"),
        (AudioInput(np.zeros(3, dtype=np.int16), 16000, channels=2), "3 interleaved samples"),
        (AudioInput(np.zeros(10, dtype=np.int16), 4000), "4000 Hz is not possible"),
        (AudioInput(np.zeros(10, dtype=np.int16), 0), "0 Hz is not possible"),
        (AudioInput(np.zeros(10, dtype=np.int16), "16000"), "whole number of Hz"),  # type: ignore[arg-type]
        (AudioInput(np.zeros(10, dtype=np.int16), 16000, channels=0), "channels is a number"),
        (AudioInput(np.zeros(10, dtype=np.int16), 16000, sample_width=4), "sample_width is 4"),
    ],
)
def test_what_is_no_audio_is_refused_with_its_reason(audio: AudioInput, message: str) -> None:
    with pytest.raises(AudioInputError, match=message):
        audio.frame()

    async def main() -> None:
        pipeline = Script().pipeline()
        result = await pipeline.run(audio)
        events: list[VoiceStreamEvent] = []
        with pytest.raises(AudioInputError, match=message):
            async for event in result.stream():
                events.append(event)
        assert kinds(events) == ["error", "session_ended"]
        await pipeline.aclose()

    run_virtual(main())


@pytest.mark.parametrize("thing", [None, np.zeros(10), "question.wav", object()])
def test_run_says_what_it_wants(thing: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"wants an antiphon\.AudioInput or an antiphon\.StreamedAudioInput"):
            await Script().pipeline().run(thing)

    run_virtual(main())


def test_a_recording_as_a_file_and_as_text() -> None:
    audio = AudioInput(encoded(tone(0.1, 24000), np.float32, 2))
    name, file, mime = audio.to_audio_file()
    assert (name, mime) == ("audio.wav", "audio/wav") and isinstance(file, io.BytesIO)
    samples, rate_hz = soundfile.read(file, dtype="int16")
    assert rate_hz == 24000 and samples.shape == (2400,)
    assert np.frombuffer(base64.b64decode(audio.to_base64()), dtype="<i2").tolist() == samples.tolist()


# --------------------------------------------------------------------------------------- live streams


def collected(audio: StreamedAudioInput, pieces: list[Any]) -> list[Any]:
    async def main() -> list[Any]:
        for piece in pieces:
            await audio.add_audio(piece)
        await audio.add_audio(None)
        return [frame async for frame in audio.frames()]

    return asyncio.run(main())


@given(st.lists(st.integers(0, 4000), max_size=8), st.sampled_from(RATES))
@settings(max_examples=50, deadline=None)
def test_a_stream_is_the_sum_of_its_pieces(lengths: list[int], rate_hz: int) -> None:
    rng = np.random.default_rng(sum(lengths))
    pieces = [rng.uniform(-1, 1, length).astype(np.float32) for length in lengths]
    frames = collected(StreamedAudioInput(frame_rate=rate_hz), pieces)
    whole = np.concatenate([frame.samples for frame in frames]) if frames else np.empty(0)
    assert np.array_equal(whole, np.concatenate(pieces) if pieces else np.empty(0))
    position = 0
    for frame in frames:
        assert frame.start_s == pytest.approx(position / rate_hz)
        assert 0 < len(frame.samples) <= rate_hz // 10
        position += len(frame.samples)


def test_a_stream_is_at_24_khz_unless_told_otherwise() -> None:
    frames = collected(StreamedAudioInput(), [np.zeros(100, dtype=np.int16)])
    assert [frame.rate_hz for frame in frames] == [24000]


def test_a_stereo_stream() -> None:
    frames = collected(StreamedAudioInput(16000, channels=2), [np.array([0, 16384, 0, 16384], dtype=np.int16)])
    assert frames[0].samples.tolist() == [0.25, 0.25]


def test_a_stream_refuses_what_is_no_audio_and_goes_on() -> None:
    async def main() -> None:
        audio = StreamedAudioInput()
        with pytest.raises(AudioInputError, match="int64"):
            await audio.add_audio(np.array([1, 2, 3]))
        await audio.add_audio(np.zeros(10, dtype=np.int16))
        await audio.add_audio(None)
        await audio.add_audio(None)
        with pytest.raises(AudioInputError, match="after the end"):
            await audio.add_audio(np.zeros(10, dtype=np.int16))
        assert [len(frame.samples) async for frame in audio.frames()] == [10]

    asyncio.run(main())


@pytest.mark.parametrize("options", [{"frame_rate": 7999}, {"frame_rate": 192001}, {"channels": 17}, {"channels": 1.5}])
def test_a_stream_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(AudioInputError):
        StreamedAudioInput(**options)


def test_a_stream_with_much_unread_makes_its_producer_wait() -> None:
    async def main() -> None:
        audio = StreamedAudioInput(frame_rate=16000, max_waiting_s=1.0)
        added = 0

        async def produce() -> None:
            nonlocal added
            for _ in range(20):
                await audio.add_audio(np.zeros(8000, dtype=np.int16))
                added += 1
            await audio.add_audio(None)

        producing = asyncio.create_task(produce())
        await asyncio.sleep(1)
        assert added == 3
        total = sum([len(frame.samples) async for frame in audio.frames()])
        await producing
        assert total == 20 * 8000

    run_virtual(main())


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 44100, 48000])
def test_a_live_stream_of_any_rate(rate_hz: int) -> None:
    async def main() -> None:
        script = Script(speech=((0.2, 0.8),), stt=[Heard("Hi.")], llm=[Reply(["Hello."])])
        audio = StreamedAudioInput(frame_rate=rate_hz)

        async def feed() -> None:
            for _ in range(100):
                await asyncio.sleep(0.02)
                await audio.add_audio(np.zeros(rate_hz // 50, dtype=np.int16))
            await audio.add_audio(None)

        async with script.pipeline() as pipeline:
            feeding = asyncio.create_task(feed())
            result = await pipeline.run(audio)
            events = [event async for event in result.stream()]
            await feeding
        assert texts(events, "assistant") == ["Hello."]
        # 300 ms of pre-roll begin before the stream does: all from its first sample on is there
        assert script.stt_engine.calls[0].audio_s == pytest.approx(0.87, abs=0.07)

    run_virtual(main())
