"""Whether a server grows: many who say nothing, and many who come and go."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

from antiphon.benchmarks.server.process import ServerProcess, Usage

_PIECE = bytes(640)
"""20 ms of silence at 16 kHz."""
_APPEND = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(960)).decode()})
"""The same at 24 kHz, as an event of OpenAI's protocol."""
_Front = Literal["stream", "realtime"]
_PATHS: dict[_Front, str] = {"stream": "/v1/stream?sample_rate=16000", "realtime": "/v1/realtime?model=default"}
_AT_ONCE = 8
_SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Connections on which nobody speaks."""

    sessions: int
    before: Usage
    during: Usage
    after: Usage
    """When they had gone."""

    def block(self) -> dict[str, Any]:
        """For `result.json`."""
        each_kb = (self.during.rss_mb - self.before.rss_mb) * 1000 / max(1, self.sessions)
        return {**asdict(self), "kb_a_session": round(each_kb, 1)}


@dataclass(frozen=True, slots=True)
class Cycles:
    """Connections that were begun and ended, one after another."""

    cycles: int
    early: Usage
    """After a tenth of them: what is cached is cached by then."""
    late: Usage
    """After all."""
    took_s: float

    def block(self) -> dict[str, Any]:
        """For `result.json`."""
        grew = {name: round(getattr(self.late, name) - getattr(self.early, name), 1) for name in Usage.__slots__}
        return {**asdict(self), "grew": grew}


async def measure_idle(server: ServerProcess, sessions: int, *, seconds: float = 15.0) -> Idle:
    """Connect so many, let each send 20 ms of silence a second, and look at what the server takes."""
    before = await server.usage()
    async with AsyncExitStack() as stack:
        sockets = []
        for _ in range(sessions):
            sockets.append(await stack.enter_async_context(_connected(server)))
        loop = asyncio.get_running_loop()
        until_s = loop.time() + seconds
        while loop.time() < until_s:
            for socket in sockets:
                await socket.send(_PIECE)
            await asyncio.sleep(1.0)
        figures = await server.figures()
        there = sum(value for name, value in figures.items() if name.startswith("antiphon_sessions_open{"))
        during = await server.usage()
        if there < sessions:
            raise RuntimeError(f"{there:g} of {sessions} idle conversations were there in the end")
    await asyncio.sleep(_SETTLE_S)
    return Idle(sessions, before, during, await server.usage())


async def measure_cycles(server: ServerProcess, cycles: int) -> Cycles:
    """Connect to one front and the other, send a tenth of a second, and go, every third without a word."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    first = max(1, cycles // 10)
    await _come_and_go(server, first)
    await asyncio.sleep(_SETTLE_S)
    early = await server.usage()
    await _come_and_go(server, cycles - first)
    await asyncio.sleep(_SETTLE_S)
    return Cycles(cycles, early, await server.usage(), round(loop.time() - began_s, 1))


async def _come_and_go(server: ServerProcess, count: int) -> None:
    numbers = iter(range(count))

    async def one_after_another() -> None:
        for number in numbers:
            front: _Front = "stream" if number % 2 else "realtime"
            async with _connected(server, front) as socket:
                for _ in range(5):
                    await socket.send(_PIECE if front == "stream" else _APPEND)
                if number % 3 == 0:
                    socket.transport.abort()

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(one_after_another())


@asynccontextmanager
async def _connected(server: ServerProcess, front: _Front = "stream") -> AsyncIterator[Any]:
    from websockets.asyncio.client import connect

    url = server.url.replace("http", "ws", 1) + _PATHS[front]
    socket = await connect(url, compression=None, proxy=None, ping_interval=None)
    reading = asyncio.create_task(_drop_all(socket))
    try:
        yield socket
    finally:
        with contextlib.suppress(OSError):
            await socket.close()
        reading.cancel()
        await asyncio.wait({reading})


async def _drop_all(socket: Any) -> None:
    from websockets.exceptions import ConnectionClosed

    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass
