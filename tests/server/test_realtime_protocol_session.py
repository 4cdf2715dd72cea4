"""The settings of a session: merged, never replaced; told back as clients need them."""

from __future__ import annotations

from typing import Any

import pytest
from agents.realtime.openai_realtime import OpenAIRealtimeWebSocketModel
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import SessionUpdateEvent
from realtime_schema import validate

from antiphon.engines.protocols import ToolSpec
from antiphon.server.realtime.protocol import (
    AudioFormat,
    NamedTool,
    ProtocolError,
    SemanticVad,
    ServerVad,
    SessionConfig,
    Transcription,
    parse_session,
    server_events,
)

FIRST = SessionConfig(
    id="sess_1",
    model="house",
    instructions="You are at the desk.",
    voice="joe",
    turn_detection=ServerVad(silence_duration_ms=640),
)


def merged(update: dict[str, Any], config: SessionConfig = FIRST, *, audio_sent: bool = False) -> SessionConfig:
    return config.merged(parse_session(update), audio_sent=audio_sent)


def test_what_is_not_mentioned_stays() -> None:
    one = merged({"type": "realtime", "instructions": "Be brief.", "audio": {"output": {"voice": "ash"}}})
    two = merged({"type": "realtime", "model": "gpt-realtime-2", "tracing": "auto"}, one)
    assert (two.instructions, two.voice, two.model) == ("Be brief.", "ash", "gpt-realtime-2")
    assert two.turn_detection == FIRST.turn_detection
    three = merged({"audio": {"input": {"format": {"type": "audio/pcmu"}}}}, two)
    assert (three.input_format.rate_hz, three.output_format.rate_hz) == (8000, 24000)
    assert three.voice == "ash"


def test_null_gives_the_default_again_or_switches_off() -> None:
    changed = merged(
        {
            "instructions": "Sing.", "model": "x", "max_output_tokens": 20, "tool_choice": "none",
            "output_modalities": ["text"], "tools": [{"type": "function", "name": "f"}],
            "audio": {"output": {"speed": 1.2, "voice": "ash", "format": {"type": "audio/pcma"}}},
        }
    )  # fmt: skip
    assert changed != FIRST and changed.modality == "text"
    restored = merged(
        {
            "instructions": None, "model": None, "max_output_tokens": None, "tool_choice": None,
            "output_modalities": None, "tools": None,
            "audio": {"output": {"speed": None, "voice": None, "format": None}},
        },
        changed,
    )  # fmt: skip
    assert restored == FIRST
    off = merged({"audio": {"input": {"turn_detection": None, "transcription": None, "noise_reduction": None}}})
    assert off.turn_detection is None and off.transcription is None
    wire = off.to_wire()["audio"]["input"]
    assert wire["turn_detection"] is None and wire["transcription"] is None
    assert merged({"audio": None}) == merged({"audio": {"input": None, "output": None}}) == FIRST


def test_turn_detection_of_one_kind_is_merged_and_of_the_other_begins_anew() -> None:
    def turn(update: Any, config: SessionConfig) -> SessionConfig:
        return merged({"audio": {"input": {"turn_detection": update}}}, config)

    one = turn({"type": "server_vad", "threshold": 0.3, "create_response": False}, FIRST)
    assert one.turn_detection == ServerVad(threshold=0.3, silence_duration_ms=640, create_response=False)
    two = turn({"silence_duration_ms": 200}, one)
    assert two.turn_detection == ServerVad(threshold=0.3, silence_duration_ms=200, create_response=False)
    three = turn({"type": "semantic_vad", "threshold": 0.9}, two)
    assert three.turn_detection == SemanticVad(), "a key of the other kind means nothing"
    four = turn({"type": "semantic_vad", "eagerness": "high"}, three)
    assert four.turn_detection == SemanticVad(eagerness="high")
    five = turn({"type": "server_vad", "idle_timeout_ms": 6000}, turn(None, four))
    assert five.turn_detection == ServerVad(silence_duration_ms=640, idle_timeout_ms=6000), "as the server has it"
    six = turn({"threshold": None, "silence_duration_ms": None, "idle_timeout_ms": None}, five)
    assert six.turn_detection == FIRST.turn_detection


def test_transcription_is_merged_too() -> None:
    one = merged(
        {"audio": {"input": {"transcription": {"model": "whisper-1", "language": "de", "keywords": ["Köln"]}}}}
    )
    two = merged({"audio": {"input": {"transcription": {"language": None, "prompt": "Names."}}}}, one)
    assert two.transcription == Transcription(model="whisper-1", prompt="Names.", keywords=("Köln",))
    back = merged({"audio": {"input": {"transcription": {"model": None, "prompt": None, "keywords": None}}}}, two)
    assert back.transcription == Transcription()


def test_the_voice_stays_once_it_was_heard() -> None:
    same = {"audio": {"output": {"voice": "joe"}}, "instructions": "New."}
    assert merged(same, audio_sent=True).instructions == "New."
    with pytest.raises(ProtocolError) as caught:
        merged({"audio": {"output": {"voice": {"id": "mine"}}}}, audio_sent=True)
    assert caught.value.code == "cannot_update_voice"
    assert merged({"audio": {"output": {"voice": {"id": "mine"}}}}).voice == "mine"


def test_one_kind_of_session_does_not_become_another() -> None:
    with pytest.raises(ProtocolError, match="connect again") as caught:
        merged({"type": "transcription"})
    assert caught.value.param == "session.type"
    transcribing = SessionConfig(id="sess_2", type="transcription")
    told = merged({"type": "transcription", "instructions": "x", "audio": {"output": {"voice": "y"}}}, transcribing)
    assert told == transcribing, "what it has no use for is ignored"


def test_a_tool_that_must_be_called_must_be_there() -> None:
    tools = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    choice = {"type": "function", "name": "look"}
    with pytest.raises(ProtocolError, match="no tool 'look'"):
        merged({"tool_choice": choice})
    config = merged({"tool_choice": choice, "tools": tools})
    assert config.tool_choice == NamedTool("look")
    assert config.tools == (ToolSpec("look", "", {"type": "object"}),)
    assert merged({"tools": []}, config).tool_choice == "auto", "it went with its tools, as a handoff does it"


def test_a_refused_update_changes_nothing() -> None:
    before = FIRST.to_wire()
    with pytest.raises(ProtocolError):
        merged({"instructions": "x", "tool_choice": {"type": "function", "name": "none"}})
    assert FIRST.to_wire() == before


@pytest.mark.parametrize("kind", ["realtime", "transcription"])
def test_the_answer_is_what_clients_read(kind: Any) -> None:
    config = SessionConfig(id="sess_3", type=kind, expires_at=1_900_000_000)
    for event in (server_events.session_created(config), server_events.session_updated(config)):
        validate(event)
    (wire,) = [server_events.session_created(config)["session"]]
    assert wire["audio"]["input"]["turn_detection"]["interrupt_response"] is True
    if kind == "realtime":
        assert wire["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_the_agents_sdk_reads_its_format_and_its_interruption_from_the_answer() -> None:
    config = merged({"audio": {"output": {"format": {"type": "audio/pcmu"}}}})
    session = OpenAIRealtimeWebSocketModel._normalize_session_payload(config.to_wire())
    assert session is not None
    assert OpenAIRealtimeWebSocketModel._extract_audio_format(session) == "g711_ulaw"


# ---------------------------------------------------------------------------------------------- laws

_FORMAT = st.sampled_from([{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}, None])
_TURN = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {"type": st.just("server_vad")},
        optional={
            "threshold": st.floats(0, 1) | st.none(),
            "prefix_padding_ms": st.integers(0, 1000) | st.none(),
            "silence_duration_ms": st.integers(0, 3000) | st.none(),
            "idle_timeout_ms": st.integers(1, 30000) | st.none(),
            "create_response": st.booleans(),
            "interrupt_response": st.booleans(),
        },
    ),
    st.fixed_dictionaries(
        {"type": st.just("semantic_vad")},
        optional={"eagerness": st.sampled_from(["low", "medium", "high", "auto"]), "create_response": st.booleans()},
    ),
)
_TRANSCRIPTION = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "model": st.sampled_from(["whisper-1", None]),
            "language": st.sampled_from(["en", "de", None]),
            "prompt": st.sampled_from(["Names.", None]),
            "keywords": st.lists(st.sampled_from(["a", "b"]), max_size=2) | st.none(),
        },
    ),
)
UPDATES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("realtime"),
        "model": st.sampled_from(["gpt-realtime-2", "x", None]),
        "instructions": st.text(st.characters(codec="utf-8"), max_size=10) | st.none(),
        "output_modalities": st.sampled_from([["audio"], ["text"], ["text", "audio"], None]),
        "max_output_tokens": st.sampled_from([1, 400, "inf", None]),
        "tools": st.sampled_from([[], [{"type": "function", "name": "look"}], None]),
        "tool_choice": st.sampled_from(["none", "auto", "required", None]),
        "tracing": st.sampled_from(["auto", None]),
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {}, optional={"format": _FORMAT, "turn_detection": _TURN, "transcription": _TRANSCRIPTION}
                ),
                "output": st.fixed_dictionaries(
                    {},
                    optional={
                        "format": _FORMAT,
                        "voice": st.sampled_from(["ash", {"id": "own"}, None]),
                        "speed": st.sampled_from([0.25, 1.5, None]),
                    },
                ),
            },
        ),
    },
)


@given(st.lists(UPDATES, max_size=4))
def test_any_updates_give_a_session_that_clients_can_read(updates: list[dict[str, Any]]) -> None:
    config = FIRST
    for update in updates:
        SessionUpdateEvent.model_validate({"type": "session.update", "session": {"type": "realtime", **update}})
        config = merged(update, config)
        validate(server_events.session_updated(config))


@given(UPDATES, UPDATES)
def test_an_update_twice_is_an_update_once_and_nothing_is_no_update(one: dict[str, Any], two: dict[str, Any]) -> None:
    config = merged(one)
    assert merged(two, merged(two, config)) == merged(two, config)
    assert merged({}, config) == config


@given(st.lists(UPDATES, max_size=4))
def test_what_was_told_can_be_sent_back_without_effect(updates: list[dict[str, Any]]) -> None:
    config = FIRST
    for update in updates:
        config = merged(update, config)
    told = config.to_wire()
    assert merged(told, config).to_wire() == told
    if config.turn_detection is not None and config.transcription is not None:
        assert merged(told, FIRST) == config, "and gives the same anywhere"


def test_formats() -> None:
    assert AudioFormat("audio/pcm").rate_hz == 24000 and AudioFormat("audio/pcm").sample_bytes == 2
    assert AudioFormat("audio/pcma").rate_hz == 8000 and AudioFormat("audio/pcma").sample_bytes == 1
