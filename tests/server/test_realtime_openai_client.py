"""OpenAI's own Python client, unmodified, against our server: every event that comes is checked against its types."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import openai
import pytest
from interop_desk import QUESTIONS, RATE_HZ, STORY, desk
from network_clock import run_networked
from openai_call import Call
from realtime_schema import validate_all
from served import serving, with_client

from antiphon.pipeline.config import Config
from antiphon.server import g711


def call(
    talk: Callable[[Call], Awaitable[None]],
    *,
    given: Config | None = None,
    errors: int = 0,
    **session: Any,
) -> Call:
    """A call in which the client does `talk`; the session is set up first."""

    async def use(client: Any) -> Call:
        async with client.realtime.connect(model="gpt-realtime-2") as connection:
            made = Call(connection)
            await made.next("session.created")
            if session:
                await connection.session.update(session={"type": "realtime", **session})
                await made.next("session.updated")
            await talk(made)
            return made

    made: Call = with_client(use, given or desk())
    validate_all(made.events)
    assert len(made.of("error")) == errors, made.of("error")
    return made


def in_order(kinds: list[str], *wanted: str) -> None:
    position = 0
    for kind in wanted:
        assert kind in kinds[position:], f"{kind} is missing, or too early, in {kinds}"
        position = kinds.index(kind, position) + 1


def test_a_spoken_turn() -> None:
    async def talk(made: Call) -> None:
        speaking = asyncio.create_task(made.speak("time", 2.0))
        await made.next("response.done")
        await speaking

    made = call(talk, instructions="You are a pirate.")
    in_order(
        made.kinds(),
        "session.created", "session.updated", "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed", "conversation.item.added", "response.created", "response.output_item.added",
        "conversation.item.added", "response.content_part.added", "response.output_audio.delta",
        "response.output_audio.done", "response.content_part.done", "response.output_item.done", "response.done",
    )  # fmt: skip
    (heard,) = made.of("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"] == QUESTIONS[300]
    said = "".join(event["delta"] for event in made.of("response.output_audio_transcript.delta"))
    (done,) = made.of("response.output_audio_transcript.done")
    assert said.strip() == done["transcript"].strip() == "Arr, it is noon."
    samples = np.frombuffer(made.audio(), "<i2")
    assert len(samples) / RATE_HZ == pytest.approx(len("Arr, it is noon.") * 0.06, rel=0.1)
    assert np.abs(samples).max() > 1000
    (answered,) = made.of("response.done")
    assert answered["response"]["status"] == "completed"
    assert answered["response"]["usage"]["output_tokens"] > 0
    (item,) = answered["response"]["output"]
    assert item["content"][0]["transcript"].strip() == "Arr, it is noon."
    user = next(event["item"] for event in made.of("conversation.item.added") if event["item"]["role"] == "user")
    assert heard["item_id"] == user["id"] == made.of("input_audio_buffer.committed")[0]["item_id"]


def test_a_text_turn() -> None:
    async def talk(made: Call) -> None:
        await made.connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What time is it?"}]}
        )
        await made.connection.response.create()
        await made.next("response.done")

    made = call(talk, output_modalities=["text"])
    assert "".join(event["delta"] for event in made.of("response.output_text.delta")).strip() == "It is noon."
    assert made.of("response.output_text.done")[0]["text"].strip() == "It is noon."
    assert made.audio() == b""


TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def test_a_tool_of_the_clients() -> None:
    async def talk(made: Call) -> None:
        speaking = asyncio.create_task(made.speak("weather", 3.0))
        item = (await made.next("response.output_item.done"))["item"]
        assert (item["type"], item["name"], json.loads(item["arguments"])) == (
            "function_call", "get_weather", {"city": "Oslo"},
        )  # fmt: skip
        await made.next("response.done")
        await made.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": item["call_id"], "output": "Sunny."}
        )
        await made.connection.response.create()
        await made.next("response.done")
        speaking.cancel()

    made = call(talk, tools=[TOOL], tool_choice="auto")
    assert made.of("response.output_audio_transcript.done")[-1]["transcript"].strip() == "I looked: Sunny."
    (arguments,) = made.of("response.function_call_arguments.done")
    assert arguments["name"] == "get_weather"


def test_the_sound_of_items() -> None:
    items: list[Any] = []

    async def talk(made: Call) -> None:
        speaking = asyncio.create_task(made.speak("time", 2.0))
        await made.next("response.done")
        for kind in ("input_audio_buffer.committed", "response.output_item.added"):
            event = made.of(kind)[0]
            await made.connection.conversation.item.retrieve(item_id=event.get("item_id") or event["item"]["id"])
            items.append((await made.next("conversation.item.retrieved"))["item"])
        await speaking

    made = call(talk, audio={"output": {"format": {"type": "audio/pcmu"}}})
    user, assistant = (base64.b64decode(item["content"][0]["audio"]) for item in items)
    assert 0.8 * RATE_HZ < len(user) / 2 < 1.4 * RATE_HZ and np.abs(np.frombuffer(user, "<i2")).max() > 9000
    assert assistant == made.audio()


def test_speech_into_an_answer_cuts_it() -> None:
    async def talk(made: Call) -> None:
        speaking = asyncio.create_task(made.speak("story", 1.2, "time", 3.0))
        await made.next("response.output_audio.delta")
        first = await made.next("response.done")
        assert first["response"]["status"] == "cancelled"
        assert first["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert (await made.next("response.done"))["response"]["status"] == "completed"
        speaking.cancel()

    made = call(talk, audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 400}}})
    heard = [event["transcript"] for event in made.of("conversation.item.input_audio_transcription.completed")]
    assert heard == [QUESTIONS[600], QUESTIONS[300]]
    assert made.of("response.output_audio_transcript.done")[-1]["transcript"].strip() == "It is noon."
    assert len(made.audio()) / 2 / RATE_HZ < len(STORY) * 0.06, "not all of the story was sent"


def test_turns_that_the_client_ends_itself() -> None:
    async def talk(made: Call) -> None:
        await made.speak("time")
        await made.connection.input_audio_buffer.commit()
        await made.next("input_audio_buffer.committed")
        await made.connection.response.create()
        assert (await made.next("response.done"))["response"]["status"] == "completed"

    made = call(talk, audio={"input": {"turn_detection": None}})
    assert made.of("input_audio_buffer.speech_started") == []
    assert made.of("response.output_audio_transcript.done")[0]["transcript"].strip() == "It is noon."


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_telephone_sound_both_ways(law: g711.Law) -> None:
    kind = {"mulaw": "audio/pcmu", "alaw": "audio/pcma"}[law]

    async def talk(made: Call) -> None:
        speaking = asyncio.create_task(made.speak("time", 2.0, rate_hz=8000, law=law))
        await made.next("response.done")
        speaking.cancel()

    made = call(talk, audio={"input": {"format": {"type": kind}}, "output": {"format": {"type": kind}}})
    assert made.of("session.updated")[0]["session"]["audio"]["output"]["format"] == {"type": kind}
    heard = g711.decode(made.audio(), law)
    assert len(heard) / 8000 == pytest.approx(len("It is noon.") * 0.06, rel=0.1)
    assert np.abs(heard).max() > 0.03


def test_an_answer_out_of_band_leaves_no_trace() -> None:
    async def talk(made: Call) -> None:
        await made.connection.response.create(
            response={
                "conversation": "none", "output_modalities": ["text"], "metadata": {"topic": "time"},
                "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Time?"}]}],
            }
        )  # fmt: skip
        done = await made.next("response.done")
        assert done["response"]["metadata"] == {"topic": "time"}
        assert done["response"]["conversation_id"] is None
        assert done["response"]["output"][0]["content"][0]["text"].strip() == "It is noon."

    made = call(talk)
    assert made.of("conversation.item.added") == []


def test_items_by_ids_of_the_clients() -> None:
    async def talk(made: Call) -> None:
        for name, after in (("one", None), ("three", None), ("two", "one"), ("zero", "root")):
            arguments: dict[str, Any] = {} if after is None else {"previous_item_id": after}
            await made.connection.conversation.item.create(
                item={"type": "message", "role": "user", "id": name, "content": [{"type": "input_text", "text": name}]},
                **arguments,
            )
            assert (await made.next("conversation.item.added"))["item"]["id"] == name
        await made.connection.conversation.item.retrieve(item_id="two")
        assert (await made.next("conversation.item.retrieved"))["item"]["content"][0]["text"] == "two"
        await made.connection.conversation.item.delete(item_id="two")
        await made.next("conversation.item.deleted")
        await made.connection.conversation.item.retrieve(item_id="two", event_id="gone")
        assert (await made.next("error"))["error"]["event_id"] == "gone"

    made = call(talk, errors=1)
    befores = [event["previous_item_id"] for event in made.of("conversation.item.added")]
    assert befores == [None, "one", "one", None]


def test_mistakes_are_answered_and_the_call_goes_on() -> None:
    async def talk(made: Call) -> None:
        for event in (
            {"type": "response.cancel", "event_id": "a"},
            {
                "type": "conversation.item.truncate",
                "item_id": "no",
                "content_index": 0,
                "audio_end_ms": 1,
                "event_id": "b",
            },
            {"type": "conversation.item.delete", "item_id": "no", "event_id": "c"},
            {
                "type": "session.update",
                "session": {"type": "realtime", "audio": {"output": {"speed": 9}}},
                "event_id": "d",
            },
            {"type": "input_audio_buffer.append", "audio": "?", "event_id": "e"},
        ):
            await made.connection.send(event)  # type: ignore[arg-type]
            assert (await made.next("error"))["error"]["event_id"] == event["event_id"]
        speaking = asyncio.create_task(made.speak("time", 2.0))
        assert (await made.next("response.done"))["response"]["status"] == "completed"
        speaking.cancel()

    call(talk, errors=5)


def test_a_transcription_session() -> None:
    async def main() -> Call:
        async with serving(desk()) as (address, _):
            client = openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0)
            async with client, client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
                made = Call(connection)
                created = await made.next("session.created")
                assert created["session"]["type"] == "transcription"
                await connection.session.update(
                    session={
                        "type": "transcription",
                        "audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}},
                    }
                )
                await made.next("session.updated")
                speaking = asyncio.create_task(made.speak("time", 1.2, "weather", 2.0))
                for _ in range(2):
                    await made.next("conversation.item.input_audio_transcription.completed")
                speaking.cancel()
                return made

    made = run_networked(main())
    validate_all(made.events)
    heard = [event["transcript"] for event in made.of("conversation.item.input_audio_transcription.completed")]
    assert heard == [QUESTIONS[300], QUESTIONS[400]]
    assert made.of("response.created") == [] and made.of("error") == []
