"""One connection to an MCP server, from its handshake to its end.

Needs the package `mcp`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import cache
from importlib.metadata import version

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import Implementation

from antiphon.pipeline.config.realtime_mcp import McpKeys
from antiphon.server.realtime.mcp.allowing import Target
from antiphon.server.realtime.mcp.http import Course, course, make_client
from antiphon.server.realtime.protocol import CallError

logger = logging.getLogger(__name__)

CLOSE_S = 2.0
"""How long a connection may take to end in order."""
CONNECTION_CLOSED = -32000
MAX_MESSAGE_CHARS = 500
"""Of what a server says of its own errors."""
GONE = CallError("protocol_error", "The session does not have this MCP server any more.", -32600)


class LinkError(Exception):
    """Raised where a server gave nothing; `error` is what clients are told."""

    def __init__(self, error: CallError, *, undone: bool = False) -> None:
        """
        :param undone: the server has done nothing: it does not know us any more.
        """
        super().__init__(error.message)
        self.error = error
        self.undone = undone


class Connection:
    """It is kept by a task of its own: its library wants it to be entered and left by one."""

    def __init__(self, target: Target, keys: McpKeys) -> None:
        self._target = target
        self._keys = keys
        self._leave = asyncio.Event()
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name="mcp-link")
        self.asking = 0
        """Requests that are under way."""

    @property
    def is_open(self) -> bool:
        """The handshake is over."""
        return self._client.done()

    @property
    def is_over(self) -> bool:
        return self._keeper.done()

    async def client(self) -> Client:
        """Waits for the handshake.

        :raises LinkError: nobody is there.
        """
        return await asyncio.shield(self._client)

    async def end(self) -> None:
        """Requests that are under way fail."""
        self._leave.set()
        if not self._client.done():
            self._keeper.cancel()  # there is nothing to be ended in order yet
        _, late = await asyncio.wait({self._keeper}, timeout=CLOSE_S)
        for task in late:
            task.cancel()
            await asyncio.wait({task})
        if not self._client.done():  # its keeper was ended before its first step
            self._client.set_exception(LinkError(GONE))
            self._client.exception()

    async def _keep(self) -> None:
        keys, target, opened, opening = self._keys, self._target, self._client, Course()
        course.set(opening)  # of this task
        try:
            tls = await asyncio.to_thread(trust) if target.url.startswith("https:") else None
            max_bytes = keys.max_answer_kb * 1024
            async with make_client(target, max_bytes=max_bytes, timeout_s=keys.call_timeout_s, tls=tls) as http:
                way = streamable_http_client(target.url, http_client=http, max_sse_event_size=max_bytes)
                async with Client(way, cache=None, client_info=_name()) as client:
                    opened.set_result(client)
                    await self._leave.wait()
        except Exception as error:
            if not opened.done():
                opened.set_exception(LinkError(_why_not(error, opening)))
            else:
                logger.info("the connection to an MCP server broke", extra={"code": type(error).__name__})
        finally:
            if not opened.done():
                opened.set_exception(LinkError(GONE))
            opened.exception()  # whoever waited for it may have gone


def _name() -> Implementation:
    return Implementation(name="antiphon", version=version("antiphon"))


@cache
def trust() -> ssl.SSLContext:
    """The certificates that this machine trusts (and those of SSL_CERT_FILE). Reads files."""
    return ssl.create_default_context()


def in_words(error: MCPError, of_this: Course) -> CallError:
    """
    :param of_this: what happened to its requests.
    """
    code, message = error.error.code, error.error.message[:MAX_MESSAGE_CHARS]
    if of_this.trouble:
        return CallError("protocol_error", f"The MCP server cannot be used: {of_this.trouble}.", CONNECTION_CLOSED)
    if of_this.refusal is not None:
        status = of_this.refusal
        return CallError("http_error", f"The MCP server answered with HTTP status {status}.", status)
    if code == CONNECTION_CLOSED:
        return CallError("protocol_error", "The connection to the MCP server broke.", code)
    return CallError("protocol_error", message, code)


def _why_not(error: BaseException, opening: Course) -> CallError:
    """Why there is no connection."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError) or opening.trouble or opening.refusal is not None:
        return in_words(error if isinstance(error, MCPError) else MCPError(CONNECTION_CLOSED, ""), opening)
    return CallError("protocol_error", f"The MCP server cannot be reached ({type(error).__name__}).", CONNECTION_CLOSED)
