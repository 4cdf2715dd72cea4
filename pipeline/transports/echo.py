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
        at_s = await self._transport.play(frame, mark)
        self._front_end.played(frame, at_s)
        return at_s

    async def drain(self) -> None:
        await self._transport.drain()

    def clear(self) -> None:
        self._transport.clear()
        self._front_end.stopped(asyncio.get_running_loop().time())


def echo_controlled(transport: Transport, keys: FrontEndKeys) -> Transport:
    """The transport with the front end that the section `audio` asks for; as it is if there is nothing to do.

    :raises EngineUnavailable: what is asked for by name needs a package that is not installed.
    """
    capabilities = transport.capabilities
    settings = front_end_settings(keys, paced=capabilities.paced, aec=capabilities.aec)
    if settings.idle or capabilities.cleaned:
        return transport
    return EchoControlled(transport, AudioFrontEnd(settings))
