"""Realtime sessions on scripted engines and a virtual clock: a client orders what crosses what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from realtime_client import AUDIO_DELTA, TONE, RealtimeClient, config, talk_to

from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.workflow import TurnContext

LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
SLOW = Reply.of("Well. " * 100, delta_delay_s=0.2)


class Repeat:
    """A workflow of the operator's own."""

    speculative = False

    async def respond(self, turn: TurnContext) -> AsyncIterator[str]:
        yield f"{turn.transcript} after {len(turn.history)}"


def prompt_of(given: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in given.llm[0].options.engine.calls[-1].messages]


def truncate(client: RealtimeClient, response: int, heard_ms: int) -> None:
    item = client.of("response.output_item.added")[response]["item"]["id"]
    client.tell("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=heard_ms)


@pytest.mark.parametrize("cancels", [False, True])
def test_truncating_what_is_being_said_ends_it(cancels: bool) -> None:
    """Some clients interrupt by that alone; others cancel behind it."""

    async def talk(client: RealtimeClient) -> None:
        client.write("Talk")
        client.respond()
        await client.wait_for(AUDIO_DELTA)
        await asyncio.sleep(1.0)
        truncate(client, 0, 450)
        if cancels:
            client.tell("response.cancel")
        await client.wait_for("response.done", timeout_s=0.5)
        client.write("Again")
        client.respond()
        await client.wait_for("response.done", 2)
        client.tell("response.cancel")
        await client.wait_for("error")

    given = config(llm=[SLOW, Reply.of("Yes.")])
    client = talk_to(talk, given)
    assert client.problems == ["response_cancel_not_active"], "the last one, which meant nothing"
    assert client.statuses == ["cancelled", "completed"]
    details = client.of("response.done")[0]["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "client_cancelled"}
    assert prompt_of(given)[-2:] == [("assistant", "Well. ..."), ("user", "Again")]


def test_what_cannot_be_truncated_is_an_error_that_says_what_and_changes_nothing() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Talk")
        client.respond()
        await client.wait_for("response.done")
        said = client.of("response.output_item.added")[0]["item"]["id"]
        client.tell("conversation.item.truncate", item_id=said, content_index=1, audio_end_ms=60)
        client.write("Write")
        client.respond(output_modalities=["text"])
        await client.wait_for("response.done", 2)
        truncate(client, 1, 60)
        client.write("Hm", item={"id": "typed"})
        client.tell("conversation.item.truncate", item_id="typed", content_index=0, audio_end_ms=60)
        await client.wait_for("error", 3)
        client.respond()
        await client.wait_for("response.done", 3)

    given = config()
    client = talk_to(talk, given)
    errors = [event["error"] for event in client.of("error")]
    assert [(error["code"], error["param"]) for error in errors] == [
        ("invalid_value", "content_index"),
        ("unsupported_content_type", "item_id"),
        ("invalid_value", "item_id"),
    ]
    assert not client.of("conversation.item.truncated")
    assert [said for role, said in prompt_of(given) if role == "assistant"] == ["It is noon."] * 2


def test_truncating_an_answer_ends_the_next_one_whose_sound_is_thrown_away_with_it() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Talk")
        client.respond()
        await client.wait_for("response.done")
        sent = len(client.of(AUDIO_DELTA))
        client.write("More")
        client.respond()
        await client.wait_for(AUDIO_DELTA, sent + 1)
        truncate(client, 0, 450)
        await client.wait_for("response.done", 2, timeout_s=0.5)
        client.write("Again")
        client.respond()
        await client.wait_for("response.done", 3)

    given = config(llm=[Reply.of(LONG), SLOW, Reply.of("Yes.")])
    client = talk_to(talk, given)
    assert client.problems == [] and client.statuses == ["completed", "cancelled", "completed"]
    assert ("assistant", "One two ...") in prompt_of(given) and "Well" not in str(prompt_of(given))


def test_truncating_an_answer_leaves_the_next_one_that_has_no_sound_yet() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Talk")
        client.respond()
        await client.wait_for("response.done")
        client.write("More")
        client.respond()
        await client.wait_for("response.created", 2)
        truncate(client, 0, 450)
        await client.wait_for("response.done", 2)

    client = talk_to(talk, config(llm=[Reply.of(LONG), Reply.of("Yes.", first_delay_s=1.0)]))
    assert client.problems == [] and client.said == [LONG, "Yes."]


def test_an_item_may_be_deleted_while_its_words_are_awaited() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.detect(None)
        await client.wait_for("session.updated")
        client.append(TONE)
        client.tell("input_audio_buffer.commit")
        client.respond()
        await client.wait_for("response.created")
        client.tell("conversation.item.delete", item_id=client.of("input_audio_buffer.committed")[0]["item_id"])
        await client.wait_for("response.done", timeout_s=1.0)
        client.write("Hello")
        client.respond()
        await client.wait_for("response.done", 2)

    given = config(stt=[Heard("never", 5.0)])
    client = talk_to(talk, given)
    assert client.problems == [] and client.said == ["", "It is noon."]
    assert prompt_of(given) == [("system", "Be brief."), ("user", "Hello")]


@pytest.mark.parametrize(
    ("heard", "problems"), [("", []), ("what time is it", ["conversation_already_has_active_response"])]
)
def test_a_response_is_asked_for_while_it_is_not_known_whether_the_user_spoke(heard: str, problems: list[str]) -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(0.5)
        await client.be_silent(1.0)
        assert client.of("input_audio_buffer.committed")
        client.write("Hello")
        client.tell("response.create", event_id="mine")
        await client.wait_for("response.done", timeout_s=10.0)

    given = config(stt=[Heard(heard, 3.0)])
    client = talk_to(talk, given)
    assert client.problems == problems and client.said == ["It is noon."]
    assert [event["error"]["event_id"] for event in client.of("error")] == ["mine"] * len(problems)


def test_a_response_is_asked_for_while_a_cough_into_a_reply_is_looked_at() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(2.0)
        await client.wait_for("response.done")
        await client.cough(0.3)
        await client.be_silent(1.0)
        client.write("Hello")
        client.respond()
        await client.be_silent(0.5)
        assert len(client.of("response.created")) == 1
        await client.wait_for("response.done", 2, timeout_s=10.0)

    given = config(stt=[Heard("count"), Heard("", 3.0)], llm=[Reply.of(LONG), Reply.of("Yes.")])
    client = talk_to(talk, given)
    assert client.problems == [] and client.said == [LONG, "Yes."]
    assert len(client.of("input_audio_buffer.speech_started")) == 1 and prompt_of(given)[-1] == ("user", "Hello")


def test_a_workflow_of_the_operators_own_is_told_what_the_user_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    async def talk(client: RealtimeClient) -> None:
        content = [{"type": "input_text", "text": "Listen."}]
        client.respond(input=[{"type": "message", "role": "user", "content": content}])
        await client.wait_for("response.done")
        client.respond(input=[])
        await client.wait_for("response.done", 2)

    client = talk_to(talk, config(workflow={"kind": "test_realtime_crossed:Repeat"}))
    assert client.problems == []
    assert client.said == ["Listen. after 0", "(The user says nothing, and waits for you to speak.) after 0"]
