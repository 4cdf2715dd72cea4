"""The second step of a reply: each piece of text becomes speech, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from antiphon.engines.errors import AntiphonError, EngineTimeout
from antiphon.engines.protocols import TTS, TTSOptions
from antiphon.pipeline.errors import StageError, had_no_time
from antiphon.pipeline.patience import GRACE_S
from antiphon.pipeline.reply.contracts import BeforeCall, ReplySettings, ReplyTimes, Speakable
from antiphon.pipeline.reply.flow import Failure, Piece, put_if_room
from antiphon.pipeline.speech_check import ChunkCheck


class Synthesis:
    """One per reply, which runs it. Keeps nothing but the time of its first audio: what it makes goes on.

    :param tts: None: nobody can speak this; the pieces go on without sound.
    :param committed: set once the answer is sure.
    """

    def __init__(
        self,
        tts: TTS | None,
        voice: TTSOptions,
        speakable: Speakable,
        *,
        before_call: BeforeCall,
        committed: asyncio.Event,
        settings: ReplySettings,
        times: ReplyTimes,
    ) -> None:
        self._tts = tts
        self._voice = voice
        self._speakable = speakable
        self._before_call = before_call
        self._committed = committed
        self._settings = settings
        self._times = times

    async def run(self, pieces: asyncio.Queue[Any], out: asyncio.Queue[Any]) -> None:
        """Each piece, then its chunks, then whoever waits for it to be said; up to the end.

        :raises AntiphonError: the voice failed, or gave nothing in time.
        """
        while True:
            piece = await pieces.get()
            if not isinstance(piece, Piece):
                await out.put(piece)
                return
            words = self._speakable(piece.text)
            await out.put(replace(piece, spoken=words))
            if self._tts is not None and words.strip():
                await self._speak(self._tts, piece, words, out)
            if piece.said is not None:
                await out.put(piece.said)

    async def _speak(self, tts: TTS, piece: Piece, words: str, out: asyncio.Queue[Any]) -> None:
        guess, began = not self._committed.is_set(), False
        self._before_call(foremost=self._times.first_audio_s is None)
        check = ChunkCheck(words)
        stream = tts.synthesize(words, self._voice)
        try:
            while (chunk := await self._next_chunk(stream, out)) is not None:
                began = True
                chunk = check(chunk)
                if self._times.first_audio_s is None and not piece.filler:
                    self._times.first_audio_s = asyncio.get_running_loop().time()
                await out.put(chunk)
        except AntiphonError as error:
            if began or not guess or not had_no_time(error):
                raise
        else:
            return
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        await self._committed.wait()  # there was no time for a guess; for the turn itself there may be
        await self._speak(tts, piece, words, out)

    async def _next_chunk(self, stream: AsyncIterator[Any], out: asyncio.Queue[Any]) -> Any:
        """The voice's next chunk; None at its end.

        :raises EngineTimeout: it did not come in time. A voice that hangs even when it is told to stop does not get as
            far: then whoever plays is told beside it.
        """
        timeout_s = self._settings.tts_timeout_s
        late = EngineTimeout(f"no audio within {timeout_s:g} s", stage="tts")
        hangs = asyncio.get_running_loop().call_later(
            timeout_s + GRACE_S, put_if_room, out, Failure(StageError("tts", late))
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await anext(stream, None)
        except TimeoutError:
            raise late from None
        finally:
            hangs.cancel()
