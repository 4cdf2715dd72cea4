"""What a client records before it says that its turn is over (push-to-talk)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.server.client_audio import from_pcm16, pcm16
from antiphon.server.realtime.protocol import ProtocolError

MIN_S = 0.1
"""Less audio is no turn."""


@dataclass(slots=True, eq=False)
class Recording:
    """What was recorded for one item, as PCM16."""

    rate_hz: int
    data: bytearray = field(default_factory=bytearray)

    def frame(self) -> AudioFrame:
        return AudioFrame(from_pcm16(bytes(self.data)), self.rate_hz)

    def seconds(self, size: int) -> float:
        return size / 2 / self.rate_hz


class InputBuffer:
    """One per connection. Bounded, however small the pieces are that come: they are kept as one."""

    def __init__(self, *, max_s: float) -> None:
        self._max_s = max_s
        self._recording = Recording(24000)
        self._closing: Recording | None = None
        """Was taken, and still gets what comes late."""

    def __bool__(self) -> bool:
        return bool(self._recording.data)

    @property
    def duration_s(self) -> float:
        return self._recording.seconds(len(self._recording.data))

    def add(self, samples: Samples, rate_hz: int) -> None:
        """
        :param rate_hz: where it is another than that of what is there, that is dropped.
        :raises ProtocolError: there is too much; what was there stays.
        """
        recording, data = self._recording_at(rate_hz), pcm16(samples)
        if recording.seconds(len(recording.data) + len(data)) > self._max_s:
            raise ProtocolError(
                f"The buffer holds {self.duration_s:.1f} s of audio, and may hold {self._max_s:g}; commit or clear it.",
                code="input_audio_buffer_full",
                param="audio",
            )
        recording.data += data

    def add_live(self, samples: Samples, rate_hz: int) -> None:
        """Sound that nobody can hold back: what is too much pushes out the oldest.

        :param rate_hz: as in :meth:`add`.
        """
        recording = self._recording_at(rate_hz)
        recording.data += pcm16(samples)
        if (over := len(recording.data) - 2 * int(self._max_s * rate_hz)) > 0:
            del recording.data[:over]

    def check(self) -> None:
        """:raises ProtocolError: there is too little to be a turn."""
        if self.duration_s < MIN_S:
            raise self.nothing()

    def taken(self) -> AudioFrame:
        """All of it; the buffer is empty then.

        :raises ProtocolError: there is too little to be a turn; it stays.
        """
        self.check()
        audio = self._recording.frame()
        self.clear()
        return audio

    def closing(self, after_s: float) -> Recording:
        """All of it, and what comes until so much later; the buffer is empty at once, and what becomes of it then does
        not matter here.

        :raises ProtocolError: there is too little to be a turn; it stays.
        """
        self.check()
        recording = self._closing = self._recording
        self.clear()
        asyncio.get_running_loop().call_later(after_s, self._close, recording)
        return recording

    def clear(self) -> None:
        self._recording = Recording(self._recording.rate_hz)

    def nothing(self) -> ProtocolError:
        """What is to be said of a commit without audio."""
        return ProtocolError(
            f"Error committing input audio buffer: buffer too small. Expected at least {1000 * MIN_S:.0f}ms of audio, "
            f"but buffer only has {1000 * self.duration_s:.2f}ms of audio.",
            code="input_audio_buffer_commit_empty",
        )

    def _recording_at(self, rate_hz: int) -> Recording:
        """What sound of this rate belongs to."""
        if self._closing is not None and self._closing.rate_hz == rate_hz:
            return self._closing
        if rate_hz != self._recording.rate_hz:
            self._recording = Recording(rate_hz)
        return self._recording

    def _close(self, recording: Recording) -> None:
        if self._closing is recording:
            self._closing = None
