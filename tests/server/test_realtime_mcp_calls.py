"""Tools of an MCP server that a client has named: listed, offered, called, allowed and refused; on a real socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp_standin import LONG, Notes, allowing, calling, hosted, talk_with_tools
from network_clock import until
from realtime_client import RealtimeClient, config

from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Reply

ASKED = "What do my notes say?"
NOON = Reply.of("It is noon.")


async def listed(client: RealtimeClient, url: str, **fields: Any) -> dict[str, Any]:
    """The session has the server; returns the item with its tools."""
    client.update(output_modalities=["text"], tools=[hosted(url, **fields)])
    done = await client.wait_for("conversation.item.done")
    item: dict[str, Any] = done["item"]
    return item


async def ask(client: RealtimeClient, responses: int = 1, **response: Any) -> None:
    client.write(ASKED)
    client.respond(**response)
    await client.wait_for("response.done", responses)


def items(client: RealtimeClient, kind: str, event: str = "conversation.item.done") -> list[dict[str, Any]]:
    return [one["item"] for one in client.of(event) if one["item"]["type"] == kind]


def test_a_call_from_the_list_of_tools_to_the_answer() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        notes.written.append("Buy milk.")
        await listed(client, url)
        await ask(client)
        client.respond()
        await client.wait_for("response.done", 2)

    client, _, llm = talk_with_tools(talk, calling("read_notes", text="One moment. "), Reply.of("Milk, it says."))
    assert client.problems == []
    kinds = client.kinds
    assert kinds[2:6] == [
        "conversation.item.added",
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "conversation.item.done",
    ]
    (tools,) = items(client, "mcp_list_tools")
    assert tools["server_label"] == "notes"
    assert [tool["name"] for tool in tools["tools"]] == ["add_note", "read_notes", "wait", "fail", "long"]
    assert tools["tools"][1]["annotations"] == {"readOnlyHint": True}
    begun = kinds.index("response.mcp_call_arguments.delta")
    assert kinds[begun - 2 : kinds.index("response.done") + 1] == [
        "response.output_item.added",
        "conversation.item.added",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.output_item.done",
        "conversation.item.done",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    (call,) = items(client, "mcp_call")
    assert (call["name"], call["arguments"], call["output"]) == ("read_notes", "{}", "Buy milk.")
    assert "error" not in call
    (added,) = items(client, "mcp_call", "conversation.item.added")
    assert added["output"] is None, "the key is there: a real client throws without it"
    done = client.of("response.done")[0]["response"]
    assert [item["type"] for item in done["output"]] == ["message", "mcp_call"] and done["output"][1] == call
    assert client.said == ["One moment. ", "Milk, it says."]
    assert [tool.name for tool in llm.calls[0].tools] == ["add_note", "read_notes", "wait", "fail", "long"]
    messages = llm.calls[1].messages
    assert [message.role for message in messages[-4:]] == ["user", "assistant", "assistant", "tool"]
    assert messages[-2].tool_calls[0].name == "read_notes" and messages[-1].content == "Buy milk."
    assert messages[-1].tool_call_id == messages[-2].tool_calls[0].id


def test_clients_ask_for_the_answer_as_soon_as_they_hear_of_the_result() -> None:
    """Some at `response.mcp_call.completed`, before the response is done: it is given when that is."""

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        client.write(ASKED)
        client.respond()
        await client.wait_for("response.mcp_call.in_progress")
        client.respond()  # even before
        await notes.waiting.wait()
        notes.going_on.set()
        await client.wait_for("response.done", 2)

    client, _, llm = talk_with_tools(talk, calling("wait"), NOON)
    assert client.problems == [] and client.said == ["", "It is noon."]
    assert llm.calls[1].messages[-1].content == "That took long."
    begun = [event["type"] for event in client.of("response.created", "response.done")]
    assert begun == ["response.created", "response.done"] * 2


def test_a_question_of_the_client_that_is_asked_at_once_waits_for_the_list() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url)])
        await ask(client)

    _, notes, llm = talk_with_tools(talk, NOON)
    assert len(llm.calls[0].tools) == 5 and notes.requests


def test_some_of_the_tools_and_one_that_must_be_called() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url, allowed_tools=["read_notes", "add_note"])
        await ask(client, tool_choice={"type": "mcp", "server_label": "notes", "name": "add_note"})
        await ask(client, 2, tool_choice={"type": "mcp", "server_label": "notes"})
        client.update(tools=[hosted(url, allowed_tools={"read_only": True})])
        await client.wait_for("mcp_list_tools.completed", 2)
        await ask(client, 3)

    client, _, llm = talk_with_tools(talk, NOON, NOON, NOON)
    assert client.problems == []
    first, second, third = llm.calls
    assert ([tool.name for tool in first.tools], first.options.tool_choice) == (["add_note", "read_notes"], "add_note")
    assert second.options.tool_choice == "required"
    assert [tool.name for tool in third.tools] == ["read_notes"]
    assert [[tool["name"] for tool in item["tools"]] for item in items(client, "mcp_list_tools")] == [
        ["add_note", "read_notes"],
        ["read_notes"],
    ]


def test_a_tool_that_has_the_name_of_a_function_has_another_for_the_model() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        function = {"type": "function", "name": "add_note"}
        client.update(output_modalities=["text"], tools=[function, hosted(url, allowed_tools=["add_note"])])
        await ask(client)

    client, notes, llm = talk_with_tools(talk, calling("notes_add_note", '{"text": "Hello"}'))
    assert [tool.name for tool in llm.calls[0].tools] == ["add_note", "notes_add_note"]
    assert notes.written == ["Hello"] and items(client, "mcp_call")[0]["name"] == "add_note"


def test_a_server_of_one_response() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"])
        await ask(client, tools=[hosted(url)])
        await ask(client, 2)
        await ask(client, 3, tools=[hosted(url)])

    client, _, llm = talk_with_tools(talk, calling("read_notes"), NOON, NOON)
    assert [len(call.tools) for call in llm.calls] == [5, 0, 5]
    assert len(client.of("mcp_list_tools.completed")) == 1, "it is known from then on"


def test_nothing_is_called_for_a_turn_that_may_go_on() -> None:
    """Answers are begun at every pause; their calls are made once, when the turn is over."""

    def write_down(call: Any) -> Reply:
        last = call.messages[-1]
        return NOON if last.role == "tool" else calling("add_note", json.dumps({"text": last.content}))

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(tools=[hosted(url)])
        await client.wait_for("mcp_list_tools.completed")
        await client.speak(0.6)
        await client.be_silent(0.35)
        await client.speak(0.6)
        await client.be_silent(2.0)
        await client.wait_for("response.mcp_call.completed")

    client, notes, llm = talk_with_tools(talk, given=lambda url: config(allowing(url), llm=write_down))
    assert notes.written == ["what time is it"] and len(llm.calls) > 1
    kinds = client.kinds
    assert kinds.index("input_audio_buffer.committed") < kinds.index("response.mcp_call.in_progress")


# ------------------------------------------------------------------------------------------ a yes or a no


async def asked_for_a_yes(client: RealtimeClient, url: str, **fields: Any) -> dict[str, Any]:
    await listed(client, url, require_approval="always", **fields)
    await ask(client)
    (request,) = items(client, "mcp_approval_request")
    return request


def answer(client: RealtimeClient, request: dict[str, Any], approve: bool, **fields: Any) -> None:
    item = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve, **fields}
    client.tell("conversation.item.create", item=item, previous_item_id=request["id"])


def test_a_yes_and_then_the_answer() -> None:
    written: list[list[str]] = []

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        request = await asked_for_a_yes(client, url)
        written.append(list(notes.written))
        answer(client, request, True, id="mine")
        await client.wait_for("response.mcp_call.completed")
        client.respond(tool_choice="none")
        await client.wait_for("response.done", 2)

    client, notes, llm = talk_with_tools(talk, calling("add_note", '{"text": "Hi"}'), Reply.of("Done."))
    assert client.problems == [] and written == [[]] and notes.written == ["Hi"]
    (request,), (given,), (call,) = (
        items(client, kind) for kind in ("mcp_approval_request", "mcp_approval_response", "mcp_call")
    )
    assert (request["name"], request["server_label"]) == ("add_note", "notes")
    assert json.loads(request["arguments"]) == {"text": "Hi"}
    assert given == {
        "id": "mine",
        "type": "mcp_approval_response",
        "approval_request_id": request["id"],
        "approve": True,
    }
    assert call["approval_request_id"] == request["id"] and call["output"] == "Note 1 is written."
    told = client.of("response.mcp_call_arguments.done", "response.mcp_call.in_progress", "response.mcp_call.completed")
    assert [event["item_id"] for event in told] == [call["id"]] * 3
    first = client.of("response.done")[0]["response"]
    assert first["status"] == "completed"
    assert [item["type"] for item in first["output"]] == ["mcp_call", "mcp_approval_request"]
    assert client.said[1] == "Done." and llm.calls[1].messages[-1].content == "Note 1 is written."


def test_an_answer_that_is_asked_for_with_the_yes_knows_the_result() -> None:
    """The client need not wait for it: the answer does."""

    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        request = await asked_for_a_yes(client, url)
        answer(client, request, True)
        client.respond()
        await notes.waiting.wait()
        assert len(client.of("response.created")) == 1
        notes.going_on.set()
        await client.wait_for("response.done", 2)

    client, _, llm = talk_with_tools(talk, calling("wait"), NOON)
    assert client.problems == [] and client.said[1] == "It is noon."
    assert llm.calls[1].messages[-1].content == "That took long."


def test_an_answer_does_not_wait_for_an_allowed_call_that_is_deleted() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        request = await asked_for_a_yes(client, url)
        answer(client, request, True)
        client.respond()
        (call,) = items(client, "mcp_call", "conversation.item.added")
        await notes.waiting.wait()
        client.tell("conversation.item.delete", item_id=call["id"])
        await client.wait_for("response.done", 2)

    client, _, llm = talk_with_tools(talk, calling("wait"), NOON)
    assert client.problems == [] and client.said[1] == "It is noon."
    assert all(message.role != "tool" for message in llm.calls[1].messages)


def test_a_question_that_is_deleted_is_a_no() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        request = await asked_for_a_yes(client, url)
        client.tell("conversation.item.delete", item_id=request["id"])
        await client.wait_for("response.mcp_call.failed")
        answer(client, request, True)
        await client.wait_for("error")
        client.respond()
        await client.wait_for("response.done", 2)

    client, notes, llm = talk_with_tools(talk, calling("add_note", '{"text": "Hi"}'), NOON)
    assert notes.written == [] and client.problems == ["approval_request_not_found"]
    (call,) = items(client, "mcp_call")
    assert call["error"] == {"type": "tool_execution_error", "message": "The question was deleted."}
    assert "The question was deleted." in llm.calls[1].messages[-1].content


@pytest.mark.parametrize("waits_for", ["a yes", "its end"])
def test_a_response_tells_the_arguments_of_a_call_that_outlasts_it(waits_for: str) -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        if waits_for == "a yes":
            await asked_for_a_yes(client, url)
            return
        await listed(client, url)
        client.write(ASKED)
        client.respond()
        await notes.waiting.wait()
        client.tell("response.cancel")
        await client.wait_for("response.done")

    arguments = '{"why": "soup"}'
    client, _, _ = talk_with_tools(talk, calling("wait", arguments))
    told = [event["item"] for event in client.of("response.output_item.added", "response.output_item.done")]
    assert [item["arguments"] for item in told if item["type"] == "mcp_call"] == ["", arguments]
    (done,) = client.of("response.done")
    assert [item["arguments"] for item in done["response"]["output"] if item["type"] == "mcp_call"] == [arguments]


def test_a_no_is_known_to_the_next_answer() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        request = await asked_for_a_yes(client, url)
        answer(client, request, False, reason="Not today.")
        await client.wait_for("response.mcp_call.failed")
        answer(client, request, True)
        client.respond()
        await client.wait_for("response.done", 2)

    client, notes, llm = talk_with_tools(talk, calling("add_note", '{"text": "Hi"}'), NOON)
    assert notes.written == [] and client.problems == ["approval_request_not_found"], "it was answered before"
    (call,) = items(client, "mcp_call")
    assert call["output"] is None
    assert call["error"] == {"type": "tool_execution_error", "message": "The user did not allow this call: Not today."}
    assert "Not today." in llm.calls[1].messages[-1].content


def test_which_calls_need_a_yes() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url, require_approval={"never": {"read_only": True}, "always": {"tool_names": ["wait"]}})
        await ask(client)
        await ask(client, 2)

    client, notes, _ = talk_with_tools(talk, calling("read_notes"), calling("add_note", '{"text": "Hi"}'))
    assert [item["name"] for item in items(client, "mcp_call")] == ["read_notes"]
    assert [item["name"] for item in items(client, "mcp_approval_request")] == ["add_note"] and not notes.written


def test_without_a_word_about_it_every_call_needs_a_yes() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        tool = {"type": "mcp", "server_label": "notes", "server_url": url}
        client.update(output_modalities=["text"], tools=[tool])
        await ask(client)

    client, _, _ = talk_with_tools(talk, calling("read_notes"))
    assert len(items(client, "mcp_approval_request")) == 1 and not items(client, "mcp_call")
    assert client.of("session.updated")[0]["session"]["tools"][0]["require_approval"] == "always"


# ------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (calling("fail"), {"type": "tool_execution_error", "message": "Error executing tool fail"}),
        (
            calling("add_note", "no JSON"),
            {"type": "protocol_error", "code": -32602, "message": "The arguments are no JSON object."},
        ),
    ],
)
def test_a_call_that_fails(call: Reply, error: dict[str, Any]) -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        await ask(client)
        client.respond()
        await client.wait_for("response.done", 2)

    client, _, llm = talk_with_tools(talk, call, NOON)
    assert client.problems == [] and len(client.of("response.mcp_call.failed")) == 1
    (item,) = items(client, "mcp_call")
    assert item["error"] == error and item["output"] is None
    assert error["message"] in llm.calls[1].messages[-1].content
    assert client.statuses == ["completed", "completed"] and client.said[1] == "It is noon."


def test_a_server_that_is_slow() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        await ask(client)
        await until(lambda: notes.given_up)
        await ask(client, 2)

    # On the real clock: to the virtual one, the end of a request that is given up is no news.
    script = (calling("wait"), calling("read_notes"))
    client, notes, _ = talk_with_tools(talk, *script, run=asyncio.run, call_timeout_s=2)
    first, second = items(client, "mcp_call")
    assert first["error"] == {"type": "protocol_error", "code": -32001, "message": "No answer within 2 s."}
    assert notes.given_up, "it is told that nobody waits"
    assert second["output"] == "There are no notes.", "the connection is good for the next call"


def test_an_answer_without_end() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        await ask(client)
        await ask(client, 2)

    client, _, _ = talk_with_tools(talk, calling("long"), calling("read_notes"), max_answer_kb=64)
    first, second = items(client, "mcp_call")
    assert "longer than 65536 bytes" in first["error"]["message"]
    assert second["output"] == "There are no notes."


def test_a_long_result_is_cut_off_for_the_conversation() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        await ask(client)

    client, _, _ = talk_with_tools(talk, calling("long"), max_output_chars=1000)
    (call,) = items(client, "mcp_call")
    assert call["output"] == LONG[:1000] + f"\n({len(LONG) - 1000} more characters are cut off)"


def test_more_calls_at_a_time_than_are_allowed() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        client.write(ASKED)
        client.respond()
        await client.wait_for("response.mcp_call.failed")
        notes.going_on.set()
        await client.wait_for("response.done")

    both = Reply((), tool_calls=[ToolCall("a", "wait", "{}"), ToolCall("b", "read_notes", "{}")])
    client, _, _ = talk_with_tools(talk, both, max_calls=1)
    outcomes = {item["name"]: item.get("error", {}).get("message") for item in items(client, "mcp_call")}
    assert outcomes["wait"] is None and "more are not allowed" in outcomes["read_notes"]


def test_two_calls_of_one_response_run_at_the_same_time() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        client.write(ASKED)
        client.respond()
        await client.wait_for("response.mcp_call.completed")
        assert not client.of("response.done")
        notes.going_on.set()
        await client.wait_for("response.done")
        client.respond()
        await client.wait_for("response.done", 2)

    both = Reply((), tool_calls=[ToolCall("a", "wait", "{}"), ToolCall("b", "read_notes", "{}")])
    client, _, llm = talk_with_tools(talk, both, NOON)
    assert [item["name"] for item in items(client, "mcp_call")] == ["read_notes", "wait"], "as they were done"
    roles = [message.role for message in llm.calls[1].messages]
    assert roles.count("tool") == 2


# ------------------------------------------------------------------------------------------ meanwhile


def test_a_response_that_is_cancelled_does_not_take_its_call_back() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        client.write(ASKED)
        client.respond()
        await notes.waiting.wait()
        client.tell("response.cancel")
        await client.wait_for("response.done")
        await ask(client, 2)
        notes.going_on.set()
        await client.wait_for("response.mcp_call.completed")
        client.respond()
        await client.wait_for("response.done", 3)

    client, _, llm = talk_with_tools(talk, calling("wait"), NOON, Reply.of("That took long."))
    assert client.problems == [] and client.statuses == ["cancelled", "completed", "completed"]
    assert [message.role for message in llm.calls[1].messages] == ["system", "user"], "nothing came of it yet"
    assert "That took long." in [message.content for message in llm.calls[2].messages if message.role == "tool"]
    done = client.of("response.output_item.done")
    assert done[0]["item"]["type"] == "mcp_call", "what was begun in a response ends in it"
    assert len([event for event in done if event["item"]["type"] == "mcp_call"]) == 1


def test_the_user_speaks_while_a_tool_is_at_work() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(tools=[hosted(url)])
        await client.wait_for("mcp_list_tools.completed")
        client.write(ASKED)
        client.respond()
        await notes.waiting.wait()
        await client.speak(1.0)
        await client.be_silent(1.5)
        await client.wait_for("response.done", 2)
        notes.going_on.set()
        await client.wait_for("response.mcp_call.completed")

    client, _, _ = talk_with_tools(talk, calling("wait"), NOON)
    assert client.problems == []
    reasons = [event["response"]["status_details"] for event in client.of("response.done")]
    assert reasons[0] == {"type": "cancelled", "reason": "turn_detected"} and client.said[1] == "It is noon."
    (call,) = items(client, "mcp_call")
    assert call["output"] == "That took long."


def test_a_deleted_call_is_given_up() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        client.write(ASKED)
        client.respond()
        added = await client.wait_for("response.mcp_call.in_progress")
        await notes.waiting.wait()
        client.tell("conversation.item.delete", item_id=added["item_id"])
        await client.wait_for("response.done")
        await ask(client, 2)

    client, _, llm = talk_with_tools(talk, calling("wait"), NOON)
    assert client.problems == [] and not items(client, "mcp_call")
    assert all(message.role != "tool" and not message.tool_calls for message in llm.calls[1].messages)


def test_deleting_and_retrieving_what_came_of_a_call() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        await ask(client)
        (call,) = items(client, "mcp_call")
        client.tell("conversation.item.retrieve", item_id=call["id"])
        await client.wait_for("conversation.item.retrieved")
        client.respond(input=[{"type": "item_reference", "id": call["id"]}])
        await client.wait_for("response.done", 2)
        client.tell("conversation.item.delete", item_id=call["id"])
        client.respond()
        await client.wait_for("response.done", 3)

    client, _, llm = talk_with_tools(talk, calling("read_notes"), NOON, NOON)
    assert client.problems == []
    assert client.of("conversation.item.retrieved")[0]["item"] == items(client, "mcp_call")[0]
    assert [message.role for message in llm.calls[1].messages][-2:] == ["assistant", "tool"]
    assert all(message.role != "tool" and not message.tool_calls for message in llm.calls[2].messages)


def test_the_session_may_end_in_the_middle_of_a_call() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        await listed(client, url)
        client.write(ASKED)
        client.respond()
        await notes.waiting.wait()

    _, notes, _ = talk_with_tools(talk, calling("wait"))
    assert notes.given_up or notes.going_on.is_set()
