"""Carries out runs: from a transcription to an answer that was spoken, remembered and reported. Starts no tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import AntiphonError
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import TTS, ToolCall, Transcript, TTSOptions
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.errors import StageError
from antiphon.pipeline.events import (
    Dropped,
    ErrorEvent,
    Event,
    Interrupted,
    PolicyEvent,
    ToolCallEvent,
    ToolResultEvent,
    TranscriptEvent,
    TurnEnded,
    TurnStatus,
    WarningEvent,
)
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.policy import Outcome, PolicyDecision, TurnGuard
from antiphon.pipeline.reply import Emit, Reply
from antiphon.pipeline.run import Run
from antiphon.pipeline.session_settings import Engines, SessionSettings, TextTools
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.workflow import CallPermit, ToolResult, TurnContext, Workflow, WorkflowEvent, pieces

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
        apology: Sequence[AudioFrame],
        guarding: Guarding,
    ) -> None:
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
        self._conversation = conversation
        self._apology = tuple(apology)
        self._ahead = engines.answer_local or settings.speculate_in_cloud
        """Whether the workflow may be asked before commit."""

    async def answer(self, run: Run) -> None:
        """Do all of a run."""
        emit = self.emitter(run)
        try:
            try:
                await self._answer_in_order(run, emit)
            except StageError as error:
                self._owner.heard_nothing(run)
                await run.committed.wait()
                if run.interrupted:
                    emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
                    run.failed = True
                    self._cut_short(run, emit)
                    return
                await run.floor.wait()
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
            await reply.speak(source)
        except StageError as error:
            emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
        finally:
            self._remember_said(run, reply, reply.text if reply.tts is None else reply.spoken, emit)

    async def prepare(self, turn: int, revision: int, text: str, ticket: Ticket) -> None:
        """Tell the workflow how the turn begins, if it wants to know. A hint: its failure is no news."""
        prepare: Callable[[TurnContext], Any] | None = getattr(self._workflow, "prepare", None)
        if prepare is None or not self._ahead:
            return
        current_ticket.set(ticket)
        try:
            await prepare(self._context(turn, revision, text, None, asyncio.Event(), lambda: None))
        except Exception as error:
            logger.info("the workflow could not prepare", extra={"code": type(error).__name__})

    def emitter(self, run: Run, *, quiet: bool = False) -> Emit:
        """An emit function for one run: holds its events back until the turn is committed."""

        def emit(kind: type[Event], **fields: Any) -> None:
            if quiet or run.void:
                return
            event = self._owner.event(kind, turn=run.turn, revision=run.revision, **fields)
            if isinstance(event, ToolCallEvent):
                if event.call_id in run.calls:
                    return  # told when it was about to run
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
        assert run.hearing is not None
        heard = await asyncio.shield(run.hearing.result)
        run.stt_s = asyncio.get_running_loop().time()
        run.text = heard.text
        if run.interrupted:
            if self._guarding.policy.transcript:
                await self._judge_words(run, heard, self._guard(run, emit, heard.language))
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
        await run.floor.wait()
        if not (self._workflow.speculative and self._ahead):
            await run.committed.wait()
        if not self._workflow.speculative:
            self._owner.seal(run.turn)  # what it does is not ours to know
        guard = self._guard(run, emit, heard.language)
        reply = self._reply(run, emit, heard.language)
        user = Item(id=new_id(), role="user", text=heard.text, turn=run.turn)
        self._speaking = reply
        try:
            await reply.speak(self._guarded_answer(run, heard, guard, emit))
            if run.committed.is_set() and not run.void and self._guarding.policy.turn:
                guard.asker = None  # the answer has been heard: nobody can be asked about it within it
                run.judged = await guard.finished(reply.text)
        finally:
            self._speaking = None
            if run.committed.is_set() and not run.void:
                self._remember(run, replace(user, text=self._user_text(run, heard.text)), reply, emit)
                if run.interrupted:
                    self._end(run, emit, "interrupted", reply)
        self._end(run, emit, "completed" if reply.tts is not None else "text_only", reply)
        if reply.ends_call:
            self._owner.end()

    # ------------------------------------------------------------------------ record and policy

    async def _guarded_answer(
        self, run: Run, heard: Transcript, guard: TurnGuard, emit: Emit
    ) -> AsyncIterator[str | WorkflowEvent]:
        """What the workflow answers to what the policy lets it hear, as far as the policy lets it be said."""
        said = heard.text
        if self._guarding.policy.transcript:
            judging = asyncio.create_task(self._judge_words(run, heard, guard))
            async for sign in _signs_of_life(judging):
                yield sign
            outcome = judging.result()
            said = run.said or ""
            emit(TranscriptEvent, role="user", text=said, language=heard.language, final=True)
            run.told = True
            if not outcome.allowed:
                yield outcome.line
                return
        else:
            guard.user_text = said
        context = replace(
            self._context(run.turn, run.revision, said, heard.language, run.committed, partial(self._at_barrier, run)),
            _recorded=self._settled,
            _before_call=partial(self._before_call, guard, emit),
        )
        guard.history = context.history
        if not self._workflow.speculative:
            await self._settled()  # what it does is not ours to know
        async with aclosing(guard.speech(pieces(lambda: self._workflow.respond(context)))) as answer:  # type: ignore[type-var]
            async for piece in answer:
                yield piece

    async def _judge_words(self, run: Run, heard: Transcript, guard: TurnGuard) -> Outcome:
        """What was said, before anybody else knows of it."""
        outcome = await guard.transcript(heard.text)
        run.said = outcome.text if outcome.allowed else ""
        return outcome

    def _guard(self, run: Run, emit: Emit, language: str | None) -> TurnGuard:
        guarding = self._guarding

        def decided(decision: PolicyDecision) -> None:
            emit(
                PolicyEvent,
                gate=decision.gate,
                check=decision.check,
                decision=decision.verdict,
                reason=decision.reason,
                tool=decision.tool,
                took_ms=decision.took_ms,
                approval_id=decision.approval_id,
            )

        async def committed() -> None:
            await run.committed.wait()
            self._at_barrier(run)
            await self._settled()

        return TurnGuard(
            guarding.policy,
            self._session,
            run.turn,
            decided,
            asker=guarding.approvals,
            committed=committed,
            language=language,
        )

    async def _settled(self) -> None:
        if self._guarding.journal is not None:
            await self._guarding.journal.settled()

    async def _before_call(self, guard: TurnGuard, emit: Emit, call: ToolCall) -> CallPermit:
        """A tool is about to run: first the record, then the policy."""
        emit(ToolCallEvent, call_id=call.id, name=call.name, arguments=call.arguments)
        await self._settled()
        outcome = await guard.tool_call(call.name, call.arguments, call.id)
        if outcome.allowed:
            return CallPermit(True, outcome.text)
        return CallPermit(False, call.arguments, f"Not done: {outcome.line or outcome.reason}. Tell the user so.")

    async def _answers_a_question(self, run: Run, heard: Transcript, emit: Emit) -> bool:
        """Whether what the user said is the answer to a question that an answer before this one waits for."""
        approvals = self._guarding.approvals
        if approvals is None or not approvals.awaits_voice:
            return False
        await run.committed.wait()
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

    async def _before_sound(self, run: Run, text: str, *, filler: bool) -> None:
        journal = self._guarding.journal
        if journal is not None:
            journal.note_speaking(text, turn=run.turn, filler=filler)
            await journal.settled()

    def _at_barrier(self, run: Run) -> None:
        """The workflow is about to have an effect: from now on the turn cannot be reopened.

        :raises asyncio.CancelledError: it just was, and the cancellation has not reached the workflow yet.
        """
        if run.void:
            raise asyncio.CancelledError
        self._owner.seal(run.turn)

    def _context(
        self,
        turn: int,
        revision: int,
        text: str,
        language: str | None,
        committed: asyncio.Event,
        on_committed: Callable[[], None],
    ) -> TurnContext:
        settings = self._settings
        history = self._conversation.messages(max_turns=settings.history_turns, max_tokens=settings.history_tokens)
        return TurnContext(self._session, turn, revision, text, history, language, committed, on_committed)

    def _reply(self, run: Run, emit: Emit, language: str | None) -> Reply:
        tts: TTS | None = self._engines.tts
        options = self._settings.tts
        voices = self._engines.voices
        if voices and language is not None:
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
            transport=self._transport,
            splitter=self._text.splitter(spoken),
            speakable=self._text.speakable(spoken),
            emit=emit,
            mark=run.turn,
            before_call=partial(self._take_ticket, run),
            committed=run.committed,
            on_sound=partial(_note_sound, run),
            before_sound=partial(self._before_sound, run) if self._guarding.journal is not None else None,
            voice=options,
            settings=self._settings.reply,
        )

    def _remember(self, run: Run, user: Item, reply: Reply, emit: Emit) -> None:
        """History holds what was said; of a reply that was cut off, what was spoken of it, and of one that the user
        spoke into, what was heard."""
        self._owner.seal(run.turn)
        run.remembered = True
        if user.text.strip():
            self._conversation.add(user)
        for done in reply.did:
            self._conversation.add(_item_of(done, run.turn))
        self._remember_said(run, reply, reply.text if reply.tts is None else reply.spoken, emit)

    def _remember_said(self, run: Run, reply: Reply, said: str, emit: Emit) -> None:
        if run.interrupted:
            said = reply.text[: reply.heard_chars()]
        unheard = reply.text[len(said) :]
        shown = said
        if run.judged is not None:
            shown, unheard = (run.judged.text if run.judged.allowed else run.judged.line), ""
        elif run.interrupted and self._guarding.policy.turn:
            shown, unheard = "", ""  # the gate after the turn has not seen it, and nobody waits for it here
        if reply.text.strip():
            run.item_id = new_id()
            self._conversation.add(
                Item(
                    id=run.item_id,
                    role="assistant",
                    text=shown,
                    unheard=unheard,
                    interrupted=run.interrupted and bool(unheard.strip()),
                    turn=run.turn,
                )
            )
            if shown.strip():
                emit(TranscriptEvent, role="assistant", text=shown, final=True)
        if run.interrupted:
            run.reply = reply
            emit(Interrupted, heard=said, unheard=unheard)
            self._tell_workflow(said, unheard)

    def _cut_short(self, run: Run, emit: Emit) -> None:
        """The user spoke before anything of the answer was heard: what was said first stays in the conversation."""
        self._owner.heard_nothing(run)  # nobody else waits for this run's words any more
        if run.dismissed:
            emit(Dropped, reason=run.dismissed)
            self._end(run, emit, "dismissed", None)
            return
        text = self._user_text(run, run.text or "")
        if text.strip() and not run.remembered:
            if not run.told:
                emit(TranscriptEvent, role="user", text=text, final=True)
            self._conversation.add(Item(id=new_id(), role="user", text=text, turn=run.turn))
        emit(Interrupted, heard="", unheard="")
        self._end(run, emit, "failed" if run.failed else "interrupted", None)

    def _user_text(self, run: Run, heard: str) -> str:
        """What the conversation may know of the user's words: never what the policy has not let through."""
        if run.said is not None:
            return run.said
        return "" if self._guarding.policy.transcript else heard

    def _tell_workflow(self, heard: str, unheard: str) -> None:
        on_interrupted: Callable[[str, str], None] | None = getattr(self._workflow, "on_interrupted", None)
        if on_interrupted is not None:
            try:
                on_interrupted(heard, unheard)
            except Exception:
                logger.exception("the workflow broke when it was told of an interruption")

    def _end(self, run: Run, emit: Emit, status: TurnStatus, reply: Reply | None) -> None:
        run.ended = True
        self._owner.seal(run.turn)
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
        try:
            for frame in self._apology:
                at_s = await self._transport.play(frame, run.turn)
                run.audible_s = at_s if run.audible_s is None else run.audible_s
            await self._transport.drain()
            if self._settings.on_error and not self._apology:
                reply = self._reply(run, self.emitter(run, quiet=True), None)
                await reply.speak(_once(self._settings.on_error))
        except StageError:
            logger.warning("the apology could not be spoken", extra={"session": self._session, "turn": run.turn})
        self._end(run, emit, "failed", None)

    def _take_ticket(self, run: Run, *, foremost: bool = False) -> None:
        priority = Priority.COMMITTED if run.committed.is_set() else Priority.SPECULATION
        ticket = Ticket(self._session, run.turn, run.revision, priority, meter=run.meter, foremost=foremost)
        current_ticket.set(ticket)


def _note_sound(run: Run, at_s: float) -> None:
    if run.audible_s is None:
        run.audible_s = at_s


def _item_of(done: ToolCall | ToolResult, turn: int) -> Item:
    if isinstance(done, ToolCall):
        return Item(
            id=new_id(),
            kind="function_call",
            role="assistant",
            call_id=done.id,
            name=done.name,
            arguments=done.arguments,
            turn=turn,
        )
    return Item(
        id=new_id(), kind="function_call_output", call_id=done.call_id, name=done.name, text=done.output, turn=turn
    )


async def _once(text: str) -> AsyncIterator[str]:
    yield text


_SIGN_S = 5.0


async def _signs_of_life(work: asyncio.Task[Any]) -> AsyncIterator[str]:
    """No text, now and then, until the work is done: whoever waits for text knows that somebody is at work."""
    try:
        while not (await asyncio.wait((work,), timeout=_SIGN_S))[0]:
            yield ""
    finally:
        work.cancel()
