"""Hosted MCP tools of OpenAI's Agents SDK for JavaScript: called by our server, from a server that it was given."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from interop_clients import INTEROP, free_port, package_version, run_client
from interop_desk import CONFIG
from mcp_standin import Notes, calling, hosted, talk_with_tools
from realtime_client import RealtimeClient, config
from served_process import served_process

from antiphon.engines.testing import Reply
from antiphon.server.access.principal import SCOPES, Principal

pytestmark = pytest.mark.interop
SDK = "@openai/agents-realtime"
SERVER = Path(__file__).parents[1] / "support" / "weather_server.py"


@pytest.fixture(scope="module")
def weather() -> Iterator[str]:
    """The address of an MCP server."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until_s = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None and time.monotonic() < until_s, "the MCP server does not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def server(weather: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("mcp") / "desk.yaml"
    keys = json.dumps({"capacity": "off", "realtime": {"mcp": {"allow": [weather]}}})
    path.write_text(f"{CONFIG}server: {keys}\n", "utf-8")
    with served_process(path) as served:
        yield f"ws://{served.address}/v1/realtime"


def test_events_of_mcp_pass_the_schemas_of_the_javascript_client(node: str, tmp_path: Path, row: Any) -> None:
    row(SDK, package_version(SDK), "its schemas over events of MCP tools and rate limits")

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url, require_approval={"never": {"read_only": True}})])
        client.write("What do my notes say?")
        client.respond()
        await client.wait_for("response.done")
        client.respond()
        await client.wait_for("response.done", 2)
        for count, approve in enumerate((True, False), 1):
            request = (await client.wait_for("response.done", 1 + count))["response"]["output"][-1]
            item = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve}
            client.tell("conversation.item.create", item=item)
            await client.wait_for("response.mcp_call.completed" if approve else "response.mcp_call.failed", 1 + approve)
            client.tell("conversation.item.retrieve", item_id=request["id"])
            client.respond()
            await client.wait_for("response.done", 2 + count)
        client.update(tools=[hosted("http://127.0.0.1:9/mcp")])
        await client.wait_for("error")

    script = [calling("read_notes"), *[calling("add_note", '{"text": "Hi"}')] * 2, Reply.of("Done.")]
    client, _, _ = talk_with_tools(
        talk,
        given=lambda url: config({"realtime": {"mcp": {"allow": [url, "http://127.0.0.1:9"]}}}, llm=script),
        principal=Principal("desk", SCOPES),
    )
    recorded = tmp_path / "events.jsonl"
    recorded.write_text("".join(f"{json.dumps(event)}\n" for event in client.events), "utf-8")
    told = run_client(node, str(INTEROP / "node" / "zod.mjs"), str(recorded))
    assert told["failures"] == [] and told["status"] == 0
    wanted = ("mcp_list_tools.failed", "response.mcp_call_arguments.delta", "response.mcp_call.completed")
    assert {*wanted, "rate_limits.updated"} <= told["counts"].keys()


@pytest.mark.parametrize(
    ("scenario", "output", "answer"),
    [
        ("called", "Sunny in Oslo.", "I looked: Sunny in Oslo."),
        ("approved", "Sunny in Oslo.", "I looked: Sunny in Oslo."),
        ("rejected", None, "I looked: This call failed: The user did not allow this call"),
    ],
)
def test_a_hosted_mcp_tool_in_node(
    scenario: str, output: str | None, answer: str, server: str, weather: str, node: str, sounds: Path, row: Any
) -> None:
    row(f"{SDK} in Node, WebSocket", package_version(SDK), f"MCP tool {scenario}")
    told = run_client(node, str(INTEROP / "node" / "mcp.mjs"), server, "any", scenario, str(sounds), weather)
    assert told["errors"] == [] and told["statuses"] == ["completed", "completed"]
    assert told["offered"] == [["get_weather"]]
    assert told["results"] == [{"name": "get_weather", "output": output}], "once"
    assert told["calls"] == [{"name": "get_weather", "output": output}]
    (said,) = told["said"]
    assert said.startswith(answer)
