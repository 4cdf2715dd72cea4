"""What a caller says: packets in, audio for the session out."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator

import numpy as np

from antiphon.engines.audio import AudioFrame, to_mono_float32
from antiphon.server.realtime.webrtc.jitter import Packet, Reorder
from antiphon.server.realtime.webrtc.opus import RATE_HZ, BadPacket, OpusDecoder, Pcm

logger = logging.getLogger(__name__)

MAX_FILLED_S = 1.0
"""What is missing is silence, so that time goes on; of a longer gap, so much is."""
MAX_EARLY_S = 2.0
"""Audio may come so much faster than time passes; what a sender adds beyond is dropped."""
MAX_WAITING_S = 30.0
"""Audio that the session has not taken; past that it is dropped."""
_WRAP = 1 << 32


class Hearing:
    """One call's incoming audio. :meth:`take` never waits; :meth:`frames` is the session's."""

    def __init__(self) -> None:
        self.dropped = 0
        """Packets that could not be used."""
        self.last_s: float | None = None
        """When the last packet came, on the event loop's clock."""
        self._reorder = Reorder()
        self._decoder = OpusDecoder()
        self._due: int | None = None
        """The timestamp that the next packet should have."""
        self._pieces: deque[Pcm] = deque()
        self._waiting_s = 0.0
        self._more = asyncio.Event()
        self._over = False
        self._credit_s = MAX_EARLY_S
        """How much more may come now."""

    def take(self, packet: Packet) -> None:
        """A packet from the network, in any order."""
        now_s = asyncio.get_running_loop().time()
        if self.last_s is not None:
            self._credit_s = min(MAX_EARLY_S, self._credit_s + now_s - self.last_s)
        self.last_s = now_s
        for one in self._reorder.push(packet):
            self._hear(one)

    def end(self) -> None:
        """There will be no more."""
        self._over = True
        self._more.set()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """The audio at 48 kHz, as it comes; ends after :meth:`end`."""
        position = 0
        while True:
            while self._pieces:
                samples = self._pieces.popleft()
                self._waiting_s -= len(samples) / RATE_HZ
                yield AudioFrame(to_mono_float32(samples), RATE_HZ, position / RATE_HZ)
                position += len(samples)
            if self._over:
                return
            self._more.clear()
            await self._more.wait()

    # ------------------------------------------------------------------------ inside

    def _hear(self, packet: Packet) -> None:
        try:
            samples = self._decoder.decode(packet.payload)
        except BadPacket:
            self._drop("not_opus")
            return
        if len(samples) / RATE_HZ > self._credit_s or self._waiting_s > MAX_WAITING_S:
            self._drop("too_fast")
            return
        missing = 0 if self._due is None else (packet.timestamp - self._due + _WRAP // 2) % _WRAP - _WRAP // 2
        self._due = (packet.timestamp + len(samples)) % _WRAP
        if missing > 0:
            self._put(np.zeros(min(missing, round(MAX_FILLED_S * RATE_HZ)), dtype=np.int16))
        self._put(samples)

    def _put(self, samples: Pcm) -> None:
        self._credit_s -= len(samples) / RATE_HZ
        self._waiting_s += len(samples) / RATE_HZ
        self._pieces.append(samples)
        self._more.set()

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if self.dropped == 1:
            logger.warning("audio of a call was dropped", extra={"reason": why})
