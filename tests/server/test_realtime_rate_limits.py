"""Responses count as requests of the key that they are made with, and clients are told what is left."""

from __future__ import annotations

from realtime_client import RealtimeClient, config, talk_to

from antiphon.server.access.principal import SCOPES, Principal

KEY = Principal("desk", SCOPES)


def left(client: RealtimeClient) -> list[int]:
    return [event["rate_limits"][0]["remaining"] for event in client.of("rate_limits.updated")]


def test_what_is_left_is_told_after_each_response_has_begun() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.write("Hello")
        client.respond()
        await client.wait_for("response.done")
        client.respond(conversation="none", output_modalities=["text"])
        await client.wait_for("response.done", 2)
        await client.speak(1.0)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 3)

    client = talk_to(talk, config({"requests_per_minute": 100}), principal=KEY)
    assert client.problems == [] and left(client) == [99, 98, 97]
    for at, kind in enumerate(client.kinds):
        assert kind != "response.created" or client.kinds[at + 1] == "rate_limits.updated"
    (limit,) = client.of("rate_limits.updated")[0]["rate_limits"]
    assert (limit["name"], limit["limit"]) == ("requests", 100) and 0 < limit["reset_seconds"] <= 0.7


def test_more_than_that_is_refused_but_no_speech_remains_without_an_answer() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.update(output_modalities=["text"])
        client.write("Hello")
        client.respond()
        await client.wait_for("response.done")
        client.tell("response.create", event_id="mine")
        await client.wait_for("error")
        await client.speak(1.0)
        await client.be_silent(2.0)
        await client.wait_for("response.done", 2)

    client = talk_to(talk, config({"requests_per_minute": 1}), principal=KEY)
    error = client.of("error")[0]["error"]
    assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "mine") and "Try again in" in error["message"]
    assert client.statuses == ["completed", "completed"] and left(client) == [0, 0]


def test_two_conversations_of_a_key_share_its_rate() -> None:
    """The bucket is the key's, that of its requests over HTTP too."""
    seen: list[int] = []

    async def talk(client: RealtimeClient) -> None:
        for count in (1, 2):
            client.respond(output_modalities=["text"])
            await client.wait_for("response.done", count)
        seen.extend(left(client))

    talk_to(
        talk, config({"requests_per_minute": 50}), principal=Principal("desk", frozenset({"realtime"}), ephemeral=True)
    )
    assert seen == [49, 48], "an ephemeral key counts for the one that made it"


def test_without_keys_nothing_is_counted() -> None:
    async def talk(client: RealtimeClient) -> None:
        client.respond(output_modalities=["text"])
        await client.wait_for("response.done")

    client = talk_to(talk, config({"requests_per_minute": 1}))
    assert not client.of("rate_limits.updated") and client.problems == []
