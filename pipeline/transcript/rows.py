"""Events to rows of the store's tables. Pure; knows no database.

Every row of a session has a number `seq`, which rises by one with each event, across all tables: the order in which
things happened. Kinds of events that are not known here are kept as generic entries.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from antiphon.pipeline.events import (
    Event,
    TextDeltaEvent,
    ToolCallEvent,
    ToolResultEvent,
    TranscriptEvent,
    TurnEnded,
    UsageEvent,
)
from antiphon.pipeline.usage import EngineUsage

SESSIONS, TURNS, ENTRIES = "sessions", "turns", "entries"
TOOL_CALLS, TOOL_RESULTS = "tool_calls", "tool_results"
APPROVALS, POLICY_DECISIONS = "approvals", "policy_decisions"
TIMINGS, AUDIO, USAGE = "timings", "audio", "usage"

SPEAKING = "speaking"
"""Kind of the entry that says: this text is about to be played."""
SESSION_ENDED = "session_ended"
WASTED = "wasted_"
"""Begins the unit of a usage row that holds what was in vain."""

_BASE = frozenset(field.name for field in dataclasses.fields(Event))
_APPROVAL_KEYS = ("approval_id", "call_id", "state")
_POLICY_KEYS = ("gate", "check", "decision")


@dataclass(frozen=True, slots=True)
class Row:
    """One row for one table."""

    table: str
    values: Mapping[str, Any]

    @property
    def session(self) -> str:
        return str(self.values["id"] if self.table == SESSIONS else self.values["session"])


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where and when: what all rows of one event share."""

    session: str
    seq: int
    at: datetime
    """UTC."""
    turn: int = 0
    revision: int = 0
    t_s: float | None = None
    """The session's monotonic clock, in seconds."""
    audio_s: float | None = None
    """The stream clock: how much input audio had been taken in, in seconds."""

    def values(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "seq": self.seq,
            "at": self.at,
            "turn": self.turn,
            "revision": self.revision,
            "t_s": _number(self.t_s),
            "audio_s": _number(self.audio_s),
        }


def wanted(event: Event, *, partials: bool) -> bool:
    """Whether an event is kept. Pieces of an answer are not: what of it was played and what not is told apart."""
    if isinstance(event, TextDeltaEvent | UsageEvent):
        return False  # usage is told by engine: :func:`usage_rows`
    return partials or not isinstance(event, TranscriptEvent) or event.final


def rows_of(event: Event, seq: int, at: datetime) -> list[Row]:
    """The rows for one event, all with the number `seq`."""
    stamp = Stamp(event.session, seq, at, event.turn, event.revision, event.t_s, event.audio_s)
    match event:
        case TranscriptEvent():
            return [
                entry(stamp, event.type, role=event.role, text=event.text, final=event.final, language=event.language)
            ]
        case ToolCallEvent():
            values = {"call_id": event.call_id, "name": event.name, "arguments": event.arguments}
            return [_row(TOOL_CALLS, stamp, values | {"data": _extra(event, ("call_id", "name", "arguments"))})]
        case ToolResultEvent():
            values = {"call_id": event.call_id, "name": event.name, "output": event.output}
            return [_row(TOOL_RESULTS, stamp, values | {"data": _extra(event, ("call_id", "name", "output"))})]
        case TurnEnded():
            return list(_turn_rows(stamp, event))
    if event.type.startswith("approval"):
        return [_named(APPROVALS, stamp, event, _APPROVAL_KEYS)]
    if event.type.startswith("policy"):
        return [_named(POLICY_DECISIONS, stamp, event, _POLICY_KEYS)]
    data = _extra(event)
    text = data.pop("text", None)
    return [entry(stamp, event.type, text=text if isinstance(text, str) else None, data=data)]


def entry(
    stamp: Stamp,
    kind: str,
    *,
    role: str | None = None,
    text: str | None = None,
    final: bool | None = None,
    language: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Row:
    values = {"kind": kind, "role": role, "text": text, "final": final, "language": language, "data": data or {}}
    return _row(ENTRIES, stamp, values)


def audio_row(stamp: Stamp, state: str, file: str, **facts: Any) -> Row:
    """
    :param state: "opened", "closed", or "failed" (the disk was full, ...).
    :param facts: `rate_hz`, `channels`, `duration_s`, `encrypted`.
    """
    values = {"state": state, "file": file, "rate_hz": 0, "channels": 2, "duration_s": None, "encrypted": False}
    return _row(AUDIO, stamp, values | facts)


def usage_row(stamp: Stamp, stage: str, engine: str, unit: str, amount: float) -> Row:
    """:param unit: "input_tokens", "output_tokens", "cached_tokens", "audio_s", "characters", ..."""
    return _row(USAGE, stamp, {"stage": stage, "engine": engine, "unit": unit, "amount": amount})


def session_row(
    session: str,
    at: datetime,
    *,
    token: str,
    person: str | None = None,
    resumed_from: str | None = None,
    t_s: float | None = None,
    config: Mapping[str, Any] | None = None,
    version: str = "",
) -> Row:
    """
    :param token: random; tells this recording of the session from another one with the same id.
    :param t_s: the session's monotonic clock at `at`: times of events become wall times by it.
    """
    values = {
        "id": session,
        "started_at": at,
        "token": token,
        "person": person,
        "resumed_from": resumed_from,
        "t_s": _number(t_s),
        "config": clean(dict(config or {})),
        "version": version,
    }
    return Row(SESSIONS, clean(values))


def _turn_rows(stamp: Stamp, event: TurnEnded) -> Iterator[Row]:
    known = ("status", "text", "timings", "input_tokens", "output_tokens", "cached_tokens", "usage")
    yield _row(TURNS, stamp, {"status": event.status, "text": event.text, "data": _extra(event, known)})
    for step, at_s in dataclasses.asdict(event.timings).items():
        if at_s is not None:
            yield _row(TIMINGS, stamp, {"step": step, "at_s": _number(at_s)})
    if event.usage:
        return  # told by engine: :func:`usage_rows`
    for unit in ("input_tokens", "output_tokens", "cached_tokens"):
        if amount := getattr(event, unit):
            yield usage_row(stamp, "llm", "", unit, amount)


def usage_rows(stamp: Stamp, usage: EngineUsage) -> list[Row]:
    """One engine's: what it used, and (with the unit's name behind "wasted_") what of it was in vain."""
    rows = [usage_row(stamp, usage.stage, usage.engine, usage.unit, usage.amount)]
    if usage.wasted:
        rows.append(usage_row(stamp, usage.stage, usage.engine, WASTED + usage.unit, usage.wasted))
    return rows


def _named(table: str, stamp: Stamp, event: Event, keys: Sequence[str]) -> Row:
    data = _extra(event)
    return _row(table, stamp, {key: _text(data.pop(key, None)) for key in keys} | {"kind": event.type, "data": data})


def _row(table: str, stamp: Stamp, values: Mapping[str, Any]) -> Row:
    return Row(table, clean(stamp.values() | dict(values)))


def _extra(event: Event, known: Sequence[str] = ()) -> dict[str, Any]:
    fields = event.to_dict()
    return {key: value for key, value in fields.items() if key not in _BASE and key not in known and key != "type"}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: float | None) -> float | None:
    return value if value is None or math.isfinite(value) else None


def clean(value: Any) -> Any:
    """What every database takes: no NUL characters, no lone surrogates, no NaN, no odd types inside JSON."""
    if isinstance(value, str):
        text = value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        return text.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return _number(value)
    if value is None or isinstance(value, bool | int | datetime):
        return value
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item) for item in value]
    return clean(str(value))
