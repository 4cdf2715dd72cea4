"""An agent whose tools come from an MCP server: python examples/mcp_agent.py QUESTION.wav [QUESTION.wav ...]

The server is this file too: `python examples/mcp_agent.py --serve` speaks MCP on its standard input and output.
"""

from __future__ import annotations

import asyncio
import sys

import soundfile
from agents import Agent
from agents.mcp import MCPServerStdio

from antiphon import AudioInput, VoicePipeline
from antiphon.adapters.openai_agents import AgentWorkflow


def serve() -> None:
    """A shopping list."""
    from mcp.server import MCPServer

    server = MCPServer("shopping-list")
    items: list[str] = []

    @server.tool()
    def add_item(item: str) -> str:
        """Put something on the shopping list."""
        items.append(item)
        return f"{item} is on the list."

    @server.tool()
    def read_list() -> str:
        """What is on the shopping list."""
        return ", ".join(items) or "The list is empty."

    server.run("stdio")


async def main(*questions: str, config: str = "local.yaml") -> None:
    parameters = {"command": sys.executable, "args": [__file__, "--serve"]}
    async with MCPServerStdio(params=parameters, name="shopping-list", cache_tools_list=True) as server:
        agent = Agent(
            name="Assistant",
            instructions="You keep a shopping list. Answer in one short spoken sentence.",
            mcp_servers=[server],
        )
        async with VoicePipeline.from_config(config, workflow=AgentWorkflow(agent)) as pipeline:
            for question in questions:
                samples, rate_hz = soundfile.read(question, dtype="int16")
                result = await pipeline.run(AudioInput(buffer=samples, frame_rate=rate_hz))
                async for event in result.stream():
                    if event.type == "voice_stream_event_transcript" and event.final:
                        print(f"{event.role}: {event.text}")
                    elif event.type == "voice_stream_event_error":
                        print(f"error: {event.error}", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        asyncio.run(main(*sys.argv[1:]))
