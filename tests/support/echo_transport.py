"""A transport in a made room: what it plays comes back in what it hears."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np

from antiphon.benchmarks.echo_room import RATE_HZ, Room
from antiphon.engines.audio import AudioFrame, Samples
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames


class RoomTransport(RecordingTransport):
    """Plays `user` in real time and mixes in the echo of the replies, which have to be at 16 kHz."""

    def __init__(self, user: Samples, room: Room) -> None:
        """:param room: without drift; `level_db` is exact for speech as long as the response."""
        super().__init__(recording_frames(AudioFrame(user, RATE_HZ), paced=True))
        self.capabilities = replace(self.capabilities, aec=False)
        self._response = room.response() * np.float32(10 ** (room.level_db / 20))
        self._noise = room.noise(len(user))

    async def frames(self) -> AsyncIterator[AudioFrame]:
        async for frame in super().frames():
            at, count = round(frame.start_s * RATE_HZ), len(frame.samples)
            sounded = self._sounded(at - len(self._response) + 1, at + count)
            echo = np.convolve(sounded, self._response, "valid").astype(np.float32)
            yield AudioFrame(frame.samples + echo + self._noise[at : at + count], RATE_HZ, frame.start_s)

    def _sounded(self, first: int, end: int) -> Samples:
        line = np.zeros(end - first, dtype=np.float32)
        for piece in self.played:
            samples = piece.frame.samples
            assert piece.frame.rate_hz == RATE_HZ
            start = round(piece.start_s * RATE_HZ)
            low, high = max(first, start), min(end, start + len(samples))
            if low < high:
                line[low - first : high - first] = samples[low - start : high - start]
        return line
