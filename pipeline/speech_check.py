"""What a voice gives is checked before anybody hears it: one bad chunk must not end a session, or deafen its user."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import SpeechChunk, Word

_RATES_HZ = range(4000, 384_001)

_LONGEST_S = 10.0
"""Audio that one piece of text may have, and half a second more for each character: about seven times as much as
people take. A voice that does not stop is broken."""

_MOST_EMPTY = 1000
"""Chunks in a row without a sample."""


class ChunkCheck:
    """One for each piece of text that a voice is given. Call it with each chunk; gives the chunk to play."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._rate_hz: int | None = None
        self._left_s = _LONGEST_S + 0.5 * len(text)
        self._empty = 0

    def __call__(self, chunk: Any) -> SpeechChunk:
        """
        :raises TypeError: it is no speech.
        :raises EngineFailed: it is, but nobody should hear it.
        """
        if not isinstance(chunk, SpeechChunk):
            raise TypeError(f"the TTS engine gave a {type(chunk).__name__}, not a SpeechChunk")
        frame = self._checked_frame(chunk.frame)
        self._empty = 0 if len(frame.samples) else self._empty + 1
        self._left_s -= frame.duration_s
        if self._left_s < 0 or self._empty > _MOST_EMPTY:
            raise EngineFailed("the voice does not come to an end", stage="tts")
        if not isinstance(chunk.char_start, int) or not isinstance(chunk.char_end, int):
            raise TypeError("the TTS engine gave places in the text that are no whole numbers")
        start = min(max(0, chunk.char_start), len(self._text))
        end = min(max(start, chunk.char_end), len(self._text))
        return dataclasses.replace(chunk, frame=frame, char_start=start, char_end=end, words=_sound_words(chunk.words))

    def _checked_frame(self, frame: Any) -> AudioFrame:
        if not isinstance(frame, AudioFrame) or not isinstance(frame.samples, np.ndarray):
            raise TypeError("the TTS engine gave a chunk without an AudioFrame of samples")
        samples = frame.samples
        if samples.dtype != np.float32 or samples.ndim != 1:
            raise TypeError("the TTS engine gave samples that are not mono float32")
        if frame.rate_hz not in _RATES_HZ or (self._rate_hz or frame.rate_hz) != frame.rate_hz:
            raise EngineFailed(f"the voice gave audio of {frame.rate_hz} Hz in mid-sentence or at all", stage="tts")
        self._rate_hz = frame.rate_hz
        loudest = float(np.max(np.abs(samples))) if len(samples) else 0.0
        if not math.isfinite(loudest):
            raise EngineFailed("the voice gave samples that are no numbers", stage="tts")
        start_s = frame.start_s if math.isfinite(frame.start_s) else 0.0
        if loudest <= 1.0 and start_s == frame.start_s:
            return frame
        return AudioFrame(np.clip(samples, -1.0, 1.0), frame.rate_hz, start_s)


def _sound_words(words: tuple[Word, ...] | None) -> tuple[Word, ...] | None:
    """Word times as they are; None, where one of them cannot be: then they are estimated."""
    if words is None or all(
        isinstance(word.text, str) and 0 <= word.start_s < math.inf and 0 <= word.end_s < math.inf for word in words
    ):
        return words
    return None
