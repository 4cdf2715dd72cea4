"""Asks the workflow for an answer: nothing is done before it is on record, nothing passes that the policy forbids."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from antiphon.engines.errors import EngineTimeout
from antiphon.engines.host import Ticket, current_ticket
from antiphon.engines.protocols import ToolCall, Transcript
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.events import PolicyEvent, ToolCallEvent, TranscriptEvent
from antiphon.pipeline.guarding import Unfinished
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.patience import within
from antiphon.pipeline.policy import Outcome, PolicyDecision, TurnGuard, told_to_agent
from antiphon.pipeline.reply import BeforeSound, Emit
from antiphon.pipeline.run import Run
from antiphon.pipeline.workflow import CallPermit, TurnContext, WorkflowEvent, pieces

logger = logging.getLogger(__name__)


class Consulting:
    """One per session.

    :param seal: told of a turn that can no longer be taken back.
    """

    def __init__(self, makings: Makings, *, seal: Callable[[int], None]) -> None:
        self._workflow = makings.workflow
        self._guarding = makings.guarding
        self._session = makings.session_id
        self._settings = makings.settings
        self._conversation = makings.conversation
        self._ahead = makings.engines.answer_local or makings.settings.speculate_in_cloud
        """The workflow may be asked before a turn is sure."""
        self._seal = seal

    async def prepare(self, turn: int, revision: int, text: str, ticket: Ticket) -> None:
        """Tell the workflow how a turn begins, if it wants to know. A hint: its failure is no news."""
        prepare: Callable[[TurnContext], Any] | None = getattr(self._workflow, "prepare", None)
        if prepare is None or not self._ahead:
            return
        current_ticket.set(ticket)
        try:
            limit_s = self._settings.reply.workflow_timeout_s
            await within(limit_s, _awaited(prepare(self.context(turn, revision, text))))
        except Exception as error:
            logger.info("the workflow could not prepare", extra={"code": type(error).__name__})

    async def may_begin(self, run: Run) -> None:
        """Wait until the workflow may be asked: before its turn is sure, only one that itself waits for that."""
        if not (self._workflow.speculative and self._ahead):
            await run.committed.wait()
        if not self._workflow.speculative:
            self._seal(run.turn)  # what it does is not ours to know

    def context(
        self,
        turn: int,
        revision: int,
        text: str,
        *,
        language: str | None = None,
        committed: asyncio.Event | None = None,
        on_committed: Callable[[], None] = lambda: None,
        user_id: str = "",
    ) -> TurnContext:
        """What a workflow is told of a turn."""
        settings = self._settings
        conversation = self._conversation.without(user_id) if user_id else self._conversation
        history = conversation.messages(max_turns=settings.history_turns, max_tokens=settings.history_tokens)
        return TurnContext(
            self._session, turn, revision, text, history, language, committed or asyncio.Event(), on_committed
        )

    def guard(self, run: Run, emit: Emit, language: str | None) -> TurnGuard:
        """The policy at work on one run."""
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
            await self.settled()

        return TurnGuard(
            guarding.policy,
            self._session,
            run.turn,
            decided,
            asker=guarding.approvals,
            committed=committed,
            language=language,
        )

    @property
    def judges(self) -> bool:
        """Whether a policy wants to see what users say before anybody else does."""
        return bool(self._guarding.policy.transcript)

    async def judge_words(self, run: Run, heard: Transcript, guard: TurnGuard) -> Outcome:
        """What was said, before anybody else knows of it."""
        outcome = await guard.transcript(heard.text)
        run.said = outcome.text if outcome.allowed else ""
        return outcome

    async def answer(
        self, run: Run, heard: Transcript, guard: TurnGuard, emit: Emit
    ) -> AsyncIterator[str | WorkflowEvent]:
        """What the workflow answers to what the policy lets it hear, as far as the policy lets it be said."""
        said = heard.text
        if self.judges and run.told:
            said = run.said or ""  # judged and allowed: asked for the second time
        elif self.judges:
            judging = asyncio.create_task(self.judge_words(run, heard, guard))
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
        context = self._guarded_context(run, guard, emit, said, heard.language)
        if not self._workflow.speculative:
            await self.settled()  # what it does is not ours to know
        async with aclosing(guard.speech(pieces(lambda: self._workflow.respond(context)))) as answer:  # type: ignore[type-var]
            async for piece in answer:
                yield piece

    async def go_on(
        self, run: Run, unfinished: Unfinished, guard: TurnGuard, emit: Emit
    ) -> AsyncIterator[str | WorkflowEvent]:
        """The answer to what an earlier session has left open, as far as the policy lets it be said."""
        await self.settled()
        left = unfinished.pieces(lambda: self._guarded_context(run, guard, emit, "", None))
        async with aclosing(guard.speech(left)) as answer:  # type: ignore[type-var]
            async for piece in answer:
                yield piece

    def _guarded_context(self, run: Run, guard: TurnGuard, emit: Emit, said: str, language: str | None) -> TurnContext:
        """What the workflow is told of a run: what it does is on record before, and allowed."""
        context = replace(
            self.context(
                run.turn,
                run.revision,
                said,
                language=language,
                committed=run.committed,
                on_committed=partial(self._at_barrier, run),
                user_id=run.user_id,
            ),
            _recorded=self.settled,
            _before_call=partial(self._before_call, guard, emit),
        )
        guard.history = context.history
        return context

    async def settled(self) -> None:
        """Wait until all that was noted is on record.

        :raises AntiphonError: it cannot be put there, or not in time.
        """
        if self._guarding.journal is None:
            return
        timeout_s = self._settings.record_timeout_s
        try:
            await within(timeout_s, self._guarding.journal.settled())
        except TimeoutError:
            late = EngineTimeout(f"what was said is not on record after {timeout_s:g} s", stage="transcript")
            self._guarding.journal.overdue(late)

    def before_sound(self, run: Run) -> BeforeSound | None:
        """Puts what is about to be heard of a run on record first; None where there is no record."""
        journal = self._guarding.journal
        if journal is None:
            return None

        async def record(text: str, *, filler: bool) -> None:
            journal.note_speaking(text, turn=run.turn, filler=filler)
            await self.settled()

        return record

    async def _before_call(self, guard: TurnGuard, emit: Emit, call: ToolCall) -> CallPermit:
        """A tool is about to run: first the record, then the policy.

        :raises WorkflowError: its arguments are no text.
        """
        if not isinstance(call.arguments, str):
            raise WorkflowError(
                f"the workflow called a tool with arguments that are a {type(call.arguments).__name__}",
                hint="give them as text, a JSON object",
            )
        emit(ToolCallEvent, call_id=call.id, name=call.name, arguments=call.arguments)
        await self.settled()
        outcome = await guard.tool_call(call.name, call.arguments, call.id)
        if outcome.allowed:
            return CallPermit(True, outcome.text)
        return CallPermit(False, call.arguments, told_to_agent(outcome))

    def _at_barrier(self, run: Run) -> None:
        """The workflow is about to have an effect: from now on the turn cannot be reopened.

        :raises asyncio.CancelledError: it just was, and the cancellation has not reached the workflow yet.
        """
        if run.void:
            raise asyncio.CancelledError
        self._seal(run.turn)


async def _awaited(hint: Any) -> None:
    await hint


_SIGN_S = 5.0


async def _signs_of_life(work: asyncio.Task[Any]) -> AsyncIterator[str]:
    """No text, now and then, until the work is done: whoever waits for text knows that somebody is at work."""
    try:
        while not (await asyncio.wait((work,), timeout=_SIGN_S))[0]:
            yield ""
    finally:
        work.cancel()
