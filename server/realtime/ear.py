"""The user's audio on its way from any transport into the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.transports.base import Transport
from antiphon.server.realtime.buffer import InputBuffer


class Ear:
    """A transport around another one, of which it changes the input alone.

    Where the client says itself when its turn is over, what it says goes to the buffer, and the session hears silence:
    no pause in it may end anything.
    """

    def __init__(self, inner: Transport, buffer: InputBuffer, *, is_manual: Callable[[], bool]) -> None:
        self._inner = inner
        self._buffer = buffer
        self._is_manual = is_manual

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def frames(self) -> AsyncIterator[AudioFrame]:
        async for frame in self._inner.frames():
            if not self._is_manual():
                yield frame
                continue
            self._buffer.add_live(frame.samples, frame.rate_hz)
            yield replace(frame, samples=np.zeros_like(frame.samples))
