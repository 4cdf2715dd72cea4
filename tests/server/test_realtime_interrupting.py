"""Speech into a reply over a WebSocket, by each rule that says when the client is told: scripted, virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from realtime_client import AUDIO_DELTA, RealtimeClient, config, talk_to

from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.config import Config
from antiphon.pipeline.config.model import InterruptionConfig

STARTED = "input_audio_buffer.speech_started"
LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
SLOW = Reply.of("Well. " * 100, delta_delay_s=0.2)
GATE_S = 0.2
"""A voice is heard within this."""


def given(rule: str | None, said: str = "stop it please", *, first: Reply = SLOW, **interruption: Any) -> Config:
    server = {} if rule is None else {"realtime": {"interrupt": rule}}
    sections = {"interruption": InterruptionConfig(**interruption)} if interruption else {}
    return config(
        server, stt=[Heard("count"), Heard(said)], llm=[first, Reply.of("All right.")], repeat=True, sections=sections
    )


async def into_a_reply(client: RealtimeClient, seconds: float, *, cough: bool = False) -> float:
    """Ask, and make a sound into the answer. Returns when that began."""
    await client.speak(1.0)
    await client.be_silent(1.5)
    began_s = asyncio.get_running_loop().time()
    await (client.cough if cough else client.speak)(seconds)
    await client.be_silent(2.5)
    return began_s


def heard(rule: str | None, seconds: float, *, cough: bool = False, made: Config | None = None) -> tuple[Any, float]:
    """The client, and how long after the sound began it was told to drop the reply; inf: never."""
    began: list[float] = []

    async def talk(client: RealtimeClient) -> None:
        began.append(await into_a_reply(client, seconds, cough=cough))

    client = talk_to(talk, made or given(rule))
    assert client.problems == []
    told = client.time_of(STARTED, 2) - began[0] if len(client.of(STARTED)) > 1 else float("inf")
    return client, told


def cancelled(client: RealtimeClient) -> list[dict[str, Any]]:
    done = [event["response"] for event in client.of("response.done")]
    return [one for one in done if one["status_details"] == {"type": "cancelled", "reason": "turn_detected"}]


@pytest.mark.parametrize(("rule", "least_s"), [("at_once", 0.06), ("sure", 0.15), (None, 0.15), ("decided", 0.55)])
def test_a_voice_ends_a_reply_as_soon_as_the_rule_says(rule: str | None, least_s: float) -> None:
    client, told_s = heard(rule, 1.5)
    assert least_s < told_s < least_s + 0.15
    (first,) = cancelled(client)
    assert first["id"] == client.of("response.created")[0]["response"]["id"]
    ids = [event["response"]["id"] for event in client.of("response.done")]
    assert ids.count(first["id"]) == 1 and client.statuses[:2] == ["cancelled", "completed"]
    kinds = client.kinds
    again = [at for at, kind in enumerate(kinds) if kind == STARTED][1]
    assert again < kinds.index("response.done"), "first the order to drop it"


@pytest.mark.parametrize("rule", ["sure", "decided"])
def test_a_cough_ends_nothing(rule: str) -> None:
    client, told_s = heard(rule, 0.3, cough=True, made=given(rule, ""))
    assert told_s == float("inf") and cancelled(client) == []
    assert len(client.of("input_audio_buffer.committed")) == 1, "nobody is told of it at all"


def test_told_at_once_a_cough_ends_a_reply_and_is_a_turn_without_words() -> None:
    client, told_s = heard("at_once", 0.3, cough=True, made=given("at_once", ""))
    assert told_s < GATE_S and len(cancelled(client)) == 1
    words = [event["transcript"] for event in client.of("conversation.item.input_audio_transcription.completed")]
    assert words == ["count", ""] and len(client.of("response.created")) == 1


@pytest.mark.parametrize(("rule", "ends"), [("at_once", True), ("sure", True), ("decided", False)])
def test_a_backchannel_ends_a_reply_unless_its_words_are_waited_for(rule: str, ends: bool) -> None:
    client, told_s = heard(rule, 0.4, made=given(rule, "uh-huh"))
    assert (told_s < 0.35) is ends and len(cancelled(client)) == int(ends)


@pytest.mark.parametrize("rule", ["sure", "decided"])
def test_a_short_word_that_the_detector_doubts_ends_it_by_what_it_says(rule: str) -> None:
    client, told_s = heard(rule, 0.3, cough=True, made=given(rule, "Stop."))
    assert 0.3 < told_s < 0.7 and len(cancelled(client)) == 1
    assert client.said[-1] == "All right."


def test_a_long_sound_ends_it_whatever_the_detector_thinks() -> None:
    client, told_s = heard("sure", 1.0, cough=True)
    assert 0.55 < told_s < 0.8 and len(cancelled(client)) == 1


@pytest.mark.parametrize("rule", ["at_once", "sure"])
def test_where_words_are_asked_for_no_sound_ends_it_without_them(rule: str) -> None:
    client, told_s = heard(rule, 0.5, made=given(rule, "stop it", min_words=2))
    assert 0.5 < told_s < 1.0 and len(cancelled(client)) == 1
    client, told_s = heard(rule, 0.5, made=given(rule, "stop", min_words=2))
    assert told_s == float("inf") and cancelled(client) == []


@pytest.mark.parametrize("rule", ["at_once", "sure", "decided"])
def test_where_the_client_interrupts_itself_it_is_told_at_once_and_the_reply_goes_on(rule: str) -> None:
    async def talk(client: RealtimeClient) -> None:
        client.detect({"type": "semantic_vad", "interrupt_response": False})
        began.append(await into_a_reply(client, 1.0))
        await client.wait_for("response.done", 2)

    began: list[float] = []
    client = talk_to(talk, given(rule, first=Reply.of(LONG)))
    assert client.time_of(STARTED, 2) - began[0] < GATE_S
    assert client.statuses == ["completed", "completed"] and client.said == [LONG, "All right."]


@pytest.mark.parametrize("rule", ["at_once", "sure", "decided"])
def test_a_reply_that_is_made_and_only_heard_is_cut_without_a_second_end(rule: str) -> None:
    client, told_s = heard(rule, 1.0, made=given(rule, first=Reply.of(LONG)))
    assert told_s < 0.8 and client.statuses == ["completed", "completed"]
    first = client.of("response.done")[0]["response"]["output"][0]["id"]
    assert first not in [event["item_id"] for event in client.of("conversation.item.truncated")]


def test_nothing_of_the_reply_is_sent_behind_the_order_to_drop_it() -> None:
    client, _ = heard("at_once", 1.0)
    told = [at for at, event in enumerate(client.events) if event["type"] == STARTED][1]
    first = client.of("response.created")[0]["response"]["id"]
    late = [event for event in client.events[told:] if event["type"] == AUDIO_DELTA]
    assert late and all(event["response_id"] != first for event in late)
