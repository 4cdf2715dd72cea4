"""The user's audio on its way from any transport into the session."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.engines.live_resampler import LiveResampler
from antiphon.pipeline.transports.base import Transport
from antiphon.server.realtime.buffer import InputBuffer
from antiphon.server.realtime.protocol import ProtocolError

SESSION_HZ = 16000
"""What VADs and turn detectors take: nothing has to wait for another filter behind this one."""


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
        resampler: LiveResampler | None = None
        samples_so_far = 0
        async for frame in self._inner.frames():
            samples = frame.samples
            if self._is_manual():
                with contextlib.suppress(ProtocolError):  # it is full: the commit, or a clear, comes too late
                    self._buffer.add(samples, frame.rate_hz)
                samples = np.zeros_like(samples)
            if resampler is None or resampler.from_hz != frame.rate_hz:
                resampler = LiveResampler(frame.rate_hz, SESSION_HZ)
            out = resampler.push(samples)
            if len(out):
                yield AudioFrame(out, SESSION_HZ, samples_so_far / SESSION_HZ)
                samples_so_far += len(out)
