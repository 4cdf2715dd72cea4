"""What `workflow` has for agents: tools, other agents, guardrails. Only `kind: agent` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from antiphon.engines.config import option

DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
"""`module:name`."""

DottedPath = Annotated[str, Field(pattern=f"^{DOTTED}$")]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=64)]

_SOURCES = ("function", "command", "url", "openapi", "openapi_url")


class AgentSection(BaseModel):
    """Base of what stands here: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


class ToolConfig(AgentSection):
    """A tool, or all tools of an MCP server or an API; and how they run.

    With none of `function`, `command`, `url`, `openapi` and `openapi_url` it holds rules for a tool of that name which
    the agent has anyway.
    """

    function: DottedPath | None = option(
        None, "A function, or a ready tool of `openai-agents`, as `module:name`.", examples=["my_tools:get_weather"]
    )
    command: str | None = option(None, "Program that is an MCP server on its standard input and output.", min_length=1)
    args: tuple[str, ...] = option((), "Arguments of `command`.")
    cwd: Path | None = option(None, "Folder in which `command` runs; null: the current one.")
    env: tuple[VariableName, ...] = option(
        (), "Names of environment variables that `command` gets, besides the harmless ones (PATH, HOME, ...)."
    )
    url: str | None = option(None, "Address of an MCP server (streamable HTTP).", pattern=r"^https?://")
    openapi: Path | None = option(None, "File with an OpenAPI 3 description, JSON or YAML.")
    openapi_url: str | None = option(None, "The same by its address.", pattern=r"^https?://")
    operations: tuple[str, ...] = option((), "The operations (by `operationId`) of an API that become tools.")
    base_url: str | None = option(
        None, "Where the API is; null: the first server that its description names.", pattern=r"^https?://"
    )
    auth_env: VariableName | None = option(
        None,
        "Name of the environment variable with the secret for `url` (a bearer token) or for an API (as the security "
        "scheme of its description says).",
    )
    headers_env: dict[str, VariableName] = option(
        {}, "Further HTTP headers for `url` or an API, as header name to name of an environment variable."
    )
    only: tuple[str, ...] = option((), "The tools of an MCP server that the agent may use; empty: all.")
    connect_timeout_s: float = option(
        10.0, "How long an MCP server, or a description at an address, may take to be there.", unit="s", gt=0
    )
    timeout_s: float | None = option(
        None, "Longest run of a call; null: 20 s, and 600 s with `background`.", unit="s", gt=0
    )
    on_interrupt: Literal["cancel", "finish"] = option(
        "cancel",
        "When the user interrupts: `cancel` ends the call, `finish` lets it go on and tells the agent its result in "
        "the next turn.",
    )
    background: bool = option(False, "The agent goes on at once, and is told the result in the turn after it has come.")
    announce: bool | str = option(
        False,
        "Speak a late result when it comes: true, or a sentence with `{result}` in it. Where the session can speak of "
        "itself.",
    )
    say: str = option(
        "", "Spoken while the tool runs, if the agent has not said anything yet.", examples=["One moment."]
    )
    needs_approval: bool = option(False, "Somebody has to say yes before each call.")

    @property
    def source(self) -> str | None:
        """Which of the sources it names; None: rules only."""
        return next((name for name in _SOURCES if getattr(self, name) is not None), None)

    @model_validator(mode="after")
    def _one_source(self) -> ToolConfig:
        named = [name for name in _SOURCES if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} cannot stand together: a tool comes from one place")
        kind = named[0] if named else ""
        is_api, is_mcp = kind.startswith("openapi"), kind in ("command", "url")
        if is_api and not self.operations:
            raise ValueError("'operations' is missing: name the operations (operationId) that become tools")
        for key, wanted, what in (
            ("args", kind == "command", "'command'"),
            ("cwd", kind == "command", "'command'"),
            ("env", kind == "command", "'command'"),
            ("operations", is_api, "'openapi' or 'openapi_url'"),
            ("base_url", is_api, "'openapi' or 'openapi_url'"),
            ("auth_env", is_api or kind == "url", "'url', 'openapi' or 'openapi_url'"),
            ("headers_env", is_api or kind == "url", "'url', 'openapi' or 'openapi_url'"),
            ("only", is_mcp, "'command' or 'url'"),
        ):
            if getattr(self, key) and not wanted:
                raise ValueError(f"'{key}' means something only with {what}")
        return self


class OtherAgent(AgentSection):
    """An agent to which the conversation can be handed over."""

    instructions: str = option(..., "Its system prompt.", min_length=1)
    description: str = option("", "When to hand over to it, for the agent that decides.")
    uses: tuple[str, ...] = option((), "Its tools, by their names in `workflow.tools`.")
    handoffs: tuple[str, ...] = option((), "To whom it can hand over: names in `workflow.agents`, or `main`.")
    input_guardrails: tuple[DottedPath, ...] = option((), "Checks of what the user said, as `module:name`.")
    output_guardrails: tuple[DottedPath, ...] = option((), "Checks of whole answers, as `module:name`.")


class AgentKeys(AgentSection):
    """What `workflow` has besides, for `kind: agent`."""

    agent: DottedPath | None = option(
        None,
        "An `agents.Agent` of `openai-agents`, or a function that makes one, as `module:name`; null: the agent is "
        "`instructions`, `tools` and `handoffs`.",
        examples=["my_agents:desk"],
    )
    context: DottedPath | None = option(
        None, "A function that makes the context object which tools, guardrails and hooks get; called once a session."
    )
    tools: dict[Name, ToolConfig] = option(
        {}, "Tools by name: functions, MCP servers, operations of APIs; or rules for a tool that the agent has."
    )
    uses: tuple[str, ...] | None = option(None, "The tools of the first agent, by name; null: all.")
    agents: dict[Name, OtherAgent] = option({}, "Other agents by name. The first one's name is `main`.")
    handoffs: tuple[str, ...] | None = option(None, "To which of `agents` the first one can hand over; null: to all.")
    input_guardrails: tuple[DottedPath, ...] = option(
        (), "Checks of what the user said, as `module:name`: functions, or guardrails of `openai-agents`."
    )
    output_guardrails: tuple[DottedPath, ...] = option(
        (), "Checks of whole answers; an answer is held until they have spoken."
    )
    on_guardrail: str = option("Sorry, I can't help with that.", "Spoken where a guardrail objects; empty: nothing.")
    max_steps: int = option(
        5, "How many times in a turn tools may be called, one after another; then the agent must speak.", ge=1, le=50
    )

    @field_validator("agents")
    @classmethod
    def _main_is_taken(cls, agents: dict[str, OtherAgent]) -> dict[str, OtherAgent]:
        if "main" in agents:
            raise ValueError("'main' is the name of the first agent: `instructions`, `uses` and `handoffs`")
        return agents

    @model_validator(mode="after")
    def _names_exist(self) -> AgentKeys:
        if (kind := getattr(self, "kind", "agent")) != "agent":
            given = [key for key in AgentKeys.model_fields if getattr(self, key) != AgentKeys.model_fields[key].default]
            if given:
                raise ValueError(f"'{given[0]}' means something only with 'kind: agent' (kind is '{kind}')")
            return self
        if self.agent is not None and (self.agents or self.handoffs or self.uses):
            raise ValueError("'agents', 'handoffs' and 'uses' cannot stand with 'agent': that agent has its own")
        offered = sorted(name for name, tool in self.tools.items() if tool.source is not None)
        known = ("main", *self.agents)
        for name, uses, handoffs in self._parts():
            for use in uses or ():
                if use not in offered:
                    raise ValueError(f"{name}uses names '{use}'; in tools there is: {', '.join(offered) or 'nothing'}")
            for handoff in handoffs or ():
                if handoff not in known:
                    raise ValueError(f"{name}handoffs names '{handoff}'; there is: {', '.join(known)}")
        return self

    def _parts(self) -> list[tuple[str, Any, Any]]:
        others = [(f"agents.{name}.", one.uses, one.handoffs) for name, one in self.agents.items()]
        return [("", self.uses, self.handoffs), *others]
