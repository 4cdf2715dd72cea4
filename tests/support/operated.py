"""A service on the virtual clock, without sockets: callers on the plain stream, and what its metrics say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from antiphon.pipeline.config import Config
from antiphon.server.access.principal import ANYONE, Principal
from antiphon.server.peer import Peer
from antiphon.server.service import Service
from antiphon.server.stream import StreamConnection

RATE_HZ = 16000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(RATE_HZ)) * 32767).astype("<i2")


@asynccontextmanager
async def operating(given: Config, service: Service | None = None) -> AsyncIterator[Service]:
    """A service that is ready."""
    async with service or Service(given) as made:
        await made.load()
        yield made


class Caller:
    """Somebody on the plain stream."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self.messages: list[dict[str, Any]] = []
        self.audio = b""
        self.serving: asyncio.Task[None] | None = None

    async def receive(self) -> bytes | str | None:
        return await self.to_server.get()

    async def send(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self.audio += message
        else:
            self.messages.append(json.loads(message))

    async def speak(self, seconds: float, *, loud: bool = True) -> None:
        for at in range(0, round(seconds * RATE_HZ), 320):
            await asyncio.sleep(0.02)
            piece = TONE[at % RATE_HZ :][:320] if loud else np.zeros(320, "<i2")
            self.to_server.put_nowait(piece.tobytes())

    async def be_silent(self, seconds: float) -> None:
        await self.speak(seconds, loud=False)

    async def ask(self, *, wait_s: float = 2.0) -> None:
        """A question, and silence in which it is answered."""
        await self.speak(1.0)
        await self.be_silent(wait_s)

    async def hang_up(self) -> None:
        self.to_server.put_nowait(None)
        assert self.serving is not None
        async with asyncio.timeout(60):
            await self.serving

    def texts(self, role: str) -> list[str]:
        found = [one for one in self.messages if one["type"] == "transcript" and one["role"] == role and one["final"]]
        return [one["text"] for one in found]


async def call(service: Service, principal: Principal = ANYONE) -> Caller:
    """Somebody who calls, as a WebSocket would bring him in.

    :raises Refused: nobody is taken in now.
    """
    caller = Caller()

    def new_session(transport: Any, **arguments: Any) -> Any:
        return service.session(transport, protocol="stream", principal=principal, **arguments)

    async def serve() -> None:
        async with service.conversation(connection):
            begun.set()
            await connection.run()

    service.admit()
    connection = StreamConnection(new_session, Peer(caller.receive, caller.send), rate_hz=RATE_HZ)
    begun = asyncio.Event()
    caller.serving = asyncio.create_task(serve())
    await begun.wait()
    return caller


def figures(service: Service) -> dict[str, float]:
    """Every series of `/metrics`: "name{label=value,...}" and its value."""
    from prometheus_client.parser import text_string_to_metric_families

    page = service.metrics.page()[0].decode()
    found = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
