"""A conversation in text: no audio, no STT, no TTS; the workflow is the one that a session would have."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from antiphon.engines.errors import AntiphonError, EngineTimeout
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.testkit.turn import Approval, Call, Turn, parsed
from antiphon.pipeline.workflow import ToolResult, TurnContext, Workflow, as_workflow, pieces

logger = logging.getLogger(__name__)

Verdict = bool | Mapping[str, bool] | Callable[[str, dict[str, Any]], bool | Awaitable[bool]]
"""What the test's approver says: always the same; by tool's name (others: no); or a function of name and arguments."""


class Approvals:
    """Stands in for whoever approves, and keeps what was asked."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.asked: list[Approval] = []

    async def approve(self, call: Any) -> bool:
        """The contract of a workflow's approver: `call` has `name` and `arguments` (a JSON object as text)."""
        arguments = parsed(call.arguments)
        granted = await self._decide(call.name, arguments)
        self.asked.append(Approval(call.name, arguments, granted))
        return granted

    async def _decide(self, name: str, arguments: dict[str, Any]) -> bool:
        if isinstance(self.verdict, bool):
            return self.verdict
        if isinstance(self.verdict, Mapping):
            return self.verdict.get(name, False)
        answer = self.verdict(name, arguments)
        return await answer if inspect.isawaitable(answer) else answer

    def attach(self, workflow: Any) -> None:
        """Give it to the workflow, or to the one inside a wrapper, if that asks anybody."""
        while workflow is not None:
            if hasattr(workflow, "approver"):
                workflow.approver = self
            workflow = getattr(workflow, "workflow", None)


class TextTalk:
    """One conversation. Every turn counts as committed at once."""

    def __init__(
        self,
        workflow: Any,
        *,
        approve: Verdict = False,
        conversation: Conversation | None = None,
        history_turns: int | None = None,
        history_tokens: int | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        """
        :param workflow: a workflow, or anything that can be made one (`as_workflow`).
        :param approve: what happens to calls that need a yes.
        :param timeout_s: longest wait for the next piece of an answer; after it the turn has failed.
        :raises WorkflowError: it is no workflow.
        """
        self.workflow: Workflow = as_workflow(workflow)
        self.conversation = conversation if conversation is not None else Conversation()
        self.turns: list[Turn] = []
        self.approvals = Approvals(approve)
        self.approvals.attach(self.workflow)
        self._session = new_id("test")
        self._limits = {"max_turns": history_turns, "max_tokens": history_tokens}
        self._timeout_s = timeout_s

    async def say(self, text: str) -> Turn:
        """One turn. A workflow that fails gives a turn with `error`; programming errors of it are raised."""
        turn = Turn(len(self.turns) + 1, text)
        self.turns.append(turn)
        asked = len(self.approvals.asked)
        committed = asyncio.Event()
        committed.set()
        context = TurnContext(
            self._session, turn.number, 0, text, self.conversation.messages(**self._limits), None, committed
        )
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            await self._collect(pieces(lambda: self.workflow.respond(context)), turn, began_s)
        except AntiphonError as error:
            turn.error = f"{type(error).__name__}: {error}"
        turn.total_ms = 1000 * (loop.time() - began_s)
        turn.approvals = self.approvals.asked[asked:]
        self._remember(turn)
        return turn

    async def on_start(self) -> str:
        """What the workflow says of itself when a session begins; empty: nothing."""
        begin = getattr(self.workflow, "on_start", None)
        if begin is None:
            return ""
        said = [piece async for piece in pieces(begin, may_be_silent=True) if isinstance(piece, str)]
        return "".join(said)

    # ---------------------------------------------------------------------------- inside

    async def _collect(self, answer: Any, turn: Turn, began_s: float) -> None:
        loop = asyncio.get_running_loop()
        end = object()
        async with aclosing(answer):
            while True:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        piece: Any = await anext(answer, end)
                except TimeoutError:
                    raise EngineTimeout(f"no text for {self._timeout_s:g} s", stage="workflow") from None
                if piece is end:
                    return
                if isinstance(piece, str) and piece.strip() and turn.first_ms is None:
                    turn.first_ms = 1000 * (loop.time() - began_s)
                take(turn, piece)

    def _remember(self, turn: Turn) -> None:
        if not turn.text.strip():
            return
        self.conversation.add(Item(id=new_id(), role="user", text=turn.user, turn=turn.number))
        self.conversation.add(Item(id=new_id(), role="assistant", text=turn.text, turn=turn.number))


def take(turn: Turn, piece: Any) -> None:
    """Put what a workflow yielded where it belongs."""
    if isinstance(piece, str):
        turn.text += piece
    elif isinstance(piece, ToolCall):
        add_call(turn, piece.id, piece.name, piece.arguments)
    elif isinstance(piece, ToolResult):
        add_output(turn, piece.call_id, piece.name, piece.output)
    elif isinstance(piece, Usage):
        turn.usage = Usage(
            turn.usage.input_tokens + piece.input_tokens,
            turn.usage.output_tokens + piece.output_tokens,
            turn.usage.cached_tokens + piece.cached_tokens,
        )


def add_call(turn: Turn, call_id: str, name: str, arguments: str) -> None:
    turn.calls.append(Call(call_id, name, parsed(arguments), arguments))


def add_output(turn: Turn, call_id: str, name: str, output: str) -> None:
    for call in turn.calls:
        if call.id == call_id:
            call.output = output
            return
    turn.calls.append(Call(call_id, name, {}, "", output))
