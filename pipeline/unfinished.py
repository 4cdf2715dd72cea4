"""What a process that died has left waiting for a yes, taken up when its conversation goes on.

A question outlives its process: it can be decided while nobody runs. Who resumes the session takes each decision once
(of several processes one gets it), and then does what was asked about, or tells that it was refused. A call whose yes
had been taken before is never done again: it may have been under way.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.agent.contracts import NOT_APPROVED, NOT_IN_TIME
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.policy import Approval, ApprovalDesk, Decision, SessionApprovals
from antiphon.pipeline.workflow import TurnContext, Workflow, WorkflowEvent

logger = logging.getLogger(__name__)

_SIGN_S = 5.0


class FinishesCalls(Protocol):
    """A workflow that can go on with a call after a restart, as the workflow `agent` can."""

    def resume(
        self, turn: TurnContext, stored: Mapping[str, Any], decisions: Mapping[str, bool]
    ) -> AsyncIterator[str | WorkflowEvent]:
        """Go on with the stored run of an agent that waited for decisions on calls (by their ids)."""
        ...

    def finish_call(self, turn: TurnContext, call: ToolCall, refused: str = "") -> AsyncIterator[str | WorkflowEvent]:
        """Do a call, or (`refused`) tell the agent why it was not done; then answer."""
        ...


class Unfinished:
    """One for a session that goes on with another one."""

    def __init__(
        self,
        approvals: SessionApprovals,
        desk: ApprovalDesk,
        workflow: Workflow,
        conversation: Conversation,
        chain: Callable[[], Awaitable[Sequence[str]]],
        warn: Callable[[str, str], None],
    ) -> None:
        """
        :param chain: the ids of the sessions that this one goes on with, oldest first.
        :param warn: told, as a code and a sentence, of a question that nobody can go on with.
        """
        self._approvals = approvals
        self._desk = desk
        self._workflow = workflow
        self._conversation = conversation
        self._chain = chain
        self._warn = warn
        self._waiting: Approval | None = None
        self._context: TurnContext | None = None

    async def pieces(self, context: Callable[[], TurnContext]) -> AsyncIterator[str | WorkflowEvent]:
        """An answer to what was left: as a workflow gives it.

        :param context: makes the answer's context, of the conversation as it is then; the answer must be sure.
        :raises AntiphonError: the approvals or the transcripts cannot be read, or the workflow failed.
        """
        for session in await self._chain():
            for approval in await self._desk.unfinished(session):
                async for piece in self._one(approval, context):
                    yield piece

    async def withdraw(self) -> None:
        """The user has interrupted the wait for a decision: it is not wanted any more."""
        approval, self._waiting = self._waiting, None
        if approval is not None:
            await self._desk.withdraw(approval.id, by="barge_in")
        if self._context is not None:  # and what it has asked since
            await self._approvals.interrupted(self._context.turn, self._context.session)

    async def _one(self, approval: Approval, context: Callable[[], TurnContext]) -> AsyncIterator[str | WorkflowEvent]:
        workflow = cast(FinishesCalls, self._workflow)
        if not approval.tool or not hasattr(workflow, "finish_call"):
            # Of an answer that was about to be spoken nothing is left but the question.
            await self._desk.withdraw(approval.id, by="restart")
            self._warn("approval_lost", f"nothing is left to go on with after the question '{approval.question}'")
            return
        self._waiting = approval
        deciding = asyncio.create_task(self._approvals.resume(approval.id))
        try:
            while not (await asyncio.wait((deciding,), timeout=_SIGN_S))[0]:
                yield ""
            decision = deciding.result()
        finally:
            deciding.cancel()
        self._waiting = None
        if not decision.ours:
            logger.info("somebody else goes on with a call", extra={"approval": approval.id})
            return
        call = ToolCall(approval.call_id, approval.tool, approval.arguments)
        forget_call(self._conversation, call.id)
        yield call
        self._context = context()
        if approval.run_state:
            source = workflow.resume(self._context, json.loads(approval.run_state), {call.id: decision.granted})
        else:
            asked = await self._desk.find(session=approval.session)
            self._approvals.vouch([one for one in asked if (one.turn, one.call_id) == (approval.turn, call.id)])
            source = workflow.finish_call(self._context, call, "" if decision.granted else _refusal(decision))
        try:
            async for piece in source:
                yield piece
        finally:
            self._approvals.vouch(())


def _refusal(decision: Decision) -> str:
    return NOT_IN_TIME if decision.by == "timeout" else NOT_APPROVED


def forget_call(conversation: Conversation, call_id: str) -> None:
    """Take the last call of this id out, with what stands for its result: it is told anew."""
    of_call = [item for item in conversation if item.kind != "message" and item.call_id == call_id]
    started = next((item for item in reversed(of_call) if item.kind == "function_call"), None)
    if started is None:
        return
    for item in of_call[of_call.index(started) :]:
        conversation.delete(item.id)
