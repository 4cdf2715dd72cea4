"""Carries out runs: from a transcription to an answer that was spoken, remembered and reported. Starts no tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import AntiphonError, EngineOverloaded
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import TTS, ToolCall, Transcript, TTSOptions, Usage
from antiphon.pipeline.consulting import Consulting
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.errors import StageError, had_no_time
from antiphon.pipeline.events import (
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    ToolCallEvent,
    ToolResultEvent,
    TranscriptEvent,
    TurnEnded,
    TurnStatus,
    UsageEvent,
    WarningEvent,
)
from antiphon.pipeline.front import Front, NoFront
from antiphon.pipeline.guarding import Guarding, Unfinished
from antiphon.pipeline.patience import within
from antiphon.pipeline.remembering import Remembering
from antiphon.pipeline.reply import Emit, Reply, TransportBroken, ends_session
from antiphon.pipeline.run import Run
from antiphon.pipeline.session_settings import Engines, SessionSettings, TextTools
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.workflow import TurnContext, Workflow, WorkflowEvent

logger = logging.getLogger(__name__)


Outlook = Literal["answer", "needless", "dismiss"]
"""What is to become of a run: another run may answer the same words already; or nobody wants an answer."""


class Owner(Protocol):
    """What answers need of their session."""

    def heard(self, run: Run, transcript: Transcript) -> Outlook:
        """A run knows what was said."""
        ...

    def heard_nothing(self, run: Run) -> None:
        """A run failed: what was said is not known, so no answer to an earlier revision can stand in."""
        ...

    def end(self) -> None:
        """The conversation is over once everything that is being said has been heard."""
        ...

    def turn_failed(self) -> bool:
        """A turn has failed. Returns whether that was one too many: then the session ends with its words for that."""
        ...

    def turn_worked(self) -> None:
        """A turn was answered."""
        ...

    def give_up(self) -> None:
        """Too many turns have failed: the session ends once what is being said has been heard."""
        ...

    def seal(self, turn: int) -> None:
        """The answer to this turn has had an effect: it can no longer be taken back."""
        ...

    def event(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> Event: ...

    def send(self, event: Event) -> None: ...


class Answering:
    """One per session."""

    def __init__(
        self,
        owner: Owner,
        *,
        session: str,
        engines: Engines,
        transport: Transport,
        workflow: Workflow,
        text: TextTools,
        settings: SessionSettings,
        conversation: Conversation,
        prepared: Mapping[str, Sequence[AudioFrame]],
        guarding: Guarding,
        front: Front | None = None,
        pass_on: Callable[[Run], None] = lambda run: None,
    ) -> None:
        """
        :param prepared: lines as audio that was made beforehand, so that they can be said when the TTS is what broke.
        :param front: shows the conversation while it is made.
        :param pass_on: told of an answer that is complete where the transport `queues`: the next one may be begun.
        """
        self.answers = True
        """False: what is said is transcribed and remembered, and answered only where somebody asks for it."""
        self.speaks = True
        """False: answers are for reading."""
        self.voice = settings.tts
        self._front: Front = front or NoFront()
        self._pass_on = pass_on
        self._guarding = guarding
        self._speaking: Reply | None = None
        """The answer to a turn that has the floor."""
        self._owner = owner
        self._session = session
        self._engines = engines
        self._transport = transport
        self._workflow = workflow
        self._text = text
        self._settings = settings
        self._prepared = dict(prepared)
        self._consulting = Consulting(
            workflow, guarding, session=session, settings=settings, conversation=conversation, seal=owner.seal
        )
        self._remembering = Remembering(conversation, guarding.policy, workflow, seal=owner.seal, front=front)
        self._ahead = engines.answer_local or settings.speculate_in_cloud
        """Whether the workflow may be asked before commit."""

    async def answer(self, run: Run) -> None:
        """Do all of a run."""
        emit = self.emitter(run)
        try:
            try:
                await self._answer_in_order(run, emit)
            except TransportBroken:
                raise
            except Exception as raised:
                error = _as_stage_error(raised)
                self._owner.heard_nothing(run)
                run.refused = had_no_time(error.__cause__) and not run.committed.is_set()
                await run.committed.wait()
                if not run.interrupted:
                    await run.floor.wait()
                if run.interrupted:  # nobody waits for an apology
                    emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
                    run.failed = True
                    too_many = self._is_one_too_many(run)
                    self._cut_short(run, emit)
                    if too_many:
                        await self.say_line(run, self._settings.errors_goodbye)
                    return
                await self._apologise(run, emit, error)
        except asyncio.CancelledError:
            if run.interrupted and not run.ended:  # before there was a reply to speak of
                self._cut_short(run, emit)
            raise

    async def say(self, run: Run, source: AsyncIterator[str | WorkflowEvent]) -> None:
        """Say something that answers no turn."""
        emit = self.emitter(run)
        reply = self._reply(run, emit, None)
        try:
            await run.floor.wait()
            await reply.speak(source, partial(self._complete, run, reply, emit))
        except TransportBroken:
            raise
        except Exception as raised:
            error = _as_stage_error(raised)
            emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
        finally:
            if not run.complete:
                self._remembering.said(run, reply, emit)
            elif run.interrupted:
                self._remembering.corrected(run, reply, emit)
            self._tell_usage(run, emit)

    @property
    def judges(self) -> bool:
        """Whether a policy wants to see what users say before anybody else does."""
        return bool(self._guarding.policy.transcript)

    async def judged(self, text: str, turn: int) -> str:
        """What the policy lets the conversation know of words that a client brought; "" where nothing."""
        run = Run(turn, 0)
        run.committed.set()
        await self._consulting.judge_words(run, Transcript(text), self._consulting.guard(run, self.emitter(run), None))
        return run.said or ""

    async def aside(
        self, run: Run, source: AsyncIterator[str | WorkflowEvent], *, transport: Transport, emit: Emit
    ) -> None:
        """Answer beside the conversation, of which it is no part: with a transport of its own, and as far as the policy
        lets it be said.

        :param emit: told what happens in place of the session's sinks.
        :raises StageError: the source or the TTS failed.
        """
        guard = self._consulting.guard(run, self.emitter(run), None)
        reply = self._reply(run, emit, None, transport=transport, on_record=False)
        try:
            await reply.speak(guard.speech(source))
        finally:
            self._tell_usage(run, self.emitter(run))

    async def go_on(self, run: Run, unfinished: Unfinished) -> None:
        """Answer what an earlier session has left open."""
        emit = self.emitter(run)
        guard = self._consulting.guard(run, emit, None)
        reply = self._reply(run, emit, None)
        self._speaking = reply
        try:
            await run.floor.wait()
            await reply.speak(self._consulting.go_on(run, unfinished, guard, emit))
        except StageError as error:
            emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
        except asyncio.CancelledError:
            if run.interrupted:
                await self._withdraw(unfinished)
            raise
        finally:
            self._speaking = None
            if self._guarding.policy.turn and reply.text:
                heard = reply.text[: reply.heard_chars()] if run.interrupted else reply.text
                run.judged = await guard.finished(heard)
            self._remembering.turn(run, reply, emit)
            self._tell_usage(run, emit)

    async def _withdraw(self, unfinished: Unfinished) -> None:
        try:
            await unfinished.withdraw()
        except Exception as error:
            about = {"session": self._session, "code": type(error).__name__}
            logger.warning("the questions of an interrupted answer could not be withdrawn", extra=about)

    def _tell_usage(self, run: Run, emit: Emit) -> None:
        if usage := run.usage():
            emit(UsageEvent, usage=usage)

    async def prepare(self, turn: int, revision: int, text: str, ticket: Ticket) -> None:
        """Tell the workflow how the turn begins, if it wants to know. A hint: its failure is no news."""
        prepare: Callable[[TurnContext], Any] | None = getattr(self._workflow, "prepare", None)
        if prepare is None or not self._ahead:
            return
        current_ticket.set(ticket)
        try:
            limit_s = self._settings.reply.workflow_timeout_s
            await within(limit_s, _awaited(prepare(self._consulting.context(turn, revision, text))))
        except Exception as error:
            logger.info("the workflow could not prepare", extra={"code": type(error).__name__})

    def emitter(self, run: Run, *, quiet: bool = False) -> Emit:
        """An emit function for one run: holds its events back until the turn is committed."""

        def emit(kind: type[Event], **fields: Any) -> None:
            if quiet or run.void:
                return
            event = self._owner.event(kind, turn=run.turn, revision=run.revision, **fields)
            if isinstance(event, ToolCallEvent):
                if event.call_id in run.calls:  # told when it was about to run
                    self._front.called(run.turn, ToolCall(event.call_id, event.name, event.arguments))
                    return
                run.calls.add(event.call_id)
            if not run.committed.is_set():
                run.outbox.append(event)
                return
            self._owner.send(event)
            if kind in (ToolCallEvent, ToolResultEvent):
                self._owner.seal(run.turn)

        return emit

    # ------------------------------------------------------------------------ inside

    async def _answer_in_order(self, run: Run, emit: Emit) -> None:
        if run.asked:
            emit(Committed, reason="manual")
        if not run.prompted:
            run.text, run.said, run.told = "", "", True
            return await self._give_answer(run, Transcript(""), emit)
        assert run.hearing is not None
        heard = await asyncio.shield(run.hearing.result)
        run.stt_s = asyncio.get_running_loop().time()
        run.text = heard.text
        if run.interrupted:
            if self._guarding.policy.transcript:
                await self._consulting.judge_words(run, heard, self._consulting.guard(run, emit, heard.language))
            self._cut_short(run, emit)
            return
        match self._owner.heard(run, heard):
            case "needless":
                return
            case "dismiss":
                await run.committed.wait()
                await run.floor.wait()
                emit(Dropped, reason=run.dismissed)
                self._end(run, emit, "dismissed", None)
                return
        if not heard.text.strip():
            await run.committed.wait()
            await run.floor.wait()  # turns end in their order
            emit(Dropped, reason="no_speech")
            self._end(run, emit, "no_speech", None)
            return
        if not self._guarding.policy.transcript:
            emit(TranscriptEvent, role="user", text=heard.text, language=heard.language, final=True)
            run.told = True
        if await self._answers_a_question(run, heard, emit):
            return
        if not (self.answers or run.asked):
            return await self._note_words(run, heard, emit)
        await self._give_answer(run, heard, emit)

    async def _note_words(self, run: Run, heard: Transcript, emit: Emit) -> None:
        """Nobody wants an answer, only to know what was said."""
        await run.committed.wait()
        if not run.told:
            await self._consulting.judge_words(run, heard, self._consulting.guard(run, emit, heard.language))
            emit(TranscriptEvent, role="user", text=run.said, language=heard.language, final=True)
            run.told = True
        self._remembering.words(run)
        self._end(run, emit, "unanswered", None)

    def _complete(self, run: Run, reply: Reply, emit: Emit) -> None:
        """All of an answer is on its way to the user: it is in the conversation from now on."""
        if not self._transport.capabilities.queues or (run.turn and self._guarding.policy.turn):
            return
        if run.turn:
            self._remembering.complete(run, reply, emit)
        else:
            self._remembering.said(run, reply, emit)
        run.reply = reply
        self._pass_on(run)
        self._front.complete(run.turn, reply.usage)

    async def _give_answer(self, run: Run, heard: Transcript, emit: Emit) -> None:
        """Ask the workflow, and speak and remember what it answers."""
        await run.floor.wait()
        if not (self._workflow.speculative and self._ahead):
            await run.committed.wait()
        if not self._workflow.speculative:
            self._owner.seal(run.turn)  # what it does is not ours to know
        guard = self._consulting.guard(run, emit, heard.language)
        reply = self._reply(run, emit, heard.language)
        self._speaking = reply
        guessed = not run.committed.is_set()
        try:
            try:
                await reply.speak(
                    self._consulting.answer(run, heard, guard, emit), partial(self._complete, run, reply, emit)
                )
            except StageError as error:
                if not guessed or reply.text or reply.did or run.calls or not had_no_time(error.__cause__):
                    raise
                # There was no time for a guess; for the turn itself there may be.
                self._speaking = reply = self._reply(run, emit, heard.language)
                await reply.speak(
                    self._consulting.answer(run, heard, guard, emit), partial(self._complete, run, reply, emit)
                )
            if run.committed.is_set() and not run.void and self._guarding.policy.turn:
                run.judged = await guard.finished(reply.text)
        finally:
            self._speaking = None
            if run.void and run.complete:
                self._remembering.forget(run)
            elif run.committed.is_set() and not run.void:
                if run.interrupted and self._guarding.policy.turn:
                    run.judged = await guard.finished(reply.text[: reply.heard_chars()])
                if not run.complete:
                    self._remembering.turn(run, reply, emit)
                elif run.interrupted:
                    self._remembering.corrected(run, reply, emit)
                if run.interrupted:
                    self._end(run, emit, "interrupted", reply)
        self._end(run, emit, "completed" if reply.voiced else "text_only", reply)
        if reply.ends_call:
            self._owner.end()

    async def _answers_a_question(self, run: Run, heard: Transcript, emit: Emit) -> bool:
        """Whether what the user said is the answer to a question that an answer before this one waits for."""
        approvals = self._guarding.approvals
        if approvals is None or not approvals.awaits_voice:
            return False
        await run.committed.wait()
        self._owner.seal(run.turn)  # what is said after a yes makes no other turn of it
        if not await approvals.hear(heard.text, heard.language):
            return False
        # No item of the conversation: the question was none, and a yes without it would puzzle the model.
        run.dismissed = "answered"
        await run.floor.wait()
        self._end(run, emit, "dismissed", None)
        return True

    async def interject(self, text: str) -> None:
        """Say something within the answer that has the floor."""
        if self._speaking is not None:
            await self._speaking.interject(text)

    def _reply(
        self,
        run: Run,
        emit: Emit,
        language: str | None,
        *,
        transport: Transport | None = None,
        on_record: bool = True,
    ) -> Reply:
        """
        :param transport: plays it; None: the session's.
        :param on_record: it is put on record before it is heard, where there is a record.
        """
        on_record = on_record and self._guarding.journal is not None
        tts: TTS | None = self._engines.tts if self.speaks and not run.muted else None
        options = run.voice or self.voice
        voices = self._engines.voices
        if voices and language is not None and tts is not None:
            voice = voices.get(language)
            if voice is None:
                tts = None
                message = f"no voice for the language '{language}' (tts.voices has: {', '.join(sorted(voices))})"
                emit(WarningEvent, code="no_voice_for_language", message=f"{message}; the reply stays text")
            else:
                options = TTSOptions(voice=voice, speed=options.speed, language=language)
        spoken = language
        languages = self._engines.tts.capabilities.languages
        if not voices and languages is not None and len(languages) == 1:
            spoken = languages[0]  # one voice speaks everything: by the rules of its language
        return Reply(
            tts=tts,
            transport=transport or self._transport,
            splitter=self._text.splitter(spoken),
            speakable=self._text.speakable(spoken),
            emit=emit,
            mark=run.turn,
            before_call=partial(self._take_ticket, run),
            committed=run.committed,
            on_sound=partial(_note_sound, run),
            before_sound=partial(self._consulting.before_sound, run) if on_record else None,
            voice=options,
            settings=self._settings.reply,
        )

    def _cut_short(self, run: Run, emit: Emit) -> None:
        """The user spoke before anything of the answer was heard: what was said first stays in the conversation."""
        self._owner.heard_nothing(run)  # nobody else waits for this run's words any more
        if run.dismissed:
            emit(Dropped, reason=run.dismissed)
            self._end(run, emit, "dismissed", None)
            return
        self._remembering.unanswered(run, emit)
        self._end(run, emit, "failed" if run.failed else "interrupted", None)

    def _end(self, run: Run, emit: Emit, status: TurnStatus, reply: Reply | None) -> None:
        run.ended = True
        self._owner.seal(run.turn)
        if status in ("completed", "text_only") or (status == "interrupted" and reply is not None and reply.text):
            self._owner.turn_worked()
        if reply is not None:
            usage = reply.usage
            logger.info(
                "turn answered",
                extra={
                    "session": self._session,
                    "turn": run.turn,
                    "prompt_tokens": usage.input_tokens,
                    "cached_tokens": usage.cached_tokens,
                    "answer_tokens": usage.output_tokens,
                },
            )
        emit(
            TurnEnded,
            status=status,
            text=reply.text if reply else "",
            timings=run.timings(reply.times if reply else None),
            input_tokens=reply.usage.input_tokens if reply else 0,
            output_tokens=reply.usage.output_tokens if reply else 0,
            cached_tokens=reply.usage.cached_tokens if reply else 0,
            usage=run.usage(),
            speculation=run.report(),
        )

    async def _apologise(self, run: Run, emit: Emit, error: StageError) -> None:
        run.failed = True
        self._owner.seal(run.turn)  # the failure is told: a turn that goes on is another one
        cause = error.__cause__
        logger.warning(
            "turn failed", extra={"session": self._session, "turn": run.turn, "stage": error.stage, "code": error.code}
        )
        if cause is not None and not isinstance(cause, AntiphonError):
            logger.debug("cause of the failed turn", exc_info=cause)
        emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
        too_many = self._is_one_too_many(run)
        if not (self.answers or run.asked):
            return self._end(run, emit, "failed", None)
        settings = self._settings
        line = settings.on_error
        if isinstance(cause, EngineOverloaded) and settings.on_overload:
            line = settings.on_overload
        await self.say_line(run, (too_many and settings.errors_goodbye) or line)
        self._end(run, emit, "failed", None)

    def _is_one_too_many(self, run: Run) -> bool:
        """A turn has failed. Whether the session ends for it: that is settled before its last words are said."""
        if not self._owner.turn_failed():
            return False
        run.interruptible = False
        self._owner.give_up()
        return True

    async def say_line(self, run: Run, line: str) -> None:
        """Say one of the session's own lines, which are no part of the conversation; from its audio, if there is some.

        Where it has to be synthesised and that fails, there is nothing more to say.
        """
        await run.floor.wait()
        if run.muted or not self.speaks:
            return
        if line:
            self._front.line(run.turn, line)
        try:
            if frames := self._prepared.get(line, ()):
                await self._play_line(run, frames)
            elif line:
                # It may be said off the record: the record may be what failed.
                reply = self._reply(run, self.emitter(run, quiet=True), None, on_record=False)
                await reply.speak(_once(line))
        except TransportBroken:
            raise
        except Exception as error:
            about = {"session": self._session, "turn": run.turn, "code": type(error).__name__}
            logger.warning("a line of the session's own could not be spoken", extra=about)
        if not run.turn:
            self._front.complete(0, Usage())

    async def _play_line(self, run: Run, frames: Sequence[AudioFrame]) -> None:
        with ends_session():
            for frame in frames:
                at_s = await self._transport.play(frame, run.turn)
                run.audible_s = at_s if run.audible_s is None else run.audible_s
            await self._transport.drain()

    def _take_ticket(self, run: Run, *, foremost: bool = False) -> None:
        priority = Priority.COMMITTED if run.committed.is_set() else Priority.SPECULATION
        ticket = Ticket(self._session, run.turn, run.revision, priority, meter=run.meter, foremost=foremost)
        current_ticket.set(ticket)


def _as_stage_error(error: Exception) -> StageError:
    """What ends a turn, and never the session: also what nobody foresaw."""
    if isinstance(error, StageError):
        return error
    logger.error("a turn failed unexpectedly", extra={"code": type(error).__name__}, exc_info=error)
    return StageError(getattr(error, "stage", "") or "session", error)


async def _awaited(hint: Any) -> None:
    await hint


def _note_sound(run: Run, at_s: float) -> None:
    if run.audible_s is None:
        run.audible_s = at_s


async def _once(text: str) -> AsyncIterator[str]:
    yield text
