"""The TTS engine `openai` against the stand-in, and the decoder of its audio."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from openai_standin import Int16, OpenAIStandin, collect, tone, wav_header

from antiphon.engines.audio import Samples
from antiphon.engines.errors import EngineFailed, EngineRequestInvalid, EngineTimeout
from antiphon.engines.host import EngineHost, Ticket, current_ticket
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import SpeechChunk, TTSOptions
from antiphon.engines.registry import EngineContext
from antiphon.engines.tts.openai import OpenAITTS, OpenAITTSOptions, create
from antiphon.engines.tts.openai_audio import AudioDecoder, UnreadableAudio

PATH = "/audio/speech"
TEXT = "Sure, I can help you with that."


def engine(server: OpenAIStandin, **values: Any) -> OpenAITTS:
    context = EngineContext(EngineHost(), ModelStore())
    return create(OpenAITTSOptions(base_url=server.base_url, warm_up=False, **values), context)


def speak(
    server: OpenAIStandin, text: str = TEXT, options: TTSOptions | None = None, **values: Any
) -> list[SpeechChunk]:
    async def main() -> list[SpeechChunk]:
        async with engine(server, **values) as tts:
            return await collect(tts.synthesize(text, options or TTSOptions()))

    chunks = asyncio.run(main())
    assert not server.invalid, server.invalid
    return chunks


def joined(chunks: list[SpeechChunk]) -> Samples:
    return np.concatenate([chunk.frame.samples for chunk in chunks])


def check_chunks(chunks: list[SpeechChunk], text: str, rate_hz: int) -> None:
    """In order, without gaps or overlap, over all of the text and all of the time."""
    position = samples = 0
    for chunk in chunks:
        assert chunk.char_start == position <= chunk.char_end
        assert chunk.frame.start_s == pytest.approx(samples / rate_hz)
        assert chunk.frame.rate_hz == rate_hz and chunk.frame.samples.dtype == np.float32
        assert len(chunk.frame.samples)
        position, samples = chunk.char_end, samples + len(chunk.frame.samples)
    assert position == len(text)


# ----------------------------------------------------------------------------------------------- speech


def test_speech_in_chunks_cut_in_the_middle_of_samples() -> None:
    with OpenAIStandin() as server:
        chunks = speak(server)
    check_chunks(chunks, TEXT, 24000)
    assert len(chunks) > 5
    np.testing.assert_allclose(joined(chunks), tone(TEXT) / 32768.0, atol=1e-6)


def test_the_first_chunk_comes_before_the_last_is_made() -> None:
    async def main() -> None:
        async with engine(server) as tts:
            stream = tts.synthesize(TEXT)
            await anext(stream)
            assert not server.requests[0].left_early.is_set()
            await stream.aclose()  # type: ignore[attr-defined]
            assert await asyncio.to_thread(server.requests[0].left_early.wait, 5)
            check_chunks(await collect(tts.synthesize("Yes.")), "Yes.", 24000)  # the engine goes on

    with OpenAIStandin(delay_s=0.05) as server:
        asyncio.run(main())


@pytest.mark.parametrize("text", ["", "   ", "...", "?!", "\n", "🎌"])
def test_nothing_to_speak(text: str) -> None:
    with OpenAIStandin() as server:
        assert speak(server, text) == []
        assert not server.requests


@pytest.mark.parametrize("text", ["a", "7", "日本語です", "word " * 400])
def test_short_and_long_texts(text: str) -> None:
    with OpenAIStandin() as server:
        check_chunks(speak(server, text), text, 24000)


def test_the_share_of_characters_follows_the_time_once_the_pace_is_known() -> None:
    async def main() -> None:
        async with engine(server, sample_rate_hz=8000, cache_mb=0) as tts:
            for _ in range(25):
                chunks = await collect(tts.synthesize(TEXT))
            ends = [(chunk.frame.end_s / chunks[-1].frame.end_s, chunk.char_end / len(TEXT)) for chunk in chunks]
            assert all(abs(time - characters) < 0.08 for time, characters in ends)

    def slow(text: str) -> Int16:
        return tone(text, 8000, seconds_per_char=0.15)  # far from the first guess

    with OpenAIStandin(speech=slow) as server:
        asyncio.run(main())


def test_a_wav_header_tells_the_share_exactly() -> None:
    with OpenAIStandin(speech=lambda text: tone(text, seconds_per_char=0.3)) as server:
        chunks = speak(server, response_format="wav")
    check_chunks(chunks, TEXT, 24000)
    for chunk in chunks[:-1]:
        assert abs(chunk.frame.end_s / chunks[-1].frame.end_s - chunk.char_end / len(TEXT)) < 0.05


# -------------------------------------------------------------------------------------------------- form


def test_options_of_the_engine_and_of_the_request() -> None:
    with OpenAIStandin(extra_fields=["lang"]) as server:
        speak(server)
        assert server.bodies(PATH)[-1] == {
            "model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT, "response_format": "pcm",
        }  # fmt: skip
        values: dict[str, Any] = {"model": "kokoro", "voice": "joe", "speed": 1.5, "instructions": "Whisper."}
        speak(server, extra_body={"lang": "en"}, **values)
        body = server.bodies(PATH)[-1]
        assert {key: body[key] for key in values} == values and body["lang"] == "en"
        speak(server, options=TTSOptions(voice="ann", speed=0.5), **values)
        body = server.bodies(PATH)[-1]
    assert (body["voice"], body["speed"]) == ("ann", 0.5)


@pytest.mark.parametrize("speed", [0.0, 0.1, 5.0, float("nan")])
def test_impossible_speed(speed: float) -> None:
    with OpenAIStandin() as server:
        with pytest.raises(EngineRequestInvalid, match="speed"):
            speak(server, options=TTSOptions(speed=speed))
        assert not server.requests


@pytest.mark.parametrize("quirks", [(), ("wav_unknown_size",)])
def test_wav_of_another_rate_is_resampled(quirks: tuple[str, ...]) -> None:
    def at_16k(text: str) -> Int16:
        return tone(text, 16000)

    with OpenAIStandin(speech=at_16k, speech_rate_hz=16000, quirks=quirks) as server:
        chunks = speak(server, response_format="wav")
    check_chunks(chunks, TEXT, 24000)
    samples = joined(chunks)
    assert len(samples) == pytest.approx(len(TEXT) * 0.06 * 24000, abs=30)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * 24000 / len(samples) == pytest.approx(440, abs=2)


def test_a_wav_where_pcm_was_asked_for_is_no_noise() -> None:
    with OpenAIStandin(quirks=["wav_always"]) as server:
        np.testing.assert_allclose(joined(speak(server)), tone(TEXT) / 32768.0, atol=1e-6)


def test_pcm_of_another_rate() -> None:
    with OpenAIStandin(speech=lambda text: tone(text, 22050)) as server:
        chunks = speak(server, sample_rate_hz=22050)
        assert engine(server, sample_rate_hz=22050).rate_hz == 22050
    check_chunks(chunks, TEXT, 22050)
    assert chunks[-1].frame.end_s == pytest.approx(len(TEXT) * 0.06, abs=0.01)


# ----------------------------------------------------------------------------------------------- trouble


def speak_until_error(server: OpenAIStandin, **values: Any) -> tuple[float, Exception]:
    """(seconds that came before, the error)"""

    async def main() -> tuple[float, Exception]:
        seconds = 0.0
        async with engine(server, **values) as tts:
            try:
                async for chunk in tts.synthesize(TEXT):
                    seconds = chunk.frame.end_s
            except Exception as error:
                return seconds, error
        raise AssertionError(f"no error after {seconds} s")

    return asyncio.run(main())


@pytest.mark.parametrize("form", ["pcm", "wav"])
def test_half_a_stream_keeps_what_came_and_is_not_repeated(form: str) -> None:
    with OpenAIStandin() as server:
        server.fail_next("half")
        seconds, error = speak_until_error(server, response_format=form)
        assert len(server.requests) == 1
    assert 0.5 < seconds < 1.0
    assert isinstance(error, EngineFailed) and f"partial: {seconds:.2f} s of audio" in error.message


def test_a_stall_times_out() -> None:
    with OpenAIStandin() as server:
        server.fail_next("stall")
        seconds, error = speak_until_error(server, stall_timeout_s=0.8)
        assert server.requests[0].left_early.wait(5)
    assert seconds and isinstance(error, EngineTimeout) and "partial" in error.message


def test_a_hang_times_out() -> None:
    async def main() -> None:
        current_ticket.set(Ticket(timeout_s=0.2))
        async with engine(server) as tts:
            await collect(tts.synthesize(TEXT))

    with OpenAIStandin() as server:
        server.fail_next("hang", times=2)
        seconds, error = speak_until_error(server, timeout_s=0.2)
        assert not seconds and isinstance(error, EngineTimeout)
        with pytest.raises(EngineTimeout):
            asyncio.run(main())


def test_tries_again_before_the_first_byte() -> None:
    with OpenAIStandin() as server:
        for kind in ("429", "500", "drop"):
            server.fail_next(kind, retry_after=0.01)
            check_chunks(speak(server), TEXT, 24000)
        assert len(server.requests) == 6


def test_a_page_instead_of_audio() -> None:
    with OpenAIStandin() as server:
        server.fail_next("garbage")
        seconds, error = speak_until_error(server)
    assert not seconds and isinstance(error, EngineFailed) and "text/html instead of audio" in error.message
    assert "response_format" in error.hint


def test_no_audio_at_all() -> None:
    with OpenAIStandin(speech=lambda text: np.zeros(0, np.int16)) as server:
        for form in ("pcm", "wav"):
            _, error = speak_until_error(server, response_format=form)
            assert isinstance(error, EngineFailed) and "sent no audio" in error.message


def test_many_at_once() -> None:
    async def main() -> None:
        texts = ["one " * n for n in range(1, 7)]
        async with engine(server) as tts:
            for text, chunks in zip(
                texts, await asyncio.gather(*(collect(tts.synthesize(text)) for text in texts)), strict=True
            ):
                check_chunks(chunks, text, 24000)
                np.testing.assert_allclose(joined(chunks), tone(text) / 32768.0, atol=1e-6)

    with OpenAIStandin(delay_s=0.002) as server:
        asyncio.run(main())


# ----------------------------------------------------------------------------------------------- decoder


def decode(data: bytes, cuts: list[int], **values: Any) -> tuple[Samples, int]:
    decoder = AudioDecoder(24000, **values)
    pieces, start = [], 0
    for size in [*cuts, len(data)]:
        pieces.append(decoder.feed(data[start : start + size]))
        start += size
    decoder.finish()
    return np.concatenate(pieces), decoder.rate_hz


CUTS = st.lists(st.integers(0, 60), max_size=20)


@given(st.lists(st.integers(-32768, 32767), max_size=80), CUTS)
def test_pcm_in_any_cuts(values: list[int], cuts: list[int]) -> None:
    pcm = np.array([1, *values, 1], np.int16)
    samples, rate_hz = decode(pcm.astype("<i2").tobytes(), cuts)
    assert rate_hz == 24000
    np.testing.assert_array_equal(samples, pcm / np.float32(32768))


@given(
    st.integers(1, 3), st.sampled_from(["PCM_16", "FLOAT"]), st.sampled_from(["WAV", "WAVEX"]), CUTS, st.booleans(),
    st.integers(1, 50),
)  # fmt: skip
def test_wav_in_any_cuts(channels: int, subtype: str, form: str, cuts: list[int], unknown: bool, frames: int) -> None:
    audio = np.random.default_rng(frames).uniform(-0.5, 0.5, (frames, channels)).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, 22050, format=form, subtype=subtype)
    data = bytearray(buffer.getvalue())
    if unknown:
        at = data.index(b"data") + 4
        data[at : at + 4] = b"\xff\xff\xff\xff"
    else:
        data += b"LIST\x04\x00\x00\x00junk"  # what follows the audio is no audio
    samples, rate_hz = decode(bytes(data), cuts, expect="wav")
    assert rate_hz == 22050
    np.testing.assert_allclose(samples, audio.mean(axis=1), atol=1e-4)


@pytest.mark.parametrize(
    ("data", "values", "what"),
    [
        (b"ID3\x04", {}, "compressed"),
        (b"OggS\x00\x02", {}, "compressed"),
        (b"\xff\xfb\x90\x00", {"content_type": "audio/mpeg"}, "compressed"),
        (b"<html>", {"expect": "wav"}, "no WAV"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", {}, "no WAV"),
        (wav_header(100, 24000, bits=24)[:44], {}, "24 bits"),
        (wav_header(100, 24000, bits=8, code=7), {}, "format 7"),
        (wav_header(100, 24000, channels=99), {}, "99 channels"),
        (wav_header(100, 1), {}, "at 1 Hz"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt \x02\x00\x00\x00xxdata\x00\x00\x00\x00", {}, "broken format"),
        (b"RIFF\x00\x00\x00\x00WAVEdata\x00\x00\x00\x00", {}, "after its audio"),
        (wav_header(100, 24000) + bytes(98), {}, "less audio"),
        (wav_header(100, 24000)[:30], {}, "less than a WAV header"),
    ],
)
def test_what_is_no_audio(data: bytes, values: dict[str, Any], what: str) -> None:
    with pytest.raises(UnreadableAudio, match=what):
        decode(data, [], **values)


def test_pcm_that_only_looks_compressed_is_heard() -> None:
    samples, _ = decode(b"\xff\xfb\x90\x00", [], content_type="audio/pcm")
    assert len(samples) == 2


@given(st.binary(max_size=200), CUTS)
def test_no_bytes_break_the_decoder(data: bytes, cuts: list[int]) -> None:
    try:
        samples, _ = decode(b"RIFF\x10\x00\x00\x00WAVE" + data, cuts)
    except UnreadableAudio:
        return
    assert np.isfinite(samples).all() and np.abs(samples).max(initial=0.0) <= 1.0
