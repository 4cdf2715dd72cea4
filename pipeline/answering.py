"""Carries out the runs of turns: from a transcription to an answer that was spoken, remembered and reported.

Starts no tasks.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Literal, Protocol

from antiphon.engines.errors import AntiphonError, EngineOverloaded
from antiphon.engines.protocols import Transcript
from antiphon.pipeline.errors import StageError, had_no_time
from antiphon.pipeline.events import Committed, Dropped, TranscriptEvent, TurnStatus
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.means import Means
from antiphon.pipeline.policy import TurnGuard
from antiphon.pipeline.reply import Emit, Reply, TransportBroken
from antiphon.pipeline.reporting import as_stage_error
from antiphon.pipeline.run import Run

logger = logging.getLogger(__name__)


Outlook = Literal["answer", "needless", "dismiss"]
"""What is to become of a run: another run may answer the same words already; or nobody wants an answer."""


class Turns(Protocol):
    """Whoever knows of the user's turns."""

    def heard(self, run: Run, transcript: Transcript) -> Outlook:
        """A run knows what was said."""
        ...

    def heard_nothing(self, run: Run) -> None:
        """A run failed: what was said is not known, so no answer to an earlier revision can stand in."""
        ...

    def seal(self, turn: int) -> None:
        """The answer to this turn has had an effect: it can no longer be taken back."""
        ...


class Outcomes(Protocol):
    """Whoever decides when the conversation is over."""

    def turn_worked(self) -> None:
        """A turn was answered."""
        ...

    def turn_failed(self, error: StageError) -> bool:
        """A turn has failed. Returns whether that was one too many: then the session ends with its words for that."""
        ...

    def end(self) -> None:
        """The conversation is over once everything that is being said has been heard."""
        ...


class Answering:
    """One per session."""

    def __init__(self, makings: Makings, means: Means, turns: Turns, outcomes: Outcomes) -> None:
        self.answers = True
        """False: what is said is transcribed and remembered, and answered only where somebody asks for it."""
        self._session = makings.session_id
        self._settings = makings.settings
        self._policy = makings.guarding.policy
        self._approvals = makings.guarding.approvals
        self._means = means
        self._turns = turns
        self._outcomes = outcomes

    async def answer(self, run: Run) -> None:
        """Do all of a run."""
        emit = self._means.reporting.emitter(run)
        try:
            try:
                await self._answer_in_order(run, emit)
            except TransportBroken:
                raise
            except Exception as raised:
                await self._fail(run, emit, as_stage_error(raised))
        except asyncio.CancelledError:
            if run.interrupted and not run.ended:  # before there was a reply to speak of
                self._cut_short(run, emit)
            raise

    # ------------------------------------------------------------------------ what was said

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
            if self._means.consulting.judges:
                await self._judge_words(run, heard, emit)
            return self._cut_short(run, emit)
        match self._turns.heard(run, heard):
            case "needless":
                return
            case "dismiss":
                return await self._drop(run, emit, run.dismissed, "dismissed")
        if not heard.text.strip():
            return await self._drop(run, emit, "no_speech", "no_speech")
        if not self._means.consulting.judges:
            self._tell_words(run, heard, heard.text, emit)
        if await self._answers_a_question(run, heard, emit):
            return
        if not (self.answers or run.asked):
            return await self._note_words(run, heard, emit)
        await self._give_answer(run, heard, emit)

    async def _drop(self, run: Run, emit: Emit, reason: str, status: TurnStatus) -> None:
        """There is nothing to answer."""
        await run.committed.wait()
        await run.floor.wait()  # turns end in their order
        emit(Dropped, reason=reason)
        self._end(run, emit, status, None)

    async def _answers_a_question(self, run: Run, heard: Transcript, emit: Emit) -> bool:
        """Whether what the user said is the answer to a question that an answer before this one waits for."""
        approvals = self._approvals
        if approvals is None or not approvals.awaits_voice:
            return False
        await run.committed.wait()
        self._turns.seal(run.turn)  # what is said after a yes makes no other turn of it
        if not await approvals.hear(heard.text, heard.language):
            return False
        # No item of the conversation: the question was none, and a yes without it would puzzle the model.
        run.dismissed = "answered"
        await run.floor.wait()
        self._end(run, emit, "dismissed", None)
        return True

    async def _note_words(self, run: Run, heard: Transcript, emit: Emit) -> None:
        """Nobody wants an answer, only to know what was said."""
        await run.committed.wait()
        if not run.told:
            await self._judge_words(run, heard, emit)
            self._tell_words(run, heard, run.said or "", emit)
        self._means.remembering.words(run)
        self._end(run, emit, "unanswered", None)

    async def _judge_words(self, run: Run, heard: Transcript, emit: Emit) -> None:
        consulting = self._means.consulting
        await consulting.judge_words(run, heard, consulting.guard(run, emit, heard.language))

    @staticmethod
    def _tell_words(run: Run, heard: Transcript, text: str, emit: Emit) -> None:
        emit(TranscriptEvent, role="user", text=text, language=heard.language, final=True)
        run.told = True

    # ------------------------------------------------------------------------ what is answered

    async def _give_answer(self, run: Run, heard: Transcript, emit: Emit) -> None:
        """Ask the workflow, and speak and remember what it answers."""
        await run.floor.wait()
        await self._means.consulting.may_begin(run)
        guard = self._means.consulting.guard(run, emit, heard.language)
        guessed = not run.committed.is_set()
        reply = self._means.voicing.reply(run, emit, heard.language)
        try:
            try:
                await self._speak(run, reply, heard, guard, emit)
            except StageError as error:
                if not guessed or reply.text or reply.did or run.calls or not had_no_time(error.__cause__):
                    raise
                # There was no time for a guess; for the turn itself there may be.
                reply = self._means.voicing.reply(run, emit, heard.language)
                await self._speak(run, reply, heard, guard, emit)
            if run.committed.is_set() and not run.void and self._policy.turn:
                run.judged = await guard.finished(reply.text)
        finally:
            self._means.voicing.ended(reply)
            await self._remember(run, reply, guard, emit)
        self._end(run, emit, "completed" if reply.voiced else "text_only", reply)
        if reply.ends_call:
            self._outcomes.end()

    async def _speak(self, run: Run, reply: Reply, heard: Transcript, guard: TurnGuard, emit: Emit) -> None:
        self._means.voicing.begins(reply)
        source = self._means.consulting.answer(run, heard, guard, emit)
        await reply.speak(source, partial(self._means.remembering.handed_over, run, reply, emit))

    async def _remember(self, run: Run, reply: Reply, guard: TurnGuard, emit: Emit) -> None:
        """Keep what was said and heard, however the answer came to its end."""
        remembering = self._means.remembering
        if run.void:
            if run.complete:
                remembering.forget(run)
            return
        if not run.committed.is_set():
            return
        if run.interrupted and self._policy.turn:
            run.judged = await guard.finished(reply.text[: reply.heard_chars()])
        if not run.complete:
            remembering.turn(run, reply, emit)
        elif run.interrupted:
            remembering.corrected(run, reply, emit)
        if run.interrupted:
            self._end(run, emit, "interrupted", reply)

    def _cut_short(self, run: Run, emit: Emit) -> None:
        """The user spoke before anything of the answer was heard: what was said first stays in the conversation."""
        self._turns.heard_nothing(run)  # nobody else waits for this run's words any more
        if run.dismissed:
            emit(Dropped, reason=run.dismissed)
            self._end(run, emit, "dismissed", None)
            return
        self._means.remembering.unanswered(run, emit)
        self._end(run, emit, "failed" if run.failed else "interrupted", None)

    def _end(self, run: Run, emit: Emit, status: TurnStatus, reply: Reply | None) -> None:
        run.ended = True
        self._turns.seal(run.turn)
        if status in ("completed", "text_only") or (status == "interrupted" and reply is not None and reply.text):
            self._outcomes.turn_worked()
        self._means.reporting.ended(run, emit, status, reply)

    # ------------------------------------------------------------------------ what has failed

    async def _fail(self, run: Run, emit: Emit, error: StageError) -> None:
        """A stage has broken: say so, in the turn's place."""
        self._turns.heard_nothing(run)
        run.refused = had_no_time(error.__cause__) and not run.committed.is_set()
        await run.committed.wait()
        if not run.interrupted:
            await run.floor.wait()
        if not run.interrupted:
            return await self._apologise(run, emit, error)
        self._means.reporting.failed(error, emit)
        run.failed = True
        too_many = self._is_one_too_many(run, error)
        self._cut_short(run, emit)  # nobody waits for an apology
        if too_many:
            await self._means.lines.say(run, self._settings.errors_goodbye)

    async def _apologise(self, run: Run, emit: Emit, error: StageError) -> None:
        run.failed = True
        self._turns.seal(run.turn)  # the failure is told: a turn that goes on is another one
        cause = error.__cause__
        logger.warning(
            "turn failed", extra={"session": self._session, "turn": run.turn, "stage": error.stage, "code": error.code}
        )
        if cause is not None and not isinstance(cause, AntiphonError):
            logger.debug("cause of the failed turn", exc_info=cause)
        self._means.reporting.failed(error, emit)
        too_many = self._is_one_too_many(run, error)
        if not (self.answers or run.asked):
            return self._end(run, emit, "failed", None)
        settings = self._settings
        line = settings.on_error
        if isinstance(cause, EngineOverloaded) and settings.on_overload:
            line = settings.on_overload
        await self._means.lines.say(run, (too_many and settings.errors_goodbye) or line)
        self._end(run, emit, "failed", None)

    def _is_one_too_many(self, run: Run, error: StageError) -> bool:
        """A turn has failed. Whether the session ends for it: that is settled before its last words are said."""
        too_many = self._outcomes.turn_failed(error)
        run.interruptible = run.interruptible and not too_many
        return too_many
