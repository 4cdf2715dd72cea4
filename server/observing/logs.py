"""The log of a server: lines for people, or JSON. Neither holds what was said, nor a secret.

Our own code logs static texts with fields beside them. What others log is let through from WARNING on, and what an
exception says of itself only where the exception is ours: others quote what they were given.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from antiphon.engines.errors import AntiphonError
from antiphon.server.observing.context import request_id, session_id

_OWN = "antiphon"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LONGEST = 500
"""Characters of a field."""


def configure(kind: Literal["text", "json"], level: str, stream: TextIO | None = None) -> None:
    """Set up the log of this process; a second call replaces what the first did.

    :param level: of our own lines; those of libraries are let through from WARNING on.
    :param stream: where to; None: standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, _number(level)))
    set_level(level)


def set_level(level: str) -> None:
    """Of our own lines."""
    logging.getLogger(_OWN).setLevel(_number(level))


def _number(level: str) -> int:
    return int(getattr(logging, level.upper()))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, ids, and the fields of the line."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": when, "level": record.levelname.lower(), "logger": record.name, "message": message_of(record)}
        return json.dumps({**line, **fields_of(record)}, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """`12:34:56.789 WARNING antiphon.server.service: message key=value`"""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        fields = fields_of(record)
        frames = fields.pop("traceback", ())
        shown = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
        line = f"{when} {record.levelname} {record.name}: {message_of(record)}{shown}"
        return "\n".join([line, *(f"    {frame}" for frame in frames)])


def message_of(record: logging.LogRecord) -> str:
    """What a line says, on one line."""
    return " ".join(record.getMessage().split())


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a line: whom it is about, what was given with it, and of an exception where it was raised."""
    found: dict[str, Any] = {}
    for name, known in (("request", request_id.get()), ("session", session_id.get())):
        if known:
            found[name] = known
    for name, value in vars(record).items():
        if name not in _STANDARD and not name.startswith("_"):
            found[name] = _short(value)
    if record.exc_info and record.exc_info[1] is not None:
        found.update(_about(record.exc_info[1]))
    return found


def _about(error: BaseException) -> dict[str, Any]:
    """Class and place of an exception and of its causes; what it says only where it is ours."""
    frames: list[str] = []
    one: BaseException | None = error
    while one is not None and len(frames) < 100:
        for frame in traceback.extract_tb(one.__traceback__)[-20:]:
            frames.append(f"{frame.filename}:{frame.lineno} in {frame.name}")
        frames.append(_name(one))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return {"error": _name(error), "traceback": frames}


def _name(error: BaseException) -> str:
    name = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        return f"{name} of {', '.join(_name(one) for one in error.exceptions)}"
    return f"{name}: {_short(error.message)}" if isinstance(error, AntiphonError) else name


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST:
        return value[:_LONGEST] + "..."
    return value


def _shown(value: Any) -> str:
    """As a field of a line for people: nothing in it moves a cursor, or ends a line."""
    text = str(value)
    plain = text.isprintable() and not any(character.isspace() for character in text)
    return text if text and plain else json.dumps(text, ensure_ascii=not text.isprintable())
