"""Calls of MCP tools as a client sees them: begun in a response, allowed where they must be, done, and remembered.

A call is part of the response that it was begun in, and that response waits for it. One that is cut off does not take
its calls back, since they are on their way to somebody else: what comes of them is told when it comes, and is in the
conversation then.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.conversation import Item, new_id
from antiphon.server.realtime.items import Entry, ItemBook
from antiphon.server.realtime.mcp.toolbox import Toolbox
from antiphon.server.realtime.protocol import (
    ApprovalResponseItem,
    CallError,
    HostedTool,
    ProtocolError,
    ServerEvent,
    Shape,
    server_events,
)
from antiphon.server.realtime.protocol import mcp as wire
from antiphon.server.realtime.responses import Response

logger = logging.getLogger(__name__)

INVALID_ARGUMENTS, REFUSED = -32602, -32600
Tell = Callable[[int, str, str, str], None]
"""Told of a result: the turn, the call's id, the tool's name, the text."""


@dataclass(slots=True, eq=False)
class _Call:
    """One call."""

    item: Item
    tool: HostedTool
    response: Response
    index: int
    """Its place in the response."""
    request_id: str | None = None
    """Of the question whether it may be made."""
    over: asyncio.Future[None] | None = None
    """Done when the response need not wait for it any more."""

    def wire(self, output: str | None = None, error: CallError | None = None) -> dict[str, Any]:
        return wire.call_item(
            self.item.id,
            self.tool.server.label,
            self.tool.name,
            self.item.arguments,
            output=output,
            error=error,
            request_id=self.request_id,
        )

    def settle(self) -> None:
        if self.over is not None and not self.over.done():
            self.over.set_result(None)


class Calls:
    """One per connection."""

    def __init__(
        self, toolbox: Toolbox, book: ItemBook, emit: Callable[[ServerEvent], None], *, most: int, tell: Tell
    ) -> None:
        """:param most: so many at the same time."""
        self._toolbox = toolbox
        self._book = book
        self._emit = emit
        self._most = most
        self._tell = tell
        self._expected: dict[str, tuple[HostedTool, asyncio.Future[None]]] = {}
        self._asked: dict[str, _Call] = {}
        """By the id of the question: those that wait for a yes."""
        self._running: dict[str, asyncio.Task[None]] = {}
        """By the id of the item."""
        self._owed: set[str] = set()
        """Ids of the items of running calls that waited for a yes."""
        self.on_settled: Callable[[], None] = lambda: None
        """Told when a call is over, however it ended."""

    @property
    def owed(self) -> bool:
        """A call that was allowed is being made. Its response may be done: it did not wait for the yes."""
        return bool(self._owed)

    # ------------------------------------------------------------------------ from the answer

    def expect(self, call_id: str, tool: HostedTool) -> asyncio.Future[None]:
        """The model wants to call a tool: :meth:`begin` follows, unless the answer is cut off.

        :returns: done when the answer need not wait for it any more.
        """
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected[call_id] = (tool, over)
        return over

    def expects(self, call_id: str) -> bool:
        return call_id in self._expected

    def forget(self, call_id: str) -> None:
        """The answer is over; what was not begun will not be."""
        self._expected.pop(call_id, None)

    def begin(self, response: Response, call: ToolCall) -> None:
        """It has its place in the response here."""
        tool, over = self._expected.pop(call.id)
        response.calls.add(call.id)
        if response.done:  # nobody is told of it, and nothing will come of it: the conversation has no call
            over.set_result(None)
            return
        item = Item(
            id=new_id("mcp"), kind="function_call", role="assistant", call_id=call.id, name=call.name,
            arguments=call.arguments, turn=response.turn,
        )  # fmt: skip
        arguments = _object(call.arguments)
        asks = tool.needs_approval and arguments is not None
        request_id = new_id("mcpr") if asks else None
        one = _Call(item, tool, response, index=0, request_id=request_id, over=over)
        one.index = response.show({**one.wire(), "arguments": ""}, one.wire())
        self._book.append(Entry(item, Shape(), turn=response.turn, own=one.wire()))
        place = (response.id, item.id, one.index)
        self._emit(server_events.mcp_arguments_delta(*place, call.arguments))
        self._emit(server_events.mcp_arguments_done(*place, call.arguments))
        if arguments is None:
            self._end(one, error=CallError("protocol_error", "The arguments are no JSON object.", INVALID_ARGUMENTS))
        elif asks:
            self._ask(one)
        else:
            self._run(one)

    # ------------------------------------------------------------------------ from the client

    def answer(self, given: ApprovalResponseItem, previous: str | None) -> None:
        """The client's yes or no.

        :raises ProtocolError: nothing was asked under that id, or it was answered before; nothing has changed.
        """
        one = self._asked.get(given.approval_request_id)
        if one is None:
            raise ProtocolError(
                f"No call waits for an answer to '{given.approval_request_id}': there is no such question, or it was "
                "answered.",
                code="approval_request_not_found",
                param="item.approval_request_id",
            )
        item = Item(id=given.id or new_id(), kind="function_call", role="user")
        shown = wire.approval_response_item(item.id, given.approval_request_id, given.approve, given.reason)
        self._book.insert(Entry(item, Shape(), own=shown), previous)
        del self._asked[given.approval_request_id]
        if given.approve:
            return self._run(one)
        why = f"The user did not allow this call{f': {given.reason}' if given.reason else '.'}"
        self._end(one, error=CallError("tool_execution_error", why))

    def deleted(self, item_id: str) -> None:
        """The client has deleted an item: a call that it stands for is given up, or fails where it was the question."""
        if (task := self._running.get(item_id)) is not None:
            task.cancel()
        for request_id, one in tuple(self._asked.items()):
            if item_id in (request_id, one.item.id):
                del self._asked[request_id]
                if one.item.id in self._book:
                    self._end(one, error=CallError("tool_execution_error", "The question was deleted."))

    def close(self) -> None:
        """The session is over."""
        for task in tuple(self._running.values()):
            task.cancel()

    # ------------------------------------------------------------------------ inside

    def _ask(self, one: _Call) -> None:
        assert one.request_id is not None
        self._asked[one.request_id] = one
        shown = wire.approval_request_item(one.request_id, one.tool.server.label, one.tool.name, one.item.arguments)
        index = one.response.show(shown, shown)
        self._book.append(Entry(Item(id=one.request_id, kind="function_call", role="assistant"), Shape(), own=shown))
        one.response.shown(index, shown)
        self._book.done(one.request_id)
        one.settle()

    def _run(self, one: _Call) -> None:
        self._emit(server_events.mcp_call("in_progress", one.item.id, one.index))
        if len(self._running) >= self._most:
            why = f"{self._most} calls are under way, and more are not allowed at a time."
            return self._end(one, error=CallError("protocol_error", why, REFUSED))
        task = asyncio.create_task(self._done(one), name="mcp-call")
        self._running[one.item.id] = task
        if one.request_id is not None:
            self._owed.add(one.item.id)
        task.add_done_callback(lambda _: self._over(one))

    def _over(self, one: _Call) -> None:
        """It is not under way any more."""
        del self._running[one.item.id]
        self._owed.discard(one.item.id)
        one.settle()
        self.on_settled()

    async def _done(self, one: _Call) -> None:
        link = self._toolbox.link_of(one.tool.server)
        if link is None:
            why = "The session does not have this MCP server any more."
            return self._end(one, error=CallError("protocol_error", why, REFUSED))
        try:
            output = await link.call(one.tool.name, _object(one.item.arguments) or {})
        except Exception as error:
            found = getattr(error, "error", None)
            if not isinstance(found, CallError):
                logger.exception("a call of an MCP tool broke")
                found = CallError("protocol_error", "The server could not make this call.", REFUSED)
            return self._end(one, error=found)
        self._end(one, output=output)

    def _end(self, one: _Call, *, output: str | None = None, error: CallError | None = None) -> None:
        """Something came of it."""
        text = output if error is None else f"This call failed: {error.message}"
        shown = one.wire(output, error)
        if one.item.id in self._book:
            result = Item(
                id=new_id(), kind="function_call_output", call_id=one.item.call_id, name=one.item.name,
                text=text or "", turn=one.item.turn,
            )  # fmt: skip
            self._book.show(one.item.id, shown, text=text or "")
            self._book.remember_call(replace(one.item, text=""), result)
        self._emit(server_events.mcp_call("completed" if error is None else "failed", one.item.id, one.index))
        one.response.shown(one.index, shown)
        self._book.done(one.item.id)
        self._tell(one.item.turn, one.item.call_id, one.item.name, text or "")
        one.settle()


def _object(arguments: str) -> dict[str, Any] | None:
    """None: it is no JSON object."""
    try:
        found = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
