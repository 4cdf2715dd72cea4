"""MCP servers: those that a configuration names, and those of a user's agents. Connected at start, closed at the end.

A server that is a program of its own (`command`) is started with the harmless part of the environment and the variables
that the configuration names. What such a program connects to is its own affair: `offline: true` cannot see it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

from agents.mcp import (
    MCPServer,
    MCPServerManager,
    MCPServerStdio,
    MCPServerStreamableHttp,
    create_static_tool_filter,
)

from antiphon.engines.net import is_loopback
from antiphon.pipeline.agent.rules import BACKGROUND_TIMEOUT_S, FOREGROUND_TIMEOUT_S
from antiphon.pipeline.agent.secrets import secret, secret_headers
from antiphon.pipeline.config.tools import ToolConfig
from antiphon.pipeline.errors import WorkflowError

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0


def make_server(name: str, tool: ToolConfig, *, offline: bool) -> MCPServer:
    """The server that a configuration names, not connected yet.

    :raises WorkflowError: a secret is missing; the address is not on this machine although nothing may leave it.
    """
    place = f"workflow.tools.{name}"
    longest_s = tool.timeout_s or (BACKGROUND_TIMEOUT_S if tool.background else FOREGROUND_TIMEOUT_S)
    common: dict[str, Any] = {
        "cache_tools_list": True,  # the prompt stays the same from turn to turn
        "name": name,
        "client_session_timeout_seconds": max(longest_s, tool.connect_timeout_s),
        "tool_filter": create_static_tool_filter(allowed_tool_names=list(tool.only)) if tool.only else None,
    }
    if tool.command is not None:
        parameters: dict[str, Any] = {"command": tool.command, "args": list(tool.args)}
        if tool.env:
            parameters["env"] = {variable: secret(variable, f"{place}.env") for variable in tool.env}
        if tool.cwd is not None:
            parameters["cwd"] = str(tool.cwd)
        return MCPServerStdio(params=cast(Any, parameters), **common)
    assert tool.url is not None
    if offline and not is_loopback(tool.url):
        raise WorkflowError(
            f"{place}.url: '{tool.url}' is not on this machine, and session.offline is true",
            hint="set `session: {offline: false}` to allow it",
        )
    headers = secret_headers(tool.headers_env, place)
    if tool.auth_env is not None:
        headers["Authorization"] = f"Bearer {secret(tool.auth_env, f'{place}.auth_env')}"
    return MCPServerStreamableHttp(params={"url": tool.url, "headers": headers}, **common)


async def connect(servers: Sequence[tuple[str, MCPServer, float]], stack: AsyncExitStack) -> None:
    """Connect servers side by side; the stack closes them.

    :param servers: what to call it in messages; the server; how long it may take to connect, in seconds.
    :raises WorkflowError: one does not start; those that did are closed again.
    """
    for _, server, timeout_s in servers:
        manager = MCPServerManager(
            [server],
            connect_timeout_seconds=timeout_s,
            cleanup_timeout_seconds=CLOSE_TIMEOUT_S,
            connect_in_parallel=True,  # a task of its own for each: it is entered and left there
        )
        await stack.enter_async_context(manager)
        if (error := manager.errors.get(server)) is not None:
            place = next(place for place, one, _ in servers if one is server)
            raise WorkflowError(
                f"{place}: the MCP server does not start: {_reason(error, timeout_s)}",
                hint="run its command by hand, or open its address, to see what it says",
            ) from error


def _reason(error: BaseException, timeout_s: float) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def is_connected(server: MCPServer) -> bool:
    """Whether the user has connected it already."""
    return getattr(server, "session", None) is not None
