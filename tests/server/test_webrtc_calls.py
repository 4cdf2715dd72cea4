"""Calls over WebRTC with another peer connection at the other end: real ICE, DTLS, SRTP and SCTP, on loopback."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import openai
import pytest
from openai.types.realtime import ClientSecretCreateResponse
from realtime_schema import validate_all
from served import config
from webrtc_call import Phone, on_the_phone, tone
from webrtc_caller import FRAME, RATE_HZ, Caller
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from antiphon.engines.testing import Heard, Reply

STORY = "Once upon a time there was a king who had three daughters and a very large garden. " * 4


def in_order(kinds: list[str], *wanted: str) -> None:
    position = 0
    for kind in wanted:
        assert kind in kinds[position:], f"{kind} is missing, or too early, in {kinds}"
        position = kinds.index(kind, position) + 1


def words_of(event: dict[str, Any]) -> str:
    return " ".join(part.get("transcript") or part.get("text") or "" for part in event["item"]["content"])


def test_a_spoken_turn() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            await caller.event("session.created")
            caller.voice.say(tone(0.8))
            await caller.event("output_audio_buffer.stopped")
            await asyncio.sleep(0.2)  # the caller's own jitter buffer
        validate_all(caller.events)
        times = [at_s for at_s, _ in caller.heard]
        assert len(times) > 60, "silence is sent, too"
        assert times[-1] - times[0] == pytest.approx((len(times) - 1) * FRAME / RATE_HZ, abs=0.1), "without a stall"
        in_order(
            caller.types(),
            *("session.created", "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"),
            *("input_audio_buffer.committed", "conversation.item.input_audio_transcription.completed"),
            *("response.created", "response.output_item.added", "response.output_audio_transcript.delta"),
            *("response.output_audio.done", "response.done", "output_audio_buffer.started"),
            "output_audio_buffer.stopped",
        )
        assert "response.output_audio.delta" not in caller.types(), "the sound goes over the line"
        assert "error" not in caller.types()
        assert caller.loud_s() == pytest.approx(len("It is noon.") * 0.06, abs=0.06)
        assert (await caller.event("response.output_audio_transcript.done"))["transcript"] == "It is noon."

    on_the_phone(talk)


def test_settings_come_with_the_call() -> None:
    """As OpenAI's own client sends them."""

    async def talk(phone: Phone) -> None:
        client = openai.AsyncOpenAI(base_url=f"http://{phone.address}/v1", api_key="any", max_retries=0)
        async with client, Caller() as caller:
            answer = await client.realtime.calls.create(
                sdp=await caller.offer(),
                session={"type": "realtime", "model": "gpt-realtime-2", "instructions": "You are a pirate."},
            )
            assert answer.response.status_code == 201
            await caller.accept(answer.text)
            session = (await caller.event("session.created"))["session"]
            assert session["instructions"] == "You are a pirate." and session["model"] == "gpt-realtime-2"
            call_id = answer.response.headers["Location"].rpartition("/")[2]
            async with client.realtime.connect(call_id=call_id) as beside:
                assert (await beside.recv()).type == "session.created"
            await client.realtime.calls.hangup(call_id)
            await phone.idle()

    on_the_phone(talk)


def test_an_ephemeral_key_and_its_settings() -> None:
    async def talk(phone: Phone) -> None:
        client = openai.AsyncOpenAI(base_url=f"http://{phone.address}/v1", api_key="any", max_retries=0)
        async with client:
            secret = await client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={"type": "realtime", "model": "gpt-realtime-2", "instructions": "You are a pirate."},
            )
        ClientSecretCreateResponse.model_validate(secret.model_dump(), strict=True)
        assert secret.value.startswith("ek_")
        assert secret.session.type == "realtime" and secret.session.instructions == "You are a pirate."
        for _ in range(2):  # good until it runs out, not once
            async with Caller() as caller:
                await phone.dial(caller, token=secret.value)
                session = (await caller.event("session.created"))["session"]
                assert session["instructions"] == "You are a pirate." and session["model"] == "gpt-realtime-2"

    on_the_phone(talk)


def test_settings_of_a_call_go_before_those_of_its_key() -> None:
    async def talk(phone: Phone) -> None:
        session = {"type": "realtime", "instructions": "You are a pirate.", "max_output_tokens": 50}
        made = await phone.http.post("/v1/realtime/client_secrets", json={"session": session})
        assert made.headers["Cache-Control"] == "no-store"
        async with Caller() as caller:
            own = json.dumps({"type": "realtime", "instructions": "You are a judge."})
            await phone.dial(caller, token=made.json()["value"], session=own)
            found = (await caller.event("session.created"))["session"]
            assert (found["instructions"], found["max_output_tokens"]) == ("You are a judge.", 50)

    on_the_phone(talk)


def test_a_call_that_only_transcribes() -> None:
    async def talk(phone: Phone) -> None:
        made = await phone.http.post("/v1/realtime/client_secrets", json={"session": {"type": "transcription"}})
        assert made.json()["session"]["type"] == "transcription"
        async with Caller() as caller:
            await phone.dial(caller, token=made.json()["value"])
            caller.voice.say(tone(0.6))
            done = await caller.event("conversation.item.input_audio_transcription.completed")
            assert done["transcript"] == "what time is it"
            assert caller.events[0]["session"]["type"] == "transcription"
            assert "response.created" not in caller.types()

    on_the_phone(talk)


def test_who_speaks_into_a_reply_stops_it_and_history_keeps_what_was_heard() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.started")
            await asyncio.sleep(1.5)
            caller.voice.say(tone(1.0))
            await caller.event("output_audio_buffer.cleared")
            heard_s = caller.loud_s()
            cleared = caller.types().index("output_audio_buffer.cleared")
            truncated = await caller.event("conversation.item.truncated")
            await asyncio.sleep(0.5)
            assert caller.loud_s() < heard_s + 0.3, "what was taken back is not heard"
            caller.send(type="conversation.item.retrieve", item_id=truncated["item_id"])
            words = words_of(await caller.event("conversation.item.retrieved", after=cleared))
        validate_all(caller.events)
        assert 1.0 < truncated["audio_end_ms"] / 1000 < 4.0
        assert truncated["audio_end_ms"] / 1000 == pytest.approx(heard_s, abs=0.4)
        assert words and STORY.startswith(words) and len(words) < 100
        assert "error" not in caller.types()

    on_the_phone(
        talk,
        config(
            llm=[Reply.of(STORY), Reply.of("Yes?")], repeat=False, stt=[Heard("tell me a story"), Heard("stop it now")]
        ),
    )


def test_a_cough_only_pauses_the_reply_and_all_of_it_is_heard() -> None:
    words = "It is noon now, and sunny, and warm."

    async def talk(phone: Phone) -> None:
        async with Caller(("oai-events", "antiphon")) as caller:
            await phone.dial(caller)
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.started")
            await asyncio.sleep(0.5)
            caller.voice.say(tone(0.2))
            await caller.event("output_audio_buffer.stopped")
            await asyncio.sleep(0.2)
            kinds = [one["event"]["type"] for one in caller.messages["antiphon"]]
            in_order(kinds, "audio_started", "playback_paused", "playback_resumed")
            assert caller.loud_s() == pytest.approx(len(words) * 0.06, abs=0.1)
        assert "output_audio_buffer.cleared" not in caller.types()
        assert "conversation.item.truncated" not in caller.types()
        validate_all(caller.events)

    given = config(llm=[Reply.of(words)], repeat=False, stt=[Heard("what time is it"), Heard("")])
    on_the_phone(talk, given)


def test_the_interruption_of_the_javascript_client() -> None:
    """`session.interrupt()` sends these two."""

    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.started")
            await asyncio.sleep(0.5)
            caller.send(type="response.cancel")
            caller.send(type="output_audio_buffer.clear")
            await caller.event("output_audio_buffer.cleared")
            await asyncio.sleep(0.4)
            begin = len(caller.heard)
            await asyncio.sleep(0.5)
            assert not any(np.abs(samples).max() > 328 for _, samples in caller.heard[begin:])
        validate_all(caller.events)

    on_the_phone(talk, config(llm=[Reply.of(STORY)]))


def test_what_is_typed_is_answered_aloud() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            await caller.event("session.created")
            tool = {"type": "function", "name": "clock", "description": "The time", "parameters": {"type": "object"}}
            caller.send(type="session.update", session={"type": "realtime", "tools": [tool]})
            updated = await caller.event("session.updated")
            assert updated["session"]["tools"][0]["name"] == "clock"
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
            caller.send(type="conversation.item.create", item=item)
            caller.send(type="response.create")
            await caller.event("output_audio_buffer.stopped")
            assert caller.loud_s() > 0.3
        validate_all(caller.events)

    on_the_phone(talk)


def test_a_channel_that_is_opened_late_misses_nothing() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller(("antiphon",)) as caller:
            await phone.dial(caller)
            await asyncio.sleep(0.5)
            caller.open("oai-events")
            await caller.event("session.created")
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.stopped")
            kinds = [one["event"]["type"] for one in caller.messages["antiphon"]]
            in_order(kinds, "speech_started", "committed", "audio_started", "spoken")
            assert {one["type"] for one in caller.messages["antiphon"]} == {"event"}

    on_the_phone(talk)


def test_a_call_without_data_channels_is_a_conversation() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller(()) as caller:
            offer = await caller.offer()
            assert "m=application" not in offer
            await phone.dial(caller)
            caller.voice.say(tone(0.6))
            await caller.until(lambda: caller.loud_s() > 0.5)

    on_the_phone(talk)


def test_a_websocket_beside_a_call_sees_and_steers_it() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            call_id = await phone.dial(caller)
            await caller.event("session.created")
            url = f"ws://{phone.address}/v1/realtime?call_id={call_id}"
            async with connect(url) as beside, connect(url, subprotocols=["realtime"]) as other:
                assert other.subprotocol == "realtime"
                assert json.loads(await beside.recv())["type"] == "session.created"
                change = {"type": "realtime", "instructions": "You are a judge."}
                await beside.send(json.dumps({"type": "session.update", "session": change}))
                assert (await caller.event("session.updated"))["session"]["instructions"] == "You are a judge."
                await beside.send(json.dumps({"type": "response.cancel", "event_id": "mine", "nonsense": 1}))
                caller.voice.say(tone(0.6))
                await caller.event("output_audio_buffer.stopped")
                await phone.hang_up(call_id)
                events = [json.loads(message) async for message in beside]
                assert beside.close_code == 1000 and beside.close_reason == "the call is over"
                seen = [json.loads(message)["type"] async for message in other]
        kinds = [one["type"] for one in events]
        in_order(
            kinds, "session.updated", "input_audio_buffer.committed", "response.done", "output_audio_buffer.stopped"
        )
        own = [one for one in events if one["type"] == "error" and one["error"]["event_id"] == "mine"]
        assert all(one["type"] != "error" for one in caller.events), "who errs is told, nobody else"
        assert [kind for kind in kinds if kind != "error"] == [kind for kind in seen if kind != "session.created"]
        assert len(own) <= 1

    on_the_phone(talk)


def test_so_many_websockets_may_follow_a_call() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            call_id = await phone.dial(caller)
            url = f"ws://{phone.address}/v1/realtime?call_id={call_id}"
            async with connect(url):
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(url):
                        pass
                assert refused.value.response.status_code == 429
            await asyncio.sleep(0.1)
            async with connect(url) as again:
                assert json.loads(await again.recv())["type"] == "session.created"
            with pytest.raises(InvalidStatus) as unknown:
                async with connect(f"ws://{phone.address}/v1/realtime?call_id=rtc_none"):
                    pass
            assert unknown.value.response.status_code == 404

    on_the_phone(talk, config(server={"webrtc": {"max_sidebands": 1}}))
