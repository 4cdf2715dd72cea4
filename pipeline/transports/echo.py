"""A transport that does not hear itself: any other one behind an audio front end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.config.frontend import FrontEndKeys
from antiphon.pipeline.frontend import AudioFrontEnd, front_end_settings
from antiphon.pipeline.transports.base import Transport


class EchoControlled:
    """What comes in goes through the front end; what goes out is told to it."""

    def __init__(self, transport: Transport, front_end: AudioFrontEnd) -> None:
        """:param front_end: of this session alone."""
        self.capabilities = replace(transport.capabilities, aec=True, cleaned=True)
        self._transport = transport
        self._front_end = front_end
        self._cleared = 0
        """How many times; what was waiting to be handed over then will never sound."""
        self._paused_s: float | None = None
        self._later_s = 0.0
        """By how much all pauses so far have put off what was waiting."""

    async def frames(self) -> AsyncIterator[AudioFrame]:
        loop = asyncio.get_running_loop()
        paced = self.capabilities.paced
        async for frame in self._transport.frames():
            cleaned = self._front_end.clean(frame, loop.time() if paced else None)
            if len(cleaned.samples):
                yield cleaned
        rest = self._front_end.flush()
        if len(rest.samples):
            yield rest

    async def play(self, frame: AudioFrame, mark: int) -> float:
        cleared, later_s = self._cleared, self._later_s
        at_s = await self._transport.play(frame, mark)
        if cleared == self._cleared:
            self._front_end.played(frame, at_s + self._later_s - later_s)
        return at_s

    async def drain(self) -> None:
        await self._transport.drain()

    def clear(self) -> None:
        self._transport.clear()
        self._cleared += 1
        self._front_end.stopped(self._now_s() if self._paused_s is None else self._paused_s)

    def pause(self) -> None:
        self._transport.pause()
        if self.capabilities.pauses and self._paused_s is None:
            self._paused_s = self._now_s()
            self._front_end.paused(self._paused_s)

    def resume(self) -> None:
        self._transport.resume()
        if self._paused_s is not None:
            now_s = self._now_s()
            self._later_s += now_s - self._paused_s
            self._paused_s = None
            self._front_end.resumed(now_s)

    def heard_s(self, mark: int) -> float:
        return self._transport.heard_s(mark)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def echo_controlled(transport: Transport, keys: FrontEndKeys) -> Transport:
    """The transport with the front end that the section `audio` asks for; as it is if there is nothing to do.

    :raises EngineUnavailable: what is asked for by name needs a package that is not installed.
    """
    capabilities = transport.capabilities
    settings = front_end_settings(keys, paced=capabilities.paced, aec=capabilities.aec)
    if settings.idle or capabilities.cleaned:
        return transport
    return EchoControlled(transport, AudioFrontEnd(settings))
