"""Runs the steps of one answer side by side, joined by small queues.

Nothing reaches the transport before `committed` is set, so the same code serves a speculated answer and a sure one. A
step that fails lets what was made before it be heard, then its failure comes out of :meth:`Reply.speak`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

from antiphon.engines.protocols import TTS, SpeechChunk, ToolCall, TTSOptions, Usage
from antiphon.pipeline.errors import StageError
from antiphon.pipeline.patience import end_tasks
from antiphon.pipeline.reply.contracts import (
    BeforeCall,
    BeforeSound,
    Emit,
    ReplySettings,
    ReplyTimes,
    Speakable,
    Splitter,
    ends_session,
)
from antiphon.pipeline.reply.flow import End, Failure, Piece, guarded
from antiphon.pipeline.reply.playback import Playback
from antiphon.pipeline.reply.synthesis import Synthesis
from antiphon.pipeline.reply.wording import Wording
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.workflow import ToolResult, WorkflowEvent


class Reply:
    """One answer on its way out. Make one for each; call :meth:`speak` once."""

    def __init__(
        self,
        *,
        tts: TTS | None,
        transport: Transport,
        splitter: Splitter,
        speakable: Speakable,
        emit: Emit,
        mark: int,
        before_call: BeforeCall,
        committed: asyncio.Event,
        on_sound: Callable[[float], None] | None = None,
        before_sound: BeforeSound | None = None,
        voice: TTSOptions | None = None,
        settings: ReplySettings | None = None,
    ) -> None:
        """
        :param tts: None: nobody can speak this; the text is still taken in.
        :param on_sound: told when something of it, a filler too, is first heard: loop time.
        """
        settings = settings or ReplySettings()
        self.times = ReplyTimes()
        self.voiced = tts is not None
        """Whether it is spoken; else it is for reading."""
        self._transport = transport
        self._before_call = before_call
        self._committed = committed
        self._settings = settings
        self._wording = Wording(splitter, emit=emit, settings=settings, times=self.times)
        self._synthesis = Synthesis(
            tts,
            voice or TTSOptions(),
            speakable,
            before_call=before_call,
            committed=committed,
            settings=settings,
            times=self.times,
        )
        self._playback = Playback(
            transport,
            mark,
            voiced=self.voiced,
            emit=emit,
            on_sound=on_sound,
            before_sound=before_sound,
            settings=settings,
            times=self.times,
        )
        self._pieces: asyncio.Queue[Piece | Failure | End] | None = None
        """Takes interjections, while there is one."""

    @property
    def text(self) -> str:
        """All text that the workflow gave."""
        return self._wording.text

    @property
    def spoken(self) -> str:
        """The part of it whose audio went to the sink."""
        return self._playback.spoken

    @property
    def did(self) -> list[ToolCall | ToolResult]:
        """What tools were called for it, and what they gave, in order."""
        return self._wording.did

    @property
    def usage(self) -> Usage:
        """What the workflow told of it, added up."""
        return self._wording.usage

    @property
    def ends_call(self) -> bool:
        """The workflow said that the conversation is over."""
        return self._wording.ends_call

    def heard_chars(self, played_s: float | None = None) -> int:
        """How much of the text was heard so far, to the word.

        :param played_s: seconds of this turn's audio that were heard; None: as many as the transport says.
        """
        return self._playback.heard_chars(played_s) if self.voiced else len(self.text)

    async def speak(
        self, source: AsyncIterator[str | WorkflowEvent], on_complete: Callable[[], None] | None = None
    ) -> None:
        """Take the whole answer in and play it; returns when the last sample has been heard.

        :param on_complete: told when all of it has gone to the sink, before it has been heard to its end.
        :raises StageError: the workflow or the TTS failed; what came before has been played.
        :raises TransportBroken: the transport failed.
        """
        ahead = self._settings.look_ahead
        items: asyncio.Queue[str | WorkflowEvent | Failure | End] = asyncio.Queue(64)
        pieces: asyncio.Queue[Piece | Failure | End] = asyncio.Queue(ahead)
        chunks: asyncio.Queue[Piece | SpeechChunk | asyncio.Event | Failure | End] = asyncio.Queue(16 * ahead)
        self._pieces = pieces
        upstream = [
            asyncio.create_task(guarded("workflow", self._pull(source, items), items)),
            asyncio.create_task(guarded("workflow", self._wording.split(items, pieces), pieces)),
            asyncio.create_task(guarded("tts", self._synthesis.run(pieces, chunks), chunks)),
        ]
        if self._settings.filler and not math.isinf(self._settings.filler_after_s):
            upstream.append(asyncio.create_task(self._bridge(pieces)))
        try:
            await self._committed.wait()
            failure = await self._playback.run(chunks)
        except StageError as error:  # of the caller's own code on the way out; a transport's failure is none
            failure = Failure(error)
        finally:
            await end_tasks(upstream)
        self._pieces = None  # too late for interjections
        if failure is None and on_complete is not None:
            on_complete()
        with ends_session():
            await self._transport.drain()
        if failure is not None:
            raise failure.error

    async def interject(self, text: str) -> None:
        """Say something between the pieces of the answer that is no part of it (a question to the user).

        Returns when its audio has gone to the sink; when the answer ends before that, it waits for ever: end it with
        the answer.
        """
        if self._pieces is not None:
            said = asyncio.Event()
            await self._pieces.put(Piece(text, filler=True, said=said))
            await said.wait()

    async def _pull(self, source: AsyncIterator[str | WorkflowEvent], out: asyncio.Queue[Any]) -> None:
        """Run the workflow in one task of its own: its context variables and timeouts span its yields."""
        self._before_call()
        try:
            async for item in source:
                await out.put(item)
            await out.put(End())
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    async def _bridge(self, pieces: asyncio.Queue[Any]) -> None:
        """Say something where the workflow lets the user wait, once."""
        await self._committed.wait()
        await asyncio.sleep(self._settings.filler_after_s)
        if not self.text:
            await pieces.put(Piece(self._settings.filler, filler=True))
