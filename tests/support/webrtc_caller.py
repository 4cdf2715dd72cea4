"""A caller over WebRTC: another program's peer connection, that speaks recordings and keeps what it hears."""

from __future__ import annotations

import asyncio
import fractions
import json
from collections.abc import Callable
from typing import Any

import aiortc.rtcrtpreceiver
import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame
from network_clock import NetworkClockLoop
from numpy.typing import NDArray

RATE_HZ = 48000
FRAME = 960


class _Counted:
    """A queue of which one can tell whether all that was put into it is done."""

    def __init__(self, given: Any) -> None:
        self._given = given
        self._taken = False

    def get(self) -> Any:
        if self._taken:
            self._given.task_done()
        self._taken = True
        return self._given.get()


def _decode(loop: asyncio.AbstractEventLoop, given: Any, *arguments: Any) -> None:
    """The caller's decoder is a thread of aiortc's: a virtual clock has to know when it has something to do."""

    def busy() -> bool:
        return bool(given.unfinished_tasks)

    at_work = loop.at_work if isinstance(loop, NetworkClockLoop) else []
    at_work.append(busy)
    try:
        _decode_frames(loop, _Counted(given), *arguments)
    finally:
        at_work.remove(busy)


_decode_frames = aiortc.rtcrtpreceiver.decoder_worker
aiortc.rtcrtpreceiver.decoder_worker = _decode


class Voice(MediaStreamTrack):
    """A microphone: what it was given to say, silence around it, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._rest = np.zeros(0, dtype=np.int16)
        self._sent = 0
        self._start_s: float | None = None
        self.said_s: float | None = None
        """When the last sample of it was said, on the event loop's clock."""

    def say(self, samples: NDArray[np.int16]) -> None:
        """:param samples: int16 mono at 48 kHz."""
        self._rest = np.concatenate([self._rest, samples])

    @property
    def silent(self) -> bool:
        return not len(self._rest)

    async def recv(self) -> AudioFrame:
        loop = asyncio.get_running_loop()
        if self._start_s is None:
            self._start_s = loop.time()
        due_s = self._start_s + (self._sent + FRAME) / RATE_HZ  # a frame is there once its last sample was said
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        samples, self._rest = self._rest[:FRAME], self._rest[FRAME:]
        if len(samples):
            self.said_s = due_s - (FRAME - len(samples)) / RATE_HZ
        samples = np.pad(samples, (0, FRAME - len(samples)))
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, self._sent, fractions.Fraction(1, RATE_HZ)
        self._sent += FRAME
        return frame


class Caller:
    """A context manager. Make an offer, have it answered, :meth:`accept`; then speak and listen."""

    def __init__(self, labels: tuple[str, ...] = ("oai-events",)) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.voice = Voice()
        self.events: list[dict[str, Any]] = []
        self.messages: dict[str, list[dict[str, Any]]] = {}
        """By label of the channel."""
        self.heard: list[tuple[float, NDArray[np.int16]]] = []
        """Frames (int16 mono, 48 kHz), and when they came out of the caller's jitter buffer."""
        self.channels: dict[str, RTCDataChannel] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.peer.addTrack(self.voice)
        self.peer.on("track", self._listen)
        for label in labels:
            self.open(label)

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.peer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def open(self, label: str) -> None:
        """Create a data channel."""
        channel = self.channels[label] = self.peer.createDataChannel(label)
        kept = self.messages[label] = self.events if label == "oai-events" else []

        def keep(message: str) -> None:
            kept.append(json.loads(message))
            self._move()

        channel.on("message", keep)
        channel.on("open", self._move)
        channel.on("close", self._move)

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(_reachable(answer), "answer"))
        self.peer.on("connectionstatechange", self._move)

    def send(self, **event: Any) -> None:
        self.channels["oai-events"].send(json.dumps(event))

    async def until(self, done: Callable[[], Any], timeout_s: float = 60) -> Any:
        """Wait until `done` gives something; it is asked again whenever something came."""
        async with asyncio.timeout(timeout_s):
            while not (found := done()):
                self._changed.clear()
                await self._changed.wait()
        return found

    async def event(self, kind: str, *, after: int = 0, timeout_s: float = 60) -> dict[str, Any]:
        """The first event of that type behind the first `after` events."""

        def find() -> dict[str, Any] | None:
            return next((one for one in self.events[after:] if one["type"] == kind), None)

        found: dict[str, Any] = await self.until(find, timeout_s)
        return found

    def types(self) -> list[str]:
        return [one["type"] for one in self.events]

    def audio(self) -> NDArray[np.int16]:
        """All that was heard."""
        return np.concatenate([samples for _, samples in self.heard]) if self.heard else np.zeros(0, dtype=np.int16)

    def loud_s(self, level: int = 328) -> float:
        """How long what was heard was louder than that (1 % of full scale), in frames of 20 ms."""
        return sum(bool(np.abs(samples).max() > level) for _, samples in self.heard) * FRAME / RATE_HZ

    def _listen(self, track: MediaStreamTrack) -> None:
        async def listen() -> None:
            try:
                while True:
                    frame = await track.recv()
                    assert isinstance(frame, AudioFrame)
                    stereo = frame.to_ndarray().reshape(-1, len(frame.layout.channels))
                    self.heard.append((asyncio.get_running_loop().time(), stereo[:, 0].copy()))
                    self._move()
            except MediaStreamError:
                self._move()

        self._tasks.append(asyncio.create_task(listen()))

    def _move(self) -> None:
        self._changed.set()


def _reachable(answer: str) -> str:
    """Without the second address of a server on loopback (it is for Firefox): this process, which has the server in it,
    may not send there while the network is forbidden."""
    lines = answer.splitlines(keepends=True)
    near = [line for line in lines if line.startswith("a=candidate:") and line.split()[4] in ("127.0.0.1", "::1")]
    return "".join(line for line in lines if not near or not line.startswith("a=candidate:") or line in near)
