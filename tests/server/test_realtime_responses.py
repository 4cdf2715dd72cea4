"""Realtime sessions on scripted engines and a virtual clock: typed turns, tools, manual turns, answers beside."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest
from realtime_client import TONE, RealtimeClient, config, talk_to, words_of

from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.config.model import PolicyConfig

CLOCK = {
    "type": "function",
    "name": "clock",
    "description": "The time.",
    "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}},
}


def llm_of(given: Any) -> Any:
    return given.llm[0].options.engine


def prompt_of(given: Any, call: int = -1) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in llm_of(given).calls[call].messages]


def test_typed_words_are_answered_in_text() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.update(output_modalities=["text"], instructions="Answer in French.")
        client.write("What time is it?")
        client.respond()
        await client.wait_for("response.done")

    given = config()
    client = talk_to(talk, given)
    assert client.problems == []
    assert client.kinds[2:] == [
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert client.said == ["It is noon."]
    assert prompt_of(given) == [("system", "Answer in French."), ("user", "What time is it?")]
    assert given.tts[0].options.engine.calls == [], "no voice was asked for it"


def test_usage_is_told() -> None:
    from antiphon.engines.protocols import Usage

    async def talk(client: RealtimeClient) -> None:
        client.write("Hello")
        client.respond()
        await client.wait_for("response.done")

    client = talk_to(talk, config(llm=[Reply(("Hi.",), usage=Usage(12, 3, 8))]))
    usage = client.of("response.done")[0]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (12, 3, 15)
    assert usage["input_token_details"]["cached_tokens"] == 8


def test_one_response_at_a_time() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Hello")
        client.respond()
        client.tell("response.create", event_id="mine")
        await client.wait_for("response.done")
        client.write("Again")
        client.respond()
        await client.wait_for("response.done", 2)

    client = talk_to(talk)
    problem = client.of("error")[0]["error"]
    assert problem["code"] == "conversation_already_has_active_response" and problem["event_id"] == "mine"
    assert client.statuses == ["completed", "completed"]


def test_the_next_answer_need_not_wait_until_the_last_one_was_heard() -> None:
    async def talk(client: RealtimeClient) -> None:
        for count in (1, 2):
            client.write("Talk")
            client.respond()
            await client.wait_for("response.done", count)

    long = "One two three four five six seven eight nine ten. " * 4
    client = talk_to(talk, config(llm=[Reply.of(long)]))
    assert client.time_of("response.done", 2) < 1.0, "both were sent as they were made"
    assert len(client.audio) / 48000 > 20


def test_a_tool_of_the_clients_ends_the_answer_and_its_output_begins_the_next() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.update(tools=[CLOCK], tool_choice="auto")
        client.write("What time is it?")
        client.respond()
        done = await client.wait_for("response.done")
        call = done["response"]["output"][1]
        client.tell(
            "conversation.item.create",
            item={"type": "function_call_output", "call_id": call["call_id"], "output": "12:00"},
        )
        client.respond()
        await client.wait_for("response.done", 2)

    call = ToolCall("call_0", "clock", '{"zone": "UTC"}')
    given = config(llm=[Reply(("One moment. ",), tool_calls=[call]), Reply.of("It is twelve.")])
    client = talk_to(talk, given)
    assert client.problems == []
    output = client.of("response.done")[0]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert output[1]["name"] == "clock" and output[1]["arguments"] == '{"zone": "UTC"}'
    added = [event["item"] for event in client.of("response.output_item.added")]
    assert [item["status"] for item in added] == ["in_progress"] * 3
    done = client.of("response.function_call_arguments.done")[0]
    assert done["call_id"] == output[1]["call_id"] != "call_0"
    assert [tool.name for tool in llm_of(given).calls[0].tools] == ["clock"]
    messages = llm_of(given).calls[1].messages
    assert [message.role for message in messages] == ["system", "user", "assistant", "assistant", "tool"]
    assert messages[3].tool_calls[0].name == "clock" and messages[4].content == "12:00"
    assert messages[4].name == "clock" and messages[4].tool_call_id == output[1]["call_id"]


def test_a_spoken_question_may_call_a_tool() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.update(tools=[CLOCK])
        await client.speak(1.0)
        await client.be_silent(1.5)
        done = await client.wait_for("response.done")
        output = done["response"]["output"]
        assert [item["type"] for item in output] == ["function_call"]
        client.tell(
            "conversation.item.create",
            item={"type": "function_call_output", "call_id": output[0]["call_id"], "output": "12:00"},
        )
        client.respond()
        await client.wait_for("response.done", 2)

    call = ToolCall("call_0", "clock", "{}")
    given = config(llm=[Reply(tool_calls=[call]), Reply.of("It is twelve.")])
    client = talk_to(talk, given)
    assert client.problems == [] and client.statuses == ["completed", "completed"]
    assert [role for role, _ in prompt_of(given)] == ["system", "user", "assistant", "tool"]


def test_push_to_talk() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.detect(None)
        await client.wait_for("session.updated")
        for piece in np.split(TONE, 10):
            client.append(piece)
        client.tell("input_audio_buffer.commit")
        client.respond()
        await client.wait_for("response.done")
        await client.wait_for("conversation.item.input_audio_transcription.completed")
        client.tell("input_audio_buffer.commit", event_id="empty")
        await client.wait_for("error")
        client.append(TONE)
        client.tell("input_audio_buffer.clear")
        client.tell("input_audio_buffer.commit")
        await client.wait_for("error", 2)

    given = config()
    client = talk_to(talk, given)
    assert client.problems == ["input_audio_buffer_commit_empty"] * 2
    assert client.of("error")[0]["error"]["event_id"] == "empty"
    assert client.said == ["It is noon."]
    assert prompt_of(given)[-1] == ("user", "what time is it")
    committed = client.of("input_audio_buffer.committed")[0]
    assert client.of("conversation.item.added")[0]["item"]["id"] == committed["item_id"]
    assert not client.of("input_audio_buffer.speech_started")


def test_a_client_may_end_the_turn_that_is_spoken() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.detect({"type": "server_vad", "silence_duration_ms": 5000})
        await client.speak(1.0)
        client.tell("input_audio_buffer.commit")
        await client.wait_for("response.done", timeout_s=3.0)
        client.tell("input_audio_buffer.commit")
        await client.wait_for("error")

    client = talk_to(talk)
    assert client.said == ["It is noon."]
    assert client.problems == ["input_audio_buffer_commit_empty"]


def test_cancelling() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.tell("response.cancel", event_id="nothing")
        await client.wait_for("error")
        client.write("Talk")
        client.respond()
        await client.wait_for("response.output_audio.delta")
        client.tell("response.cancel")
        await client.wait_for("response.done")
        client.write("Again")
        client.respond()
        await client.wait_for("response.done", 2)

    slow = Reply.of("Well. " * 100, delta_delay_s=0.2)
    given = config(llm=[slow, Reply.of("Yes.")])
    client = talk_to(talk, given)
    assert client.problems == ["response_cancel_not_active"]
    assert client.statuses == ["cancelled", "completed"]
    details = client.of("response.done")[0]["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "client_cancelled"}


def test_items_are_created_with_ids_of_the_clients_retrieved_and_deleted() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("two", item={"id": "two"})
        client.write("one", item={"id": "one"}, previous_item_id="root")
        client.write("Be kind.", role="system", item={"id": "note"}, previous_item_id="one")
        client.write("again", item={"id": "two"})
        client.write("lost", previous_item_id="nowhere")
        client.tell("conversation.item.retrieve", item_id="two")
        client.tell("conversation.item.delete", item_id="one")
        client.tell("conversation.item.delete", item_id="one")
        client.write("So?", item={"id": "three"})
        client.respond(output_modalities=["text"])
        await client.wait_for("response.done")

    given = config()
    client = talk_to(talk, given)
    assert client.problems == ["item_already_exists", "item_not_found", "item_not_found"]
    added = [(event["item"]["id"], event["previous_item_id"]) for event in client.of("conversation.item.added")]
    assert added[:4] == [("two", None), ("one", None), ("note", "one"), ("three", "two")]
    assert client.of("conversation.item.retrieved")[0]["item"]["content"] == [{"type": "input_text", "text": "two"}]
    assert client.of("conversation.item.deleted")[0]["item_id"] == "one"
    assert prompt_of(given) == [("system", "Be brief."), ("system", "Be kind."), ("user", "two\nSo?")]


def test_sound_in_an_item_is_transcribed() -> None:
    async def talk(client: RealtimeClient) -> None:
        audio = base64.b64encode(TONE.tobytes()).decode()
        content = [{"type": "input_audio", "audio": audio}]
        client.tell("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        client.respond(output_modalities=["text"])
        await client.wait_for("response.done")

    given = config()
    client = talk_to(talk, given)
    assert client.problems == []
    assert client.of("conversation.item.input_audio_transcription.completed")[0]["transcript"] == "what time is it"
    assert prompt_of(given)[-1] == ("user", "what time is it")


def test_answers_beside_the_conversation_leave_no_trace_and_disturb_nobody() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Talk")
        client.respond()
        ask = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Classify: hello"}]}]
        for number in ("1", "2"):
            client.respond(
                conversation="none",
                input=ask,
                instructions="Classify.",
                output_modalities=["text"],
                metadata={"topic": number},
            )
        await client.wait_for("response.done", 3)
        client.write("And?")
        client.respond()
        await client.wait_for("response.done", 4)

    def answer(call: Any) -> Reply:
        return Reply.of("Greeting.") if "Classify" in call.messages[0].content else Reply.of("It is noon.")

    given = config(llm=answer)
    client = talk_to(talk, given)
    assert client.problems == []
    done = {
        (event["response"]["metadata"] or {}).get("topic"): event["response"] for event in client.of("response.done")
    }
    assert words_of(done["1"]) == words_of(done["2"]) == "Greeting."
    assert done["1"]["conversation_id"] is None
    assert "Greeting" not in str(llm_of(given).calls[-1].messages)
    assert len(client.of("conversation.item.added")) == 4


def test_an_answer_beside_may_be_spoken_and_cancelled() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.respond(conversation="none", input=[], instructions="Greet.")
        await client.wait_for("response.done")
        client.respond(conversation="none", input=[], instructions="Greet slowly.")
        created = await client.wait_for("response.created", 2)
        client.tell("response.cancel", response_id=created["response"]["id"])
        await client.wait_for("response.done", 2)

    def answer(call: Any) -> Reply:
        return Reply.of("Hello there.", first_delay_s=5.0 if "slowly" in call.messages[0].content else 0.0)

    client = talk_to(talk, config(llm=answer))
    assert client.statuses == ["completed", "cancelled"]
    assert len(client.audio) == pytest.approx(len("Hello there.") * 0.06 * 48000, rel=0.02)


def test_an_answer_that_is_too_long_is_incomplete() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Talk")
        client.respond(max_output_tokens=3, output_modalities=["text"])
        await client.wait_for("response.done")

    given = config(llm=[Reply(("One two three",), finish="length")])
    client = talk_to(talk, given)
    assert client.statuses == ["incomplete"]
    assert client.of("response.done")[0]["response"]["status_details"]["reason"] == "max_output_tokens"
    assert llm_of(given).calls[0].options.max_tokens == 3


def test_an_answer_that_was_too_long_before_its_turn_was_sure_is_incomplete() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(1.5)
        await client.wait_for("response.done")

    client = talk_to(talk, config(llm=[Reply(("One two three.",), finish="length")]))
    assert client.statuses == ["incomplete"]
    assert client.of("response.done")[0]["response"]["status_details"]["reason"] == "max_output_tokens"


def test_a_guess_that_was_too_long_says_nothing_of_the_answer() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(0.35)
        await client.speak(0.6)
        await client.be_silent(1.5)
        await client.wait_for("response.done")

    given = config(
        stt=[Heard("I want"), Heard("I want a pizza")],
        llm=[Reply(("What? I",), finish="length"), Reply.of("Here.")],
    )
    client = talk_to(talk, given)
    assert len(llm_of(given).calls) == 2 and client.said == ["Here."]
    assert client.statuses == ["completed"]


def test_a_greeting_may_be_asked_for() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.respond(instructions="Greet the user.")
        await client.wait_for("response.done")

    given = config()
    client = talk_to(talk, given)
    assert client.said == ["It is noon."]
    assert [role for role, _ in prompt_of(given)] == ["system", "user"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_json"),
        ('{"type": "no.such.event", "event_id": "e"}', "invalid_value"),
        ('{"type": "session.update", "session": {"type": "realtime", "tools": 3}}', "invalid_type"),
        ('{"type": "input_audio_buffer.append", "audio": "AAA="}', None),
        ('{"type": "input_audio_buffer.append", "audio": "!"}', "invalid_audio"),
        (
            '{"type": "conversation.item.truncate", "item_id": "x", "content_index": 0, "audio_end_ms": 3}',
            "item_not_found",
        ),
        (b"\x00\x01", "invalid_message"),
    ],
)
def test_nonsense_is_told_and_the_session_goes_on(message: Any, code: str | None) -> None:
    async def talk(client: RealtimeClient) -> None:
        client.to_server.put_nowait(message)
        client.write("Hello")
        client.respond()
        await client.wait_for("response.done")

    client = talk_to(talk)
    assert client.problems == ([] if code is None else [code])
    assert client.said == ["It is noon."]


def test_settings_merge_and_are_echoed() -> None:
    async def talk(client: RealtimeClient) -> None:
        created = await client.wait_for("session.created")
        assert created["session"]["model"] == "gpt-realtime" and created["session"]["instructions"] == "Be brief."
        client.update(tools=[CLOCK], audio={"output": {"voice": "ash"}, "input": {"transcription": {"model": "x"}}})
        client.update(model="gpt-realtime-2", tracing="auto")
        client.detect({"type": "semantic_vad", "eagerness": "high"})
        await client.wait_for("session.updated", 3)

    client = talk_to(talk)
    assert client.problems == []
    session = client.of("session.updated")[2]["session"]
    assert session["tools"][0]["name"] == "clock" and session["audio"]["output"]["voice"] == "ash"
    assert session["model"] == "gpt-realtime-2"
    detection = session["audio"]["input"]["turn_detection"]
    assert detection["eagerness"] == "high" and detection["interrupt_response"] is True


def test_a_silent_client_is_kept() -> None:
    async def talk(client: RealtimeClient) -> None:
        await asyncio.sleep(1000.0)
        client.write("Hello")
        client.respond()
        await client.wait_for("response.done")

    assert talk_to(talk).said == ["It is noon."]


def test_heard_says_what_was_recorded() -> None:
    heard = [Heard("first"), Heard("second")]

    async def talk(client: RealtimeClient) -> None:
        client.detect(None)
        await client.wait_for("session.updated")
        for _ in heard:
            client.append(TONE)
            client.tell("input_audio_buffer.commit")
        client.respond()
        await client.wait_for("response.done")

    given = config(stt=heard)
    talk_to(talk, given)
    assert prompt_of(given)[-1] == ("user", "first\nsecond")


def test_the_policy_sees_what_a_client_writes_before_the_model_does() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("My card is 4111 1111 1111 1111.")
        client.write("Is it good?")
        client.respond(output_modalities=["text"])
        await client.wait_for("response.done")
        content = [{"type": "input_text", "text": "Beside: 4111 1111 1111 1111."}]
        ask = [{"type": "message", "role": "user", "content": content}]
        client.respond(conversation="none", input=ask, output_modalities=["text"])
        await client.wait_for("response.done", 2)

    keys = PolicyConfig.model_validate({"transcript": ["pii"]})
    given = config(sections={"policy": keys})
    client = talk_to(talk, given)
    assert client.problems == [] and client.statuses == ["completed", "completed"]
    told = str([call.messages for call in llm_of(given).calls])
    assert "4111" not in told and "Is it good?" in told and "Beside:" in told
