"""Makes speech chunks of decoded slices: silence trimmed, loudness set, words and characters in their places."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.engines.protocols import SpeechChunk, Word
from antiphon.engines.tts.piper_level import LeadTrimmer, amplify
from antiphon.engines.tts.piper_runtime import Decoded, Opened
from antiphon.engines.tts.piper_text import has_words


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
        """Samples of silence still to come before the utterance."""
        self._timed = False
        """Whether the utterance's words are among `_waiting`."""
        self._waiting: deque[tuple[Word, int]] = deque()
        """Words that have not started yet, with the character where each begins."""

    @property
    def duration_s(self) -> float:
        """Seconds of audio handed over."""
        return self._delivered / self._settings.output_hz

    def begin(self, opened: Opened) -> None:
        """Go on with the next utterance."""
        self._pause = round(self._settings.pause_s * self._settings.rate_hz) if self._position else 0
        self._opened = opened
        self._frame_zero = self._position + self._pause
        self._timed = False

    def push(self, decoded: Decoded) -> SpeechChunk | None:
        """The chunk for a slice of the utterance; None while only leading silence has come."""
        opened = self._opened
        assert opened is not None
        cut_before = self._trimmer.cut_samples
        samples = self._trimmer.push(decoded.samples, last=decoded.stop >= opened.frames)
        self._frame_zero -= self._trimmer.cut_samples - cut_before
        if not len(samples):
            return None
        if not self._timed:  # now it is known where the utterance begins
            self._timed = True
            self._waiting.extend(self._words(opened))
        samples = amplify(samples, self._settings.volume * (opened.gain if self._settings.normalise else 1.0))
        if self._pause:
            samples = np.concatenate([np.zeros(self._pause, dtype=np.float32), samples])
            self._pause = 0
        self._position += len(samples)
        out = self._resampler.push(samples)
        return self._chunk(out, last=False) if len(out) else None

    def finish(self) -> SpeechChunk | None:
        """What the resampler still holds; None where the rates are the same, or nothing was said."""
        if self._settings.rate_hz == self._settings.output_hz or not self._position:
            return None
        rest = self._resampler.push(np.zeros(0, dtype=np.float32), last=True)
        return self._chunk(rest, last=True) if len(rest) else None

    # ---------------------------------------------------------------------------- inside

    def _chunk(self, samples: Samples, *, last: bool) -> SpeechChunk:
        opened = self._opened
        assert opened is not None
        start, self._delivered = self._delivered, self._delivered + len(samples)
        frame = AudioFrame(samples, self._settings.output_hz, start / self._settings.output_hz)
        started: list[Word] = []
        while self._waiting and (last or self._waiting[0][0].start_s < frame.end_s):
            started.append(self._waiting.popleft()[0])
        chars_from, self._chars = self._chars, self._chars_until(opened)
        return SpeechChunk(frame, chars_from, self._chars, None if opened.durations is None else tuple(started))

    def _words(self, opened: Opened) -> Iterator[tuple[Word, int]]:
        """The words of an utterance with their times in the stream."""
        if opened.durations is None:
            return
        end = self._frame_zero + opened.frames * self._settings.hop_samples
        edges = np.concatenate([[0], np.cumsum(opened.durations)]) * self._settings.hop_samples + self._frame_zero
        for word in opened.utterance.words:
            start = min(max(float(edges[word.id_start]), 0.0), end - 1)
            stop = min(max(float(edges[word.id_end]), start), end)
            text = self._text[word.char_start : word.char_end]
            yield Word(text, start / self._settings.rate_hz, stop / self._settings.rate_hz), word.char_start

    def _chars_until(self, opened: Opened) -> int:
        if self._waiting:
            return max(self._chars, self._waiting[0][1])
        if not opened.cursor.pending and not has_words(self._text, opened.cursor.position):
            return len(self._text)
        return max(self._chars, opened.utterance.char_end)
