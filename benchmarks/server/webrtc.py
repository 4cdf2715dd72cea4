"""A server's calls (WebRTC) as a system under test: another program's peer connection makes them, as a browser would.

The caller is aiortc as it is: its encoder, its jitter buffer of 80 ms. What it hears counts from the moment at which it
comes out of that buffer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import urllib.request
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.benchmarks.server.stream import as_event
from antiphon.benchmarks.subject import Listener
from antiphon.engines.audio import Samples, to_mono_float32, to_pcm16
from antiphon.engines.errors import EngineFailed, EngineUnavailable

if TYPE_CHECKING:
    from aiortc import RTCPeerConnection
    from aiortc.mediastreams import MediaStreamTrack

logger = logging.getLogger(__name__)

LINE_HZ = 48000
FRAME = LINE_HZ // 50
EVENTS = "antiphon"
"""The data channel of the pipeline's own events."""
MAX_UNSENT = 50
"""Frames of the microphone; the line takes one every 20 ms, or is broken."""
HELD = 24
"""Samples that the resampler may hold back: put before all others, so that every 20 ms make a frame."""
MAX_SILENT = 50
"""Frames of silence that belong to a reply; what comes behind them is the line's own."""
_CONNECTING_S = 15.0
_CLOSING_S = 5.0


class WebRtcSubject:
    """`/v1/realtime/calls` of a server on this machine."""

    finished_recording = False
    tells_turns = True

    def __init__(self, name: str, base_url: str, pids: Sequence[int] = ()) -> None:
        self.name = name
        self.pids = tuple(pids)
        self._url = f"{base_url}/v1/realtime/calls"

    async def __aenter__(self) -> WebRtcSubject:
        """
        :raises EngineUnavailable: the package aiortc is missing.
        """
        try:
            await asyncio.to_thread(__import__, "aiortc")
        except ImportError as error:
            raise EngineUnavailable(
                "measuring calls needs the Python package aiortc", hint='pip install "antiphon[webrtc]"'
            ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server is somebody else's."""

    async def open(self, listener: Listener) -> WebRtcSession:
        """
        :raises OSError: the server cannot be reached, or refuses the call.
        :raises TimeoutError: the call does not come about.
        """
        session = WebRtcSession(listener)
        try:
            async with asyncio.timeout(_CONNECTING_S):
                await session.dial(self._url)
        except BaseException:
            await session.close()
            raise
        return session


class WebRtcSession:
    """One call."""

    def __init__(self, listener: Listener) -> None:
        from aiortc import RTCConfiguration, RTCPeerConnection

        self._listener = listener
        self._peer: RTCPeerConnection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._spoken: asyncio.Queue[Samples] = asyncio.Queue(MAX_UNSENT)
        # The quickest of soxr's filters: the others hold audio back, some for 30 ms.
        self._resampler = soxr.ResampleStream(RATE_HZ, LINE_HZ, 1, dtype="float32", quality="QQ")
        self._open = asyncio.Event()
        self._silent = MAX_SILENT
        """Frames since the last one in which something sounded."""
        self._listening: asyncio.Task[None] | None = None
        self._peer.addTrack(_microphone(self._spoken))
        self._peer.on("track", self._begin_listening)
        channel = self._peer.createDataChannel(EVENTS)
        channel.on("open", self._open.set)
        channel.on("message", self._take)

    async def dial(self, url: str) -> None:
        """Make the call; returns once it is connected."""
        from aiortc import RTCSessionDescription

        await self._peer.setLocalDescription(await self._peer.createOffer())
        answer = await asyncio.to_thread(_ask, url, self._peer.localDescription.sdp)
        await self._peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await self._open.wait()

    async def hear(self, samples: Samples) -> None:
        """:raises EngineFailed: the call has ended."""
        if self._peer.connectionState in ("failed", "closed") or self._spoken.full():
            raise EngineFailed("the call has ended")
        self._spoken.put_nowait(np.asarray(self._resampler.resample_chunk(samples), np.float32))

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self._peer.close()
        except TimeoutError:
            logger.warning("a call did not end in order")
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})

    # ------------------------------------------------------------------------------ inside

    def _take(self, message: str | bytes) -> None:
        event = as_event(json.loads(message)["event"])
        if event is not None:
            self._listener.on_event(event)

    def _begin_listening(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.create_task(self._listen(track), name="call-listener")

    async def _listen(self, track: MediaStreamTrack) -> None:
        from aiortc.mediastreams import MediaStreamError

        try:
            while True:
                frame: Any = await track.recv()
                stereo = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
                self._hear_line(to_mono_float32(np.ascontiguousarray(stereo[:, 0])))
        except MediaStreamError:
            return  # the call is over

    def _hear_line(self, samples: Samples) -> None:
        """Between replies the line is silent all the time: nothing that anybody plays."""
        self._silent = self._silent + 1 if not samples.any() else 0
        if self._silent < MAX_SILENT:
            self._listener.audio(samples, LINE_HZ)


def _ask(url: str, offer: str) -> str:
    headers = {"Content-Type": "application/sdp"}
    if key := os.environ.get("ANTIPHON_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, data=offer.encode(), headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=_CONNECTING_S) as answer:
        text: str = answer.read().decode()
    return text


def _microphone(spoken: asyncio.Queue[Samples]) -> Any:
    """A track that sends what is put into the queue, as soon as there is a frame of it."""
    from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
    from av import AudioFrame

    class Microphone(MediaStreamTrack):
        kind = "audio"

        def __init__(self) -> None:
            super().__init__()
            self._rest = np.zeros(HELD, dtype=np.float32)
            self._sent = 0

        async def recv(self) -> AudioFrame:
            while len(self._rest) < FRAME:
                self._rest = np.concatenate([self._rest, await spoken.get()])
            if self.readyState != "live":
                raise MediaStreamError
            samples, self._rest = self._rest[:FRAME], self._rest[FRAME:]
            frame = AudioFrame.from_ndarray(to_pcm16(samples).reshape(1, -1), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = LINE_HZ, self._sent, Fraction(1, LINE_HZ)
            self._sent += FRAME
            return frame

    return Microphone()
