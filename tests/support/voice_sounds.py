"""Sounds like a voice, at exact times, and a TTS made of them: for tests of what looks at recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.protocols import SpeechChunk, TTSCapabilities, TTSOptions, Word

RATE_HZ = 16000
_AS_CONFIGURED = TTSOptions()


def buzz(seconds: float, *, hz: float = 120.0, level: float = 0.2, rate_hz: int = RATE_HZ) -> Samples:
    """A vowel, more or less: harmonics of one pitch, at full level from the first sample to the last."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    tone = sum(np.cos(2 * np.pi * hz * k * t) / k for k in range(1, 12))
    return (level * np.asarray(tone) / 3.0).astype(np.float32)


def silence(seconds: float, *, rate_hz: int = RATE_HZ) -> Samples:
    return np.zeros(round(seconds * rate_hz), dtype=np.float32)


def hiss(seconds: float, *, level: float = 0.0003, seed: int = 1) -> Samples:
    """White noise."""
    noise = np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ))
    return (level * noise).astype(np.float32)


class BuzzingTTS:
    """Says each word as 200 ms of buzz and each comma as 250 ms of silence, and knows when."""

    rate_hz = 22050

    def __init__(self, *, languages: tuple[str, ...] | None = ("en",), word_times: bool = True, mute: bool = False):
        self.capabilities = TTSCapabilities(word_times=word_times, languages=languages)
        self.said: list[str] = []
        self._word_times = word_times
        self._mute = mute

    async def __aenter__(self) -> BuzzingTTS:
        return self

    async def __aexit__(self, *exception: Any) -> None:
        return None

    async def synthesize(self, text: str, options: TTSOptions = _AS_CONFIGURED) -> AsyncIterator[SpeechChunk]:
        self.said.append(text)
        pieces, words, at_s = [silence(0.05, rate_hz=self.rate_hz)], [], 0.05
        for word in text.split():
            pieces.append(buzz(0.2, rate_hz=self.rate_hz, level=0.0 if self._mute else 0.2))
            words.append(Word(word, at_s, at_s + 0.2))
            at_s += 0.2
            if word.endswith(","):
                pieces.append(silence(0.25, rate_hz=self.rate_hz))
                at_s += 0.25
        pieces.append(silence(0.1, rate_hz=self.rate_hz))
        frame = AudioFrame(np.concatenate(pieces), self.rate_hz)
        yield SpeechChunk(frame, 0, len(text), tuple(words) if self._word_times else None)
