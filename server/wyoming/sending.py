"""The way to a Wyoming client: events, audio cut into events, errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from antiphon.engines.audio import Samples
from antiphon.engines.wyoming_wire import event_bytes
from antiphon.server.client_audio import pcm16

if TYPE_CHECKING:
    from wyoming.event import Event

PATIENCE_S = 20.0
"""A client that has taken nothing for so long has gone away."""
CHUNK_S = 0.1
"""Audio goes out in events of at most this length."""


class ClientGone(Exception):
    """Raised where nothing more can be sent."""


class Sender:
    """Events go out in the order in which :meth:`send` is called."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def send(self, *events: Event) -> None:
        """Wait until the connection has taken them, or nearly.

        :raises ClientGone: the client has closed, or takes nothing.
        """
        try:
            for event in events:
                self._writer.write(event_bytes(event))
            async with asyncio.timeout(PATIENCE_S):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise ClientGone("the client takes nothing more") from error

    def end(self) -> None:
        """Nothing more will be sent."""
        if self._writer.can_write_eof():
            self._writer.write_eof()

    async def error(self, text: str, code: str) -> None:
        from wyoming.error import Error

        await self.send(Error(text=text, code=code).event())


class AudioOut:
    """One utterance: `audio-start` before its first sample, `audio-stop` behind its last."""

    def __init__(self, sender: Sender, rate_hz: int) -> None:
        self._sender = sender
        self._form = {"rate": rate_hz, "width": 2, "channels": 1}
        self._samples = 0
        self._open = False

    @property
    def sent_s(self) -> float:
        return self._samples / self._form["rate"]

    async def audio(self, samples: Samples) -> None:
        """
        :raises ClientGone: see :meth:`Sender.send`.
        """
        from wyoming.audio import AudioChunk

        await self.begin()
        rate_hz = self._form["rate"]
        size = round(CHUNK_S * rate_hz)
        for at in range(0, len(samples), size):
            piece: Samples = np.asarray(samples[at : at + size])
            timestamp = round(1000 * self._samples / rate_hz)
            self._samples += len(piece)
            await self._sender.send(AudioChunk(audio=pcm16(piece), timestamp=timestamp, **self._form).event())

    async def begin(self) -> None:
        from wyoming.audio import AudioStart

        if not self._open:
            self._open = True
            await self._sender.send(AudioStart(timestamp=round(1000 * self.sent_s), **self._form).event())

    async def end(self) -> None:
        """Nothing, if nothing was begun."""
        from wyoming.audio import AudioStop

        if self._open:
            self._open = False
            await self._sender.send(AudioStop(timestamp=round(1000 * self.sent_s)).event())
