"""A transport over finished or piped audio: input from a recording, replies collected for files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

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


def _since(piece: PlayedFrame, now_s: float) -> PlayedFrame | None:
    """The part of a piece that :func:`_until` leaves; None: nothing."""
    frame = piece.frame
    heard = max(0, round((now_s - piece.start_s) * frame.rate_hz))
    if heard >= len(frame.samples):
        return None
    start_s = piece.start_s + heard / frame.rate_hz
    return PlayedFrame(start_s, AudioFrame(frame.samples[heard:], frame.rate_hz, frame.start_s), piece.mark)


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
        self.capabilities = TransportCapabilities(paced=paced, greets=paced, pauses=paced)
        self.heard: list[AudioFrame] = []
        """The input so far."""
        self.played: list[PlayedFrame] = []
        """The replies so far, in order."""
        self._source = source
        self._playhead = Playhead(max_ahead_s)
        self._origin_s: float | None = None
        self._position_s = 0.0
        self._reply_end_s = 0.0
        self._held: list[PlayedFrame] = []
        """In a pause: what comes after it, where it would be if the pause ended now."""

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
        piece = PlayedFrame(self._playhead.next_s - self._origin_s, frame, mark)
        (self._held if self._playhead.paused else self.played).append(piece)
        return await self._playhead.book(frame.duration_s, mark)

    async def drain(self) -> None:
        if self.capabilities.paced:
            await self._playhead.drain()

    def clear(self) -> None:
        self._playhead.clear()
        self._held.clear()
        if self.capabilities.paced and not self._playhead.paused:
            self.played = [cut for piece in self.played if (cut := _until(piece, self._now_s())) is not None]

    def pause(self) -> None:
        if self.capabilities.paced and not self._playhead.paused:
            self._playhead.pause()
            now_s = self._now_s()
            self._held = [rest for piece in self.played if (rest := _since(piece, now_s)) is not None]
            self.played = [cut for piece in self.played if (cut := _until(piece, now_s)) is not None]

    def resume(self) -> None:
        later_s = self._playhead.resume()
        self.played += [replace(piece, start_s=piece.start_s + later_s) for piece in self._held]
        self._held.clear()

    def heard_s(self, mark: int) -> float:
        return self._playhead.heard_s(mark)

    def _now_s(self) -> float:
        """On the input's stream clock."""
        return asyncio.get_running_loop().time() - (self._origin_s or 0.0)

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
