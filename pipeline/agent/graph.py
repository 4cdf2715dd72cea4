"""The agents of a session: copies of the user's, joined as those are, with rules around their tools.

The user's own objects are never changed, and one agent may serve any number of sessions at once.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import jsonschema
from agents import Agent, FunctionTool, Handoff, InputGuardrail, Model, RunContextWrapper, handoff
from agents.exceptions import ModelBehaviorError
from agents.guardrail import GuardrailFunctionOutput
from agents.run_config import ToolErrorFormatterArgs
from agents.tool_context import ToolContext

from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.agent.barrier import BarrierModel, current_turn
from antiphon.pipeline.agent.contracts import NOT_APPROVED
from antiphon.pipeline.agent.desk import ToolDesk, failure_text
from antiphon.pipeline.agent.rules import PLAIN_RULES, ToolRules
from antiphon.pipeline.errors import WorkflowError


class Graph:
    """Made with :func:`make_graph`."""

    def __init__(self, desk: ToolDesk, rules: Mapping[str, ToolRules]) -> None:
        self._desk = desk
        self._rules = rules
        self._copies: dict[int, Agent[Any]] = {}
        self._originals: list[Agent[Any]] = []
        """Kept, so that no id is used again."""
        self._tools: dict[str, FunctionTool] = {}

    def rules_of(self, tool: str) -> ToolRules:
        return self._rules.get(tool, PLAIN_RULES)

    def copy_of(self, agent: Agent[Any]) -> Agent[Any]:
        """The session's copy of an agent that the graph was made of.

        :raises WorkflowError: the agent cannot be spoken with.
        """
        if id(agent) not in self._copies:
            if any(agent is copied for copied in self._copies.values()):
                return agent
            if agent.mcp_servers:
                raise WorkflowError(
                    f"the agent '{agent.name}' has MCP servers, but is handed over to by a function of one's own",
                    hint="name it among the handoffs of another agent",
                )
            self._add(agent, [])
        return self._copies[id(agent)]

    def _add(self, agent: Agent[Any], mcp_tools: list[FunctionTool]) -> None:
        _require_speakable(agent)
        tools = [*mcp_tools, *(self._require_local(agent, tool) for tool in agent.tools)]
        names = [tool.name for tool in tools if isinstance(tool, FunctionTool)]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise WorkflowError(
                f"the agent '{agent.name}' has more than one tool named {', '.join(double)}",
                hint="rename one, or limit an MCP server's tools with `only`",
            )
        copied = agent.clone(
            tools=[self._ruled(tool) if isinstance(tool, FunctionTool) else tool for tool in tools],
            mcp_servers=[],
            handoffs=[],
            model=BarrierModel(agent.model) if isinstance(agent.model, Model) else agent.model,
            input_guardrails=[_counted(guardrail) for guardrail in agent.input_guardrails],
        )
        self._originals.append(agent)
        self._copies[id(agent)] = copied

    def _join(self) -> None:
        for agent in tuple(self._originals):
            self.copy_of(agent).handoffs = [self._handed(one) for one in agent.handoffs]

    def _require_local(self, agent: Agent[Any], tool: Any) -> Any:
        if not isinstance(tool, FunctionTool) and not isinstance(agent.model, Model):
            raise WorkflowError(
                f"the agent '{agent.name}' has the tool '{getattr(tool, 'name', type(tool).__name__)}', which only its "
                "vendor's models can run",
                hint="give the agent such a model object, or a function or an MCP server as its tool",
            )
        return tool

    def _handed(self, given: Agent[Any] | Handoff[Any, Any]) -> Handoff[Any, Any]:
        if isinstance(given, Agent):
            return handoff(self.copy_of(given))
        ours = copy.copy(given)

        async def hand_over(context: RunContextWrapper[Any], arguments: str) -> Agent[Any]:
            return self.copy_of(cast(Agent[Any], await given.on_invoke_handoff(context, arguments)))

        ours.on_invoke_handoff = hand_over
        return ours

    def _ruled(self, tool: FunctionTool) -> FunctionTool:
        """A copy of a tool that runs at the desk."""
        rules = self.rules_of(tool.name)
        if rules.timeout_s is None and tool.timeout_seconds is not None:
            rules = dataclasses.replace(rules, timeout_s=tool.timeout_seconds)
        ours = copy.copy(tool)
        inner = ours.on_invoke_tool
        checks_itself = getattr(tool, "__wrapped__", None) is not None

        async def invoke(context: ToolContext[Any], arguments: str) -> Any:
            if not checks_itself and (problem := wrong_arguments(tool, arguments)):
                return problem
            call = ToolCall(context.tool_call_id, tool.name, arguments)
            if (state := current_turn.get()) is not None:
                with self._desk.occupied():
                    permit = await state.turn.before_call(call)
                if not permit.allowed:
                    return permit.reason or NOT_APPROVED
                call = dataclasses.replace(call, arguments=permit.arguments)

            async def work() -> Any:
                current_turn.set(None)  # an agent that is a tool counts its own steps
                return await inner(context, call.arguments)

            return await self._desk.run(call, rules, work)

        ours.on_invoke_tool = invoke
        ours.timeout_seconds = None
        if rules.needs_approval:
            ours.needs_approval = True
        self._tools[tool.name] = ours
        return ours

    def tool(self, name: str) -> FunctionTool | None:
        """A tool of any of the agents, with the rules around it."""
        return self._tools.get(name)

    def error_text(self, given: ToolErrorFormatterArgs[Any]) -> str | None:
        """What the model is told of a call that was not done; for the SDK's run configuration."""
        if given.kind == "approval_rejected":
            return NOT_APPROVED
        if given.kind != "tool_exception" or given.error is None:
            return None
        tool = self._tools.get(given.tool_name)
        arguments = getattr(given.run_context, "tool_arguments", "")
        if isinstance(given.error, ModelBehaviorError) and tool is not None:
            problem = wrong_arguments(tool, arguments)
            return problem or f"The arguments of {given.tool_name} are wrong. Correct them and call it again."
        return failure_text(given.tool_name, given.error)


async def make_graph(
    root: Agent[Any], desk: ToolDesk, rules: Mapping[str, ToolRules], context: RunContextWrapper[Any]
) -> Graph:
    """Copy an agent and all whom it can hand over to. Their MCP servers are connected, and asked for their tools.

    :raises WorkflowError: an agent or a tool cannot be used here; there are rules for a tool that nobody has.
    """
    graph = Graph(desk, rules)
    for agent in reachable(root):
        graph._add(agent, await _mcp_tools(agent, context))
    graph._join()
    if unknown := sorted(set(rules) - set(graph._tools)):
        known = ", ".join(sorted(graph._tools)) or "none"
        raise WorkflowError(f"there are rules for the tool '{unknown[0]}', but no agent has it (they have: {known})")
    return graph


def reachable(root: Agent[Any]) -> list[Agent[Any]]:
    """An agent and all whom it can hand over to, as far as that can be seen."""
    found: list[Agent[Any]] = []
    waiting: list[Any] = [root]
    while waiting:
        agent = waiting.pop(0)
        if agent is None or any(agent is known for known in found):
            continue
        found.append(agent)
        waiting.extend(_target(one) for one in agent.handoffs)
    return found


def _target(given: Agent[Any] | Handoff[Any, Any]) -> Agent[Any] | None:
    if isinstance(given, Agent):
        return given
    reference = given._agent_ref  # set by `handoff()`; the SDK walks its agents by it too
    target = None if reference is None else reference()
    return target if isinstance(target, Agent) else None


async def _mcp_tools(agent: Agent[Any], context: RunContextWrapper[Any]) -> list[FunctionTool]:
    if not agent.mcp_servers:
        return []
    try:
        return cast(list[FunctionTool], await agent.get_mcp_tools(context))
    except Exception as error:
        raise WorkflowError(
            f"the MCP servers of the agent '{agent.name}' do not tell their tools: {error}",
            hint="are they connected, and are the names of their tools different?",
        ) from error


def _require_speakable(agent: Agent[Any]) -> None:
    if agent.output_type not in (None, str):
        raise WorkflowError(
            f"the agent '{agent.name}' has an output_type: its answers are data, which cannot be spoken",
            hint="drop it, or make the agent a tool of another one (agent.as_tool)",
        )


def _counted(guardrail: InputGuardrail[Any]) -> InputGuardrail[Any]:
    """An input guardrail that tells the turn when it has spoken."""
    inner: Callable[..., Any] = guardrail.guardrail_function

    async def guard(context: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
        found = inner(context, agent, given)
        output = cast(GuardrailFunctionOutput, found if isinstance(found, GuardrailFunctionOutput) else await found)
        if (state := current_turn.get()) is not None:
            state.guard_spoke(objected=output.tripwire_triggered)
        return output

    return dataclasses.replace(guardrail, guardrail_function=guard, name=guardrail.get_name())


def wrong_arguments(tool: FunctionTool, arguments: str) -> str:
    """What is wrong with a call's arguments, in words for the model; "" if nothing is."""
    try:
        given = json.loads(arguments or "{}")
    except ValueError:
        return f"The arguments of {tool.name} are no JSON. Correct them and call it again."
    try:
        problem = jsonschema.exceptions.best_match(
            jsonschema.Draft202012Validator(tool.params_json_schema).iter_errors(given)
        )
    except jsonschema.exceptions.SchemaError:
        return ""  # the schema's fault: the tool has to cope
    if problem is None:
        return ""
    place = ".".join(str(part) for part in problem.absolute_path)
    where = f" at {place}" if place else ""
    return f"The arguments of {tool.name} are wrong{where}: {problem.message}. Correct them and call it again."
