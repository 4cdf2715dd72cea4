"""A conversation by OpenAI's own Python client: a connection, its microphone, and everything that came."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
from interop_desk import RATE_HZ, silence, tone
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from antiphon.server import g711

CHUNK_S = 0.02


class Call:
    """One connection."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        """How many of them have been waited for."""

    async def next(self, kind: str, within_s: float = 60) -> dict[str, Any]:
        """The next event of a kind; what comes before it is kept."""
        async with asyncio.timeout(within_s):
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if event["type"] == kind:
                        return event
                data = await self.connection.recv_bytes()
                self.connection.parse_event(data)  # as its iterator does
                self.events.append(json.loads(data))

    async def speak(self, *parts: str | float, rate_hz: int = RATE_HZ, law: g711.Law | None = None) -> None:
        """Questions and pauses, at the pace of a microphone."""
        for part in parts:
            pcm = tone(part, rate_hz=rate_hz) if isinstance(part, str) else silence(part, rate_hz=rate_hz)
            step = round(CHUNK_S * rate_hz)
            for at in range(0, len(pcm), step):
                piece = pcm[at : at + step]
                data = piece.tobytes() if law is None else g711.encode(piece.astype(np.float32) / 32768, law)
                await self.connection.input_audio_buffer.append(audio=base64.b64encode(data).decode())
                await asyncio.sleep(CHUNK_S)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def audio(self) -> bytes:
        return b"".join(base64.b64decode(event["delta"]) for event in self.of("response.output_audio.delta"))

    def kinds(self) -> list[str]:
        """Event types in order; runs of the same count once."""
        found: list[str] = []
        for event in self.events:
            if found[-1:] != [event["type"]]:
                found.append(event["type"])
        return found
