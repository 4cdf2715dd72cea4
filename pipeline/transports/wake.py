"""A transport that lets nothing through until a phrase has been said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.config.wake import WakeWordKeys
from antiphon.pipeline.events import Committed, Event, SpeechStarted, SpeechStopped, TurnEnded
from antiphon.pipeline.frontend.wake_word import WakeWord
from antiphon.pipeline.transports.base import Transport

logger = logging.getLogger(__name__)


class Detector(Protocol):
    """What tells that the phrase was said: :class:`~antiphon.pipeline.frontend.wake_word.WakeWord`."""

    def push(self, frame: AudioFrame) -> bool: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class WakeGated:
    """Asleep: the input is silence to the session. Awake: from the end of the phrase on, as long as a talk goes on.

    It has to see the session's events: pass :meth:`on_event` as one of its sinks.
    """

    def __init__(self, transport: Transport, word: Detector, *, listen_s: float) -> None:
        """:param listen_s: awake so long after the phrase, after speech, and after a reply was heard."""
        self.capabilities = transport.capabilities
        self._transport = transport
        self._word = word
        self._listen_s = listen_s
        self._now_s = 0.0
        """How far the input has come, on the stream clock."""
        self._awake_until_s = 0.0
        self._speaking = False
        self._answering = False
        self._slept = True

    @property
    def awake(self) -> bool:
        return self._speaking or self._answering or self._now_s < self._awake_until_s

    def wake(self) -> None:
        """Listen, as if the phrase had been said (a button, a greeting)."""
        self._stay()

    def on_event(self, event: Event) -> None:
        match event:
            case SpeechStarted():
                self._speaking = True
            case SpeechStopped():
                self._speaking = False
                self._stay()
            case Committed():
                self._answering = True
            case TurnEnded():
                self._answering = False
                self._stay()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        try:
            async for frame in self._transport.frames():
                self._now_s = frame.end_s
                yield self._passed(frame)
        finally:
            self._word.close()

    async def play(self, frame: AudioFrame, mark: int) -> float:
        at_s = await self._transport.play(frame, mark)
        self._stay(max(0.0, at_s - asyncio.get_running_loop().time()) + frame.duration_s)
        return at_s

    async def drain(self) -> None:
        await self._transport.drain()

    def clear(self) -> None:
        self._transport.clear()

    def pause(self) -> None:
        self._transport.pause()

    def resume(self) -> None:
        self._transport.resume()

    def heard_s(self, mark: int) -> float:
        return self._transport.heard_s(mark)

    # ---------------------------------------------------------------------------- inside

    def _stay(self, more_s: float = 0.0) -> None:
        self._awake_until_s = max(self._awake_until_s, self._now_s + more_s + self._listen_s)

    def _passed(self, frame: AudioFrame) -> AudioFrame:
        if self.awake:
            self._slept = False
            return frame
        if not self._slept:
            self._slept = True
            self._word.reset()
            logger.info("asleep: the wake word is needed")
        if self._word.push(frame):
            logger.info("awake: the wake word was said")
            self._stay()
        return AudioFrame(np.zeros_like(frame.samples), frame.rate_hz, frame.start_s)


def wake_gated(transport: Transport, keys: WakeWordKeys) -> Transport:
    """The transport behind the wake word that the section `wake_word` names; as it is if there is none.

    :raises EngineUnavailable: the package for it is not installed.
    :raises ModelMissing: there is no such model.
    """
    if keys.model is None:
        return transport
    return WakeGated(transport, WakeWord(keys.model, threshold=keys.threshold), listen_s=keys.listen_s)
