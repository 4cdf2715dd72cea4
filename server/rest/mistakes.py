"""What is wrong with a request's body, told by its place as the client wrote it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_MISSING = "missing"
_OURS = "Value error, "
"""Pydantic's words before what our own checks say."""


def mistake(errors: Sequence[Mapping[str, Any]], body: Any) -> tuple[str | None, str]:
    """Where the mistake is, and a message that begins with it.

    Where something may have one of several forms, there is an error for each form, and the form's name is a part of its
    place. The form that got furthest is the one that was meant.

    :param errors: of pydantic's validation, at least one; their places (`loc`) begin with "body", "query" or "path".
    :param body: what was sent; None where it is no JSON.
    :returns: the place, None where it is the body as a whole; and the message.
    """
    first = errors[0]
    if first["type"] == "model_attributes_type" and len(first["loc"]) == 1:
        return None, "the body is to be a JSON object, with the header Content-Type: application/json"
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it breaks off")
        return None, f"the body is no JSON: {reason} (at character {first['loc'][-1]})"
    places = [_place(error, body) for error in errors]
    field = [(place, _words(error)) for place, error in zip(places, errors, strict=True) if place[:1] == places[0][:1]]
    meant = max((place for place, _ in field), key=len)
    told = " or: ".join(dict.fromkeys(message for place, message in field if place == meant))
    param = ".".join(str(part) for part in meant)
    return (param, f"{param}: {told}") if param else (None, told)


def _words(error: Mapping[str, Any]) -> str:
    words = str(error["msg"]).removeprefix(_OURS)
    return "it is to be a file, and is a text" if words.startswith("Expected UploadFile") else words


def _place(error: Mapping[str, Any], body: Any) -> list[str | int]:
    """Where it is in the body: the parts of pydantic's place that are there, and the key that is missing."""
    source: str
    rest: list[str | int]
    source, *rest = error["loc"]
    if source != "body" or not isinstance(body, dict | list):
        return rest[:1]
    found: list[str | int] = []
    here: Any = body
    for number, part in enumerate(rest):
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif not (error["type"] == _MISSING and number == len(rest) - 1):
            continue  # the name of a form
        found.append(part)
    return found
