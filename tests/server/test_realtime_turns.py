"""Realtime sessions on scripted engines and a virtual clock: spoken turns."""

from __future__ import annotations

import numpy as np
import pytest
from realtime_client import RATE_HZ, RealtimeClient, config, talk_to

from antiphon.engines.testing import Heard, Reply


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
        "rate_limits.updated",
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
