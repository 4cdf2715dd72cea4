"""A client of the plain stream that asks a question."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection

RATE_HZ = 16000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(RATE_HZ)) * 32767).astype("<i2").tobytes()


async def speak(client: ClientConnection, seconds: float, *, loud: bool = True) -> None:
    for at in range(0, round(seconds * RATE_HZ) * 2, 640):
        await asyncio.sleep(0.02)
        await client.send(TONE[at % len(TONE) :][:640] if loud else bytes(640))


async def ask(client: ClientConnection) -> tuple[list[dict[str, Any]], bytes]:
    """A question; the messages and the audio that come until the answer is there in words."""
    messages: list[dict[str, Any]] = []
    audio = b""

    async def talk() -> None:
        await speak(client, 0.6)
        await speak(client, 30, loud=False)

    talking = asyncio.create_task(talk())
    try:
        async with asyncio.timeout(60):
            async for message in client:
                if isinstance(message, bytes):
                    audio += message
                    continue
                messages.append(json.loads(message))
                if messages[-1].get("role") == "agent":
                    break
    finally:
        talking.cancel()
    return messages, audio
