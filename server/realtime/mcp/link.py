"""One MCP server of a session: connected when it is needed, and anew where the connection broke.

Needs the package `mcp`; whoever imports this module does so in a thread, since it takes long.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mcp import Client
from mcp.shared.exceptions import MCPError

from antiphon.pipeline.config.realtime_mcp import McpKeys
from antiphon.server.realtime.mcp.allowing import Target
from antiphon.server.realtime.mcp.connection import CONNECTION_CLOSED, GONE, Connection, LinkError, in_words
from antiphon.server.realtime.mcp.http import Course, course
from antiphon.server.realtime.protocol import CallError

__all__ = ["FoundTool", "Link", "LinkError", "shortened", "text_of"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
NO_ANSWER = -32001
_NO_SUCH_SESSION = 404


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
    """Everything may be called at any time, and from any task."""

    def __init__(self, target: Target, keys: McpKeys) -> None:
        self._target = target
        self._keys = keys
        self._now: Connection | None = None
        """The one for what is asked next."""
        self._all: set[Connection] = set()
        """Also those that are of no use any more, as long as answers are awaited of them."""
        self._ending: set[asyncio.Task[None]] = set()
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
        self._now = None
        for one in tuple(self._all):
            self._end(one)
        while self._ending:
            await asyncio.wait(self._ending)

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
            if self._now is not None and not self._now.is_open:
                self._retire(self._now)  # it is not even there
            raise LinkError(CallError("protocol_error", f"No answer within {limit_s:g} s.", NO_ANSWER)) from None

    async def _asked(self, ask: Callable[[Client], Awaitable[T]]) -> T:
        connection, of_this = self._connection(), Course()
        connection.asking += 1
        before = course.set(of_this)
        try:
            return await ask(await connection.client())
        except MCPError as error:
            unknown = of_this.refusal == _NO_SUCH_SESSION
            if _is_broken(error) or unknown or of_this.trouble:
                self._retire(connection)
            raise LinkError(in_words(error, of_this), undone=unknown and not of_this.taken) from error
        except LinkError:
            raise
        except Exception as error:  # what a server sends must not break the session
            logger.warning("an MCP server sent what its client does not take", extra={"code": type(error).__name__})
            failure = CallError("protocol_error", "Its answer cannot be read.", CONNECTION_CLOSED)
            raise LinkError(failure) from error
        finally:
            course.reset(before)
            connection.asking -= 1
            if connection is not self._now and not connection.asking:
                self._end(connection)

    def _connection(self) -> Connection:
        if self._closed:
            raise LinkError(GONE)
        if self._now is not None and self._now.is_over:
            self._retire(self._now)
        if self._now is None:
            self._now = Connection(self._target, self._keys)
            self._all.add(self._now)
        return self._now

    def _retire(self, connection: Connection) -> None:
        """What is asked next has another one. What was asked before may still be answered: then it ends."""
        if connection is self._now:
            self._now = None
        if not connection.asking:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        if connection in self._all:
            self._all.discard(connection)
            task = asyncio.create_task(connection.end(), name="mcp-close")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


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
