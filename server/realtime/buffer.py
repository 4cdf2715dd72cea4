"""What a client records before it says that its turn is over (push-to-talk)."""

from __future__ import annotations

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.server.realtime.protocol import ProtocolError

MIN_S = 0.1
"""Less audio is no turn."""


class InputBuffer:
    """One per connection; bounded. Audio of one rate."""

    def __init__(self, *, max_s: float) -> None:
        self._max_s = max_s
        self._pieces: list[Samples] = []
        self._rate_hz = 24000
        self._samples = 0

    def __bool__(self) -> bool:
        return bool(self._samples)

    @property
    def duration_s(self) -> float:
        return self._samples / self._rate_hz

    def add(self, samples: Samples, rate_hz: int) -> None:
        """
        :raises ProtocolError: there is too much; what was there stays.
        """
        if rate_hz != self._rate_hz:
            self.clear()
            self._rate_hz = rate_hz
        if self.duration_s + len(samples) / rate_hz > self._max_s:
            raise ProtocolError(
                f"The buffer holds {self.duration_s:.1f} s of audio, and may hold {self._max_s:g}; commit or clear it.",
                code="input_audio_buffer_full",
                param="audio",
            )
        self._pieces.append(samples)
        self._samples += len(samples)

    def taken(self) -> AudioFrame:
        """All of it; the buffer is empty then.

        :raises ProtocolError: there is too little to be a turn; it stays.
        """
        if self.duration_s < MIN_S:
            raise self.nothing()
        audio = AudioFrame(np.concatenate(self._pieces), self._rate_hz)
        self.clear()
        return audio

    def clear(self) -> None:
        self._pieces.clear()
        self._samples = 0

    def nothing(self) -> ProtocolError:
        """What is to be said of a commit without audio."""
        return ProtocolError(
            f"Error committing input audio buffer: buffer too small. Expected at least {1000 * MIN_S:.0f}ms of audio, "
            f"but buffer only has {1000 * self.duration_s:.2f}ms of audio.",
            code="input_audio_buffer_commit_empty",
        )
