"""A transport for programs: input pushed in code, replies taken out as they are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.transports.base import TransportCapabilities

MAX_WAITING_S = 60.0
"""Reply audio that may wait for a slow reader; past that the synthesis waits too."""


class QueuedTransport:
    """Replies go to a callback at once; whoever takes them reports it by :meth:`taken`."""

    def __init__(
        self, source: AsyncIterator[AudioFrame], deliver: Callable[[AudioFrame, int], None], *, paced: bool
    ) -> None:
        self.capabilities = TransportCapabilities(paced=paced, greets=paced, clears=False)
        self._source = source
        self._deliver = deliver
        self._waiting_s = 0.0
        self._delivered_s: dict[int, float] = {}
        self._room = asyncio.Event()

    def frames(self) -> AsyncIterator[AudioFrame]:
        return self._source

    async def play(self, frame: AudioFrame, mark: int) -> float:
        while self._waiting_s > MAX_WAITING_S:
            self._room.clear()
            await self._room.wait()
        self._waiting_s += frame.duration_s
        self._deliver(frame, mark)
        self._delivered_s[mark] = self._delivered_s.get(mark, 0.0) + frame.duration_s
        return asyncio.get_running_loop().time()

    def taken(self, frame: AudioFrame) -> None:
        """The reader has taken this frame."""
        self._waiting_s -= frame.duration_s
        self._room.set()

    async def drain(self) -> None:
        """Delivered is heard: what the reader does with it is not known here."""

    def clear(self) -> None:
        """Nothing is kept back here."""

    def pause(self) -> None:
        """What was delivered plays on, wherever it is."""

    def resume(self) -> None:
        """Nothing was paused."""

    def heard_s(self, mark: int) -> float:
        """What was delivered counts as heard."""
        return self._delivered_s.get(mark, 0.0)
