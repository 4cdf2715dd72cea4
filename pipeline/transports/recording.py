"""A transport over finished or piped audio: input from a recording, replies collected for files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import AudioFrame, Samples, resample
from antiphon.pipeline.transports.base import Playhead, TransportCapabilities


@dataclass(frozen=True, slots=True, eq=False)
class PlayedFrame:
    """A piece of a reply and its place on the input's stream clock."""

    start_s: float
    frame: AudioFrame
    mark: int


def _until(piece: PlayedFrame, now_s: float) -> PlayedFrame | None:
    """The part of a piece that was played before `now_s`; None: nothing of it."""
    frame = piece.frame
    heard = round((now_s - piece.start_s) * frame.rate_hz)
    if heard >= len(frame.samples):
        return piece
    if heard <= 0:
        return None
    return PlayedFrame(piece.start_s, AudioFrame(frame.samples[:heard], frame.rate_hz, frame.start_s), piece.mark)


async def recording_frames(audio: AudioFrame, *, paced: bool, chunk_ms: float = 20.0) -> AsyncIterator[AudioFrame]:
    """A recording in chunks; paced: each chunk comes when a microphone would have delivered it (one absolute clock)."""
    loop = asyncio.get_running_loop()
    origin_s = loop.time()
    size = max(1, round(audio.rate_hz * chunk_ms / 1000))
    for at in range(0, len(audio.samples), size):
        samples = audio.samples[at : at + size]
        frame = AudioFrame(samples, audio.rate_hz, at / audio.rate_hz)
        if paced:
            await asyncio.sleep(max(0.0, origin_s + frame.end_s - loop.time()))
        yield frame


class RecordingTransport:
    """Plays input from a source; books replies on the time line that a listener would hear."""

    def __init__(self, source: AsyncIterator[AudioFrame], *, paced: bool = True, max_ahead_s: float = 0.5) -> None:
        """
        :param source: input audio, already at its pace.
        :param paced: False: replies take no time either; the stream clock alone counts.
        """
        self.capabilities = TransportCapabilities(paced=paced, greets=paced)
        self.heard: list[AudioFrame] = []
        """The input so far."""
        self.played: list[PlayedFrame] = []
        """The replies so far, in order."""
        self._source = source
        self._playhead = Playhead(max_ahead_s)
        self._origin_s: float | None = None
        self._position_s = 0.0
        self._reply_end_s = 0.0

    async def frames(self) -> AsyncIterator[AudioFrame]:
        async for frame in self._source:
            if self._origin_s is None:
                self._origin_s = asyncio.get_running_loop().time() - frame.end_s
            self._position_s = frame.end_s
            self.heard.append(frame)
            yield frame

    async def play(self, frame: AudioFrame, mark: int) -> float:
        now_s = asyncio.get_running_loop().time()
        if not self.capabilities.paced:
            start_s = max(self._position_s, self._reply_end_s)
            self._reply_end_s = start_s + frame.duration_s
            self.played.append(PlayedFrame(start_s, frame, mark))
            return now_s
        if self._origin_s is None:
            self._origin_s = now_s
        at_s = await self._playhead.book(frame.duration_s)
        self.played.append(PlayedFrame(at_s - self._origin_s, frame, mark))
        return at_s

    async def drain(self) -> None:
        if self.capabilities.paced:
            await self._playhead.drain()

    def clear(self) -> None:
        self._playhead.clear()
        if self.capabilities.paced and self._origin_s is not None:
            now_s = asyncio.get_running_loop().time() - self._origin_s
            self.played = [cut for piece in self.played if (cut := _until(piece, now_s)) is not None]

    # ------------------------------------------------------------------------ what was recorded

    def replies(self) -> Samples:
        """All replies one after the other, at the output rate."""
        return np.concatenate([piece.frame.samples for piece in self.played] or [np.empty(0, dtype=np.float32)])

    def mix(self, rate_hz: int) -> NDArray[np.float32]:
        """Both sides on one time line: shape (n, 2), left the user, right the assistant."""
        user = np.concatenate([frame.samples for frame in self.heard] or [np.empty(0, dtype=np.float32)])
        if self.heard:
            user = resample(user, self.heard[0].rate_hz, rate_hz)
        agent = self._reply_timeline()
        if self.played:  # as a whole: pieces resampled one by one would not join
            agent = resample(agent, self.played[0].frame.rate_hz, rate_hz)
        timeline = np.zeros((max(len(user), len(agent)), 2), dtype=np.float32)
        timeline[: len(user), 0] = user
        timeline[: len(agent), 1] = agent
        return timeline

    def _reply_timeline(self) -> Samples:
        """The replies where they were heard, at their own rate."""
        if not self.played:
            return np.empty(0, dtype=np.float32)
        rate_hz = self.played[0].frame.rate_hz
        starts = [max(0, round(piece.start_s * rate_hz)) for piece in self.played]
        ends = [at + len(piece.frame.samples) for at, piece in zip(starts, self.played, strict=True)]
        timeline = np.zeros(max(ends), dtype=np.float32)
        for at, end, piece in zip(starts, ends, self.played, strict=True):
            timeline[at:end] += piece.frame.samples
        return timeline
