"""An MCP server for other people's clients, over HTTP: `weather_server.py PORT`."""

from __future__ import annotations

import sys

from mcp.server import MCPServer

server = MCPServer("weather")


@server.tool()
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"Sunny in {city}."


@server.tool()
def delete_everything() -> str:
    """Nobody is to be offered this."""
    return "Deleted."


if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
