"""MCP servers on a socket of this machine, inside the test's own event loop, and Realtime clients that use them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.types import ToolAnnotations
from network_clock import run_networked, until
from realtime_client import RealtimeClient, config
from realtime_schema import validate_all

from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Reply
from antiphon.pipeline.config import Config
from antiphon.server.access.principal import ANYONE, Principal
from antiphon.server.peer import Peer
from antiphon.server.realtime.socket import RealtimeSocket
from antiphon.server.service import Service

LONG = "x" * 200_000
TASKS = {"mcp-link", "mcp-list", "mcp-call", "mcp-close"}
"""What runs for a session that has MCP servers."""


class Notes:
    """What the tools of a test do, and what its server was sent."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path, headers."""
        self.going_on = asyncio.Event()
        """Lets `wait` come to its end."""
        self.waiting = asyncio.Event()
        self.given_up = False
        self.redirect: str | None = None
        """Where each request is sent on to."""
        self.status: int | None = None
        """With which each request is refused."""

    @contextmanager
    def quiet_logs(self) -> Any:
        """The package's server sets up the log of the whole process when it is made."""
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        yield
        root.handlers[:], root.level = handlers, level

    def server(self) -> MCPServer:
        with self.quiet_logs():
            made = MCPServer("notes")
        made.tool()(self.add_note)
        made.tool(annotations=ToolAnnotations(readOnlyHint=True))(self.read_notes)
        made.tool()(self.wait)
        made.tool()(self.fail)
        made.tool()(self.long)
        return made

    def add_note(self, text: str) -> str:
        """Write a note down."""
        self.written.append(text)
        return f"Note {len(self.written)} is written."

    def read_notes(self) -> str:
        """Read all notes."""
        return "; ".join(self.written) or "There are no notes."

    async def wait(self) -> str:
        """Take as long as it takes."""
        self.waiting.set()
        try:
            await self.going_on.wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise
        return "That took long."

    def fail(self) -> str:
        """Never works."""
        raise ValueError("out of ink")

    def long(self) -> str:
        """Has much to say."""
        return LONG


def free_port() -> int:
    """For a server that is to come, and go, while a configuration names it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def mcp_server(notes: Notes, port: int = 0) -> AsyncIterator[str]:
    """Its address. It is ended with the context."""
    app: Any = notes.server().streamable_http_app()

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        notes.requests.append((scope["method"], scope["path"], headers))
        status = 307 if notes.redirect is not None else notes.status
        if status is None:
            return await app(scope, receive, send)
        location = [(b"location", (notes.redirect or "").encode())]
        await send({"type": "http.response.start", "status": status, "headers": location})
        await send({"type": "http.response.body", "body": b""})

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(recording, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        notes.going_on.set()
        server.should_exit = True
        await serving
        listener.close()


def allowing(url: str, **keys: Any) -> dict[str, Any]:
    """The section `server`."""
    return {"realtime": {"mcp": {"allow": [url], **keys}}}


def hosted(url: str | None = None, **fields: Any) -> dict[str, Any]:
    """A tool of the type `mcp`, whose calls need no yes."""
    named = {} if url is None else {"server_url": url}
    return {"type": "mcp", "server_label": "notes", "require_approval": "never", **named, **fields}


def calling(name: str, arguments: str = "{}", text: str = "") -> Reply:
    """The model calls a tool."""
    return Reply((text,) if text else (), tool_calls=[ToolCall("call_0", name, arguments)])


def talk_with_tools(
    talk: Callable[[RealtimeClient, Notes, str], Awaitable[None]],
    *replies: Reply,
    given: Callable[[str], Config] | None = None,
    principal: Principal = ANYONE,
    run: Callable[[Coroutine[Any, Any, Any]], Any] = run_networked,
    **keys: Any,
) -> tuple[RealtimeClient, Notes, Any]:
    """A conversation in which the client does `talk`, beside an MCP server; ends in events that clients take.

    :param replies: of the language model.
    :param given: makes the configuration of the server's address.
    :param run: runs it, on which clock.
    :param keys: of `server.realtime.mcp`, besides `allow`.
    :returns: the client, what the MCP server knows, and the language model.
    """

    async def main() -> tuple[RealtimeClient, Notes, Any]:
        client, notes = RealtimeClient(), Notes()
        async with mcp_server(notes) as url:
            made = (
                given(url)
                if given is not None
                else config(allowing(url, **keys), llm=list(replies or [Reply.of("It is noon.")]))
            )
            async with Service(made) as service:
                await service.load()
                socket = RealtimeSocket(
                    service, principal, Peer(client.receive, client.send), model="gpt-realtime", intent=""
                )
                async with service.conversation(socket), asyncio.timeout(30):
                    serving = asyncio.create_task(socket.run())
                    talking = asyncio.ensure_future(talk(client, notes, url))
                    await asyncio.wait({serving, talking}, return_when=asyncio.FIRST_COMPLETED)
                    if serving.done():
                        serving.result()
                    await talking
                    client.to_server.put_nowait(None)
                    await serving
                    assert not {task.get_name() for task in asyncio.all_tasks()} & TASKS, (
                        "all has ended with the session"
                    )
            return client, notes, made.llm[0].options.engine  # type: ignore[attr-defined]

    client, notes, llm = run(main())
    validate_all(client.events)
    return client, notes, llm
