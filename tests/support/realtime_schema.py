"""Whether an event of our server is what OpenAI's clients expect: the `openai` package's own types, read strictly.

    validate(event)          # a dict, as it is sent; raises AssertionError

Stricter than the clients: every key must be in the type, types are not converted, and null only stands where the
schemas of the JavaScript client allow it (one that fails there is silently ignored by it, so that nobody would notice).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

from openai.types.realtime import RealtimeServerEvent
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse
from openai.types.realtime.realtime_transcription_session_create_response import (
    RealtimeTranscriptionSessionCreateResponse,
)
from pydantic import BaseModel, ValidationError

_MODELS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeServerEvent)[0])
}
EVENT_TYPES = frozenset(_MODELS)
_SESSIONS: dict[str, type[BaseModel]] = {
    "realtime": RealtimeSessionCreateResponse,
    "transcription": RealtimeTranscriptionSessionCreateResponse,
}
_SESSION_EXTRAS = {"id", "object", "expires_at"}
"""Keys that a session has in an answer, though the type of the event is that of a request."""
_NULLABLE = {"previous_item_id", "audio", "text", "transcript", "output"}
_FREE = {"session", "response", "error"}
"""Below these keys the JavaScript client takes null anywhere; but a failed transcription's `error` it does not."""


def validate(event: dict[str, Any]) -> None:
    """:raises AssertionError: not what the clients expect; says where."""
    kind = event.get("type")
    assert kind in _MODELS, f"no event of the protocol: {kind!r}"
    assert json.loads(json.dumps(event, allow_nan=False)) == event, "not what JSON carries"
    model = _MODELS[kind]
    try:
        parsed = model.model_validate(event, strict=True)
        if "session" in event:
            _SESSIONS[event["session"]["type"]].model_validate(event["session"], strict=True)
    except ValidationError as error:
        raise AssertionError(f"{kind}: {error}") from error
    extras = list(_extras(parsed, ""))
    assert not extras, f"{kind}: keys that its type has not: {extras}"
    nulls = list(_nulls(event, "", free=set() if kind.endswith("transcription.failed") else _FREE))
    assert not nulls, f"{kind}: null where a client ignores the whole event: {nulls}"
    if kind in ("response.output_item.added", "conversation.item.added") and event["item"].get("role") == "assistant":
        assert event["item"]["status"] in ("in_progress", "completed", "incomplete")
    if kind == "response.output_item.added" and not event["item"]["type"].startswith("mcp_"):  # those have no status
        assert event["item"]["status"] == "in_progress", "a complete one would be run twice"


def validate_all(events: list[dict[str, Any]]) -> None:
    """Each of them, and that no two have the same `event_id`."""
    for event in events:
        validate(event)
    ids = [event["event_id"] for event in events if "event_id" in event]
    assert len(set(ids)) == len(ids), "event ids that come twice"


def _extras(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        allowed = _SESSION_EXTRAS if place == ".session" else set()
        yield from (f"{place}.{key}" for key in set(value.model_extra or {}) - allowed)
        for name in type(value).model_fields:
            yield from _extras(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _extras(inner, f"{place}[{index}]")


def _nulls(value: Any, place: str, *, free: set[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if inner is None and key not in _NULLABLE:
                yield f"{place}.{key}"
            elif key not in free:
                # A part of a response's content is stricter than a part of an item's.
                yield from _nulls(inner, f"{place}.{key}", free=free)
                if key == "part":
                    yield from (f"{place}.part.{name}" for name, one in inner.items() if one is None)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _nulls(inner, f"{place}[{index}]", free=free)
