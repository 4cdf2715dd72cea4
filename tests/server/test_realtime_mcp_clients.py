"""MCP tools of a session with other people's clients: OpenAI's for Python, and the runner of their Agents SDK."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from agents import HostedMCPTool
from agents.exceptions import UserError
from agents.realtime import RealtimeAgent, RealtimeModelSendRawMessage, RealtimeRunner
from interop_desk import desk
from mcp.server import MCPServer
from mcp_standin import Notes, allowing, calling, free_port, hosted, mcp_server, talk_with_tools
from network_clock import run_networked
from realtime_client import RealtimeClient, config
from sdk_caller import Caller, talk
from served import config as served_config
from served import serving

from antiphon.engines.testing import Reply


class Weather(Notes):
    def server(self) -> MCPServer:
        with self.quiet_logs():
            made = MCPServer("weather")
        made.tool()(self.get_weather)
        return made

    async def get_weather(self, city: str) -> str:
        """The weather of a city."""
        return f"Sunny in {city}."


def test_the_agents_sdk_with_a_hosted_mcp_tool() -> None:
    """Its runner takes functions only, so that the server is named in a raw event; it goes on around the new items."""

    async def send(caller: Caller, kind: str, **fields: Any) -> None:
        message: Any = {"type": kind, "other_data": fields}
        await caller.session.model.send_event(RealtimeModelSendRawMessage(message=message))

    port = free_port()

    async def do(caller: Caller) -> None:
        async with mcp_server(Weather(), port) as url:
            await caller.until(lambda: bool(caller.sent("session.updated")))  # of its own
            tool = hosted(url, require_approval="always", server_label="weather")
            await send(caller, "session.update", session={"type": "realtime", "tools": [tool]})
            await caller.until(lambda: bool(caller.sent("mcp_list_tools.completed")))
            caller.say("weather")
            await caller.until(lambda: len(caller.sent("response.done")) == 1)
            request = caller.sent("response.done")[0]["response"]["output"][-1]
            item = {"type": "mcp_approval_response", "id": "yes", "approve": True}
            item["approval_request_id"] = request["id"]
            await send(caller, "conversation.item.create", item=item)
            await caller.until(lambda: bool(caller.sent("response.mcp_call.completed")))
            await send(caller, "response.create")
            await caller.until(lambda: bool(caller.said()))
            await caller.next("audio")

    agent: RealtimeAgent[Any] = RealtimeAgent(name="Desk", instructions="You are a pirate.")
    caller = talk(agent, do, given=desk(allowing(f"http://127.0.0.1:{port}")))
    assert caller.said() == ["I looked: Sunny in Oslo."]


def test_the_agents_sdk_does_not_send_hosted_tools_itself() -> None:
    """Should that change, the test above can do without raw events."""

    async def main() -> None:
        tool: Any = {"type": "mcp", "server_label": "weather", "server_url": "http://127.0.0.1:9/mcp"}
        agent: RealtimeAgent[Any] = RealtimeAgent(name="Desk", tools=[HostedMCPTool(tool_config=tool)])
        async with serving(desk()) as (address, _):
            model: Any = {"url": f"ws://{address}/v1/realtime", "api_key": "any"}
            async with await RealtimeRunner(agent).run(model_config=model):
                raise AssertionError("it was taken")

    with pytest.raises(UserError, match="Must be a function tool"):
        run_networked(main())


def test_openais_client_for_python() -> None:
    async def main() -> tuple[list[Any], list[Any]]:
        lists, calls = [], []
        async with mcp_server(Notes()) as url:
            given = served_config(allowing(url), llm=[calling("read_notes"), Reply.of("None.")])
            async with serving(given) as (address, _), openai.AsyncOpenAI(
                base_url=f"http://{address}/v1", api_key="any"
            ) as client:  # fmt: skip
                async with client.realtime.connect(model="gpt-realtime") as connection, asyncio.timeout(30):
                    tool: Any = hosted(url)
                    await connection.session.update(
                        session={"type": "realtime", "output_modalities": ["text"], "tools": [tool]}
                    )
                    await connection.response.create()
                    answers = 0
                    async for event in connection:
                        if event.type == "conversation.item.done" and event.item.type == "mcp_list_tools":
                            lists.append(event.item)
                        elif event.type == "conversation.item.done" and event.item.type == "mcp_call":
                            calls.append(event.item)
                        elif event.type == "response.done":
                            answers += 1
                            if answers == 2:
                                break
                            await connection.response.create()
        return lists, calls

    (tools,), (call,) = run_networked(main())
    assert [tool.name for tool in tools.tools][:2] == [
        "add_note",
        "read_notes",
    ] and call.output == "There are no notes."


def test_the_configured_agent_has_the_clients_mcp_tools_beside_its_own() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url)])
        for count in (1, 2):
            if count == 1:
                client.write("What do my notes say?")
            client.respond()
            await client.wait_for("response.done", count)

    script = [calling("read_notes"), Reply.of("They are empty.")]
    agent: dict[str, Any] = {"kind": "agent", "instructions": "You keep notes."}
    client, _, llm = talk_with_tools(talk, given=lambda url: config(allowing(url), llm=script, workflow=agent))
    assert client.problems == [] and client.said == ["", "They are empty."]
    (call,) = [item["item"] for item in client.of("conversation.item.done") if item["item"]["type"] == "mcp_call"]
    assert call["output"] == "There are no notes."
    assert [message.role for message in llm.calls[1].messages][-2:] == ["assistant", "tool"]
