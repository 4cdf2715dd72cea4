"""What a client adds to the agent that the user talks with: instructions, and tools that the client itself runs.

Such a call is not done here. It is handed over, and the run ends with it; what came of it is in the history of the next
one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agents import Agent, FunctionTool, FunctionToolResult, RunContextWrapper
from agents.agent import ToolsToFinalOutputResult
from agents.tool_context import ToolContext

from antiphon.engines.protocols import ToolCall, ToolSpec
from antiphon.pipeline.agent.barrier import current_turn
from antiphon.pipeline.agent.contracts import NOT_APPROVED
from antiphon.pipeline.conversation import new_id

logger = logging.getLogger(__name__)

_HANDED_OVER = ""
"""What the run takes for the output of a client's tool."""


@dataclass(slots=True)
class Guest:
    """For one answer."""

    instructions: str = ""
    """Read behind the agent's own."""
    tools: tuple[ToolSpec, ...] = ()
    handed: list[ToolCall] = field(default_factory=list)
    """Calls for the client, in order, as they are allowed."""

    def runs(self, name: str) -> bool:
        """Whether a tool is the client's."""
        return any(tool.name == name for tool in self.tools)


def with_guest(agent: Agent[Any], guest: Guest) -> Agent[Any]:
    """A copy of an agent that knows what the client has added. A tool of its own goes before one of the same name."""
    own = {tool.name for tool in agent.tools if isinstance(tool, FunctionTool)}
    if twice := sorted(own & {tool.name for tool in guest.tools}):
        logger.warning("tools of a client's have names of the agent's own: not offered", extra={"tools": twice})
    guest.tools = tuple(tool for tool in guest.tools if tool.name not in own)

    async def instructions(context: RunContextWrapper[Any], _: Agent[Any]) -> str:
        base = await agent.get_system_prompt(context)
        return "\n\n".join(part for part in (base, guest.instructions) if part)

    changes: dict[str, Any] = {"instructions": instructions} if guest.instructions else {}
    if guest.tools:
        changes["tools"] = [*agent.tools, *(_tool(spec, guest) for spec in guest.tools)]
        changes["tool_use_behavior"] = _Behaviour(agent, guest)
    return agent.clone(**changes)


def _tool(spec: ToolSpec, guest: Guest) -> FunctionTool:
    async def hand_over(context: ToolContext[Any], arguments: str) -> str:
        call = ToolCall(new_id("call"), spec.name, arguments or "{}")  # models repeat their ids, from answer to answer
        if (state := current_turn.get()) is not None:
            permit = await state.turn.before_call(call)
            if not permit.allowed:
                return permit.reason or NOT_APPROVED
            call = ToolCall(call.id, call.name, permit.arguments)
        guest.handed.append(call)
        return _HANDED_OVER

    return FunctionTool(spec.name, spec.description, dict(spec.parameters), hand_over, strict_json_schema=False)


class _Behaviour:
    """The run ends where a call was handed over; else it goes on as the agent wants it."""

    def __init__(self, agent: Agent[Any], guest: Guest) -> None:
        self._own = agent.tool_use_behavior
        self._guest = guest

    async def __call__(
        self, context: RunContextWrapper[Any], results: Sequence[FunctionToolResult]
    ) -> ToolsToFinalOutputResult:
        if self._guest.handed:
            return ToolsToFinalOutputResult(is_final_output=True, final_output=_HANDED_OVER)
        if callable(self._own):
            found: Any = self._own(context, list(results))
            return found if isinstance(found, ToolsToFinalOutputResult) else await found
        stops = self._own["stop_at_tool_names"] if isinstance(self._own, dict) else ()
        first = next((one for one in results if self._own == "stop_on_first_tool" or one.tool.name in stops), None)
        if first is None:
            return ToolsToFinalOutputResult(is_final_output=False)
        return ToolsToFinalOutputResult(is_final_output=True, final_output=first.output)
