"""The `piper` engine with a real voice: exact, on time, without clicks, and understood by a recogniser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.engines.audio import Samples, resample
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import SpeechChunk
from antiphon.engines.registry import EngineContext
from antiphon.engines.tts.piper import PiperOptions, PiperTTS
from antiphon.engines.tts.piper_files import find_voice
from antiphon.engines.tts.piper_runtime import PiperRuntime, Prosody
from antiphon.engines.tts.piper_text import clean, next_piece

pytestmark = pytest.mark.real

VOICE = "en_US-joe-medium"
SENTENCES = (
    "Sure, I can help with that.",
    "The Brooklyn Bridge was opened in eighteen eighty three.",
    "It will rain in the afternoon, so take an umbrella with you.",
    "Please hold on while I look that up for you.",
    "Your appointment is on Thursday at half past nine.",
    "For breakfast there are eggs, toast, and fresh orange juice.",
    "Who wrote the book that you are reading?",
    "She sells fresh fish at the small harbor every morning.",
    "The train to the city leaves from platform seven in ten minutes.",
    "I am sorry, something went wrong. Please say that again.",
)


@pytest.fixture(scope="module")
def spoken() -> dict[str, list[SpeechChunk]]:
    """Each sentence as chunks, in small slices so that there are many seams."""

    async def body() -> dict[str, list[SpeechChunk]]:
        host = EngineHost()
        options = PiperOptions(voice=VOICE, slice_frames=(16, 24))
        try:
            async with PiperTTS(options, EngineContext(host, ModelStore())) as tts:
                return {text: [chunk async for chunk in tts.synthesize(text)] for text in SENTENCES}
        finally:
            await host.close()

    return asyncio.run(body())


@pytest.fixture(scope="module")
def runtime() -> Iterator[PiperRuntime]:
    files = find_voice(ModelStore(), VOICE)
    made = PiperRuntime(files.config, files.paths, 1, (16, 48, 160), None)
    made.warm(Prosody(1.0, 0.0, 0.0, None))
    yield made


def sound(chunks: list[SpeechChunk]) -> Samples:
    return np.concatenate([chunk.frame.samples for chunk in chunks])


def ids_of(runtime: PiperRuntime, text: str) -> tuple[int, ...]:
    piece = next_piece(text, 0)
    assert piece is not None
    return runtime._phonemizer.utterances(clean(text, "en-us"), *piece)[0].ids


def test_the_cut_and_the_slices_are_exact(runtime: PiperRuntime) -> None:
    """Against the published graph, run whole by ONNX Runtime alone."""
    import onnxruntime

    files = find_voice(ModelStore(), VOICE)
    whole_session = onnxruntime.InferenceSession(files.paths.source, providers=["CPUExecutionProvider"])
    prosody = Prosody(1.0, 0.0, 0.0, None)
    for text in SENTENCES[:3]:
        ids = ids_of(runtime, text)
        feed: dict[str, Any] = {
            "input": np.array([ids], dtype=np.int64),
            "input_lengths": np.array([len(ids)], dtype=np.int64),
            "scales": np.array([0.0, 1.0, 0.0], dtype=np.float32),
        }
        whole = whole_session.run(None, feed)[0].reshape(-1)
        latent, durations = runtime._encode(ids, prosody)
        frames = latent.shape[2]
        assert durations is not None and int(durations.sum()) == frames
        assert np.abs(runtime._decode(latent, 0, frames, prosody) - whole).max() < 1e-5
        for size in (16, 37):
            slices = [runtime._decode(latent, s, min(size, frames - s), prosody) for s in range(0, frames, size)]
            assert np.abs(np.concatenate(slices) - whole).max() < 1e-5


def test_with_noise_the_slices_are_those_of_one_utterance(runtime: PiperRuntime) -> None:
    prosody = Prosody(1.0, 0.667, 0.8, None)
    latent, _ = runtime._encode(ids_of(runtime, SENTENCES[0]), prosody)
    frames = latent.shape[2]
    whole = runtime._decode(latent, 0, frames, prosody)
    slices = [runtime._decode(latent, s, min(20, frames - s), prosody) for s in range(0, frames, 20)]
    assert np.abs(np.concatenate(slices) - whole).max() < 1e-5


def test_no_click_at_a_seam(spoken: dict[str, list[SpeechChunk]]) -> None:
    for chunks in spoken.values():
        seams = np.cumsum([len(chunk.frame.samples) for chunk in chunks])[:-1]
        steps = np.abs(np.diff(sound(chunks)))
        assert len(seams) >= 3
        at_seams = steps[seams - 1]
        # a seam is a step like any other near it: never beyond the largest within 20 ms
        near = [np.delete(steps[max(0, s - 441) : s + 441], min(440, s - 1)).max() for s in seams]
        assert (at_seams <= np.maximum(near, 1e-3)).all()


def test_level_and_leading_silence(spoken: dict[str, list[SpeechChunk]]) -> None:
    for chunks in spoken.values():
        samples = sound(chunks)
        rate_hz = chunks[0].frame.rate_hz
        assert rate_hz == 22050
        assert np.abs(samples).max() < 0.999
        active = samples[np.abs(samples) > 0.02]
        assert 0.05 < np.sqrt(np.mean(np.square(active))) < 0.3
        assert np.flatnonzero(np.abs(samples) > 0.004)[0] <= 0.020 * rate_hz


def test_word_times_lie_on_speech(spoken: dict[str, list[SpeechChunk]]) -> None:
    """Each word is louder than the pauses of the same sentence."""
    for text, chunks in spoken.items():
        words = [word for chunk in chunks for word in chunk.words or ()]
        assert [word.text for word in words] == text.split()
        samples = sound(chunks)
        for word in words:
            piece = samples[int(word.start_s * 22050) : int(word.end_s * 22050)]
            assert np.sqrt(np.mean(np.square(piece))) > 0.005, word


def test_a_recogniser_understands_it(spoken: dict[str, list[SpeechChunk]]) -> None:
    import jiwer
    from faster_whisper import WhisperModel
    from whisper_normalizer.english import EnglishTextNormalizer

    folder = Path(ModelStore().resolve("whisper-base").directory)
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)
    normalise = EnglishTextNormalizer()
    wanted, heard = [], []
    for text, chunks in spoken.items():
        audio = resample(sound(chunks), 22050, 16000)
        segments, _ = model.transcribe(audio, language="en", beam_size=1, temperature=0.0)
        wanted.append(normalise(text))
        heard.append(normalise(" ".join(segment.text for segment in segments)))
    assert jiwer.wer(wanted, heard) < 0.15, list(zip(wanted, heard, strict=True))
