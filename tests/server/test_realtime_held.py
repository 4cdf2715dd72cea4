"""A response that is asked for while it is not known whether the user has said something; and who is told of errors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp_standin import Notes, calling, hosted, talk_with_tools
from realtime_call import Caller, call
from realtime_client import RealtimeClient, config, talk_to

from antiphon.engines.testing import Heard, Reply

LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."


def unsure(said: str = "") -> Any:
    """A sound whose words are not known for three seconds."""
    return config(stt=[Heard(said, 3.0), Heard("what time is it")], llm=[Reply.of("Yes.")])


async def make_a_sound(client: RealtimeClient) -> None:
    await client.speak(0.5)
    await client.be_silent(1.0)
    assert client.of("input_audio_buffer.committed")
    client.write("Hello")


def test_it_may_be_cancelled_and_whoever_asked_gets_its_end() -> None:
    async def talk(client: RealtimeClient) -> None:
        await make_a_sound(client)
        client.respond(metadata={"for": "you"})
        client.tell("response.cancel", event_id="stop")
        done = await client.wait_for("response.done", timeout_s=0.5)
        assert done["response"]["metadata"] == {"for": "you"}
        await client.be_silent(4.0)
        assert len(client.of("response.created")) == 1, "what was cancelled is not given later"
        client.respond()
        await client.wait_for("response.done", 2)

    client = talk_to(talk, unsure())
    assert client.problems == [] and client.statuses == ["cancelled", "completed"]
    created, done = client.of("response.created")[0]["response"], client.of("response.done")[0]["response"]
    assert created["id"] == done["id"] and done["output"] == []
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


def test_cancelled_twice_the_second_time_means_nothing() -> None:
    async def talk(client: RealtimeClient) -> None:
        await make_a_sound(client)
        client.respond()
        client.tell("response.cancel")
        client.tell("response.cancel", event_id="again")
        await client.wait_for("error")

    client = talk_to(talk, unsure())
    assert client.statuses == ["cancelled"] and client.problems == ["response_cancel_not_active"]
    assert client.of("error")[0]["error"]["event_id"] == "again"


def test_cancelling_another_response_leaves_it() -> None:
    async def talk(client: RealtimeClient) -> None:
        await make_a_sound(client)
        client.respond()
        client.tell("response.cancel", response_id="resp_another")
        await client.wait_for("error")
        await client.wait_for("response.done", timeout_s=10.0)

    client = talk_to(talk, unsure())
    assert client.problems == ["response_cancel_not_active"] and client.said == ["Yes."]


def test_after_cancelling_it_another_may_be_asked_for_while_the_sound_is_still_looked_at() -> None:
    async def talk(client: RealtimeClient) -> None:
        await make_a_sound(client)
        client.respond(instructions="First.")
        client.respond(instructions="Too many.")
        client.tell("response.cancel")
        client.respond(instructions="Last.")
        await client.wait_for("response.done", 2, timeout_s=10.0)

    given = unsure()
    client = talk_to(talk, given)
    assert client.problems == ["conversation_already_has_active_response"]
    assert client.statuses == ["cancelled", "completed"]
    assert given.llm[0].options.engine.calls[-1].messages[0].content == "Last."


def test_it_is_cancelled_with_the_one_that_it_waits_for() -> None:
    async def talk(client: RealtimeClient, notes: Notes, url: str) -> None:
        client.update(output_modalities=["text"], tools=[hosted(url)])
        await client.wait_for("conversation.item.done")
        client.write("What do my notes say?")
        client.respond()
        await client.wait_for("response.mcp_call.in_progress")
        client.respond()
        client.tell("response.cancel")
        await client.wait_for("response.done", 2)
        notes.going_on.set()

    client, _, _ = talk_with_tools(talk, calling("wait"), Reply.of("Never said."))
    assert client.problems == [] and client.statuses == ["cancelled", "cancelled"]
    begun = [event["type"] for event in client.of("response.created", "response.done")]
    assert begun == ["response.created", "response.done"] * 2, "one at a time"


def beside(caller: Caller) -> list[dict[str, Any]]:
    """A side-band: what it gets."""
    got: list[dict[str, Any]] = []
    caller.connection.listen(got.append)
    return got


def errors_of(events: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    return [(one["error"]["code"], one["error"].get("event_id")) for one in events if one["type"] == "error"]


@pytest.mark.parametrize("asks", ["client", "sideband"])
def test_its_error_goes_to_whoever_asked_alone(asks: str) -> None:
    async def talk(caller: Caller) -> None:
        got.append(beside(caller))
        await make_a_sound(caller)
        if asks == "client":
            caller.tell("response.create", event_id="mine")
        else:
            await caller.connection.receive('{"type": "response.create", "event_id": "mine"}', got[0].append)
        await caller.be_silent(4.0)  # it was no cough: its words are answered
        await caller.wait_for("response.done")

    got: list[list[dict[str, Any]]] = []
    caller = call(talk, unsure("what time is it"))
    told = [("conversation_already_has_active_response", "mine")]
    assert errors_of(caller.events) == (told if asks == "client" else [])
    assert errors_of(got[0]) == (told if asks == "sideband" else [])
    assert caller.said == ["Yes."] and "response.done" in [one["type"] for one in got[0]]


def test_errors_of_a_client_are_not_told_to_those_beside_it() -> None:
    async def talk(caller: Caller) -> None:
        got.append(beside(caller))
        caller.tell("response.cancel", event_id="one")
        caller.tell("input_audio_buffer.commit", event_id="two")
        await caller.wait_for("error", 2)
        send: list[dict[str, Any]] = []
        await caller.connection.receive('{"type": "input_audio_buffer.commit", "event_id": "three"}', send.append)
        await asyncio.sleep(0.1)
        assert errors_of(send) == [("input_audio_buffer_commit_empty", "three")]

    got: list[list[dict[str, Any]]] = []
    caller = call(talk)
    assert [event_id for _, event_id in errors_of(caller.events)] == ["one", "two"]
    assert errors_of(got[0]) == []
