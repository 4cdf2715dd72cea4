"""Every event that the server can send is what OpenAI's clients expect; items go there and back."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import ConversationItem
from pydantic import TypeAdapter
from realtime_schema import EVENT_TYPES, validate, validate_all

from antiphon.pipeline.conversation import Item
from antiphon.server.realtime.protocol import (
    ClientItem,
    ContentPart,
    Failure,
    ItemCreate,
    NamedTool,
    ProtocolError,
    ResponseConfig,
    ResponseCreate,
    SessionConfig,
    Shape,
    Usage,
    from_wire,
    parse_client_event,
    parse_session,
    response_config,
    response_to_wire,
    server_events,
    to_wire,
)

SESSION = SessionConfig(id="sess_1", instructions="Help.")
TOOLS = {"tools": [{"type": "function", "name": "look"}]}
SPOKEN = Shape(spoken=True)
SAID = Item(id="item_1", role="user", text="What time is it?")
ANSWER = Item(id="item_2", role="assistant", text="It is noon.")
CALL = Item(id="item_3", kind="function_call", role="assistant", call_id="call_1", name="look", arguments="{}")
RESULT = Item(id="item_4", kind="function_call_output", call_id="call_1", text="12:00")
_ITEM: TypeAdapter[Any] = TypeAdapter(ConversationItem)


def one_of_each() -> list[dict[str, Any]]:
    config = response_config(SESSION)
    started = response_to_wire("resp_1", config, conversation_id="conv_1")
    part = ContentPart("resp_1", "item_2")
    unheard = to_wire(SAID, Shape(spoken=True, transcript_known=False))
    begun = to_wire(Item(id="item_2", role="assistant"), Shape(spoken=True, status="in_progress"))
    calling = to_wire(CALL, Shape(status="in_progress"))
    return [
        server_events.error(ProtocolError("No.", code="no", param="x", event_id="mine")),
        server_events.error(ProtocolError("No.")),
        server_events.session_created(SESSION),
        server_events.session_updated(SESSION),
        server_events.conversation_created("conv_1"),
        server_events.item_added(unheard),
        server_events.item_added(begun, "item_1"),
        server_events.item_done(to_wire(ANSWER, SPOKEN), "item_1"),
        server_events.item_retrieved(to_wire(SAID, SPOKEN, audio="AAA=")),
        server_events.item_truncated("item_2", 0, 1200),
        server_events.item_deleted("item_2"),
        server_events.transcription_delta("item_1", "What"),
        server_events.transcription_completed("item_1", "What time is it?", 1.23456),
        server_events.transcription_segment("item_1", "seg_1", "What", 0.0, 0.4),
        server_events.transcription_failed("item_1", "The engine failed."),
        server_events.input_committed("item_1", None),
        server_events.input_cleared(),
        server_events.speech_started("item_1", 300),
        server_events.speech_stopped("item_1", 1500),
        server_events.timeout_triggered("item_1", 0, 6000),
        server_events.dtmf_received("5", 1_900_000_000),
        server_events.output_audio_started("resp_1"),
        server_events.output_audio_stopped("resp_1"),
        server_events.output_audio_cleared("resp_1"),
        server_events.response_created(started),
        server_events.output_item_added("resp_1", 0, begun),
        server_events.output_item_added("resp_1", 0, calling),
        server_events.output_item_done("resp_1", 0, to_wire(CALL)),
        part.added("audio"),
        part.added("text"),
        part.text_delta("It"),
        part.text_done("It is noon."),
        part.audio_delta(b"\0\0\1\1"),
        part.audio_done(),
        part.transcript_delta("It"),
        part.transcript_done("It is noon."),
        part.done("audio", "It is noon."),
        part.done("text", "It is noon."),
        server_events.arguments_delta("resp_1", "item_3", 0, "call_1", "{"),
        server_events.arguments_done("resp_1", "item_3", 0, "call_1", "look", "{}"),
        server_events.response_done(
            response_to_wire(
                "resp_1", config, status="completed", output=[to_wire(ANSWER, SPOKEN)], usage=Usage(10, 4, 8),
                conversation_id="conv_1",
            )
        ),
        server_events.rate_limits_updated({"requests": (100, 99, 0.6)}),
        *(server_events.mcp_listing(state, "item_5") for state in ("in_progress", "completed", "failed")),
        *(server_events.mcp_call(state, "item_6", 0) for state in ("in_progress", "completed", "failed")),
        server_events.mcp_arguments_delta("resp_1", "item_6", 0, "{}"),
        server_events.mcp_arguments_done("resp_1", "item_6", 0, "{}"),
    ]  # fmt: skip


def test_every_event_is_what_the_clients_expect() -> None:
    events = one_of_each()
    validate_all(events)
    left_out = EVENT_TYPES - {event["type"] for event in events}
    assert left_out == {"conversation.item.created"}, "of the beta"


def test_no_builder_is_forgotten_here() -> None:
    """Each function of the module, and each method of a content part, makes one of the events above."""
    source = inspect.getsource(one_of_each)
    builders = [name for name, one in inspect.getmembers(server_events, inspect.isfunction) if not name.startswith("_")]
    parts = [name for name, _ in inspect.getmembers(ContentPart, inspect.isfunction) if not name.startswith("_")]
    assert len(builders) > 20 and len(parts) == 8
    for name in [*(f"server_events.{one}(" for one in builders), *(f"part.{one}(" for one in parts)]:
        assert name in source, name


@pytest.mark.parametrize(
    ("arguments", "details"),
    [
        ({"status": "in_progress"}, None),
        ({"status": "completed"}, None),
        ({"status": "cancelled", "reason": "turn_detected"}, {"type": "cancelled", "reason": "turn_detected"}),
        (
            {"status": "incomplete", "reason": "max_output_tokens"},
            {"type": "incomplete", "reason": "max_output_tokens"},
        ),
        (
            {"status": "failed", "failure": Failure("It broke.")},
            {"type": "failed", "error": {"type": "server_error", "code": "server_error", "message": "It broke."}},
        ),
    ],
)
def test_how_a_response_ended(arguments: dict[str, Any], details: dict[str, Any] | None) -> None:
    wire = response_to_wire("resp_1", response_config(SESSION), **arguments)
    assert wire["status_details"] == details
    validate(server_events.response_done(wire))


def test_the_check_finds_what_a_client_would_ignore() -> None:
    good = server_events.item_added(to_wire(CALL))
    validate(good)
    for bad in (
        {**good, "extra": 1},
        {**good, "item": {**good["item"], "extra": 1}},
        {**good, "item": {**good["item"], "role": None}},
        {**good, "item": {**good["item"], "arguments": None}},
        {**good, "type": "conversation.item.invented"},
        {key: value for key, value in good.items() if key != "event_id"},
        server_events.output_item_added("resp_1", 0, to_wire(CALL)),
        {**ContentPart("r", "i").added("audio"), "part": {"type": "audio", "audio": None}},
        {**server_events.speech_started("i", 1), "audio_start_ms": "1"},
    ):
        with pytest.raises(AssertionError):
            validate(bad)


# ---------------------------------------------------------------------------------------------- responses


def asked(**response: Any) -> ResponseConfig:
    event = parse_client_event({"type": "response.create", "response": response})
    assert isinstance(event, ResponseCreate)
    return response_config(SESSION.merged(parse_session(TOOLS)), event.response)


def test_a_response_is_as_the_session_where_nothing_else_was_asked_for() -> None:
    plain = response_config(SESSION)
    assert (plain.instructions, plain.modality, plain.voice, plain.out_of_band) == ("Help.", "audio", "default", False)
    assert plain.input is None
    asking = asked(
        instructions="", output_modalities=["text"], conversation="none", metadata={"topic": "a"}, max_output_tokens=9,
        input=[], tool_choice={"type": "function", "name": "look"}, audio={"output": {"voice": "ash"}},
    )  # fmt: skip
    assert (asking.instructions, asking.modality, asking.out_of_band) == ("", "text", True)
    assert (asking.metadata, asking.max_output_tokens, asking.input) == ({"topic": "a"}, 9, ())
    assert asking.tool_choice == NamedTool("look") and asking.voice == "ash"
    wire = response_to_wire("resp_1", asking, conversation_id="conv_1")
    assert wire["conversation_id"] is None and wire["metadata"] == {"topic": "a"} and "audio" not in wire
    validate(server_events.response_created(wire))


def test_the_tools_of_a_response() -> None:
    assert asked(tools=[]).tools == () and len(asked().tools) == 1
    with pytest.raises(ProtocolError, match="no tool 'sing'") as caught:
        asked(tool_choice={"type": "function", "name": "sing"})
    assert caught.value.param == "response.tool_choice"
    named = SESSION.merged(parse_session({**TOOLS, "tool_choice": {"type": "function", "name": "look"}}))
    event = parse_client_event({"type": "response.create", "response": {"tools": []}})
    assert isinstance(event, ResponseCreate)
    assert response_config(named, event.response).tool_choice == "auto"


# ---------------------------------------------------------------------------------------------- items


def given_item(item: dict[str, Any]) -> ClientItem:
    event = parse_client_event({"type": "conversation.item.create", "item": item})
    assert isinstance(event, ItemCreate)
    return from_wire(event.item)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"role": "system", "content": [{"type": "input_text", "text": "Be kind."}]}, ("system", "Be kind.", False)),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            ("user", "a\nb", False),
        ),
        ({"role": "user", "content": [{"type": "input_audio", "transcript": "Hi."}]}, ("user", "Hi.", True)),
        ({"role": "assistant", "content": [{"type": "output_text", "text": "Hi."}]}, ("assistant", "Hi.", False)),
        ({"role": "assistant", "content": [{"type": "output_audio", "transcript": "Hi."}]}, ("assistant", "Hi.", True)),
        ({"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}, ("assistant", "Hi.", False)),
    ],
)  # fmt: skip
def test_messages_of_clients(item: dict[str, Any], expected: tuple[str, str, bool]) -> None:
    found = given_item({"type": "message", "id": "mine", **item})
    assert found.item.id == "mine"
    assert (found.item.role, found.item.text, found.shape.spoken) == expected
    assert given_item({"type": "message", **item}).item.id.startswith("item_")


def test_sound_of_a_client_is_kept_to_be_transcribed() -> None:
    found = given_item({"role": "user", "content": [{"type": "input_audio", "audio": "AAECAw=="}]})
    assert found.audio == b"\0\1\2\3" and not found.shape.transcript_known
    (part,) = to_wire(found.item, found.shape)["content"]
    assert part == {"type": "input_audio", "transcript": None}, "the key is there: clients ask for it"


def test_calls_and_their_results() -> None:
    call = given_item({"type": "function_call", "name": "look", "arguments": '{"a": 1}'})
    assert call.item.kind == "function_call" and call.item.call_id.startswith("call_")
    result = given_item({"type": "function_call_output", "call_id": "call_1", "output": "12:00"})
    assert (result.item.kind, result.item.call_id, result.item.text) == ("function_call_output", "call_1", "12:00")


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}, "unsupported_content"),
        ({"role": "user", "content": [{"type": "output_text", "text": "a"}]}, "invalid_value"),
        ({"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}, "invalid_value"),
        ({"role": "system", "content": [{"type": "input_audio", "audio": ""}]}, "invalid_value"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "missing_required_parameter"),
        ({"role": "user", "content": [{"type": "input_audio", "audio": "?"}]}, "invalid_audio"),
        ({"type": "mcp_call", "name": "look", "arguments": "{}"}, "unsupported_item"),
        ({"role": "user", "content": [{"type": "input_text", "text": "a" * 150_000}] * 2}, "string_above_max_length"),
    ],
)
def test_what_cannot_be_meant_is_refused(item: dict[str, Any], code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        given_item(item)
    assert caught.value.code == code and caught.value.param is not None


_WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
_IDS = st.text("abcdefgh_0123", min_size=1, max_size=20)
ITEMS = st.one_of(
    st.builds(
        lambda id, role, text, spoken: (Item(id=id, role=role, text=text), Shape(spoken=spoken and role != "system")),
        _IDS,
        st.sampled_from(["system", "user", "assistant"]),
        _WORDS,
        st.booleans(),
    ),
    st.builds(
        lambda id, name, arguments: (
            Item(id=id, kind="function_call", role="assistant", call_id="c_" + id, name=name, arguments=arguments),
            Shape(),
        ),
        _IDS,
        _IDS,
        _WORDS,
    ),
    st.builds(
        lambda id, text: (Item(id=id, kind="function_call_output", call_id="c_" + id, text=text), Shape()), _IDS, _WORDS
    ),
)


@given(ITEMS)
def test_an_item_goes_there_and_back(given: tuple[Item, Shape]) -> None:
    item, shape = given
    wire = to_wire(item, shape)
    _ITEM.validate_python(wire)
    validate(server_events.item_done(wire))
    back = given_item(json.loads(json.dumps(wire)))
    assert (back.item, back.shape) == (item, shape)
