"""From what came over the wire to a JSON object: bounded in size and depth, nothing but JSON's own types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from antiphon.server.realtime.protocol.errors import ProtocolError

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""The longest event; OpenAI's clients may append 15 MiB of audio at once."""
MAX_DEPTH = 64
"""Deepest nesting, such as of a tool's JSON schema."""
MAX_ID_CHARS = 512
"""The longest id that a client may give to an event, an item or a call."""


def read_object(data: str | bytes | Mapping[str, Any], *, max_bytes: int = MAX_EVENT_BYTES) -> dict[str, Any]:
    """One JSON object.

    :param data: a text message, its UTF-8, or what another part of the server has read from one.
    :raises ProtocolError: too long, nested too deeply, no JSON, no object.
    """
    if isinstance(data, str | bytes):
        if len(data) > max_bytes:
            raise ProtocolError(f"The event is longer than {max_bytes} bytes.", code="event_too_large")
        found = _parsed(data)
    else:
        found = dict(data)
    if not isinstance(found, dict):
        raise ProtocolError("The message is no JSON object.", code="invalid_json")
    _check_nesting(found)
    return found


def id_of(event: Mapping[str, Any]) -> str | None:
    """The client's id of the event, as far as it is one."""
    found = event.get("event_id")
    return found if isinstance(found, str) and 0 < len(found) <= MAX_ID_CHARS else None


def in_words(error: ValidationError, names: str = "") -> ProtocolError:
    """The first thing that is wrong with an event.

    :param names: put before the place, such as `session`.
    """
    found = error.errors(include_url=False, include_context=True, include_input=False)[0]
    # A place in a union names the member that was tried, which is none of the event's keys.
    param = names
    for part in found["loc"]:
        if isinstance(part, int):
            param += f"[{part}]"
        elif not part.startswith(_MEMBER):
            param += f".{part}" if param else part
    if found["type"] == MOVED:
        param += f".{found['ctx']['old']}"
    return ProtocolError(_sentence(found, param), code=_CODES.get(found["type"], "invalid_value"), param=param or None)


def member(name: str) -> str:
    """How a member of a union is called, so that errors can leave it out of the place they name."""
    return _MEMBER + name


_MEMBER = "|"
MOVED = "moved"
"""The error type of a key that has another place now; its context has `old` and `new`."""
_CODES = {
    MOVED: "unknown_parameter",
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "string_type": "invalid_type",
    "int_type": "invalid_type",
    "float_type": "invalid_type",
    "bool_type": "invalid_type",
    "list_type": "invalid_type",
    "tuple_type": "invalid_type",
    "dict_type": "invalid_type",
    "model_type": "invalid_type",
    "model_attributes_type": "invalid_type",
    "union_tag_not_found": "missing_required_parameter",
    "string_too_long": "string_above_max_length",
}


def _sentence(found: ErrorDetails, param: str) -> str:
    place = f"'{param}'" if param else "the event"
    match found["type"]:
        case "moved":
            return f"Unknown parameter: {place}; {found['msg']}."
        case "missing":
            return f"Missing required parameter: {place}."
        case "union_tag_not_found":
            return f"Missing required parameter: '{param + '.' if param else ''}type'."
        case "value_error":
            return f"Invalid value for {place}: {found.get('ctx', {}).get('error', found['msg'])}"
    return f"Invalid value for {place}: {found['msg']}."


def _parsed(data: str | bytes) -> Any:
    try:
        return from_json(data, allow_inf_nan=False)
    except (ValueError, UnicodeError, RecursionError) as error:
        if "recursion" in str(error):
            raise ProtocolError("The event is nested too deeply.", code="event_too_deep") from None
        raise ProtocolError(f"The message is no JSON: {error}.", code="invalid_json") from None


def _check_nesting(event: dict[str, Any]) -> None:
    """Level by level, so that no depth is too much for it."""
    level: list[Any] = [event]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ProtocolError(
        f"The event is nested more than {MAX_DEPTH} levels deep.", code="event_too_deep", event_id=id_of(event)
    )
