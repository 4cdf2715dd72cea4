"""MCP tools in whatever order a client, a user and the servers do things: the rules of the protocol hold."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from complaints import no_complaints
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mcp_standin import hosted
from realtime_call import call
from realtime_client import RealtimeClient, config, talk_to

from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Reply
from antiphon.engines.testing.script import LLMCall
from antiphon.server.realtime.mcp import link as link_module
from antiphon.server.realtime.mcp.link import FoundTool, LinkError
from antiphon.server.realtime.protocol import CallError

URL = "http://127.0.0.1:9/mcp"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
LABELS = ("quick", "slow", "broken")
STEPS = st.one_of(
    st.tuples(st.just("servers"), st.sets(st.sampled_from(LABELS), max_size=3)),
    st.tuples(st.just("approval"), st.booleans()),
    st.tuples(st.just("write"), st.integers(0, 6)),
    st.tuples(st.just("write"), st.integers(0, 6)),
    st.tuples(st.just("respond"), st.sampled_from(["", "", "one"])),
    st.tuples(st.just("decide"), st.booleans()),
    st.tuples(st.just("decide"), st.booleans()),
    st.tuples(st.just("cancel"), st.none()),
    st.tuples(st.just("delete"), st.integers(0, 6)),
    st.tuples(st.just("retrieve"), st.integers(0, 6)),
    st.tuples(st.just("wait"), st.floats(0.0, 2.0)),
    st.tuples(st.just("wait"), st.floats(0.0, 2.0)),
    st.tuples(st.just("speak"), st.floats(0.3, 1.2)),
    st.tuples(st.just("be_silent"), st.floats(0.2, 1.5)),
)


class ScriptedLink:
    """By its server's label: quick, slow (and too long at every third call), or broken now and then."""

    def __init__(self, target: Any, keys: Any) -> None:
        self.label = target.headers["X-Label"]
        self.count = 0

    async def tools(self) -> tuple[FoundTool, ...]:
        await asyncio.sleep(0.8 if self.label == "slow" else 0.01)
        if self.label == "broken":
            raise LinkError(CallError("http_error", "It is broken.", 500))
        return tuple(FoundTool(f"{self.label}_{which}", "", SCHEMA) for which in ("look", "do"))

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        self.count += 1
        await asyncio.sleep(1.3 if self.label == "slow" else 0.02)
        if self.count % 3 == 0:
            raise LinkError(CallError("protocol_error", "No answer.", -32001))
        return f"{name} gives {self.count}"

    async def close(self) -> None:
        await asyncio.sleep(0.1)


def answer(asked: LLMCall) -> Reply:
    """Calls what it is offered, unless it has just been told a result; checks what it reads."""
    open_calls: set[str] = set()
    for message in asked.messages:
        if message.role == "tool":
            assert message.tool_call_id in open_calls, "a result of no call"
            open_calls.discard(message.tool_call_id or "")
        else:
            assert not open_calls, "a call without its result"
            open_calls = {one.id for one in message.tool_calls}
    assert not open_calls
    if not asked.tools or asked.messages[-1].role == "tool":
        return Reply.of("Yes. One two three.", first_delay_s=0.1)
    size = sum(len(message.content) for message in asked.messages)
    tools = [asked.tools[(size + at) % len(asked.tools)].name for at in range(1 + size % 2)]
    arguments = "no JSON" if size % 5 == 0 else "{}"
    return Reply(("Wait. ",) * (size % 3), tool_calls=[ToolCall("same", name, arguments) for name in tools])


class Monkey:
    def __init__(self, client: RealtimeClient) -> None:
        self.client = client
        self.approval = "never"

    def tool(self, label: str) -> dict[str, Any]:
        named = {"server_label": label, "headers": {"X-Label": label}, "require_approval": self.approval}
        return hosted(f"{URL}/{label}", **named)

    def ids(self) -> list[str]:
        return [event["item"]["id"] for event in self.client.of("conversation.item.added")]

    async def do(self, name: str, value: Any) -> None:
        client, ids = self.client, self.ids()
        match name:
            case "servers":
                client.update(tools=[self.tool(label) for label in sorted(value)])
            case "approval":
                self.approval = "always" if value else "never"
            case "write":
                client.write("Hello" + "!" * value)
                client.respond()
            case "respond":
                client.respond(**({"tools": [self.tool("quick")]} if value else {}))
            case "decide":
                asked = [one for one in client.of("conversation.item.added") if "request" in one["item"]["type"]]
                request_id = asked[-1]["item"]["id"] if asked else "nowhere"
                item = {"type": "mcp_approval_response", "approval_request_id": request_id, "approve": value}
                client.tell("conversation.item.create", item=item)
            case "cancel":
                client.tell("response.cancel")
            case "delete" | "retrieve":
                client.tell(f"conversation.item.{name}", item_id=ids[-1 - value] if value < len(ids) else "nowhere")
            case "wait":
                await asyncio.sleep(value)
            case _:
                await getattr(client, name)(value)


def check(client: RealtimeClient) -> None:
    """The rules that clients rely on."""
    active, open_outputs = "", set()
    begun: dict[str, int] = {}
    ended: set[str] = set()
    done: list[str] = []
    for event in client.events:
        match event["type"]:
            case "response.created":
                assert not active, "two at a time"
                active = event["response"]["id"]
            case "response.done":
                assert event["response"]["id"] == active and not open_outputs
                active = ""
            case "response.output_item.added":
                assert event["response_id"] == active
                open_outputs.add(event["output_index"])
            case "response.output_item.done":
                assert event["response_id"] == active
                open_outputs.remove(event["output_index"])
            case "response.mcp_call_arguments.delta" | "response.mcp_call_arguments.done":
                assert event["response_id"] == active
            case "response.mcp_call.in_progress":
                begun[event["item_id"]] = begun.get(event["item_id"], 0) + 1
            case "response.mcp_call.completed" | "response.mcp_call.failed":
                assert event["item_id"] not in ended, "twice"
                ended.add(event["item_id"])
            case "conversation.item.done":
                done.append(event["item"]["id"])
    assert not active and all(count == 1 for count in begun.values())
    assert len(set(done)) == len(done), "an item is done once"
    deleted = {event["item_id"] for event in client.of("conversation.item.deleted")}
    assert begun.keys() - ended <= deleted, "what was begun has ended"
    lists = {event["item_id"] for event in client.of("mcp_list_tools.in_progress")}
    assert lists == {event["item_id"] for event in client.of("mcp_list_tools.completed", "mcp_list_tools.failed")}
    undone = {event["item"]["id"] for event in client.of("conversation.item.added")} - set(done) - deleted
    unanswered = {
        one["item"]["id"] for one in client.of("conversation.item.added") if one["item"]["type"] == "mcp_call"
    }
    assert undone <= unanswered - ended, "all items are done, but calls that wait for a yes"


@pytest.mark.parametrize("way", [talk_to, call])
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(steps=st.lists(STEPS, min_size=6, max_size=30))
def test_no_order_of_events_breaks_the_rules_of_mcp(way: Any, steps: list[tuple[str, Any]]) -> None:
    """Over a WebSocket, and where the sound has a line of its own."""

    async def talk(client: RealtimeClient) -> None:
        monkey = Monkey(client)
        await monkey.do("servers", {"quick"})
        for name, value in steps:
            await monkey.do(name, value)
        client.detect(None)
        await asyncio.sleep(30.0)

    with no_complaints("antiphon"), pytest.MonkeyPatch.context() as patched:
        patched.setattr(link_module, "Link", ScriptedLink)
        client = way(talk, config({"realtime": {"mcp": {"allow": [URL], "max_calls": 3}}}, llm=answer))
    check(client)
    allowed = {"approval_request_not_found", "conversation_already_has_active_response", "item_not_found"}
    assert set(client.problems) <= {*allowed, "mcp_list_tools_failed", "response_cancel_not_active"}
    failures = [event["response"]["status_details"] for event in client.of("response.done")]
    assert "failed" not in client.statuses, failures
