"""Realtime sessions whose sound goes another way than in events, such as a call's, on a virtual clock."""

from __future__ import annotations

from typing import Any

from realtime_call import Caller, call
from realtime_client import config

from antiphon.engines.testing import Heard, Reply


def test_a_spoken_turn_sends_no_sound_in_events_and_says_what_is_played() -> None:
    async def talk(caller: Caller) -> None:
        await caller.speak(1.0)
        await caller.be_silent(2.0)
        await caller.wait_for("response.done")

    caller = call(talk)
    assert caller.problems == [] and caller.said == ["It is noon."]
    assert caller.audio == b"" and caller.line.seconds > 0.5
    response = caller.of("response.created")[0]["response"]["id"]
    assert [event["response_id"] for event in caller.of("output_audio_buffer.started")] == [response]


def test_an_interruption_is_carried_out_by_the_server() -> None:
    async def talk(caller: Caller) -> None:
        await caller.speak(1.0)
        await caller.be_silent(2.0)
        await caller.wait_for("response.done")
        await caller.speak(1.0)
        await caller.be_silent(2.0)
        await caller.wait_for("response.done", 2)

    long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
    given = config(stt=[Heard("count"), Heard("stop it please")], llm=[Reply.of(long), Reply.of("All right.")])
    caller = call(talk, given)
    kinds = caller.kinds
    second = len(kinds) - 1 - kinds[::-1].index("input_audio_buffer.speech_started")
    assert "output_audio_buffer.cleared" in kinds[second:] and "conversation.item.truncated" in kinds[second:]
    item = caller.of("response.done")[0]["response"]["output"][0]["id"]
    truncated = caller.of("conversation.item.truncated")[0]
    assert truncated["item_id"] == item and 500 < truncated["audio_end_ms"] < 3000
    llm: Any = given.llm[0].options
    assert llm.engine.calls[-1].messages[-2].content.endswith(" ...")


def test_push_to_talk_takes_what_was_said_whatever_the_voice_detector_thinks() -> None:
    async def talk(caller: Caller) -> None:
        caller.detect(None)
        await caller.wait_for("session.updated")
        await caller.be_silent(3.0)
        caller.tell("output_audio_buffer.clear")
        caller.tell("input_audio_buffer.clear")
        await caller.speak(0.8)
        await caller.be_silent(3.0)
        await caller.speak(0.6)
        caller.tell("input_audio_buffer.commit")
        caller.respond()
        await caller.speak(0.1)  # what was still on its way
        await caller.wait_for("response.done", timeout_s=5.0)
        await caller.be_silent(1.0)
        caller.tell("input_audio_buffer.clear")
        caller.tell("input_audio_buffer.commit")
        await caller.wait_for("error")

    given = config()
    caller = call(talk, given)
    assert caller.problems == ["input_audio_buffer_commit_empty"]
    assert not caller.of("input_audio_buffer.speech_started")
    assert caller.said == ["It is noon."]
    stt: Any = given.stt[0].options
    assert [round(one.audio_s, 1) for one in stt.engine.calls] == [4.5]


def test_an_answer_that_is_asked_for_goes_before_what_is_being_said() -> None:
    async def talk(caller: Caller) -> None:
        caller.detect({"type": "server_vad", "silence_duration_ms": 3000})
        await caller.speak(1.0)
        await caller.be_silent(1.0)
        caller.write("Quick!")
        caller.respond(output_modalities=["text"])
        await caller.wait_for("response.done", timeout_s=1.0)
        await caller.be_silent(4.0)
        await caller.wait_for("response.done", 2)

    caller = call(talk)
    assert caller.problems == [] and caller.said == ["It is noon.", "It is noon."]
