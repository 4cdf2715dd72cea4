"""A connection to an MCP server of the kind that keeps sessions: what one request of it does to the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest

from antiphon.pipeline.config.realtime_mcp import McpKeys
from antiphon.server.realtime.mcp import http
from antiphon.server.realtime.mcp.allowing import Target
from antiphon.server.realtime.mcp.link import Link, LinkError

URL = "http://127.0.0.1:9/mcp"
TARGET = Target(URL, URL)
SCHEMA = {"type": "object", "properties": {}}
JSON = {"content-type": "application/json"}
ENDS_EARLY = b"id: 1\nretry: 1\ndata:\n\n"
EVENTS = {"content-type": "text/event-stream"}


class Body(httpx2.AsyncByteStream):
    """An answer that comes in pieces, and perhaps not to its end."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Desk:
    """The server."""

    def __init__(self) -> None:
        self.sessions = 0
        self.called: list[str] = []
        self.answers: dict[str, Callable[[], Awaitable[httpx2.Response]]] = {}
        """What a tool is answered with, where that is no result."""
        self.pages: list[list[dict[str, Any]]] = []
        """Of its list of tools."""
        self.forgotten = False
        """It knows nothing of its first session any more."""
        self.on_stream = 405
        """The status with which a stream is refused; 200: it is given, and ends early."""
        self.streams = 0
        self.going_on = asyncio.Event()
        """Lets `slow` come to its end."""
        self.waiting = asyncio.Event()

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            self.streams += 1
            if self.on_stream == 200:
                return httpx2.Response(200, headers=EVENTS, stream=Body(ENDS_EARLY))
            return httpx2.Response(self.on_stream)
        if request.method == "DELETE":
            return httpx2.Response(200)
        message = json.loads(await request.aread())
        if self.forgotten and request.headers.get("mcp-session-id") == "session-1":
            await asyncio.sleep(0.1 if (message.get("params") or {}).get("name") == "two" else 0.0)
            return httpx2.Response(404)
        match message["method"]:
            case "initialize":
                self.sessions += 1
                result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
                result["serverInfo"] = {"name": "desk", "version": "1"}
                return self.result(message, result, {"mcp-session-id": f"session-{self.sessions}"})
            case "tools/list" if self.pages:
                page = int((message.get("params") or {}).get("cursor", 0))
                more = {"nextCursor": str(page + 1)} if page + 1 < len(self.pages) else {}
                return self.result(message, {"tools": self.pages[page], **more})
            case "tools/list":
                return self.result(message, {"tools": [{"name": "any", "inputSchema": SCHEMA}]})
            case "tools/call":
                name = message["params"]["name"]
                self.called.append(name)
                if name in self.answers:
                    return await self.answers[name]()
                if name == "slow":
                    self.waiting.set()
                    await self.going_on.wait()
                return self.result(message, {"content": [{"type": "text", "text": f"{name} is done"}]})
            case method if "id" in message:
                error = {"code": -32601, "message": f"no {method}"}
                return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "error": error})
        return httpx2.Response(202)

    @staticmethod
    def result(message: Any, result: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
        return httpx2.Response(200, headers=headers, json={"jsonrpc": "2.0", "id": message["id"], "result": result})

    def gives(self, name: str, *answers: httpx2.Response | Exception) -> None:
        """In turn; the last one from then on. A response is made anew each time from what it was made of."""
        left = list(answers)

        async def given() -> httpx2.Response:
            one = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(one, Exception):
                raise one
            return one

        self.answers[name] = given


def with_desk(monkeypatch: pytest.MonkeyPatch, talk: Callable[[Desk, Link], Awaitable[None]], **keys: Any) -> Desk:
    async def main() -> Desk:
        desk = Desk()
        monkeypatch.setattr(http.httpx2, "AsyncHTTPTransport", lambda **_: httpx2.MockTransport(desk.answer))
        link = Link(TARGET, McpKeys(**keys))
        try:
            async with asyncio.timeout(20):
                await talk(desk, link)
        finally:
            await link.close()
        return desk

    return asyncio.run(main())


def test_a_call_whose_answer_breaks_off_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tool has run; that the server knows nothing of the stream by now (404) does not mean that it has not."""

    async def talk(desk: Desk, link: Link) -> None:
        desk.on_stream = 404
        desk.gives("pay", httpx2.Response(200, headers=EVENTS, stream=Body(ENDS_EARLY)))
        with pytest.raises(LinkError) as caught:
            await link.call("pay", {})
        assert caught.value.error.type == "protocol_error" and "broke" in caught.value.error.message

    assert with_desk(monkeypatch, talk).called == ["pay"]


def test_a_stream_that_always_ends_early_is_not_asked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(desk: Desk, link: Link) -> None:
        desk.on_stream = 200
        desk.gives("pay", httpx2.Response(200, headers=EVENTS, stream=Body(ENDS_EARLY)))
        with pytest.raises(LinkError, match="breaks off again and again"):
            await link.call("pay", {})

    desk = with_desk(monkeypatch, talk)
    assert desk.called == ["pay"] and desk.streams <= 2 * http.MAX_STREAMS, "those of the call, and those of nobody's"


def test_a_call_that_was_refused_with_404_is_made_in_a_new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(desk: Desk, link: Link) -> None:
        await link.tools()
        result = httpx2.Response(200, headers=EVENTS, stream=Body())
        desk.gives("pay", httpx2.Response(404), result)
        with pytest.raises(LinkError):
            await link.call("pay", {})
        assert desk.sessions == 2

    assert with_desk(monkeypatch, talk).called == ["pay", "pay"]


FAILURES: list[tuple[httpx2.Response | Exception, str]] = [
    (httpx2.ConnectError("no"), "cannot be reached (ConnectError)"),
    (httpx2.ReadTimeout("no"), "did not answer (ReadTimeout)"),
    (httpx2.Response(307, headers={"location": "/admin"}), "an address that is not allowed"),
    (httpx2.Response(307, headers={"location": "http://a:b"}), "no address"),
    (httpx2.Response(200, headers=JSON, stream=Body(b"x" * 5000)), "longer than 4096 bytes"),
    (httpx2.Response(200, headers=JSON, stream=Body(b"{", httpx2.ReadError("no"))), "broke off (ReadError)"),
    (httpx2.Response(500), "HTTP status 500"),
]


@pytest.mark.parametrize(("answer", "message"), FAILURES)
def test_a_request_that_fails_takes_no_other_call_with_it(
    monkeypatch: pytest.MonkeyPatch, answer: httpx2.Response | Exception, message: str
) -> None:
    async def talk(desk: Desk, link: Link) -> None:
        desk.gives("bad", answer)
        slow = asyncio.create_task(link.call("slow", {}))
        await desk.waiting.wait()
        with pytest.raises(LinkError) as caught:
            await link.call("bad", {})
        assert message in caught.value.error.message
        desk.going_on.set()
        assert await slow == "slow is done"

    desk = with_desk(monkeypatch, talk, max_answer_kb=4)
    assert desk.called == ["slow", "bad"] and desk.sessions == 1


def test_after_a_server_could_not_be_reached_it_is_met_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have forgotten the session, and not every server says so with 404."""

    async def talk(desk: Desk, link: Link) -> None:
        desk.gives("bad", httpx2.ConnectError("no"))
        with pytest.raises(LinkError):
            await link.call("bad", {})
        assert await link.call("good", {}) == "good is done"

    assert with_desk(monkeypatch, talk).sessions == 2


def test_a_late_failure_does_not_end_the_connection_that_came_after(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(desk: Desk, link: Link) -> None:
        async def late() -> httpx2.Response:
            await desk.going_on.wait()
            return httpx2.Response(404)

        desk.answers["late"] = late
        desk.gives("bad", httpx2.ConnectError("no"))
        slow = asyncio.create_task(link.call("slow", {}))
        behind = asyncio.create_task(link.call("late", {}))
        await desk.waiting.wait()
        with pytest.raises(LinkError):
            await link.call("bad", {})
        assert await link.call("good", {}) == "good is done" and desk.sessions == 2
        desk.going_on.set()
        assert await slow == "slow is done"
        with pytest.raises(LinkError):
            await behind
        assert await link.call("good", {}) == "good is done" and desk.sessions == 3

    with_desk(monkeypatch, talk)


def test_two_calls_of_a_session_that_the_server_has_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are made anew: that one of them meets a stranger does not break the other off."""

    async def talk(desk: Desk, link: Link) -> None:
        await link.tools()
        desk.forgotten = True
        assert await asyncio.gather(link.call("one", {}), link.call("two", {})) == ["one is done", "two is done"]

    assert sorted(with_desk(monkeypatch, talk).called) == ["one", "two"]


@pytest.mark.parametrize(("size", "max_tools", "taken"), [(1500, 64, 2), (10, 3, 3), (10, 64, 6)])
def test_a_list_has_a_bound_however_many_pages_it_has(
    monkeypatch: pytest.MonkeyPatch, size: int, max_tools: int, taken: int
) -> None:
    async def talk(desk: Desk, link: Link) -> None:
        tools = [{"name": f"t{at}", "description": "x" * size, "inputSchema": SCHEMA} for at in range(6)]
        desk.pages = [tools[at : at + 2] for at in (0, 2, 4)]
        found = await link.tools()
        assert [tool.name for tool in found] == [f"t{at}" for at in range(taken)]

    with_desk(monkeypatch, talk, max_answer_kb=4, max_tools=max_tools)


def test_a_connection_that_is_given_up_before_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(desk: Desk, link: Link) -> None:
        connection = link._connection()
        await link.close()
        with pytest.raises(LinkError, match="any more"):
            await connection.client()
        with pytest.raises(LinkError, match="any more"):
            await link.call("good", {})

    assert with_desk(monkeypatch, talk).called == []
