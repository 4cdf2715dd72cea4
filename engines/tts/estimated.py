"""Chunks of speech without word times: which characters each speaks is estimated from its share of the time."""

from __future__ import annotations

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.protocols import SpeechChunk

_SHORTEST_CHUNK_S = 0.02
_HELD_S = 0.01
"""Kept back until more comes, so that the last chunk can be told from the others."""
_SECONDS_PER_CHAR = 0.065
"""A first guess, for English; each answer improves it."""


class Pace:
    """How fast a voice speaks: learned from what it has said."""

    def __init__(self) -> None:
        self._seconds_per_char = _SECONDS_PER_CHAR

    def guess_s(self, characters: int, speed: float = 1.0) -> float:
        """How long so many characters will probably take, in seconds."""
        return characters * self._seconds_per_char / speed

    def learn(self, characters: int, seconds: float) -> None:
        """So many characters took so long, at speed 1."""
        if characters >= 10:
            self._seconds_per_char += 0.2 * (seconds / characters - self._seconds_per_char)


class EstimatedChunks:
    """Cuts one text's audio into chunks as it comes."""

    def __init__(self, characters: int, rate_hz: int, guess_s: float) -> None:
        """
        :param characters: the text's length.
        :param guess_s: how long its audio will probably be.
        """
        self._characters = characters
        self._rate_hz = rate_hz
        self._guess_s = guess_s
        self._held: Samples = np.zeros(0, np.float32)
        self._emitted = 0
        self._char_end = 0

    @property
    def emitted_s(self) -> float:
        """Length of the chunks so far."""
        return self._emitted / self._rate_hz

    @property
    def empty(self) -> bool:
        """Nothing has come."""
        return not self._emitted and not len(self._held)

    def push(self, samples: Samples, total_s: float | None = None) -> SpeechChunk | None:
        """Take audio at the rate; returns a chunk once there is enough for one.

        :param total_s: how long all of the audio is, where that is known.
        """
        self.hold(samples)
        ready = len(self._held) - int(_HELD_S * self._rate_hz)
        if ready < _SHORTEST_CHUNK_S * self._rate_hz:
            return None
        whole_s = self._guess_s if total_s is None else total_s
        done = (self._emitted + ready) / self._rate_hz / max(whole_s, 1e-3)
        return self._chunk(ready, min(self._characters - 1, int(self._characters * done)))

    def hold(self, samples: Samples) -> None:
        """Take audio without making a chunk of it yet."""
        if len(samples):
            self._held = np.concatenate([self._held, samples])

    def last(self) -> SpeechChunk:
        """What was held back, to the text's end."""
        return self._chunk(len(self._held), self._characters)

    def _chunk(self, samples: int, char_end: int) -> SpeechChunk:
        start, self._char_end = self._char_end, max(self._char_end, char_end)
        frame = AudioFrame(self._held[:samples], self._rate_hz, self.emitted_s)
        self._held = self._held[samples:]
        self._emitted += samples
        return SpeechChunk(frame, start, self._char_end)
