"""The last step of a reply: its speech goes to the transport, and book is kept of what was said and heard of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import SpeechChunk
from antiphon.pipeline.errors import StageError
from antiphon.pipeline.events import AudioStarted, Spoken
from antiphon.pipeline.heard import HeardText
from antiphon.pipeline.reply.contracts import BeforeSound, Emit, ReplySettings, ReplyTimes, ends_session
from antiphon.pipeline.reply.flow import End, Failure, Piece
from antiphon.pipeline.transports.base import Transport

AUDIBLE = 0.01
"""A sample above this (of full scale 1.0) can be heard: the rule of the latency clock."""


class Playback:
    """One per reply, which runs it. Owns what went to the sink.

    :param voiced: somebody speaks the text: of an answer with words, something has to be heard.
    :param on_sound: told when something, a filler too, is first heard: loop time.
    """

    def __init__(
        self,
        transport: Transport,
        mark: int,
        *,
        voiced: bool,
        emit: Emit,
        on_sound: Callable[[float], None] | None,
        before_sound: BeforeSound | None,
        settings: ReplySettings,
        times: ReplyTimes,
    ) -> None:
        self._transport = transport
        self._mark = mark
        self._voiced = voiced
        self._emit = emit
        self._on_sound = on_sound
        self._before_sound = before_sound
        self._settings = settings
        self._times = times
        self.spoken = ""
        self._heard = HeardText()
        self._sounded = False
        self._handed_s = 0.0
        """Audio that went to the sink."""
        self._before_s: float | None = None
        """What had been heard of this mark before this reply."""

    def heard_chars(self, played_s: float | None) -> int:
        """How much of the text was heard so far, to the word.

        :param played_s: seconds of this turn's audio that were heard; None: as many as the transport says.
        """
        if self._before_s is None:
            return 0
        played_s = self._transport.heard_s(self._mark) if played_s is None else played_s
        return self._heard.chars(played_s - self._before_s)

    async def run(self, chunks: asyncio.Queue[Any]) -> Failure | None:
        """Play until the end. Returns why there was no more to play, where that was a failure.

        :raises TransportBroken: the transport failed.
        :raises StageError: it must not be heard.
        """
        resampler: StreamResampler | None = None
        waiting: Piece | None = None
        filler = has_words = False
        while True:
            item = await chunks.get()
            if isinstance(item, SpeechChunk):
                if resampler is None:
                    resampler = StreamResampler(item.frame.rate_hz, self._settings.output_hz)
                if waiting is not None and self._before_sound is not None:
                    await self._may_sound(self._before_sound, waiting)
                if not filler:
                    self._heard.chunk(item, self._handed_s)
                await self._to_sink(resampler.push(item.frame.samples), filler=filler)
                if waiting is not None:
                    self._has_spoken(waiting)
                    waiting = None
                continue
            if resampler is not None:
                await self._to_sink(resampler.push(np.empty(0, dtype=np.float32), last=True), filler=filler)
            if isinstance(item, Failure):
                return item
            if isinstance(item, asyncio.Event):
                item.set()
                continue
            if waiting is not None and not waiting.filler:
                self.spoken += waiting.text  # a piece without sound (a dash, an emoji): said as far as it can be
            waiting = None
            if isinstance(item, End):
                self._heard.finish()
                return None if self._handed_s or not has_words else _silent()
            waiting, filler = item, item.filler
            has_words = has_words or (self._voiced and any(map(str.isalnum, item.spoken)))
            if not filler:
                self._heard.piece(item.text, item.spoken)

    async def _may_sound(self, before_sound: BeforeSound, piece: Piece) -> None:
        try:
            await before_sound(piece.text, filler=piece.filler)
        except Exception as error:
            raise StageError("transcript", error) from error

    def _has_spoken(self, piece: Piece) -> None:
        if not piece.filler:
            self.spoken += piece.text
        self._emit(Spoken, text=piece.text, filler=piece.filler)

    async def _to_sink(self, samples: Samples, *, filler: bool) -> None:
        if not len(samples):
            return
        with ends_session():
            if self._before_s is None:
                self._before_s = self._transport.heard_s(self._mark)
            self._handed_s += len(samples) / self._settings.output_hz
            start_s = await self._transport.play(AudioFrame(samples, self._settings.output_hz), self._mark)
        if (self._times.audible_s is None and not filler) or not self._sounded:
            self._note_sound(samples, start_s, filler=filler)

    def _note_sound(self, samples: Samples, start_s: float, *, filler: bool) -> None:
        """What the user waited for may be heard in here."""
        loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
        if not len(loud):
            return
        audible_s = start_s + float(loud[0]) / self._settings.output_hz
        if not self._sounded:
            self._sounded = True
            if self._on_sound is not None:
                self._on_sound(audible_s)
        if not filler:
            self._times.audible_s = audible_s
            self._emit(AudioStarted, t_s=audible_s)


def _silent() -> Failure:
    return Failure(StageError("tts", EngineFailed("the voice gave no audio for the whole answer", stage="tts")))
