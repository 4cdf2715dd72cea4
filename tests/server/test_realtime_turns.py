"""Realtime sessions on scripted engines and a virtual clock: spoken turns."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import pytest
from realtime_client import RATE_HZ, RealtimeClient, config, talk_to

from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.config import Config, InterruptionConfig, SpeculationConfig
from antiphon.server import g711
from antiphon.server.access.principal import SCOPES, Principal


def test_a_spoken_turn_is_told_in_the_order_that_clients_wait_for() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.wait_for("session.created")
        client.update(instructions="Be brief.")
        await client.speak(1.0)
        await client.be_silent(1.0)
        await client.wait_for("response.done")

    client = talk_to(talk)
    assert client.problems == []
    assert client.kinds == [
        "session.created",
        "session.updated",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert client.of("conversation.item.input_audio_transcription.completed")[0]["transcript"] == "what time is it"
    assert client.said == ["It is noon."] and client.statuses == ["completed"]
    heard = np.frombuffer(client.audio, "<i2")
    assert len(heard) == pytest.approx(len("It is noon.") * 0.06 * RATE_HZ, rel=0.02)
    assert np.abs(heard).max() > 3000
    user = client.of("input_audio_buffer.speech_started")[0]["item_id"]
    assert client.of("input_audio_buffer.committed")[0]["item_id"] == user
    assert client.of("conversation.item.added")[0]["item"]["id"] == user
    assert client.of("conversation.item.added")[1]["previous_item_id"] == user


def test_a_second_turn_knows_the_first() -> None:
    async def talk(client: RealtimeClient) -> None:
        for count in (1, 2):
            await client.speak(1.0)
            await client.be_silent(2.0)
            await client.wait_for("response.done", count)

    given = config(llm=[Reply.of("It is noon."), Reply.of("Still noon.")], stt=[Heard("one"), Heard("two")])
    client = talk_to(talk, given)
    llm = given.llm[0].options.engine
    assert [(m.role, m.content) for m in llm.calls[-1].messages] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "It is noon."),
        ("user", "two"),
    ]
    assert client.said == ["It is noon.", "Still noon."]


def test_a_cough_into_a_reply_is_never_told_of() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(2.0)
        await client.wait_for("response.done")
        await client.cough(0.3)
        await client.be_silent(6.0)

    long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
    given = config(stt=[Heard("count"), Heard("")], llm=[Reply.of(long)], repeat=True)
    client = talk_to(talk, given)
    assert len(client.of("input_audio_buffer.speech_started")) == 1
    assert len(client.of("conversation.item.added")) == 2
    assert client.statuses == ["completed"]


def slow_answer() -> Config:
    """The first answer lasts; the second is short."""
    slow = Reply.of("Well. " * 100, delta_delay_s=0.2)
    return config(stt=[Heard("count"), Heard("stop it please")], llm=[slow, Reply.of("All right.")], repeat=True)


async def interrupt(client: RealtimeClient) -> None:
    """Ask, and speak into the answer."""
    await client.speak(1.0)
    await client.be_silent(1.5)
    await client.speak(1.5)
    await client.be_silent(2.0)
    await client.wait_for("response.done", 2)


def test_speech_into_a_reply_that_is_made_cancels_it() -> None:
    given = slow_answer()
    client = talk_to(interrupt, given)
    assert client.statuses == ["cancelled", "completed"]
    first = client.of("response.done")[0]["response"]
    assert first["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    kinds = client.kinds
    second = len(kinds) - 1 - kinds[::-1].index("input_audio_buffer.speech_started")
    assert second < kinds.index("response.done")
    llm = given.llm[0].options.engine
    told = llm.calls[-1].messages[-2].content
    assert told.startswith("Well.") and told.endswith(" ...") and len(told) < 60, "what was heard, and no more"


def test_of_an_answer_that_is_interrupted_nothing_comes_behind_the_order_to_drop_it() -> None:
    """Also of sound that is converted, of which the converter holds the last bit."""

    async def talk(client: RealtimeClient) -> None:
        client.update(audio={"output": {"format": {"type": "audio/pcmu"}}})
        await interrupt(client)

    given = slow_answer()
    client = talk_to(talk, given)
    assert client.statuses == ["cancelled", "completed"]
    kinds = client.kinds
    dropped = len(kinds) - 1 - kinds[::-1].index("input_audio_buffer.speech_started")
    assert "response.output_audio.delta" in kinds[:dropped]
    assert "response.output_audio.delta" not in kinds[dropped : kinds.index("response.done")]


def test_what_was_heard_is_corrected_by_the_client_to_the_word() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(2.0)
        done = await client.wait_for("response.done")
        item = done["response"]["output"][0]["id"]
        await client.speak(0.8)
        await client.wait_for("input_audio_buffer.speech_started", 2)
        client.tell("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=round(60 * 7.5))
        client.tell("conversation.item.retrieve", item_id=item)
        await client.be_silent(2.0)
        client.tell("conversation.item.retrieve", item_id=item)
        await client.wait_for("conversation.item.retrieved", 2)

    long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
    given = config(stt=[Heard("count"), Heard("stop it please")], llm=[Reply.of(long), Reply.of("All right.")])
    client = talk_to(talk, given)
    assert client.problems == []
    assert client.of("conversation.item.truncated")[0]["audio_end_ms"] == 450
    assert client.of("conversation.item.retrieved")[1]["item"]["content"][0]["transcript"] == "One two"
    llm = given.llm[0].options.engine
    assert llm.calls[-1].messages[-2].content == "One two ..."


@pytest.mark.parametrize(("delay_s", "status"), [(0.5, "completed"), (0.9, "cancelled")])
def test_speech_just_after_the_end_makes_one_turn_of_both(delay_s: float, status: str) -> None:
    """Also where the answer was sent already: it is being heard at most since then."""

    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(0.55)
        await client.speak(0.6)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 2)

    given = config(
        stt=[Heard("I want"), Heard("I want a pizza")],
        llm=[Reply.of("What?", first_delay_s=delay_s), Reply.of("Here.")],
    )
    client = talk_to(talk, given)
    assert client.statuses == [status, "completed"]
    first = client.of("input_audio_buffer.committed")[0]["item_id"]
    assert first in [event["item_id"] for event in client.of("conversation.item.deleted")]
    last = given.llm[0].options.engine.calls[-1].messages
    assert [(m.role, m.content) for m in last[1:]] == [("user", "I want a pizza")]


@pytest.mark.parametrize("encoding", ["audio/pcmu", "audio/pcma"])
def test_telephone_sound_both_ways(encoding: str) -> None:
    async def talk(client: RealtimeClient) -> None:
        form = {"type": encoding}
        client.update(audio={"input": {"format": form}, "output": {"format": form}})
        await client.wait_for("session.updated")
        law = "mulaw" if encoding == "audio/pcmu" else "alaw"
        tone = (0.3 * np.sin(2 * np.pi * 220 / 8000 * np.arange(160))).astype(np.float32)
        for at in range(120):
            await asyncio.sleep(0.02)
            sound = g711.encode(tone if at < 50 else tone * 0, law)
            client.tell("input_audio_buffer.append", audio=base64.b64encode(sound).decode())
        await client.wait_for("response.done")

    client = talk_to(talk)
    assert client.problems == [] and client.statuses == ["completed"]
    assert len(client.audio) == pytest.approx(len("It is noon.") * 0.06 * 8000, rel=0.02), "8 kHz, one byte a sample"
    assert client.of("session.updated")[0]["session"]["audio"]["output"]["format"] == {"type": encoding}


def test_turns_that_are_transcribed_and_not_answered() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.detect({"type": "server_vad", "create_response": False})
        await client.speak(1.0)
        await client.be_silent(1.5)
        client.respond()
        await client.wait_for("response.done")
        await client.be_silent(0.5)

    client = talk_to(talk)
    assert client.problems == []
    assert len(client.of("response.created")) == 1 and client.said == ["It is noon."]
    kinds = client.kinds
    assert kinds.index("response.created") > kinds.index("conversation.item.input_audio_transcription.completed")
    assert len(client.of("conversation.item.added")) == 2


def test_a_transcription_session_answers_nothing() -> None:
    async def talk(client: RealtimeClient) -> None:
        created = await client.wait_for("session.created")
        assert created["session"]["type"] == "transcription"
        client.tell(
            "session.update",
            session={"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}},
        )
        for _ in range(2):
            await client.speak(1.0)
            await client.be_silent(1.5)
        client.respond()
        await client.wait_for("error")

    client = talk_to(talk, intent="transcription")
    heard = client.of("conversation.item.input_audio_transcription.completed")
    assert [event["transcript"] for event in heard] == ["what time is it"] * 2
    assert heard[0]["usage"]["type"] == "duration" and heard[0]["usage"]["seconds"] == pytest.approx(1.0, abs=0.1)
    assert not client.of("response.created") and client.audio == b""


def test_a_key_for_transcription_makes_a_transcription_session() -> None:
    async def talk(client: RealtimeClient) -> None:
        created = await client.wait_for("session.created")
        assert created["session"]["type"] == "transcription"

    bound = {"type": "transcription", "audio": {"input": {"transcription": {"language": "de"}}}}
    talk_to(talk, principal=Principal("ek", SCOPES, bound))


def test_a_silent_user_is_spoken_to_again() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.detect({"type": "server_vad", "idle_timeout_ms": 5000})
        await client.be_silent(8.0)
        assert not client.of("input_audio_buffer.timeout_triggered"), "before the first answer nobody is impatient"
        await client.speak(1.0)
        await client.be_silent(12.0)

    client = talk_to(talk)
    first = client.of("input_audio_buffer.timeout_triggered")[0]
    assert first["audio_end_ms"] - first["audio_start_ms"] == pytest.approx(5000, abs=150)
    assert client.statuses == ["completed", "completed"]
    heard_s = client.time_of("response.done") + len("It is noon.") * 0.06
    assert client.time_of("input_audio_buffer.timeout_triggered") == pytest.approx(heard_s + 5.0, abs=0.4)


def test_what_could_not_be_transcribed_is_told() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(1.0)
        await client.be_silent(2.0)
        await client.wait_for("response.done")

    client = talk_to(talk, config(stt=[EngineFailed("no ears")]))
    assert client.of("conversation.item.input_audio_transcription.failed")[0]["error"]["message"] == "no ears"
    assert client.statuses == ["failed"]


def test_a_reply_that_breaks_is_told_and_the_session_goes_on() -> None:
    async def talk(client: RealtimeClient) -> None:
        for count in (1, 2):
            await client.speak(1.0)
            await client.be_silent(2.0)
            await client.wait_for("response.done", count)

    given = config(llm=[Reply(("I begin. ",), error_after=1), Reply.of("Better.")])
    client = talk_to(talk, given)
    assert client.statuses == ["failed", "completed"]
    details = client.of("response.done")[0]["response"]["status_details"]
    assert details["type"] == "failed" and details["error"]["code"] == "EngineFailed"


def test_words_are_told_while_they_are_spoken_as_soon_as_they_are_heard_twice_alike() -> None:
    async def talk(client: RealtimeClient) -> None:
        await client.speak(2.2)
        await client.be_silent(1.5)
        await client.wait_for("response.done")

    words = "what time is it now in Rome".split()

    def hear(call: Any) -> Heard:
        return Heard(" ".join(words[: max(1, int(call.audio_s / 0.4))]))

    given = config(stt=hear, sections={"speculation": SpeculationConfig(rerun_ms=400)})
    client = talk_to(talk, given)
    deltas = client.of("conversation.item.input_audio_transcription.delta")
    whole = client.of("conversation.item.input_audio_transcription.completed")[0]["transcript"]
    assert len(deltas) > 2 and "".join(event["delta"] for event in deltas) == whole
    assert client.at_s[client.events.index(deltas[0])] < client.time_of("input_audio_buffer.speech_stopped")
    assert {event["item_id"] for event in deltas} == {client.of("input_audio_buffer.committed")[0]["item_id"]}


def test_an_apology_is_told_in_words_too_and_is_no_part_of_the_conversation() -> None:
    async def talk(client: RealtimeClient) -> None:
        for count in (1, 2):
            await client.speak(1.0)
            await client.be_silent(3.0)
            await client.wait_for("response.done", count)

    given = config(llm=[Reply(error_after=0), Reply.of("Better.")], session={"on_error": "Sorry."})
    client = talk_to(talk, given)
    assert client.statuses == ["failed", "completed"] and client.said == ["Sorry.", "Better."]
    assert "Sorry" not in str(given.llm[0].options.engine.calls[-1].messages)


def test_where_nothing_may_interrupt_clients_are_told_so() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.detect({"type": "server_vad", "interrupt_response": True})
        await client.wait_for("session.updated")
        await client.speak(1.0)
        await client.be_silent(1.5)
        await client.speak(1.0)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 2)

    sections = {"interruption": InterruptionConfig(enabled=False)}
    slow = Reply.of("Well. " * 10, delta_delay_s=0.2)
    client = talk_to(talk, config(llm=[slow, Reply.of("Yes.")], sections=sections))
    for event in client.of("session.created", "session.updated"):
        assert event["session"]["audio"]["input"]["turn_detection"]["interrupt_response"] is False
    assert client.statuses == ["completed", "completed"]
    assert len(client.of("input_audio_buffer.speech_started")) == 2, "at once: what it means is for the client to say"
