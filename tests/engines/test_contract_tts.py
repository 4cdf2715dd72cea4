"""Every voice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from contract import Opened, cancelled_after, cases, collected, first_then_closed, opened, ours

from antiphon.engines.protocols import TTS, SpeechChunk, TTSOptions

TEXT = "Well, hello there. The bridge opened in 1883, and it is 486 metres long."


@pytest.fixture(scope="module", params=cases("tts"))
def tts_engine(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with opened(request.param) as engine:
        yield engine


def well_formed(chunks: Sequence[SpeechChunk] | None, text: str, rate_hz: int) -> None:
    """In order, without gap or overlap in time, and inside the text."""
    samples, char = 0, 0
    for chunk in chunks or ():
        frame = chunk.frame
        assert frame.rate_hz == rate_hz and frame.samples.dtype == np.float32 and frame.samples.ndim == 1
        assert np.isfinite(frame.samples).all() and np.abs(frame.samples).max(initial=0) <= 1
        assert frame.start_s == pytest.approx(samples / rate_hz, abs=1 / rate_hz)
        samples += len(frame.samples)
        assert char <= chunk.char_start <= chunk.char_end <= len(text)
        char = chunk.char_end
    words = [word for chunk in chunks or () for word in chunk.words or ()]
    assert all(0 <= word.start_s <= word.end_s <= samples / rate_hz + 0.05 for word in words)
    assert [word.start_s for word in words] == sorted(word.start_s for word in words)


def audio_of(chunks: Sequence[SpeechChunk]) -> np.ndarray:
    return np.concatenate([chunk.frame.samples for chunk in chunks])


def test_tts_speech_is_well_formed_audible_and_covers_the_text(tts_engine: Opened) -> None:
    async def check(tts: TTS) -> None:
        chunks = await collected(tts.synthesize(TEXT))
        well_formed(chunks, TEXT, tts.rate_hz)
        assert np.abs(audio_of(chunks)).max() > 0.01
        assert chunks[-1].char_end >= len(TEXT.rstrip(".")), "the last chunk speaks the end of the text"
        if tts.capabilities.streaming:
            assert len(chunks) > 1
        if tts.capabilities.word_times:
            assert next(word.text for chunk in chunks for word in chunk.words or ()).startswith("Well")

    tts_engine.run(check)


def test_tts_nothing_to_speak_yields_nothing(tts_engine: Opened) -> None:
    async def check(tts: TTS) -> None:
        for text in ("", " ", "\n\t", "...", "?!", "—", "、。", "()"):
            assert await collected(tts.synthesize(text)) == [], repr(text)

    tts_engine.run(check)


def test_tts_speaks_or_refuses_whatever_it_is_given(tts_engine: Opened) -> None:
    async def check(tts: TTS) -> None:
        for text in (
            "a", "7", "e" * 300, "\x00", "a\x00b", "\ud800", "a \ud800 b", "\U0001f600", "你好。", "שלום",
            "<speak>&amp;</speak>", "[[inline]] {braces} \\N", "\u202egnimoc si siht", "  led by  spaces  ",
            "Sentence number one. " * 8,
        ):  # fmt: skip
            chunks = await ours(collected(tts.synthesize(text)))
            well_formed(chunks, text, tts.rate_hz)
        well_formed(await collected(tts.synthesize(TEXT)), TEXT, tts.rate_hz)

    tts_engine.run(check)


def test_tts_odd_options_are_taken_or_refused(tts_engine: Opened) -> None:
    async def check(tts: TTS) -> None:
        for options in (
            TTSOptions(speed=0.5), TTSOptions(speed=2.0), TTSOptions(speed=0.0), TTSOptions(speed=-1.0),
            TTSOptions(speed=1e9), TTSOptions(speed=float("nan")), TTSOptions(voice="no such voice"),
            TTSOptions(voice=""), TTSOptions(voice="../../etc/passwd"), TTSOptions(language="xx"),
            TTSOptions(language="en"), TTSOptions(context_before="x" * 10_000),
        ):  # fmt: skip
            well_formed(await ours(collected(tts.synthesize("Hello there.", options))), "Hello there.", tts.rate_hz)
        well_formed(await collected(tts.synthesize(TEXT)), TEXT, tts.rate_hz)

    tts_engine.run(check)


def test_tts_closed_or_cancelled_it_goes_on_as_before(tts_engine: Opened) -> None:
    async def check(tts: TTS) -> None:
        expected = audio_of(await collected(tts.synthesize(TEXT)))
        await first_then_closed(tts.synthesize(TEXT))
        for delay_s in (0, 0.005, 0.05):
            await cancelled_after(collected(tts.synthesize(TEXT)), delay_s)
        stream = tts.synthesize(TEXT)
        await stream.aclose()  # type: ignore[attr-defined]
        np.testing.assert_allclose(audio_of(await collected(tts.synthesize(TEXT))), expected, atol=1e-4)

    tts_engine.run(check)


def test_tts_several_texts_at_once_do_not_mix(tts_engine: Opened) -> None:
    async def check(tts: TTS) -> None:
        texts = [f"This is sentence number {number}." for number in range(1, 5)]
        alone = [audio_of(await collected(tts.synthesize(text))) for text in texts]
        together = await asyncio.gather(*(collected(tts.synthesize(text)) for text in texts))
        for text, expected, chunks in zip(texts, alone, together, strict=True):
            well_formed(chunks, text, tts.rate_hz)
            np.testing.assert_allclose(audio_of(chunks), expected, atol=1e-4)

    tts_engine.run(check)
