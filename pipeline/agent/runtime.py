"""What all sessions of a configuration with `workflow.kind: agent` share: its agents, MCP servers and HTTP client."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from agents import Agent, RunContextWrapper, Tool
from agents.mcp import MCPServer

from antiphon.engines.protocols import LLM
from antiphon.pipeline.agent.declared import Load, load, make_agents, make_tool, rules_of, tool_names
from antiphon.pipeline.agent.desk import ToolDesk
from antiphon.pipeline.agent.graph import make_graph, reachable
from antiphon.pipeline.agent.mcp_servers import connect, is_connected, make_server
from antiphon.pipeline.agent.openapi import open_api
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.agent.workflow import AgentWorkflow
from antiphon.pipeline.agents_sdk import bridge_sdk
from antiphon.pipeline.config.model import WorkflowConfig
from antiphon.pipeline.errors import WorkflowError

logger = logging.getLogger(__name__)

USERS_SERVER_CONNECT_S = 10.0


class AgentRuntime:
    """An async context manager: entering makes the agents and connects their servers, leaving closes them."""

    def __init__(self, settings: WorkflowConfig, import_path: Load, *, offline: bool) -> None:
        """
        :param import_path: imports a dotted path of the user's.
        :param offline: nothing may connect to another machine.
        """
        self._settings = settings
        self._import = import_path
        self._offline = offline
        self._stack = AsyncExitStack()
        self._agent: Agent[Any] | None = None
        self._rules: dict[str, ToolRules] = {}
        self._workflows: weakref.WeakSet[AgentWorkflow] = weakref.WeakSet()

    async def __aenter__(self) -> AgentRuntime:
        """
        :raises WorkflowError: an agent, tool, server or API cannot be used; says which key of the configuration it is.
        """
        bridge_sdk()
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(workflow.aclose() for workflow in tuple(self._workflows)))
        await self._stack.aclose()

    def workflow(self, llm: LLM | None) -> AgentWorkflow:
        """A workflow for one session.

        :raises WorkflowError: `workflow.context` fails.
        """
        assert self._agent is not None, "the runtime has not been entered"
        settings = self._settings
        context: Any = None
        if settings.context is not None:
            context = load(settings.context, "workflow.context", self._import)()
        workflow = AgentWorkflow(
            self._agent,
            llm,
            rules=self._rules,
            max_steps=settings.max_steps,
            refusal=settings.on_guardrail,
            context=context,
        )
        self._workflows.add(workflow)
        return workflow

    async def warm(self, llm: LLM) -> None:
        """Evaluate instructions and tools now, on a local model; else the first user waits for that.

        Left to the sessions where the application's context object may have a say in the instructions.
        """
        if not llm.capabilities.prefill or not llm.capabilities.local or self._settings.context is not None:
            return
        try:
            await self.workflow(llm).evaluate_ahead()
        except Exception as error:  # instructions may be the application's code; a session that meets it says so
            logger.info("the agent's prompt could not be evaluated ahead", extra={"code": type(error).__name__})

    # ------------------------------------------------------------------------ inside

    async def _open(self) -> None:
        parts: dict[str, Sequence[Tool] | MCPServer] = {}
        servers: list[tuple[str, MCPServer, float]] = []
        client: httpx2.AsyncClient | None = None
        for name, tool in self._settings.tools.items():
            if tool.function is not None:
                parts[name] = [make_tool(name, tool.function, self._import)]
            elif tool.command is not None or tool.url is not None:
                server = make_server(name, tool, offline=self._offline)
                parts[name] = server
                servers.append((f"workflow.tools.{name}", server, tool.connect_timeout_s))
            elif tool.source is not None:
                if client is None:
                    # Not the proxies of the environment: what is on this machine is reached directly.
                    client = await self._stack.enter_async_context(httpx2.AsyncClient(trust_env=not self._offline))
                api = await open_api(name, tool, client, offline=self._offline)
                parts[name] = api.tools(tool.operations)
        self._agent = make_agents(self._settings, parts, self._import)
        known = [server for _, server, _ in servers]
        for agent in reachable(self._agent):
            for server in agent.mcp_servers:
                if not any(server is one for one in known) and not is_connected(server):
                    known.append(server)
                    servers.append((f"the agent '{agent.name}'", server, USERS_SERVER_CONNECT_S))
        await connect(servers, self._stack)
        await self._make_rules(parts)
        # What is wrong with the agents is said now, not in the middle of a call.
        await make_graph(self._agent, ToolDesk(), self._rules, RunContextWrapper(None))

    async def _make_rules(self, parts: dict[str, Sequence[Tool] | MCPServer]) -> None:
        """Rules by tool name: those of a server or an API hold for all its tools, unless one has its own."""
        own: dict[str, ToolRules] = {}
        for name, tool in self._settings.tools.items():
            rules = rules_of(tool)
            if tool.source is None:
                own[name] = rules
                continue
            part = parts[name]
            if isinstance(part, MCPServer):
                try:
                    names = [found.name for found in await part.list_tools()]
                except Exception as error:
                    raise WorkflowError(
                        f"workflow.tools.{name}: the MCP server does not tell its tools: {error}"
                    ) from error
                if missing := [wanted for wanted in tool.only if wanted not in names]:
                    raise WorkflowError(f"workflow.tools.{name}.only: the MCP server has no tool '{missing[0]}'")
            else:
                names = tool_names(part)
            self._rules.update(dict.fromkeys(names, rules))
        self._rules.update(own)
