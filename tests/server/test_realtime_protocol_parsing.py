"""What clients send, and that nothing they send does harm."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeClientEvent
from pydantic import TypeAdapter

from antiphon.server.realtime.protocol import (
    CLIENT_EVENT_TYPES,
    ClientEvent,
    InputAudioAppend,
    ItemCreate,
    ProtocolError,
    ResponseCreate,
    SessionUpdate,
    parse_client_event,
)
from antiphon.server.realtime.protocol.reading import MAX_DEPTH

GOOD: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "Be brief."}},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\0\0").decode()},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]},
    },
    {"type": "conversation.item.retrieve", "item_id": "item_1"},
    {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 1200},
    {"type": "conversation.item.delete", "item_id": "item_1"},
    {"type": "response.create"},
    {"type": "response.cancel", "response_id": "resp_1"},
]
_OPENAI: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)


def refused(data: Any, **limits: int) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        parse_client_event(data, **limits)
    wire = caught.value.to_wire()
    assert wire["type"] == "invalid_request_error" and wire["message"] and wire["code"]
    return caught.value


def test_all_eleven_events_are_known() -> None:
    assert {event["type"] for event in GOOD} == CLIENT_EVENT_TYPES
    for event in GOOD:
        _OPENAI.validate_python(event)  # and are what OpenAI's package sends
        for data in (event, json.dumps(event), json.dumps(event).encode()):
            parsed = parse_client_event(data)
            assert parsed.type == event["type"]
            assert parsed.event_id is None


@pytest.mark.parametrize("event", GOOD, ids=lambda event: str(event["type"]))
def test_ids_are_kept_and_keys_that_are_not_known_are_ignored(event: dict[str, Any]) -> None:
    parsed = parse_client_event({**event, "event_id": "mine", "new_in_2030": {"a": [None]}})
    assert parsed.event_id == "mine"
    assert not hasattr(parsed, "new_in_2030")


def test_sound_is_base64() -> None:
    event = parse_client_event({"type": "input_audio_buffer.append", "audio": "AAECAw=="})
    assert isinstance(event, InputAudioAppend)
    assert event.decoded() == b"\0\1\2\3"
    for bad in ("AAE", "***", "é", "AA=A"):
        event = parse_client_event({"type": "input_audio_buffer.append", "audio": bad, "event_id": "e7"})
        assert isinstance(event, InputAudioAppend)
        with pytest.raises(ProtocolError, match="no base64") as caught:
            event.decoded()
        assert caught.value.event_id == "e7" and caught.value.param == "audio"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"type": None}, "missing_required_parameter", "type"),
        ({"type": 7}, "invalid_type", "type"),
        ({"type": "session.destroy"}, "invalid_value", "type"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter", "audio"),
        ({"type": "input_audio_buffer.append", "audio": 5}, "invalid_type", "audio"),
        ({"type": "session.update"}, "missing_required_parameter", "session"),
        ({"type": "session.update", "session": []}, "invalid_type", "session"),
        ({"type": "session.update", "session": {"type": "opera"}}, "invalid_value", "session.type"),
        (
            {"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "magic"}}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"type": "session.update", "session": {"audio": {"output": {"speed": 2}}}},
            "invalid_value",
            "session.audio.output.speed",
        ),
        (
            {
                "type": "session.update",
                "session": {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            },
            "invalid_value",
            "session.audio.input.format",
        ),
        ({"type": "session.update", "session": {"voice": "ash"}}, "unknown_parameter", "session.voice"),
        (
            {"type": "session.update", "session": {"tools": [{"type": "mcp"}]}},
            "missing_required_parameter",
            "session.tools[0].server_label",
        ),
        ({"type": "session.update", "session": {"tools": [{}]}}, "invalid_value", "session.tools[0]"),
        (
            {"type": "session.update", "session": {"tools": [{"name": "a"}, {"name": "a"}]}},
            "invalid_value",
            "session.tools",
        ),
        ({"type": "conversation.item.create", "item": {}}, "missing_required_parameter", "item"),
        ({"type": "conversation.item.create", "item": {"type": "dance"}}, "invalid_value", "item.type"),
        (
            {"type": "conversation.item.create", "item": {"type": "function_call_output", "output": "x"}},
            "missing_required_parameter",
            "item.call_id",
        ),
        (
            {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [{}]}},
            "missing_required_parameter",
            "item.content[0].type",
        ),
        (
            {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": -1},
            "invalid_value",
            "audio_end_ms",
        ),
        (
            {"type": "conversation.item.truncate", "item_id": "a", "content_index": 0, "audio_end_ms": "1"},
            "invalid_type",
            "audio_end_ms",
        ),
        ({"type": "conversation.item.retrieve", "item_id": ""}, "invalid_value", "item_id"),
        ({"type": "response.create", "response": {"metadata": {"a": 1}}}, "invalid_type", "response.metadata.a"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_clients_id(change: dict[str, Any], code: str, param: str) -> None:
    error = refused({**change, "event_id": "mine"})
    assert (error.code, error.param, error.event_id) == (code, param, "mine")
    assert param in error.message


def test_an_id_that_is_none_is_not_repeated() -> None:
    assert refused({"type": "dance", "event_id": 7}).event_id is None
    assert refused({"type": "dance", "event_id": "x" * 1000}).event_id is None
    assert refused({"type": "response.create", "event_id": 7}).param == "event_id"


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "nonsense", "[]", "null", "1", '"text"', '{"type": NaN}', '{"a": 1} x', '{"type": "\\ud800"}',
        b"\xff\xfe", '{"n": ' + "9" * 100_000 + "}", "[" * 100_000, '{"a":' * 100_000,
    ],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_what_is_no_object_is_refused(text: Any) -> None:
    assert refused(text).code in ("invalid_json", "event_too_deep", "missing_required_parameter")


def test_size_and_depth_are_bounded() -> None:
    event = {"type": "input_audio_buffer.append", "audio": "A" * 4000}
    assert refused(json.dumps(event), max_bytes=1000).code == "event_too_large"
    deep: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        deep = {"properties": {"a": deep}}
    event = {"type": "session.update", "session": {"tools": [{"name": "t", "parameters": deep}]}, "event_id": "d"}
    for data in (event, json.dumps(event)):
        assert refused(data).code == "event_too_deep"
    bottomless: dict[str, Any] = {"type": "response.cancel"}
    bottomless["self"] = bottomless
    assert refused(bottomless).code == "event_too_deep"


def test_what_the_clients_of_others_send_is_understood() -> None:
    """Shapes taken from the traffic of real clients."""
    agents_sdk = {
        "type": "session.update",
        "session": {
            "type": "realtime", "model": "gpt-realtime-2.1", "output_modalities": ["audio"], "instructions": "Help.",
            "audio": {
                "input": {
                    "format": {"rate": 24000, "type": "audio/pcm"},
                    "transcription": {"model": "gpt-4o-mini-transcribe"},
                    "turn_detection": {"type": "semantic_vad", "interrupt_response": True},
                },
                "output": {"voice": "ash", "format": {"rate": 24000, "type": "audio/pcm"}},
            },
            "tools": [{"name": "get_weather", "description": "", "parameters": {"type": "object"}, "type": "function"}],
        },
    }  # fmt: skip
    tracing = {"type": "session.update", "session": {"model": "m", "type": "realtime", "tracing": "auto"}}
    for event in (agents_sdk, tracing):
        assert isinstance(parse_client_event(event), SessionUpdate)
    typed = {
        "type": "conversation.item.create",
        "item": {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
    }
    assert isinstance(parse_client_event(typed), ItemCreate), "messages may come without their type"
    reference = {
        "type": "response.create",
        "response": {"conversation": "none", "input": [{"type": "item_reference", "id": "a"}]},
    }
    asked = parse_client_event(reference)
    assert isinstance(asked, ResponseCreate) and asked.response is not None and asked.response.input is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def broken_events(draw: st.DrawFn) -> dict[str, Any]:
    """A good event in which something, anywhere, has been replaced."""
    event = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    event["event_id"] = "mine"
    node = event
    while True:
        key = draw(st.sampled_from(sorted(key for key in node if key != "event_id") or ["x"]))
        inner = node.get(key)
        if isinstance(inner, dict) and inner and draw(st.booleans()):
            node = inner
            continue
        node[key] = draw(JSON)
        return event


def _parsed(data: Any) -> ClientEvent | ProtocolError:
    try:
        return parse_client_event(data)
    except ProtocolError as error:
        return error


@settings(max_examples=300, deadline=None)
@given(broken_events())
def test_broken_events_are_answered_with_the_clients_id(event: dict[str, Any]) -> None:
    assert _parsed(event).event_id == "mine"
    assert _parsed(json.dumps(event)).event_id == "mine"


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(), st.binary(), JSON.map(json.dumps), JSON.map(lambda one: {"type": "session.update", "session": one})
    )
)
def test_nothing_else_is_ever_raised(data: Any) -> None:
    found = _parsed(data)
    if isinstance(found, ProtocolError):
        json.dumps(found.to_wire())
