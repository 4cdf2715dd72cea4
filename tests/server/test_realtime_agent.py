"""Realtime sessions on the configured agent: its own tools are run by the server, the client's by the client."""

from __future__ import annotations

from typing import Any

from realtime_client import RealtimeClient, config, talk_to

from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Reply

LAMP = {
    "type": "function",
    "name": "lamp",
    "description": "Switches the lamp.",
    "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]},
}
AGENT = {
    "kind": "agent",
    "instructions": "You run the house.",
    "tools": {"get_weather": {"function": "agent_parts:get_weather"}},
}


def llm_of(given: Any) -> Any:
    return given.llm[0].options.engine


def test_the_agent_answers_where_the_client_adds_nothing() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(2.0)
        await client.wait_for("response.done")

    call = ToolCall("c1", "get_weather", '{"city": "Rome"}')
    given = config(workflow=AGENT, llm=[Reply(tool_calls=[call]), Reply.of("Sunny in Rome.")])
    client = talk_to(talk, given)
    assert client.problems == [] and client.said == ["Sunny in Rome."]
    assert not client.of("response.function_call_arguments.done"), "what the server does is no business of the client"
    assert [message.role for message in llm_of(given).calls[1].messages] == ["system", "user", "assistant", "tool"]


def test_tools_of_both_sides_in_one_conversation() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.update(instructions="Speak like a butler.", tools=[LAMP])
        client.write("Is it sunny in Rome? If so, switch the lamp off.")
        client.respond()
        done = await client.wait_for("response.done")
        calls = [item for item in done["response"]["output"] if item["type"] == "function_call"]
        assert [call["name"] for call in calls] == ["lamp"] and calls[0]["arguments"] == '{"on": false}'
        client.tell(
            "conversation.item.create",
            item={"type": "function_call_output", "call_id": calls[0]["call_id"], "output": "It is off."},
        )
        client.respond()
        await client.wait_for("response.done", 2)
        client.write("Thank you.")
        client.respond()
        await client.wait_for("response.done", 3)

    given = config(
        workflow=AGENT,
        llm=[
            Reply(tool_calls=[ToolCall("c1", "get_weather", '{"city": "Rome"}')]),
            Reply(("It is. ",), tool_calls=[ToolCall("c2", "lamp", '{"on": false}')]),
            Reply.of("The lamp is off, sir."),
            Reply.of("My pleasure."),
        ],
    )
    client = talk_to(talk, given)
    assert client.problems == []
    assert client.said == ["It is. ", "The lamp is off, sir.", "My pleasure."]
    first, last = llm_of(given).calls[0], llm_of(given).calls[-1]
    assert sorted(tool.name for tool in first.tools) == ["get_weather", "lamp"]
    assert first.messages[0].content.endswith("Speak like a butler.") and "You run" in first.messages[0].content
    told = [(message.role, message.content or [call.name for call in message.tool_calls]) for message in last.messages]
    assert told[1:] == [
        ("user", "Is it sunny in Rome? If so, switch the lamp off."),
        ("assistant", ["get_weather"]),
        ("tool", "The weather in Rome is sunny."),
        ("assistant", "It is. "),
        ("assistant", ["lamp"]),
        ("tool", "It is off."),
        ("assistant", "The lamp is off, sir."),
        ("user", "Thank you."),
    ]


def test_a_call_has_an_id_of_its_own_though_the_model_repeats_its_ids() -> None:
    """Also where the model does not see the call before, as in an answer to items of its own."""

    async def talk(client: RealtimeClient) -> None:
        client.update(tools=[LAMP])
        for count in (1, 2):
            content = [{"type": "input_text", "text": "Switch the lamp."}]
            client.respond(input=[{"type": "message", "role": "user", "content": content}])
            done = await client.wait_for("response.done", count)
            call_id = done["response"]["output"][-1]["call_id"]
            output = {"type": "function_call_output", "call_id": call_id, "output": f"Done: {count}."}
            client.tell("conversation.item.create", item=output)
        client.respond()
        await client.wait_for("response.done", 3)

    calls = [ToolCall("call_0", "lamp", arguments) for arguments in ('{"on": false}', '{"on": true}')]
    given = config(workflow=AGENT, llm=[*(Reply(tool_calls=[call]) for call in calls), Reply.of("It was off.")])
    client = talk_to(talk, given)
    assert client.problems == []
    told = client.of("response.function_call_arguments.done")
    assert [one["arguments"] for one in told] == [call.arguments for call in calls]
    ids = [one["call_id"] for one in told]
    assert ids[0] != ids[1]
    messages = llm_of(given).calls[-1].messages
    assert [call.id for message in messages for call in message.tool_calls] == ids
    assert [message.tool_call_id for message in messages if message.role == "tool"] == ids


def test_what_a_client_adds_goes_with_it() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.update(tools=[LAMP])
        client.write("One")
        client.respond()
        await client.wait_for("response.done")
        client.update(tools=[])
        client.write("Two")
        client.respond()
        await client.wait_for("response.done", 2)

    given = config(workflow=AGENT)
    client = talk_to(talk, given)
    assert client.statuses == ["completed", "completed"]
    assert [sorted(tool.name for tool in call.tools) for call in llm_of(given).calls] == [
        ["get_weather", "lamp"],
        ["get_weather"],
    ]
