"""Makes speech chunks of decoded slices: silence trimmed, loudness set, words and characters in their places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.engines.protocols import SpeechChunk, Word
from antiphon.engines.tts.piper_level import LeadTrimmer, amplify
from antiphon.engines.tts.piper_runtime import Decoded, Opened
from antiphon.engines.tts.piper_text import WordIds, has_words


@dataclass(frozen=True, slots=True)
class SoundSettings:
    """How the chunks of one voice are to sound."""

    rate_hz: int
    """The voice's own rate."""
    output_hz: int
    """The rate that the chunks are to have."""
    hop_samples: int
    """Samples a frame."""
    lead_in_s: float | None
    pause_s: float
    """Silence between sentences."""
    normalise: bool
    volume: float


class SpeechAssembler:
    """Chunks of one text, in order, without gaps or overlap, in time as in characters.

    :param text: the text asked for.
    """

    def __init__(self, text: str, settings: SoundSettings) -> None:
        self._text = text
        self._settings = settings
        self._trimmer = LeadTrimmer(settings.rate_hz, settings.lead_in_s)
        self._resampler = StreamResampler(settings.rate_hz, settings.output_hz)
        self._position = 0
        """Samples taken up, at the voice's rate."""
        self._delivered = 0
        """Samples handed over, at the output's rate."""
        self._chars = 0
        """Characters handed over."""
        self._opened: Opened | None = None
        self._frame_zero = 0
        """Where in the stream the utterance's first frame would begin, had nothing been trimmed."""
        self._pause = 0
        self._waiting: list[WordIds] = []
        """Words of the utterance that did not start yet."""

    @property
    def duration_s(self) -> float:
        """Seconds of audio handed over."""
        return self._delivered / self._settings.output_hz

    def begin(self, opened: Opened) -> None:
        """Go on with the next utterance."""
        self._pause = round(self._settings.pause_s * self._settings.rate_hz) if self._position else 0
        self._opened = opened
        self._frame_zero = self._position + self._pause
        self._waiting = list(opened.utterance.words)

    def push(self, decoded: Decoded) -> SpeechChunk | None:
        """The chunk for a slice of the utterance; None while only leading silence has come."""
        opened = self._opened
        assert opened is not None
        final = decoded.stop >= opened.frames
        cut_before = self._trimmer.cut_samples
        samples = self._trimmer.push(decoded.samples, last=final)
        self._frame_zero -= self._trimmer.cut_samples - cut_before
        if not len(samples):
            return None
        samples = amplify(samples, self._settings.volume * (opened.gain if self._settings.normalise else 1.0))
        if self._pause:
            samples = np.concatenate([np.zeros(self._pause, dtype=np.float32), samples])
            self._pause = 0
        self._position += len(samples)
        words = self._words(opened, final)
        chars_from, self._chars = self._chars, self._chars_until(opened)
        return SpeechChunk(self._frame(self._resampler.push(samples)), chars_from, self._chars, words)

    def finish(self) -> SpeechChunk | None:
        """What the resampler still holds; None where the rates are the same."""
        if self._settings.rate_hz == self._settings.output_hz:
            return None
        rest = self._resampler.push(np.zeros(0, dtype=np.float32), last=True)
        words = None if self._opened is None or self._opened.durations is None else ()
        return SpeechChunk(self._frame(rest), self._chars, self._chars, words) if len(rest) else None

    def _frame(self, samples: Samples) -> AudioFrame:
        start, self._delivered = self._delivered, self._delivered + len(samples)
        return AudioFrame(samples, self._settings.output_hz, start / self._settings.output_hz)

    def _words(self, opened: Opened, final: bool) -> tuple[Word, ...] | None:
        """The words that start before the present end of the stream and were not handed over yet."""
        if opened.durations is None:
            self._waiting = []
            return None
        edges = np.concatenate([[0], np.cumsum(opened.durations)]) * self._settings.hop_samples + self._frame_zero
        edges = np.clip(edges, 0, self._frame_zero + opened.frames * self._settings.hop_samples)
        count = sum(1 for word in self._waiting if final or edges[word.id_start] < self._position)
        started, self._waiting = self._waiting[:count], self._waiting[count:]
        rate = self._settings.rate_hz
        return tuple(
            Word(
                self._text[word.char_start : word.char_end],
                float(edges[word.id_start]) / rate,
                float(edges[word.id_end]) / rate,
            )
            for word in started
        )

    def _chars_until(self, opened: Opened) -> int:
        if self._waiting:
            return max(self._chars, self._waiting[0].char_start)
        if not opened.cursor.pending and not has_words(self._text, opened.cursor.position):
            return len(self._text)
        return max(self._chars, opened.utterance.char_end)
