"""Text to speech for a Wyoming client: a text as a whole, or piece by piece while it is being written."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import TTSOptions
from antiphon.engines.wyoming_wire import BadEvent
from antiphon.pipeline.text import make_speakable, make_splitter
from antiphon.server.access.principal import caller
from antiphon.server.names import UnknownName, resolve
from antiphon.server.rest.pace import paced
from antiphon.server.service import Service
from antiphon.server.together import end_all
from antiphon.server.wyoming.sending import AudioOut, Sender

MAX_TEXT_CHARS = 20_000
_WAITING_PIECES = 64
"""Pieces of a text that may wait for the voice; past that the text is not read on."""


class UnknownVoice(BadEvent):
    """Raised for a voice that means nothing here."""


def tts_options(service: Service, voice: Any) -> TTSOptions:
    """What a request's `voice` asks for: a name, or a language.

    :raises BadEvent: it is no such thing, or means nothing here.
    """
    asked = voice or {}
    name = asked.get("name") if isinstance(asked, dict) else asked
    if not isinstance(asked, dict) or not isinstance(name, str | None):
        raise BadEvent("voice: an object with a name or a language")
    try:
        known = resolve(name, service.engines.tts.capabilities.voices, service.settings.aliases.voices)
    except UnknownName as error:
        raise UnknownVoice(str(error)) from None
    return TTSOptions(voice=known)


class SpokenText:
    """A text that is spoken while it grows. Made, fed, then finished or cancelled; one task of its own."""

    def __init__(self, service: Service, sender: Sender, options: TTSOptions) -> None:
        tts = service.engines.tts
        languages = tts.capabilities.languages
        language = languages[0] if languages else None
        text = service.config.text
        self._service = service
        self._tts = tts
        self._options = options
        self._splitter = make_splitter(language, first_clause=text.first_clause)
        self._speakable = make_speakable(language, lexicon=text.lexicon, urls=text.speak_urls)
        self._out = AudioOut(sender, tts.rate_hz)
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue(_WAITING_PIECES)
        self._chars = 0
        self._unsaid = 0
        """Pieces that were taken in and have not been said."""
        self._said_s = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._speak(), name="wyoming-voice")

    @property
    def active_s(self) -> float:
        """Loop time at which it last had something to say: now, while it has."""
        if self._unsaid and not self._task.done():
            return asyncio.get_running_loop().time()
        return self._said_s

    async def push(self, text: str) -> None:
        """Take more of the text; waits while the voice is far behind.

        :raises BadEvent: the text is too long.
        :raises Exception: the voice failed, or the client has gone.
        """
        self._chars += len(text)
        if self._chars > MAX_TEXT_CHARS:
            raise BadEvent(f"the text is longer than {MAX_TEXT_CHARS} characters")
        for piece in self._splitter.push(text):
            await self._put(piece)

    async def finish(self) -> float:
        """The text is complete: wait until it has been sent as audio. Returns how long that is, in seconds.

        :raises Exception: the voice failed, or the client has gone.
        """
        for piece in self._splitter.finish():
            await self._put(piece)
        await self._put(None)
        await self._task
        return self._out.sent_s

    async def cancel(self) -> None:
        await end_all((self._task,))

    async def _put(self, piece: str | None) -> None:
        self._unsaid += 1
        putting = asyncio.ensure_future(self._pieces.put(piece))
        await asyncio.wait({putting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not putting.done():
            putting.cancel()
            self._task.result()  # raises what went wrong: nobody takes pieces any more

    async def _speak(self) -> None:
        with self._service.using(), self._service.usage(caller()) as meter:
            current_ticket.set(Ticket("wyoming", priority=Priority.COMMITTED, meter=meter))  # somebody waits for it
            while (piece := await self._pieces.get()) is not None:
                await self._say(self._speakable(piece))
                self._unsaid -= 1
                self._said_s = asyncio.get_running_loop().time()
        await self._out.begin()  # who asked for speech is told of its end, even of a silent one
        await self._out.end()

    async def _say(self, words: str) -> None:
        if not words.strip():
            return
        deadline_s = self._service.config.session.tts_deadline_s
        source = self._tts.synthesize(words, self._options)
        async with aclosing(paced("tts", source, first_s=deadline_s, gap_s=deadline_s)) as chunks:
            async for chunk in chunks:
                await self._out.audio(chunk.frame.samples)
