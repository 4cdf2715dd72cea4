"""How a session speaks: each of its replies gets the voice, the language and the urgency of what it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import TTS, TTSOptions
from antiphon.pipeline.events import WarningEvent
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.reply import BeforeSound, Emit, Reply
from antiphon.pipeline.run import Run
from antiphon.pipeline.transports.base import Transport


class Voicing:
    """One per session. `voice` and `speaks` may be set at any time, for the replies that are made from then on."""

    def __init__(
        self, makings: Makings, *, priority: Priority, before_sound: Callable[[Run], BeforeSound | None]
    ) -> None:
        """
        :param priority: of what engines are asked for a turn that is sure.
        :param before_sound: what puts a run's pieces on record before they are heard; None: there is no record.
        """
        self.voice = makings.settings.tts
        self.speaks = True
        """False: answers are for reading."""
        self._speaking: Reply | None = None
        self._session = makings.session_id
        self._engines = makings.engines
        self._text = makings.text
        self._transport = makings.transport
        self._settings = makings.settings.reply
        self._priority = priority
        self._before_sound = before_sound

    def reply(
        self,
        run: Run,
        emit: Emit,
        language: str | None,
        *,
        transport: Transport | None = None,
        on_record: bool = True,
    ) -> Reply:
        """A reply in a language, as far as there is a voice for it.

        :param language: what the user spoke, as an ISO 639-1 code; None: not known.
        :param transport: plays it; None: the session's own.
        :param on_record: it is put on record before it is heard.
        """
        tts, options = self._voice_for(run, emit, language)
        spoken = language
        languages = self._engines.tts.capabilities.languages
        if not self._engines.voices and languages is not None and len(languages) == 1:
            spoken = languages[0]  # one voice speaks everything: by the rules of its language
        return Reply(
            tts=tts,
            transport=self._transport if transport is None else transport,
            splitter=self._text.splitter(spoken),
            speakable=self._text.speakable(spoken),
            emit=emit,
            mark=run.turn,
            before_call=partial(self._take_ticket, run),
            committed=run.committed,
            on_sound=partial(_note_sound, run),
            before_sound=self._before_sound(run) if on_record else None,
            voice=options,
            settings=self._settings,
        )

    def begins(self, reply: Reply) -> None:
        """This is the answer that is being given from now on: a question may be asked within it."""
        self._speaking = reply

    def ended(self, reply: Reply) -> None:
        """It is given no more. Where the transport queues, the next one may have begun behind it, and stays."""
        if self._speaking is reply:
            self._speaking = None

    async def interject(self, text: str) -> None:
        """Say something within the answer that is being given."""
        if self._speaking is not None:
            await self._speaking.interject(text)

    def _voice_for(self, run: Run, emit: Emit, language: str | None) -> tuple[TTS | None, TTSOptions]:
        """Who speaks, and how. Nobody where the reply is for reading, or no voice knows its language."""
        options = run.voice or self.voice
        if not self.speaks or run.muted:
            return None, options
        voices = self._engines.voices
        if not voices or language is None:
            return self._engines.tts, options
        voice = voices.get(language)
        if voice is None:
            message = f"no voice for the language '{language}' (tts.voices has: {', '.join(sorted(voices))})"
            emit(WarningEvent, code="no_voice_for_language", message=f"{message}; the reply stays text")
            return None, options
        return self._engines.tts, TTSOptions(voice=voice, speed=options.speed, language=language)

    def _take_ticket(self, run: Run, *, foremost: bool = False) -> None:
        priority = self._priority if run.committed.is_set() else Priority.SPECULATION
        ticket = Ticket(self._session, run.turn, run.revision, priority, meter=run.meter, foremost=foremost)
        current_ticket.set(ticket)


def _note_sound(run: Run, at_s: float) -> None:
    if run.audible_s is None:
        run.audible_s = at_s
