"""The MCP servers of a session, and what they offer to the model."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from antiphon.engines.protocols import ToolSpec
from antiphon.pipeline.conversation import Item, new_id
from antiphon.server.realtime.items import Entry, ItemBook
from antiphon.server.realtime.mcp.allowing import Allowing, too_many
from antiphon.server.realtime.protocol import (
    CallError,
    HostedTool,
    McpChoice,
    McpServer,
    NamedTool,
    ProtocolError,
    ResponseConfig,
    ServerEvent,
    Shape,
    server_events,
)
from antiphon.server.realtime.protocol import mcp as wire

if TYPE_CHECKING:
    from antiphon.server.realtime.mcp.link import FoundTool, Link

logger = logging.getLogger(__name__)

SIGN_S = 5.0
"""Whoever waits for the model sees so often that something is at work."""
MAX_NAME_CHARS = 64
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(slots=True, eq=False)
class _Known:
    """One server of the session."""

    server: McpServer
    of_session: bool
    """False: only a response has named it."""
    tools: tuple[FoundTool, ...] = ()
    listing: asyncio.Task[None] | None = None
    item_id: str = ""
    """Of its list."""
    listed: bool = False
    link: Link | None = None


class Toolbox:
    """One per connection. A server is looked up by its label and how it is reached.

    Each has one list among the items: the next takes its place, and it goes with the server. So lists, which may be
    long, are no more than servers.
    """

    def __init__(self, allowing: Callable[[], Allowing], book: ItemBook, emit: Callable[[ServerEvent], None]) -> None:
        """:param allowing: what may be reached, as it is configured now."""
        self._allowing = allowing
        self._book = book
        self._emit = emit
        self._known: dict[tuple[Any, ...], _Known] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    # ------------------------------------------------------------------------ which servers

    def use(self, servers: Sequence[McpServer]) -> None:
        """From now on the session has these, and no others. Those that are new, or did not answer, are asked."""
        if self._closed:
            return
        wanted = {server.way for server in servers}
        room = self._allowing().keys.max_servers - len(wanted)
        for way, known in tuple(self._known.items()):
            if way not in wanted and (known.of_session or room <= 0):
                self._drop(way)
            elif way not in wanted:
                room -= 1  # of a response, which may be under way
        for server in servers:
            self._add(server, of_session=True)

    def use_once(self, servers: Sequence[McpServer]) -> None:
        """A response has these. They stay known as long as there is room.

        :raises ProtocolError: one may not be reached, they are too many, or the session is over; nothing has changed.
        """
        if self._closed:
            raise ProtocolError("The session is about to end.", code="session_closed", type="server_error")
        allowing = self._allowing()
        allowing.check_all(servers, "response")
        kept = {way for way, known in self._known.items() if known.of_session} | {server.way for server in servers}
        if len(kept) > allowing.keys.max_servers:
            raise too_many(allowing.keys.max_servers, "response")
        if len(kept | self._known.keys()) > allowing.keys.max_servers:
            for way in self._known.keys() - kept:
                self._drop(way)
        for server in servers:
            self._add(server, of_session=False)

    async def ready(self, servers: Sequence[McpServer]) -> AsyncIterator[str]:
        """Wait until it is known what they have, or that it will not be known. Yields nothing but signs of life."""
        listings = [known.listing for server in servers if (known := self._known.get(server.way)) and known.listing]
        async for sign in until(listings):
            yield sign

    # ------------------------------------------------------------------------ what they offer

    def offered(self, config: ResponseConfig) -> ResponseConfig:
        """The same with the tools of its servers, as far as they are known, among its tools."""
        if not config.mcp:
            return config
        hosted: dict[str, HostedTool] = {}
        taken = {tool.name for tool in config.tools}
        for server in config.mcp:
            known = self._known.get(server.way)
            for tool in known.tools if known is not None and server.direct else ():
                if server.allowed.has(tool.name, tool.read_only):
                    name = _free_name(tool.name, server.label, taken)
                    taken.add(name)
                    spec = ToolSpec(name, tool.description or server.description, tool.schema)
                    hosted[name] = HostedTool(spec, server, tool.name, tool.read_only)
        tools = (*config.tools, *(one.spec for one in hosted.values()))
        config = replace(config, tools=tools, hosted=hosted)
        return _chosen(config, config.tool_choice) if isinstance(config.tool_choice, McpChoice) else config

    def link_of(self, server: McpServer) -> Link | None:
        """The way to a server; None: the session does not have it any more."""
        known = self._known.get(server.way)
        return None if known is None else known.link

    def close(self) -> None:
        """The session is over: from now on it has no servers, whoever asks for some."""
        self._closed = True
        for way in tuple(self._known):
            self._drop(way, told=False)

    async def closed(self) -> None:
        """Wait until all connections have ended."""
        while self._closing:
            await asyncio.wait(self._closing)

    # ------------------------------------------------------------------------ inside

    def _add(self, server: McpServer, *, of_session: bool) -> None:
        known = self._known.get(server.way)
        if known is None:
            known = self._known[server.way] = _Known(server, of_session)
        else:
            known.of_session = known.of_session or of_session
            as_before = known.server.allowed == server.allowed or not of_session
            if as_before and (known.listing is not None or known.listed):
                return
            known.server = server
            if known.listing is not None:
                return  # what it is asked for is told as it is selected by then
        self._forget_list(known)
        item = Item(id=new_id("mcpl"), kind="function_call", role="assistant")
        self._book.append(Entry(item, Shape(), own=wire.list_item(item.id, server.label)))
        self._emit(server_events.mcp_listing("in_progress", item.id))
        known.item_id = item.id
        if known.listed:
            return self._tell(known, None)
        known.listing = asyncio.create_task(self._list(known), name="mcp-list")

    async def _list(self, known: _Known) -> None:
        problem = None
        try:
            if len(self._closing) > self._allowing().keys.max_servers:
                await asyncio.wait(self._closing)  # whoever changes servers all the time has no more of them for it
            link = await self._linked(known)
            known.tools = await link.tools()
            known.listed = True
        except ProtocolError as error:
            problem = error
        except Exception as error:
            found: CallError | None = getattr(error, "error", None)
            if not isinstance(found, CallError):
                logger.exception("the tools of an MCP server could not be listed")
            why = found.message if isinstance(found, CallError) else "The server could not ask for them."
            problem = ProtocolError(
                f"The tools of the MCP server '{known.server.label}' could not be listed: {why}",
                code="mcp_list_tools_failed",
                type="server_error",
            )
        known.listing = None
        self._tell(known, problem)

    async def _linked(self, known: _Known) -> Link:
        if known.link is None:
            target = self._allowing().target(known.server)
            try:
                module = await asyncio.to_thread(importlib.import_module, "antiphon.server.realtime.mcp.link")
            except ImportError as error:
                raise ProtocolError(
                    f"MCP tools need a package that is missing ({error.name}): pip install 'antiphon[agents]'",
                    code="mcp_unavailable",
                    type="server_error",
                ) from error
            known.link = module.Link(target, self._allowing().keys)
        return known.link

    def _tell(self, known: _Known, problem: ProtocolError | None) -> None:
        item_id = known.item_id
        if problem is None:
            shown = tuple(
                wire.tool_to_wire(tool.name, tool.description, tool.schema, tool.annotations)
                for tool in known.tools
                if known.server.allowed.has(tool.name, tool.read_only)
            )
            listed = wire.list_item(item_id, known.server.label, shown)
            self._book.show(item_id, listed, text="")  # its text is no part of the conversation
        self._emit(server_events.mcp_listing("completed" if problem is None else "failed", item_id))
        self._book.done(item_id)
        if problem is not None:
            logger.info("an MCP server of a client gave no tools", extra={"code": problem.code})
            self._emit(server_events.error(problem))

    def _forget_list(self, known: _Known) -> None:
        if known.item_id in self._book:
            self._book.delete(known.item_id)

    def _drop(self, way: tuple[Any, ...], *, told: bool = True) -> None:
        known = self._known.pop(way)
        if known.listing is not None:
            known.listing.cancel()
            if told:
                self._emit(server_events.mcp_listing("failed", known.item_id))
                self._book.done(known.item_id)
        if told:
            self._forget_list(known)
        if known.link is not None:
            task = asyncio.create_task(known.link.close(), name="mcp-close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


async def until(work: Sequence[Awaitable[Any]]) -> AsyncIterator[str]:
    """Wait for all of it, whatever becomes of it. Yields an empty text now and then: a sign of life."""
    left = {asyncio.ensure_future(one) for one in work}
    while left:
        _, left = await asyncio.wait(left, timeout=SIGN_S)
        if left:
            yield ""


def _free_name(name: str, label: str, taken: set[str]) -> str:
    """How the model calls a tool: as its server does, where that is a name for models and no other tool has it."""
    plain = _NO_NAME.sub("_", name)[:MAX_NAME_CHARS]
    if plain not in taken:
        return plain
    long = _NO_NAME.sub("_", f"{label}_{name}")[: MAX_NAME_CHARS - 4]
    return next(one for number in range(1, 10_000) if (one := long if number == 1 else f"{long}_{number}") not in taken)


def _chosen(config: ResponseConfig, choice: McpChoice) -> ResponseConfig:
    """What must be called, by the name that the model knows. A server that is not there rules nothing."""
    of_server = {name: tool for name, tool in config.hosted.items() if tool.server.label == choice.label}
    if choice.name is not None:
        named = next((name for name, tool in of_server.items() if tool.name == choice.name), None)
        return replace(config, tool_choice="auto" if named is None else NamedTool(named))
    if not of_server:
        return replace(config, tool_choice="auto")
    specs = tuple(tool.spec for tool in of_server.values())
    return replace(config, tools=specs, hosted=of_server, tool_choice="required")
