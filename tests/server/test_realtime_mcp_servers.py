"""Which MCP servers a client may name, how they are reached, and what happens where one is not there."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from mcp_standin import Notes, allowing, calling, free_port, hosted, mcp_server, talk_with_tools
from network_clock import run_networked
from pydantic import ValidationError
from realtime_client import RealtimeClient, config, talk_to
from served import config as served_config
from served import serving

from antiphon.engines.testing import Reply
from antiphon.pipeline.config.model import SessionConfig as SessionSection
from antiphon.pipeline.config.realtime_mcp import McpKeys
from antiphon.pipeline.conversation import Conversation
from antiphon.server.realtime.items import ItemBook
from antiphon.server.realtime.mcp import connection as connection_module
from antiphon.server.realtime.mcp.allowing import Allowing, is_below
from antiphon.server.realtime.mcp.link import shortened, text_of
from antiphon.server.realtime.mcp.toolbox import Toolbox
from antiphon.server.realtime.protocol import ProtocolError, SessionConfig, parse_session

URL = "http://127.0.0.1:9/mcp"
SECRET = "sesame-open-up"
NOON = Reply.of("It is noon.")


async def ask(client: RealtimeClient, responses: int = 1) -> None:
    client.write("What do my notes say?")
    client.respond()
    await client.wait_for("response.done", responses)


# ------------------------------------------------------------------------------------------ which may be named


@pytest.mark.parametrize(
    ("url", "allowed", "is_it"),
    [
        ("http://a/mcp", "http://a/mcp", True),
        ("http://a/mcp/deeper?x=1", "http://a/mcp", True),
        ("http://A:80/mcp", "http://a/mcp", True),
        ("https://a.:443/mcp", "https://a/mcp/", False),
        ("https://a.:443/mcp/", "https://a/mcp/", True),
        ("http://a", "http://a/", True),
        ("http://a/mcpx", "http://a/mcp", False),
        ("http://a/mcp/../admin", "http://a/mcp", False),
        ("http://a/mcp/%2e%2e/admin", "http://a/mcp", False),
        ("http://a/mcp//b", "http://a/mcp", False),
        ("http://a/mcp\\..\\admin", "http://a/mcp", False),
        ("http://user@a/mcp", "http://a/mcp", False),
        ("http://a/mcp#b", "http://a/mcp", False),
        ("http://a:81/mcp", "http://a/mcp", False),
        ("https://a/mcp", "http://a/mcp", False),
        ("http://a.evil/mcp", "http://a/mcp", False),
        ("http://a:b/mcp", "http://a/mcp", False),
        ("http://\N{CYRILLIC SMALL LETTER A}/mcp", "http://a/mcp", False),
        ("http://a/mcp\t", "http://a/mcp", False),
        ("file:///mcp", "http://a/mcp", False),
    ],
)
def test_what_is_below_an_address(url: str, allowed: str, is_it: bool) -> None:
    assert is_below(url, allowed) is is_it


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://a:x", "http://u:p@a/", "http://a/?key=1", "a/mcp"])
def test_an_operators_mistake_is_told(url: str) -> None:
    with pytest.raises(ValidationError, match=r"is no address|auth_env"):
        McpKeys(allow=(url,))


def test_the_sample_of_the_page_is_one_and_its_figures_are_those_of_the_configuration() -> None:
    page = (Path(__file__).parents[2] / "docs" / "realtime.md").read_text("utf-8")
    (sample,) = re.findall(r"```yaml\n(.*?mcp:.*?)```", page, re.DOTALL)
    keys = McpKeys.model_validate(yaml.safe_load(sample)["server"]["realtime"]["mcp"])
    assert keys.allow and keys.servers["notes"].auth_env == "NOTES_KEY"
    rows = dict(re.findall(r"^\| `server\.realtime\.mcp\.(\w+)`[^|]* \| (.+) \|$", page, re.MULTILINE))
    assert f"({keys.max_calls})" in rows["max_calls"] and f"({keys.max_tools})" in rows["max_servers"]
    assert f"; {keys.max_servers})" in rows["max_servers"] and f"{keys.max_output_chars:,} " in rows["max_answer_kb"]
    seconds = rows["connect_timeout_s"]
    assert f"({keys.connect_timeout_s:g} s)" in seconds and f"({keys.call_timeout_s:g} s)" in seconds
    assert keys.max_answer_kb == 1024


CONFIGURED = {"servers": {"notes": {"url": URL}}}


@pytest.mark.parametrize(
    ("keys", "tool", "message", "param"),
    [
        ({}, hosted(URL), "server.realtime.mcp.allow is empty", "session.tools.server_url"),
        ({}, hosted(), "server.realtime.mcp.servers (there is: none)", "session.tools.server_label"),
        ({"allow": ["http://127.0.0.1:9/other"]}, hosted(URL), "below none of those", "session.tools.server_url"),
        (CONFIGURED, hosted(server_label="diary"), "(there is: notes)", "session.tools.server_label"),
        (CONFIGURED, hosted(connector_id="connector_gmail"), "no connector 'conn", "session.tools.connector_id"),
        (CONFIGURED, hosted(URL, connector_id="notes"), "not both", "session.tools[0]"),
        (CONFIGURED, hosted(tunnel_id="t"), "no tunnels", "session.tools[0]"),
        (CONFIGURED, hosted(headers={"Host": "a"}), "header 'Host'", "session.tools[0]"),
        (CONFIGURED, hosted(headers={"a": "b\nc"}), "pattern", "session.tools[0].headers.a"),
        (CONFIGURED, hosted(headers={"Authorization": "a"}, authorization="b"), "not both", "session.tools[0]"),
        ({**CONFIGURED, "max_servers": 1}, [hosted(), hosted(server_label="b")], "may have 1 MCP", "session.tools"),
        (CONFIGURED, [hosted(), hosted()], "two MCP servers have the label 'notes'", "session.tools"),
        (CONFIGURED, hosted(require_approval="sometimes"), "", "session.tools[0].require_approval"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_would_have_to_allow_it(keys: dict[str, Any], tool: Any, message: str, param: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        config = SessionConfig(id="s").merged(parse_session({"tools": tool if isinstance(tool, list) else [tool]}))
        Allowing(McpKeys.model_validate(keys), offline=True).check_all(config.mcp, "session")
    assert message in caught.value.message and (caught.value.param or "").startswith(param)


def test_nothing_is_taken_of_an_update_that_is_refused_and_the_session_goes_on() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.tell("session.update", session={"instructions": "No.", "tools": [hosted(URL)]}, event_id="mine")
        await client.wait_for("error")
        client.update()
        await client.wait_for("session.updated")

    client = talk_to(talk)
    error = client.of("error")[0]["error"]
    assert (error["code"], error["event_id"]) == ("mcp_server_not_allowed", "mine")
    session = client.of("session.updated")[0]["session"]
    assert session["tools"] == [] and session["instructions"] != "No."


def test_a_choice_of_a_server_that_is_not_there_and_a_response_beside_the_conversation() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.update(tool_choice={"type": "mcp", "server_label": "notes"})
        client.respond(tools=[hosted(URL)])
        client.respond(tools=[hosted()], conversation="none")
        await client.wait_for("error", 3)

    client = talk_to(talk, config({"realtime": {"mcp": {"servers": {"other": {"url": URL}}}}}))
    problems = [event["error"] for event in client.of("error")]
    assert [problem["code"] for problem in problems] == ["invalid_value", "mcp_server_not_allowed", "unsupported_tool"]
    assert "MCP server 'notes'" in problems[0]["message"] and not client.of("response.created")


def test_what_is_not_on_this_machine_is_out_of_reach_offline() -> None:
    keys = McpKeys.model_validate(
        {"allow": ["https://far.example/mcp"], "servers": {"notes": {"url": "http://10.0.0.1/"}}}
    )
    for tool in (hosted("https://far.example/mcp"), hosted()):
        (server,) = SessionConfig(id="s").merged(parse_session({"tools": [tool]})).mcp
        Allowing(keys, offline=False).check(server, "tools")
        with pytest.raises(ProtocolError, match=r"session\.offline: true"):
            Allowing(keys, offline=True).check(server, "tools")
    assert SessionSection().offline, "as it comes"


# ------------------------------------------------------------------------------------------ how they are reached


def test_a_server_by_its_label_gets_the_operators_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_KEY", SECRET)
    monkeypatch.setenv("NOTES_DESK", "seven")
    keys = {"auth_env": "NOTES_KEY", "headers_env": {"X-Desk": "NOTES_DESK"}}

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(headers={"X-Desk": "eight", "X-More": "yes"})])
        await ask(client)

    client, notes, _ = talk_with_tools(
        talk,
        given=lambda url: config(
            {"realtime": {"mcp": {"servers": {"notes": {"url": url, **keys}}}}},
            llm=[calling("read_notes")],
        ),
    )
    assert client.problems == [] and len(client.of("response.mcp_call.completed")) == 1
    sent = notes.requests[-1][2]
    assert (sent["authorization"], sent["x-desk"], sent["x-more"]) == (f"Bearer {SECRET}", "seven", "yes")
    assert SECRET not in str(client.events)


def test_a_secret_that_is_not_set_is_the_operators_business(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTES_KEY", raising=False)

    async def talk(client: RealtimeClient) -> None:
        client.update(tools=[hosted()])
        await client.wait_for("error")

    servers = {"notes": {"url": URL, "auth_env": "NOTES_KEY"}}
    client = talk_to(talk, config({"realtime": {"mcp": {"servers": servers}}}))
    assert client.problems == ["mcp_server_not_ready"] and "NOTES_KEY" not in str(client.events)
    (line,) = [record for record in caplog.records if "MCP" in record.message]
    assert "server.realtime.mcp.servers.notes.auth_env" in line.problem and "NOTES_KEY" in line.problem  # type: ignore[attr-defined]


def test_what_a_client_keeps_secret_is_told_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, "antiphon")

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        secrets = {"headers": {"X-Key": f"{SECRET}-1"}, "authorization": f"{SECRET}-2"}
        client.update(output_modalities=["text"], tools=[hosted(f"{url}?key={SECRET}-3", **secrets)])
        await ask(client)
        notes.status = 401
        await ask(client, 2)
        client.update(tools=[hosted(server_description="Named by its label alone.")])
        await client.wait_for("session.updated", 2)

    client, notes, _ = talk_with_tools(talk, calling("read_notes"))
    sent = notes.requests[-1][2]
    assert (sent["x-key"], sent["authorization"]) == (f"{SECRET}-1", f"Bearer {SECRET}-2")
    first, second = (item["item"] for item in client.of("conversation.item.done") if item["item"]["type"] == "mcp_call")
    assert first["output"] == "There are no notes."
    assert second["error"] == {
        "type": "http_error",
        "code": 401,
        "message": "The MCP server answered with HTTP status 401.",
    }
    told = [event["session"]["tools"][0] for event in client.of("session.updated")]
    assert all(tool["server_url"].endswith("/mcp") and not {"headers", "authorization"} & tool.keys() for tool in told)
    assert told[1]["server_description"] and len(client.of("mcp_list_tools.completed")) == 1, "the same connection"
    assert SECRET not in str(client.events) + "".join(
        f"{record.getMessage()}{vars(record)}" for record in caplog.records if record.name.startswith("antiphon")
    )


def test_the_settings_of_an_ephemeral_key_are_checked_and_told_without_secrets() -> None:
    async def main() -> tuple[httpx2.Response, httpx2.Response]:
        async with serving(served_config(allowing(URL))) as (address, _):
            async with httpx2.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
                tools = [[hosted(URL, authorization=SECRET)], [hosted("http://127.0.0.1:10/mcp", authorization=SECRET)]]
                made, refused = [
                    await http.post("/v1/realtime/client_secrets", json={"session": {"type": "realtime", "tools": one}})
                    for one in tools
                ]
                return made, refused

    made, refused = run_networked(main())
    assert made.json()["session"]["tools"][0]["server_url"] == URL and refused.status_code == 400
    assert refused.json()["error"]["code"] == "mcp_server_not_allowed"
    assert SECRET not in made.text + refused.text


# ------------------------------------------------------------------------------------------ what goes wrong


def test_a_server_that_is_not_there_and_comes_later() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        notes.status = 503
        client.update(output_modalities=["text"], tools=[hosted(url)])
        await client.wait_for("error")
        await ask(client)
        notes.status = None
        client.update(tools=[hosted(url)])
        await client.wait_for("mcp_list_tools.completed")
        await ask(client, 2)

    client, _, llm = talk_with_tools(talk, NOON, calling("read_notes"))
    assert client.problems == ["mcp_list_tools_failed"]
    message = client.of("error")[0]["error"]["message"]
    assert "'notes' could not be listed" in message and "503" in message
    kinds = client.kinds
    failed = kinds.index("mcp_list_tools.failed")
    assert kinds[failed : failed + 3] == ["mcp_list_tools.failed", "conversation.item.done", "error"]
    assert [len(call.tools) for call in llm.calls] == [0, 5] and client.said[0] == "It is noon."


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "antiphon.server.realtime.mcp.link", None)  # as where it cannot be imported

    async def talk(client: RealtimeClient) -> None:
        client.update(output_modalities=["text"], tools=[hosted(URL)])
        await ask(client)

    client = talk_to(talk, config(allowing(URL)))
    assert client.problems == ["mcp_unavailable"] and client.said == ["It is noon."]
    assert "antiphon[agents]" in client.of("error")[0]["error"]["message"]


def test_more_servers_than_a_session_may_have() -> None:
    async def talk(client: RealtimeClient) -> None:
        two = [hosted(URL, server_label=label) for label in ("a", "b")]
        client.update(output_modalities=["text"], tools=two[:1])
        client.respond(tools=two[1:])
        await client.wait_for("error", 2)

    client = talk_to(talk, config(allowing(URL, max_servers=1)))
    assert sorted(client.problems) == ["mcp_list_tools_failed", "too_many_mcp_servers"]
    assert not client.of("response.created")


def test_nobody_listens_there() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(URL)])
        await ask(client)

    client, _, _ = talk_with_tools(talk, given=lambda url: config(allowing(URL)))
    assert client.problems == ["mcp_list_tools_failed"] and client.said == ["It is noon."]
    assert "cannot be reached" in client.of("error")[0]["error"]["message"]


def test_a_server_that_says_nothing() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    port = free_port()

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        async with await asyncio.start_server(silent, "127.0.0.1", port):
            client.update(output_modalities=["text"], tools=[hosted(f"http://127.0.0.1:{port}/mcp")])
            await ask(client)

    keys = allowing(f"http://127.0.0.1:{port}", connect_timeout_s=0.3)
    client, _, _ = talk_with_tools(talk, given=lambda url: config(keys))
    assert client.problems == ["mcp_list_tools_failed"] and client.said == ["It is noon."]
    assert "No answer within 0.3 s" in client.of("error")[0]["error"]["message"]


def test_servers_that_come_and_go_faster_than_they_answer() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        for number in range(20):
            client.update(output_modalities=["text"], tools=[hosted(url, server_label=f"notes-{number}")])
        await ask(client)

    client, _, llm = talk_with_tools(talk, calling("read_notes"))
    lists = [item["item"] for item in client.of("conversation.item.done") if item["item"]["type"] == "mcp_list_tools"]
    assert client.problems == [] and len(lists) == 20, "each list that was begun is ended"
    assert lists[-1]["server_label"] == "notes-19" and len(lists[-1]["tools"]) == 5
    assert len(llm.calls[0].tools) == 5 and len(client.of("response.mcp_call.completed")) == 1


def test_a_response_that_is_refused_has_asked_no_server() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"])
        client.respond(tools=[hosted(url)], input=[{"type": "item_reference", "id": "nowhere"}])
        await client.wait_for("error")
        client.write("What do my notes say?")
        client.respond()
        client.respond(tools=[hosted(url)])
        await client.wait_for("error", 2)
        await client.wait_for("response.done")

    client, notes, _ = talk_with_tools(talk, NOON)
    assert client.problems == ["item_not_found", "conversation_already_has_active_response"]
    assert not client.of("mcp_list_tools.in_progress") and not notes.requests


def lists(client: RealtimeClient) -> dict[str, list[str]]:
    """The lists of tools as they were told, by item."""
    items = [event["item"] for event in client.of("conversation.item.done")]
    return {item["id"]: [tool["name"] for tool in item["tools"]] for item in items if item["type"] == "mcp_list_tools"}


def test_another_selection_takes_the_place_of_the_one_before_without_asking_again() -> None:
    selections = [["read_notes"], ["add_note", "long"], ["wait"]]

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url)])
        await client.wait_for("mcp_list_tools.completed")
        before = len(notes.requests)
        for number, names in enumerate(selections, start=2):
            client.update(tools=[hosted(url, allowed_tools=names)])
            await client.wait_for("mcp_list_tools.completed", number)
        assert len(notes.requests) == before
        client.write("x" * 9_900)  # there is room for it: lists are no words of the conversation
        client.update(tools=[])
        await client.wait_for("session.updated", 5)

    client, _, _ = talk_with_tools(
        talk,
        given=lambda url: config({"realtime": {"max_text_chars": 10_000, **allowing(url)["realtime"]}}),
    )
    assert client.problems == []
    told = lists(client)
    assert [len(names) for names in told.values()] == [5, 1, 2, 1] and list(told.values())[1:] == selections
    assert [event["item_id"] for event in client.of("conversation.item.deleted")] == list(told), "each in its turn"


def test_a_selection_that_is_changed_while_the_list_is_asked_for() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url)])
        client.update(tools=[hosted(url, allowed_tools=["wait"])])
        await client.wait_for("mcp_list_tools.completed")
        await client.wait_for("session.updated", 2)

    client, _, _ = talk_with_tools(talk, NOON)
    assert list(lists(client).values()) == [["wait"]]


def test_a_session_that_is_over_has_no_more_servers() -> None:
    """What the client still says while its session ends must begin nothing that nobody would end."""
    events: list[Any] = []
    (server,) = SessionConfig(id="s").merged(parse_session({"tools": [hosted(URL)]})).mcp

    async def main() -> None:
        book = ItemBook(Conversation(), events.append, max_items=10, max_chars=100)
        toolbox = Toolbox(lambda: Allowing(McpKeys(allow=(URL,)), offline=True), book, events.append)
        toolbox.close()
        toolbox.use([server])
        with pytest.raises(ProtocolError, match="about to end"):
            toolbox.use_once([server])
        assert events == [] and len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_the_server_of_a_response_stays_when_the_sessions_are_changed() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"])
        client.respond(tools=[hosted(url)])
        await notes.waiting.wait()
        client.update(tools=[])
        await client.wait_for("session.updated", 2)
        notes.going_on.set()
        await client.wait_for("response.done")

    client, _, _ = talk_with_tools(talk, calling("wait"))
    assert client.problems == [] and len(client.of("response.mcp_call.completed")) == 1


def test_a_server_that_goes_and_comes_back() -> None:
    port = free_port()

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        async with mcp_server(notes, port) as other:
            client.update(output_modalities=["text"], tools=[hosted(other)])
            await ask(client)
        await ask(client, 2)
        async with mcp_server(notes, port):
            await ask(client, 3)

    keys = allowing(f"http://127.0.0.1:{port}")
    client, _, _ = talk_with_tools(talk, given=lambda url: config(keys, llm=[calling("read_notes")]))
    calls = [item["item"] for item in client.of("conversation.item.done") if item["item"]["type"] == "mcp_call"]
    assert client.problems == [] and client.statuses == ["completed"] * 3
    assert [call["output"] for call in calls] == ["There are no notes.", None, "There are no notes."]
    assert calls[1]["error"]["code"] == -32000


def test_a_server_of_an_older_protocol_that_was_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps sessions, and does not know ours any more: nothing was done, and it is asked again."""
    monkeypatch.setattr(connection_module, "Client", partial(connection_module.Client, mode="legacy"))
    port = free_port()

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        async with mcp_server(notes, port) as other:
            client.update(output_modalities=["text"], tools=[hosted(other)])
            await ask(client)
        async with mcp_server(notes, port):
            await ask(client, 2)
        assert any("mcp-session-id" in headers for _, _, headers in notes.requests), "it does keep sessions"

    keys = allowing(f"http://127.0.0.1:{port}")
    script = [calling("add_note", '{"text": "Hi"}')]
    client, notes, _ = talk_with_tools(talk, given=lambda url: config(keys, llm=script))
    calls = [item["item"] for item in client.of("conversation.item.done") if item["item"]["type"] == "mcp_call"]
    assert client.problems == [] and notes.written == ["Hi", "Hi"]
    assert [call["output"] for call in calls] == ["Note 1 is written.", "Note 2 is written."]


@pytest.mark.parametrize("to", ["http://127.0.0.1:9/mcp", "/admin", "/mcp/../admin"])
def test_a_redirect_does_not_leave_what_is_allowed(to: str) -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url)])
        await client.wait_for("mcp_list_tools.completed")
        notes.redirect = to
        before = len(notes.requests)
        await ask(client)
        assert {path for _, path, _ in notes.requests[before:]} == {"/mcp"}

    client, _, _ = talk_with_tools(talk, calling("read_notes"))
    (call,) = [item["item"] for item in client.of("conversation.item.done") if item["item"]["type"] == "mcp_call"]
    assert call["output"] is None and "edirect" in call["error"]["message"]


def test_a_server_that_the_session_has_no_more() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url, require_approval="always")])
        await ask(client)
        client.update(tools=[])
        await client.wait_for("session.updated", 2)
        (request,) = [
            item["item"]
            for item in client.of("conversation.item.done")
            if item["item"]["type"] == "mcp_approval_request"
        ]
        item = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
        client.tell("conversation.item.create", item=item)
        await client.wait_for("response.mcp_call.failed")
        await ask(client, 2)

    client, _, llm = talk_with_tools(talk, calling("read_notes"), NOON)
    assert client.problems == [] and llm.calls[1].tools == ()
    (call,) = [item["item"] for item in client.of("conversation.item.done") if item["item"]["type"] == "mcp_call"]
    assert "does not have this MCP server any more" in call["error"]["message"]


# ------------------------------------------------------------------------------------------ what a tool gives


class _Content:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def test_what_a_tool_gives_becomes_text() -> None:
    parts = [
        _Content(type="text", text="One."),
        _Content(type="image", data="..."),
        _Content(type="resource", resource=_Content(text="Two.")),
        _Content(type="resource", resource=_Content(blob="...")),
        _Content(type="resource_link", uri="notes://3"),
    ]
    assert text_of(_Content(content=parts, structured_content=None)).splitlines() == [
        "One.",
        "(image: no text)",
        "Two.",
        "(resource: no text)",
        "notes://3",
    ]
    assert text_of(_Content(content=[], structured_content={"a": "é"})) == '{"a": "é"}'
    assert shortened("abc", 3) == "abc" and shortened("abcd", 3) == "abc\n(1 more characters are cut off)"
