"""A telephone network that speaks Twilio's frames, on the test's own clock: it plays what it is sent, in order."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from typing import Any

import numpy as np

from antiphon.server import g711

RATE_HZ = 8000
FRAME = RATE_HZ // 50
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(RATE_HZ))).astype(np.float32)


class TwilioLine:
    """`receive` and `send` are the server's side of the WebSocket; `latency_s` is the way there, and the way back."""

    def __init__(self, latency_s: float = 0.05) -> None:
        self.latency_s = latency_s
        self.to_server: asyncio.Queue[str | None] = asyncio.Queue()
        self.messages: list[dict[str, Any]] = []
        """What the server sent, in order, without the audio."""
        self.played = b""
        """What the caller has heard, mu-law."""
        self.heard_s: list[float] = []
        """How much had been played at each `clear`, to the frame."""
        self._queue: deque[bytes | str] = deque()
        self._more = asyncio.Event()
        self._sequence = 0
        self._ways: dict[str, asyncio.Queue[tuple[float, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------- the server's side

    async def receive(self) -> str | None:
        return await self.to_server.get()

    async def send(self, message: str | bytes) -> None:
        assert isinstance(message, str), "the protocol is text alone"
        self._later("there", lambda: self._arrived(json.loads(message)))

    # ------------------------------------------------------------------------------- the caller's side

    def begin(self, *, parameters: dict[str, Any] | None = None, **form: Any) -> None:
        """The first two messages of every stream.

        :param parameters: what the TwiML gives along.
        """
        self._say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        media = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1, **form}
        start = {"accountSid": "AC1", "streamSid": "MZ1", "callSid": "CA1", "tracks": ["inbound"], "mediaFormat": media,
                 "customParameters": parameters or {}}  # fmt: skip
        self._say({"event": "start", "start": start})
        self._spawn(self._play())

    async def speak(self, seconds: float, *, loud: bool = True) -> None:
        for number in range(round(seconds * RATE_HZ / FRAME)):
            await asyncio.sleep(0.02)
            at = number * FRAME % RATE_HZ
            samples = TONE[at : at + FRAME] if loud else np.zeros(FRAME, np.float32)
            payload = base64.b64encode(g711.encode(samples, "mulaw")).decode()
            media = {"track": "inbound", "chunk": str(number + 1), "timestamp": str(number * 20), "payload": payload}
            self._say({"event": "media", "media": media})

    async def be_silent(self, seconds: float) -> None:
        await self.speak(seconds, loud=False)

    def press(self, *digits: str) -> None:
        for digit in digits:
            self._say({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": digit}})

    def hang_up(self) -> None:
        self._say({"event": "stop", "stop": {"accountSid": "AC1", "callSid": "CA1"}})

    def leave(self) -> None:
        """The connection is gone."""
        self.to_server.put_nowait(None)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    @property
    def played_s(self) -> float:
        return len(self.played) / RATE_HZ

    # ------------------------------------------------------------------------------- inside

    def _say(self, message: dict[str, Any]) -> None:
        self._sequence += 1
        text = json.dumps({"sequenceNumber": str(self._sequence), "streamSid": "MZ1", **message})
        self._later("back", lambda: self.to_server.put_nowait(text))

    def _later(self, way: str, act: Any) -> None:
        """After the latency, in order."""
        if way not in self._ways:
            self._ways[way] = asyncio.Queue()
            self._spawn(self._carry(self._ways[way]))
        self._ways[way].put_nowait((asyncio.get_running_loop().time() + self.latency_s, act))

    async def _carry(self, way: asyncio.Queue[tuple[float, Any]]) -> None:
        while True:
            due_s, act = await way.get()
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
            act()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _arrived(self, message: dict[str, Any]) -> None:
        assert message["streamSid"] == "MZ1"
        kind = message["event"]
        if kind != "media":
            self.messages.append(message)
        if kind == "media":
            data = base64.b64decode(message["media"]["payload"], validate=True)
            self._queue.extend(data[at : at + FRAME] for at in range(0, len(data), FRAME))
        elif kind == "mark":
            self._queue.append(message["mark"]["name"])
        elif kind == "clear":
            self.heard_s.append(self.played_s)
            marks = [part for part in self._queue if isinstance(part, str)]
            self._queue.clear()
            for name in marks:
                self._say({"event": "mark", "mark": {"name": name}})
        else:
            raise AssertionError(f"no message of the protocol: {message}")
        self._more.set()

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while True:
            if not self._queue:
                self._more.clear()
                await self._more.wait()
                due_s = max(due_s, loop.time())
                continue
            part = self._queue.popleft()
            if isinstance(part, str):
                self._say({"event": "mark", "mark": {"name": part}})
                continue
            self.played += part
            due_s += len(part) / RATE_HZ
            await asyncio.sleep(max(0.0, due_s - loop.time()))
