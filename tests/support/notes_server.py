"""An MCP server for tests, on its standard input and output, or over HTTP: `notes_server.py [--http PORT]`."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp.server import MCPServer

server = MCPServer("notes")
notes: list[str] = []


@server.tool()
def add_note(text: str) -> str:
    """Write a note down."""
    notes.append(text)
    return f"Note {len(notes)} is written."


@server.tool()
def read_notes() -> str:
    """Read all notes."""
    return "; ".join(notes) or "There are no notes."


@server.tool()
async def slow_note(seconds: float) -> str:
    """Take a while."""
    await asyncio.sleep(seconds)
    return "done"


@server.tool()
def environment(name: str) -> str:
    """What an environment variable has."""
    return os.environ.get(name, "nothing")


if __name__ == "__main__":
    if "--http" in sys.argv:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[-1]))
    else:
        server.run("stdio")
