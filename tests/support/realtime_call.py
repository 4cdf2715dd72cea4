"""A Realtime client whose sound goes another way than in events, such as a call's, on a virtual clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from realtime_client import TONE, RealtimeClient, config

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.config import Config
from antiphon.pipeline.transports.base import TransportCapabilities
from antiphon.server.access.principal import ANYONE
from antiphon.server.client_audio import ClientTransport
from antiphon.server.realtime.connection import RealtimeConnection
from antiphon.server.service import Service

RATE_HZ = 48000


class Line:
    """What the other end plays, and drops."""

    def __init__(self) -> None:
        self.drops = 0
        self.seconds = 0.0

    def audio(self, frame: AudioFrame) -> None:
        self.seconds += frame.duration_s

    def flush(self) -> None: ...

    def drop(self) -> None:
        self.drops += 1

    async def room(self) -> None: ...


class CallTransport(ClientTransport):
    """Tells its listener what is played."""

    def __init__(self, line: Line) -> None:
        super().__init__(line, rate_hz=RATE_HZ)
        self.capabilities = TransportCapabilities(paced=True, greets=True, pauses=True, queues=True)
        self.listener: Any = None
        self._told: set[int] = set()

    async def play(self, frame: AudioFrame, mark: int) -> float:
        if mark not in self._told:
            self._told.add(mark)
            self.listener.playing(mark)
        return await super().play(frame, mark)

    def clear(self) -> None:
        super().clear()
        for mark in self._told:
            self.listener.cleared(mark)


class Caller(RealtimeClient):
    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.transport = CallTransport(self.line)
        self.connection: Any = None
        """Once the call has begun: for those who follow it from beside."""

    async def speak(self, seconds: float, *, loud: bool = True) -> None:
        for _ in range(round(seconds / 0.02)):
            await asyncio.sleep(0.02)
            await self._say(np.resize(TONE, 960) if loud else np.zeros(960))

    async def cough(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            await asyncio.sleep(0.02)
            await self._say(np.resize(TONE // 3, 960))

    async def _say(self, piece: np.ndarray[Any, Any]) -> None:
        await self.transport.push((piece / 32768).astype(np.float32))


def call(talk: Callable[[Caller], Awaitable[None]], given: Config | None = None) -> Caller:
    async def main() -> Caller:
        caller = Caller()
        async with Service(given or config()) as service:
            await service.load()
            sending: asyncio.Queue[Any] = asyncio.Queue()
            connection = RealtimeConnection(service, ANYONE, send=sending.put_nowait, transport=caller.transport)
            caller.connection = connection

            async def deliver() -> None:
                while (event := await sending.get()) is not None:
                    await caller.send(json.dumps(event))

            async def take() -> None:
                while (message := await caller.receive()) is not None:
                    await connection.receive(message)

            tasks = [asyncio.create_task(one) for one in (connection.run(), deliver(), take())]
            await talk(caller)
            caller.transport.end()
            await tasks[0]
            sending.put_nowait(None)
            caller.to_server.put_nowait(None)
            await asyncio.gather(*tasks)
        return caller

    return run_virtual(main())
