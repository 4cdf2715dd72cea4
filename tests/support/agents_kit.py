"""Turns for agent workflows on a scripted LLM, without a session."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from agents import Agent

from antiphon.engines.protocols import Message, ToolCall
from antiphon.engines.testing import Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.agent.workflow import AgentWorkflow
from antiphon.pipeline.workflow import Filler, ToolResult, TurnContext, WorkflowEvent


class Turns:
    """One workflow, asked turn by turn; what it yields becomes the history, as a session keeps it."""

    def __init__(self, agent: Agent[Any], steps: Sequence[Any], **options: Any) -> None:
        self.llm = ScriptedLLM(steps)
        self.workflow = AgentWorkflow(agent, self.llm, **options)
        self.history: list[Message] = []
        self.turn = 0

    def context(self, text: str, *, committed: bool = True) -> TurnContext:
        self.turn += 1
        event = asyncio.Event()
        if committed:
            event.set()
        return TurnContext("s", self.turn, 0, text, tuple(self.history), None, event)

    async def ask(self, text: str) -> list[str | WorkflowEvent]:
        pieces = [piece async for piece in self.workflow.respond(self.context(text))]
        self.remember(text, pieces)
        return pieces

    def remember(self, text: str, pieces: Sequence[str | WorkflowEvent], heard: str | None = None) -> None:
        self.history.append(Message("user", text))
        calls: list[ToolCall] = []
        for piece in pieces:
            if isinstance(piece, ToolCall):
                calls.append(piece)
                continue
            if isinstance(piece, ToolResult):
                if calls:
                    self.history.append(Message("assistant", tool_calls=tuple(calls)))
                    calls = []
                self.history.append(Message("tool", piece.output, tool_call_id=piece.call_id, name=piece.name))
        if calls:
            self.history.append(Message("assistant", tool_calls=tuple(calls)))
        said = spoken(pieces) if heard is None else heard
        if said:
            self.history.append(Message("assistant", said))


def spoken(pieces: Sequence[str | WorkflowEvent]) -> str:
    return "".join(piece for piece in pieces if isinstance(piece, str) and not isinstance(piece, Filler))


def fillers(pieces: Sequence[str | WorkflowEvent]) -> list[str]:
    return [str(piece) for piece in pieces if isinstance(piece, Filler)]


def calls(pieces: Sequence[str | WorkflowEvent]) -> list[tuple[str, str]]:
    return [(piece.name, piece.arguments) for piece in pieces if isinstance(piece, ToolCall)]


def results(pieces: Sequence[str | WorkflowEvent]) -> list[tuple[str, str]]:
    return [(piece.name, piece.output) for piece in pieces if isinstance(piece, ToolResult)]


def called(name: str, arguments: str = "{}", call_id: str = "call_1") -> Reply:
    return Reply(tool_calls=[ToolCall(call_id, name, arguments)])


def run(turns: Turns, main: Coroutine[Any, Any, Any]) -> Any:
    """Run a test's coroutine with the LLM entered, on a virtual clock."""

    async def within() -> Any:
        async with turns.llm:
            try:
                return await main
            finally:
                await turns.workflow.aclose()

    return run_virtual(within())
