"""Whatever a client sends, in whatever order: the rules of the protocol hold, and the session lives."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from complaints import no_complaints
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from realtime_call import call
from realtime_client import TONE, RealtimeClient, config, talk_to

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Heard, Reply, ScriptedTTS
from antiphon.engines.testing.script import LLMCall

TOOL = {"type": "function", "name": "clock", "parameters": {"type": "object", "properties": {}}}
NAMES = st.sampled_from(["a", "b", "c", "nowhere"])
DETECTIONS = st.sampled_from(
    [
        None,
        {"type": "semantic_vad", "eagerness": "low"},
        {"type": "semantic_vad", "interrupt_response": False},
        {"type": "server_vad", "silence_duration_ms": 200},
        {"type": "server_vad", "create_response": False},
        {"type": "server_vad", "idle_timeout_ms": 700},
    ]
)

STEPS = st.one_of(
    st.tuples(st.just("speak"), st.floats(0.05, 1.2)),
    st.tuples(st.just("cough"), st.floats(0.05, 0.8)),
    st.tuples(st.just("be_silent"), st.floats(0.05, 1.5)),
    st.tuples(st.just("wait"), st.floats(0.0, 2.0)),
    st.tuples(st.just("write"), NAMES),
    st.tuples(st.just("detect"), DETECTIONS),
    st.tuples(st.just("modality"), st.sampled_from(["audio", "text"])),
    st.tuples(st.just("tools"), st.booleans()),
    st.tuples(st.just("respond"), st.sampled_from(["", "text", "aside", "input"])),
    st.tuples(st.just("cancel"), st.none()),
    st.tuples(st.just("commit"), st.none()),
    st.tuples(st.just("clear"), st.none()),
    st.tuples(st.just("clear_output"), st.none()),
    st.tuples(st.just("truncate"), st.integers(0, 3000)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("retrieve"), st.integers(0, 5)),
    st.tuples(st.just("output"), st.none()),
    st.tuples(
        st.just("nonsense"),
        st.sampled_from(["{", "null", '{"type": 3}', '{"type": "response.create", "response": []}']),
    ),
)


def answer(call: LLMCall) -> Reply:
    """Of every kind, by what was said so far."""
    kind = sum(len(message.content) for message in call.messages) % 7
    if kind == 0 and call.tools:
        return Reply(("Wait. ",), tool_calls=[ToolCall("same", "clock", "{}")])
    if kind == 1:
        return Reply(("It breaks. ", "Here."), error_after=1, error=EngineFailed("broken"))
    if kind == 2:
        return Reply.of("Slowly " * 8 + ".", delta_delay_s=0.3)
    return Reply.of("Yes. One two three four.", first_delay_s=0.2)


class Monkey:
    """Does what it is told, with what it has seen."""

    def __init__(self, client: RealtimeClient) -> None:
        self.client = client

    def _ids(self) -> list[str]:
        return [event["item"]["id"] for event in self.client.of("conversation.item.added")]

    def _some_id(self, at: int) -> str:
        ids = self._ids()
        return ids[-1 - at] if at < len(ids) else "nowhere"

    async def do(self, name: str, value: Any) -> None:
        client = self.client
        match name:
            case "speak" | "cough" | "be_silent":
                await getattr(client, name)(value)
            case "wait":
                await asyncio.sleep(value)
            case "write":
                client.write(f"Hello {value}", item={"id": value} if value != "nowhere" else {})
            case "detect":
                client.detect(value)
            case "modality":
                client.update(output_modalities=[value])
            case "tools":
                client.update(tools=[TOOL] if value else [])
            case "respond":
                self._respond(value)
            case "cancel":
                client.tell("response.cancel")
            case "commit":
                client.append(TONE[:4800])
                client.tell("input_audio_buffer.commit")
            case "clear":
                client.tell("input_audio_buffer.clear")
            case "clear_output":
                client.tell("output_audio_buffer.clear")
            case "truncate":
                client.tell("conversation.item.truncate", item_id=self._some_id(0), content_index=0, audio_end_ms=value)
            case "delete" | "retrieve":
                client.tell(f"conversation.item.{name}", item_id=self._some_id(value))
            case "output":
                calls = client.of("response.function_call_arguments.done")
                call_id = calls[-1]["call_id"] if calls else "call_none"
                item = {"type": "function_call_output", "call_id": call_id, "output": "noon"}
                client.tell("conversation.item.create", item=item)
            case "nonsense":
                client.to_server.put_nowait(value)

    def _respond(self, how: str) -> None:
        match how:
            case "text":
                self.client.respond(output_modalities=["text"])
            case "aside":
                self.client.respond(conversation="none", input=[], output_modalities=["text"])
            case "input":
                content = [{"type": "input_text", "text": "Listen."}]
                self.client.respond(input=[{"type": "message", "role": "user", "content": content}])
            case _:
                self.client.respond()


def check(client: RealtimeClient) -> list[str]:
    """The rules that clients rely on. Returns the ids of the items that there are, in order."""
    active: dict[str, bool] = {}
    items: list[str] = []
    finished: set[str] = set()
    for event in client.events:
        kind = event["type"]
        if kind == "response.created":
            response = event["response"]
            in_conversation = response["conversation_id"] is not None
            assert not (in_conversation and any(active.values())), "two responses of the conversation at a time"
            active[response["id"]] = in_conversation
        elif kind == "response.done":
            assert active.pop(event["response"]["id"], None) is not None, "done, and never created, or twice"
            finished.add(event["response"]["id"])
            assert all(item["status"] != "in_progress" for item in event["response"]["output"])
        elif kind.startswith("output_audio_buffer."):
            assert event["response_id"] in active or event["response_id"] in finished
        elif kind.startswith("response."):
            assert event["response_id"] in active, f"{kind} of a response that is not under way"
        elif kind == "conversation.item.added":
            assert event["item"]["id"] not in items, "an item is there twice"
            before = event["previous_item_id"]
            assert before is None or before in items
            items.insert(0 if before is None else items.index(before) + 1, event["item"]["id"])
        elif kind == "conversation.item.deleted":
            items.remove(event["item_id"])
    assert not active, "created, and never done"
    return items


@pytest.mark.parametrize("way", [talk_to, call])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(steps=st.lists(STEPS, min_size=4, max_size=30))
def test_no_order_of_events_breaks_the_rules(way: Any, steps: list[tuple[str, Any]]) -> None:
    """Over a WebSocket, and where the sound has a line of its own."""

    async def talk(client: RealtimeClient) -> None:
        monkey = Monkey(client)
        for name, value in steps:
            await monkey.do(name, value)
        client.detect(None)
        await asyncio.sleep(20.0)
        client.tell("response.cancel")
        client.tell("conversation.item.create", item={"type": "message", "role": "user", "content": []})
        before = len(client.of("session.updated"))
        client.update(instructions="Still there?")
        await client.wait_for("session.updated", before + 1)
        items, asked = check(client), len(client.of("conversation.item.retrieved"))
        for item_id in items:
            client.tell("conversation.item.retrieve", item_id=item_id)
        if items:
            await client.wait_for("conversation.item.retrieved", asked + len(items))
        told = [event["item"] for event in client.of("conversation.item.retrieved")[asked:]]
        assert [item["id"] for item in told] == items, "what the client knows is what the server has"
        assert all(item["status"] != "in_progress" for item in told)

    heard = [Heard("what time is it", 0.1), Heard("", 0.1), Heard("yeah", 0.1), EngineFailed("no ears")]
    given_config = config(stt=heard, llm=answer, tts=ScriptedTTS(first_delay_s=0.1, chunk_delay_s=0.05))
    with no_complaints("antiphon.server.realtime"):
        client = way(talk, given_config)
    check(client)
    assert "server_error" not in client.problems


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_client_that_floods_gets_an_answer_to_each(size: int) -> None:
    async def talk(client: RealtimeClient) -> None:
        for _ in range(200):
            client.to_server.put_nowait("x" * size)
        client.write("Hello")
        client.respond()
        await client.wait_for("response.done")

    client = talk_to(talk)
    assert client.problems == ["invalid_json"] * 200 and client.said == ["It is noon."]


def test_what_a_client_may_pile_up_is_bounded() -> None:
    async def talk(client: RealtimeClient) -> None:
        for _ in range(20):
            client.write("More")
        client.detect(None)
        for _ in range(4):
            client.append(TONE)
        for _ in range(4):
            client.respond(conversation="none", input=[], output_modalities=["text"])
        await client.wait_for("response.done", 2)

    keys = {"realtime": {"max_items": 8, "max_buffer_s": 2.5, "max_asides": 2}}
    client = talk_to(talk, config(server=keys, llm=[Reply.of("Yes.", first_delay_s=1.0)]))
    assert client.problems == ["too_many_items"] * 12 + ["input_audio_buffer_full"] * 2 + ["too_many_responses"] * 2


def test_every_kind_of_value_in_every_place_of_an_event() -> None:
    """Bad input is told; nothing of it raises."""
    values = [None, True, -1, 1e9, "", "x" * 600, [], [None], {}, {"a": {"b": []}}]
    kinds = {
        "session.update": ["session"],
        "input_audio_buffer.append": ["audio"],
        "conversation.item.create": ["item", "previous_item_id"],
        "conversation.item.retrieve": ["item_id"],
        "conversation.item.truncate": ["item_id", "content_index", "audio_end_ms"],
        "conversation.item.delete": ["item_id"],
        "response.create": ["response"],
        "response.cancel": ["response_id"],
    }
    messages = [
        json.dumps({"type": kind, "event_id": "e", key: value})
        for kind, keys in kinds.items()
        for key in keys
        for value in values
    ]

    async def talk(client: RealtimeClient) -> None:
        for message in messages:
            client.to_server.put_nowait(message)
        await asyncio.sleep(30.0)
        client.tell("response.cancel")
        client.update(instructions="Still there?")
        await client.wait_for("session.updated", len(client.of("session.updated")) + 1)

    client = talk_to(talk)
    check(client)
    assert "server_error" not in client.problems and len(client.problems) > 50
