"""A server's plain stream as a system under test, heard by a client in this process: its clock is an outside one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.benchmarks.subject import Listener
from antiphon.engines.audio import Samples, to_pcm16
from antiphon.engines.errors import EngineFailed
from antiphon.pipeline.events import EVENT_TYPES, Event, Timings

_KINDS = {kind.type: kind for kind in EVENT_TYPES}
_CLOSING_S = 3.0
_TOLD = frozenset({"speech_started", "speech_stopped", "transcript", "committed", "dropped", "turn_ended", "error"})
"""Events that the benchmark judges by. Their times are those of the server, whose clock is this machine's, too."""


class StreamSubject:
    """`/v1/stream` of a server on this machine."""

    finished_recording = False
    tells_turns = True

    def __init__(self, name: str, base_url: str, pids: Sequence[int] = ()) -> None:
        self.name = name
        self.pids = tuple(pids)
        self._url = base_url.replace("http", "ws", 1) + f"/v1/stream?sample_rate={RATE_HZ}"

    async def __aenter__(self) -> StreamSubject:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The server is somebody else's."""

    async def open(self, listener: Listener) -> StreamSession:
        """
        :raises OSError: the server cannot be reached.
        """
        from websockets.asyncio.client import connect

        socket = await connect(self._url, max_size=None, compression=None, proxy=None)
        await socket.send(json.dumps({"type": "settings", "events": True}))
        return StreamSession(socket, listener)


class StreamSession:
    """One connection."""

    def __init__(self, socket: Any, listener: Listener) -> None:
        self._socket = socket
        self._listener = listener
        self._closing = False
        self._reading = asyncio.create_task(self._read(), name="stream-reader")

    async def hear(self, samples: Samples) -> None:
        """:raises EngineFailed: the connection has ended."""
        if self._reading.done():
            self._reading.result()
            raise EngineFailed("the server closed the connection")
        await self._socket.send(to_pcm16(samples).astype("<i2").tobytes())

    async def close(self) -> None:
        self._closing = True
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self._socket.close()
        except (TimeoutError, OSError):
            self._socket.transport.abort()
        self._reading.cancel()
        await asyncio.wait({self._reading})

    async def _read(self) -> None:
        async for message in self._socket:
            if isinstance(message, bytes):
                pcm = np.frombuffer(message, "<i2")
                self._listener.audio(pcm.astype(np.float32) / 32768.0, RATE_HZ)
                continue
            told = json.loads(message)
            if told["type"] == "clear":
                self._listener.sink.clear()
            elif told["type"] == "event" and (event := as_event(told["event"])) is not None:
                self._listener.on_event(event)


def as_event(told: dict[str, Any]) -> Event | None:
    """An event of a server, as the pipeline gave it; None: one that the benchmark does not judge by."""
    if told["type"] not in _TOLD:
        return None
    kind = _KINDS[told["type"]]
    fields = {name: value for name, value in told.items() if name not in ("type", "usage", "speculation")}
    if "timings" in fields:
        fields["timings"] = Timings(**fields["timings"])
    return kind(**fields)
