"""One MCP server of a session: connected when it is needed, and anew where the connection broke.

Needs the package `mcp`; whoever imports this module does so in a thread, since it takes long.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, TypeVar

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types import Implementation

from antiphon.pipeline.config.realtime_mcp import McpKeys
from antiphon.server.realtime.mcp.allowing import Target
from antiphon.server.realtime.mcp.http import Course, course, make_client
from antiphon.server.realtime.protocol import CallError

logger = logging.getLogger(__name__)

T = TypeVar("T")
CLOSE_S = 2.0
"""How long a connection may take to end in order."""
CONNECTION_CLOSED, NO_ANSWER = -32000, -32001
MAX_MESSAGE_CHARS = 500
"""Of what a server says of its own errors."""
_NO_SUCH_SESSION = 404
_GONE = CallError("protocol_error", "The session does not have this MCP server any more.", -32600)


class LinkError(Exception):
    """Raised where a server gave nothing; `error` is what clients are told."""

    def __init__(self, error: CallError, *, undone: bool = False) -> None:
        """
        :param undone: the server has done nothing: it does not know us any more.
        """
        super().__init__(error.message)
        self.error = error
        self.undone = undone


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool as its server describes it."""

    name: str
    description: str
    schema: Mapping[str, Any]
    annotations: Mapping[str, Any] = field(default_factory=dict)

    @property
    def read_only(self) -> bool:
        return self.annotations.get("readOnlyHint") is True

    @property
    def size(self) -> int:
        """About so many characters of its server's answer."""
        described = json.dumps([self.schema, self.annotations], ensure_ascii=False, separators=(",", ":"))
        return len(self.name) + len(self.description) + len(described)


class Link:
    """Everything may be called at any time, and from any task; a connection belongs to a task of its own."""

    def __init__(self, target: Target, keys: McpKeys) -> None:
        self._target = target
        self._keys = keys
        self._keeper: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None
        self._leave = asyncio.Event()
        self._asking = 0
        """Requests that are under way."""
        self._closed = False

    async def tools(self) -> tuple[FoundTool, ...]:
        """What the server has, in its order, at most `max_tools`, and together at most `max_answer_kb`.

        :raises LinkError: it says nothing, or nothing that can be used.
        """
        return await self._within(self._keys.connect_timeout_s, self._list)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What a tool gives, as text, at most `max_output_chars` of it. A call is made once.

        :raises LinkError: it gave nothing, or an error.
        """

        async def ask(client: Client) -> Any:
            return await client.call_tool(name, dict(arguments))

        result = await self._within(self._keys.call_timeout_s, ask)
        text = shortened(text_of(result), self._keys.max_output_chars)
        if result.is_error:
            raise LinkError(CallError("tool_execution_error", text or "The tool failed, and does not say why."))
        return text

    async def close(self) -> None:
        """Calls that are under way fail."""
        self._closed = True
        await self._hang_up()

    # ------------------------------------------------------------------------ inside

    async def _list(self, client: Client) -> tuple[FoundTool, ...]:
        found: list[FoundTool] = []
        room, most = 1024 * self._keys.max_answer_kb, self._keys.max_tools
        cursor: str | None = None
        while True:
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                annotations = tool.annotations.model_dump(by_alias=True, exclude_none=True) if tool.annotations else {}
                one = FoundTool(tool.name, tool.description or "", tool.input_schema, annotations)
                room -= one.size
                if room < 0 or len(found) == most:
                    logger.warning("an MCP server has more tools than are taken", extra={"taken": len(found)})
                    return tuple(found)
                found.append(one)
            cursor = page.next_cursor
            if cursor is None or len(found) == most:
                return tuple(found)

    async def _within(self, limit_s: float, ask: Callable[[Client], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(limit_s):
                try:
                    return await self._asked(ask)
                except LinkError as failed:
                    if not failed.undone:
                        raise
                return await self._asked(ask)  # the server was begun anew, and knows nothing of it: not done twice
        except TimeoutError:
            if self._client is not None and not self._client.done():
                await self._hang_up(self._client)  # it is not even there
            raise LinkError(CallError("protocol_error", f"No answer within {limit_s:g} s.", NO_ANSWER)) from None

    async def _asked(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        opened = self._opened()
        client = await asyncio.shield(opened)
        of_this = Course()
        before = course.set(of_this)
        self._asking += 1
        try:
            return await ask(client)
        except MCPError as error:
            unknown = of_this.refusal == _NO_SUCH_SESSION
            if _is_broken(error) or unknown or (of_this.trouble and self._asking == 1):
                await self._hang_up(opened)  # the next call begins anew
            raise LinkError(_in_words(error, of_this), undone=unknown and not of_this.taken) from error
        except Exception as error:  # what a server sends must not break the session
            logger.warning("an MCP server sent what its client does not take", extra={"code": type(error).__name__})
            failure = CallError("protocol_error", "Its answer cannot be read.", CONNECTION_CLOSED)
            raise LinkError(failure) from error
        finally:
            self._asking -= 1
            course.reset(before)

    def _opened(self) -> asyncio.Future[Client]:
        if self._closed:
            raise LinkError(_GONE)
        if self._client is None or (self._keeper is not None and self._keeper.done()):
            self._client = asyncio.get_running_loop().create_future()
            self._leave = asyncio.Event()
            keeping = self._keep(self._client, self._leave)
            self._keeper = asyncio.create_task(keeping, name="mcp-link")
        return self._client

    async def _keep(self, opened: asyncio.Future[Client], leave: asyncio.Event) -> None:
        """Holds the connection: it is entered and left by one task, as its library needs it."""
        keys, target, opening = self._keys, self._target, Course()
        course.set(opening)  # of this task
        try:
            tls = await asyncio.to_thread(trust) if target.url.startswith("https:") else None
            max_bytes = keys.max_answer_kb * 1024
            async with make_client(target, max_bytes=max_bytes, timeout_s=keys.call_timeout_s, tls=tls) as http:
                way = streamable_http_client(target.url, http_client=http, max_sse_event_size=max_bytes)
                async with Client(way, cache=None, client_info=_name()) as client:
                    opened.set_result(client)
                    await leave.wait()
        except Exception as error:
            if not opened.done():
                opened.set_exception(LinkError(_why_not(error, opening)))
            else:
                logger.info("the connection to an MCP server broke", extra={"code": type(error).__name__})
        finally:
            if not opened.done():
                opened.set_exception(LinkError(_GONE))
            opened.exception()  # whoever waited for it may have gone

    async def _hang_up(self, failed: asyncio.Future[Client] | None = None) -> None:
        """
        :param failed: the connection that is of no use any more; there may be another one by now. None: any.
        """
        keeper, client = self._keeper, self._client
        if failed is not None and failed is not client:
            return
        self._keeper = self._client = None
        self._leave.set()
        if keeper is None:
            return
        if client is not None and not client.done():
            keeper.cancel()  # there is nothing to be ended in order yet
        _, late = await asyncio.wait({keeper}, timeout=CLOSE_S)
        for task in late:
            task.cancel()
            await asyncio.wait({task})


def _name() -> Implementation:
    return Implementation(name="antiphon", version=version("antiphon"))


@cache
def trust() -> ssl.SSLContext:
    """The certificates that this machine trusts (and those of SSL_CERT_FILE). Reads files."""
    return ssl.create_default_context()


def text_of(result: Any) -> str:
    """What a tool gave, as text; what is none is named."""
    parts = [_part(content) for content in result.content]
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _part(content: Any) -> str:
    if content.type == "text":
        return str(content.text)
    if content.type == "resource" and hasattr(content.resource, "text"):
        return str(content.resource.text)
    if content.type == "resource_link":
        return str(content.uri)
    return f"({content.type}: no text)"


def shortened(text: str, most: int) -> str:
    """At most so many characters, and a word on what is missing."""
    return text if len(text) <= most else f"{text[:most]}\n({len(text) - most} more characters are cut off)"


def _is_broken(error: MCPError) -> bool:
    """Whether the connection is of no use any more; else one request of it failed."""
    return error.error.code == CONNECTION_CLOSED and error.error.message == "Connection closed"


def _in_words(error: MCPError, course: Course) -> CallError:
    code, message = error.error.code, error.error.message[:MAX_MESSAGE_CHARS]
    if course.trouble:
        return CallError("protocol_error", f"The MCP server cannot be used: {course.trouble}.", CONNECTION_CLOSED)
    if course.refusal is not None:
        return CallError("http_error", f"The MCP server answered with HTTP status {course.refusal}.", course.refusal)
    if code == CONNECTION_CLOSED:
        return CallError("protocol_error", "The connection to the MCP server broke.", code)
    return CallError("protocol_error", message, code)


def _why_not(error: BaseException, opening: Course) -> CallError:
    """Why there is no connection."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError) or opening.trouble or opening.refusal is not None:
        return _in_words(error if isinstance(error, MCPError) else MCPError(CONNECTION_CLOSED, ""), opening)
    return CallError("protocol_error", f"The MCP server cannot be reached ({type(error).__name__}).", CONNECTION_CLOSED)
