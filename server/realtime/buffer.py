"""What a client records before it says that its turn is over (push-to-talk)."""

from __future__ import annotations

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.server.client_audio import from_pcm16, pcm16
from antiphon.server.realtime.protocol import ProtocolError

MIN_S = 0.1
"""Less audio is no turn."""


class InputBuffer:
    """One per connection. Bounded, however small the pieces are that come: they are kept as one, as PCM16."""

    def __init__(self, *, max_s: float) -> None:
        self._max_s = max_s
        self._data = bytearray()
        self._rate_hz = 24000

    def __bool__(self) -> bool:
        return bool(self._data)

    @property
    def duration_s(self) -> float:
        return self._seconds(len(self._data))

    def add(self, samples: Samples, rate_hz: int) -> None:
        """
        :param rate_hz: where it is another than that of what is there, that is dropped.
        :raises ProtocolError: there is too much; what was there stays.
        """
        if rate_hz != self._rate_hz:
            self.clear()
            self._rate_hz = rate_hz
        data = pcm16(samples)
        if self._seconds(len(self._data) + len(data)) > self._max_s:
            raise ProtocolError(
                f"The buffer holds {self.duration_s:.1f} s of audio, and may hold {self._max_s:g}; commit or clear it.",
                code="input_audio_buffer_full",
                param="audio",
            )
        self._data += data

    def check(self) -> None:
        """:raises ProtocolError: there is too little to be a turn."""
        if self.duration_s < MIN_S:
            raise self.nothing()

    def taken(self) -> AudioFrame:
        """All of it; the buffer is empty then.

        :raises ProtocolError: there is too little to be a turn; it stays.
        """
        self.check()
        audio = AudioFrame(from_pcm16(bytes(self._data)), self._rate_hz)
        self.clear()
        return audio

    def clear(self) -> None:
        self._data = bytearray()

    def nothing(self) -> ProtocolError:
        """What is to be said of a commit without audio."""
        return ProtocolError(
            f"Error committing input audio buffer: buffer too small. Expected at least {1000 * MIN_S:.0f}ms of audio, "
            f"but buffer only has {1000 * self.duration_s:.2f}ms of audio.",
            code="input_audio_buffer_commit_empty",
        )

    def _seconds(self, size: int) -> float:
        return size / 2 / self._rate_hz
