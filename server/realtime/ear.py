"""The audio of a conversation on its way between any transport and the session."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.transports.base import Transport
from antiphon.server.realtime.buffer import InputBuffer
from antiphon.server.realtime.sounds import Recorder, Sounds


class Ear:
    """A transport around another one, of which it changes the input alone.

    Where the client says itself when its turn is over, what it says goes to the buffer, and the session hears silence:
    no pause in it may end anything. What is said on both sides may be asked for later.
    """

    def __init__(
        self,
        inner: Transport,
        buffer: InputBuffer,
        *,
        is_manual: Callable[[], bool],
        recorder: Recorder,
        sounds: Sounds,
        on_sound: Callable[[int], None] = lambda mark: None,
    ) -> None:
        """
        :param on_sound: told, with its mark, before each piece of a reply is handed over.
        """
        self._inner = inner
        self._buffer = buffer
        self._is_manual = is_manual
        self._recorder = recorder
        self._sounds = sounds
        self._on_sound = on_sound

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def frames(self) -> AsyncIterator[AudioFrame]:
        async for frame in self._inner.frames():
            self._recorder.hear(frame, keep=not self._is_manual())
            if not self._is_manual():
                yield frame
                continue
            self._buffer.add_live(frame.samples, frame.rate_hz)
            yield replace(frame, samples=np.zeros_like(frame.samples))

    async def play(self, frame: AudioFrame, mark: int) -> float:
        self._on_sound(mark)
        self._sounds.say(mark, frame)
        return await self._inner.play(frame, mark)
