"""Agents and tools from what a configuration says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents import (
    Agent,
    FunctionTool,
    InputGuardrail,
    OutputGuardrail,
    Tool,
    function_tool,
    input_guardrail,
    output_guardrail,
)
from agents.mcp import MCPServer

from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.config.model import WorkflowConfig
from antiphon.pipeline.config.tools import OtherAgent, ToolConfig
from antiphon.pipeline.errors import WorkflowError

Load = Callable[[str], Any]
"""Imports a dotted path; ImportError says what is missing."""

Parts = Mapping[str, Sequence[Tool] | MCPServer]
"""What each entry of `workflow.tools` stands for."""


def load(path: str, place: str, import_path: Load) -> Any:
    """What a dotted path of the configuration names.

    :raises WorkflowError: it cannot be imported.
    """
    try:
        return import_path(path)
    except ImportError as error:
        raise WorkflowError(
            f"{place}: '{path}' cannot be imported: {error}",
            hint="write 'module:name'; modules in the current folder are found",
        ) from error


def make_tool(name: str, path: str, import_path: Load) -> Tool:
    """A function, or a ready tool, as a tool of the agent; it is called as the configuration calls it.

    :raises WorkflowError: it is neither, or the SDK cannot make a tool of it.
    """
    place = f"workflow.tools.{name}.function"
    found = load(path, place, import_path)
    if hasattr(found, "name") and not inspect.isroutine(found):
        ready: Tool = found
        return ready
    if not callable(found):
        raise WorkflowError(f"{place}: '{path}' is a {type(found).__name__}, neither a function nor a tool")
    try:
        return function_tool(found, name_override=name)
    except Exception as error:  # the SDK reads the signature, and has many ways to dislike one
        raise WorkflowError(
            f"{place}: no tool can be made of '{path}': {error}",
            hint="annotate its parameters with types that JSON has",
        ) from error


def rules_of(tool: ToolConfig) -> ToolRules:
    announce = tool.announce
    return ToolRules(
        timeout_s=tool.timeout_s,
        on_interrupt=tool.on_interrupt,
        background=tool.background,
        announce="{result}" if announce is True else announce or "",
        say=tool.say,
        needs_approval=tool.needs_approval,
    )


def code_agent(settings: WorkflowConfig, import_path: Load) -> Agent[Any]:
    """The agent that `workflow.agent` names.

    :raises WorkflowError: it is none.
    """
    assert settings.agent is not None
    found = load(settings.agent, "workflow.agent", import_path)
    if not isinstance(found, Agent) and callable(found):
        try:
            found = found()
        except TypeError as error:
            raise WorkflowError(
                f"workflow.agent: '{settings.agent}' cannot be called without arguments: {error}"
            ) from error
    if not isinstance(found, Agent):
        raise WorkflowError(
            f"workflow.agent: '{settings.agent}' is a {type(found).__name__}, no agents.Agent",
            hint="name an agent, or a function without parameters that returns one",
        )
    return found


def make_agents(settings: WorkflowConfig, parts: Parts, import_path: Load) -> Agent[Any]:
    """The first agent of a configuration, joined with the others.

    :raises WorkflowError: a guardrail cannot be used.
    """
    if settings.agent is not None:
        first = code_agent(settings, import_path)
        tools, servers = _given(parts, tuple(parts))
        guards = _guards(settings, "workflow", import_path)
        return first.clone(
            tools=[*first.tools, *tools],
            mcp_servers=[*first.mcp_servers, *servers],
            input_guardrails=[*first.input_guardrails, *guards[0]],
            output_guardrails=[*first.output_guardrails, *guards[1]],
        )
    uses = tuple(parts) if settings.uses is None else settings.uses
    agents = {"main": _agent("main", settings, settings.instructions, uses, parts, import_path)}
    for name, other in settings.agents.items():
        agents[name] = _agent(name, other, other.instructions, other.uses, parts, import_path)
    first_hands = tuple(settings.agents) if settings.handoffs is None else settings.handoffs
    agents["main"].handoffs = [agents[name] for name in first_hands]
    for name, other in settings.agents.items():
        agents[name].handoffs = [agents[to] for to in other.handoffs]
    return agents["main"]


def _agent(
    name: str,
    settings: WorkflowConfig | OtherAgent,
    instructions: str,
    uses: Sequence[str],
    parts: Parts,
    import_path: Load,
) -> Agent[Any]:
    tools, servers = _given(parts, uses)
    guards = _guards(settings, "workflow" if name == "main" else f"workflow.agents.{name}", import_path)
    return Agent(
        name=name,
        instructions=instructions,
        handoff_description=getattr(settings, "description", "") or None,
        tools=tools,
        mcp_servers=servers,
        input_guardrails=guards[0],
        output_guardrails=guards[1],
    )


def _given(parts: Parts, uses: Sequence[str]) -> tuple[list[Tool], list[MCPServer]]:
    tools: list[Tool] = []
    servers: list[MCPServer] = []
    for name in uses:
        part = parts[name]
        if isinstance(part, MCPServer):
            servers.append(part)
        else:
            tools.extend(part)
    return tools, servers


def _guards(
    settings: WorkflowConfig | OtherAgent, place: str, import_path: Load
) -> tuple[list[InputGuardrail[Any]], list[OutputGuardrail[Any]]]:
    inputs = [
        _guard(path, f"{place}.input_guardrails", InputGuardrail, input_guardrail, import_path)
        for path in settings.input_guardrails
    ]
    outputs = [
        _guard(path, f"{place}.output_guardrails", OutputGuardrail, output_guardrail, import_path)
        for path in settings.output_guardrails
    ]
    return inputs, outputs


def _guard(path: str, place: str, kind: type[Any], make: Callable[[Any], Any], import_path: Load) -> Any:
    found = load(path, place, import_path)
    if isinstance(found, kind):
        return found
    if inspect.isroutine(found):
        return make(found)
    raise WorkflowError(
        f"{place}: '{path}' is a {type(found).__name__}, neither a function nor an {kind.__name__}",
        hint="write a function of (context, agent, text) that returns a GuardrailFunctionOutput",
    )


def tool_names(part: Sequence[Tool]) -> list[str]:
    return [tool.name for tool in part if isinstance(tool, FunctionTool)]
