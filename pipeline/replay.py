"""Runs what a recorded session's user said through another configuration, and compares turn by turn. Above the builder.

The user's side of the recording is played to a new session; nobody hears its replies. Turns are matched by the time at
which the user spoke.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.events import Event
from antiphon.pipeline.speculation import same_words
from antiphon.pipeline.transcript.reading import turns
from antiphon.pipeline.transcript.rows import rows_of, wanted
from antiphon.pipeline.transcript.values import Record, TurnView
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

SAFE_WORKFLOWS = frozenset({"chat"})
"""They call no tools."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One turn, as it was and as it came out now; None where there is none."""

    then: TurnView | None
    now: TurnView | None

    @property
    def same_hearing(self) -> bool:
        """The same words, whatever their case and punctuation."""
        return self.then is not None and self.now is not None and same_words(self.then.user, self.now.user)

    @property
    def same_calls(self) -> bool:
        return _calls(self.then) == _calls(self.now)

    @property
    def same_answer(self) -> bool:
        return same_words(_said(self.then), _said(self.now))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "same": {"heard": self.same_hearing, "called": self.same_calls, "said": self.same_answer},
            "then": _facts(self.then),
            "now": _facts(self.now),
        }


def _said(turn: TurnView | None) -> str:
    return "" if turn is None else turn.heard + turn.unheard


def _calls(turn: TurnView | None) -> list[tuple[str, str]]:
    return [] if turn is None else [(call.name, call.arguments) for call in turn.calls]


def _facts(turn: TurnView | None) -> dict[str, Any] | None:
    if turn is None:
        return None
    response_ms = turn.response_ms
    return {
        "turn": turn.turn,
        "user": turn.user,
        "assistant": turn.heard,
        "unheard": turn.unheard,
        "calls": [{"name": call.name, "arguments": call.arguments, "output": call.output} for call in turn.calls],
        "status": turn.status,
        "response_ms": None if response_ms is None else round(response_ms, 1),
    }


@dataclass(slots=True)
class Collector:
    """An event sink that keeps what a transcript store would."""

    records: list[Record] = field(default_factory=list)
    _seq: int = 0

    def __call__(self, event: Event) -> None:
        from datetime import UTC, datetime

        if not wanted(event, partials=False):
            return
        self._seq += 1
        for row in rows_of(event, self._seq, datetime.now(UTC)):
            self.records.append(_record(row.table, row.values))


_KINDS = {"turns": "turn_ended", "tool_calls": "tool_call", "tool_results": "tool_result", "timings": "timing"}
_COMMON = ("seq", "at", "turn", "revision", "t_s", "audio_s")


def _record(table: str, values: Mapping[str, Any]) -> Record:
    own = {key: value for key, value in values.items() if key not in (*_COMMON, "session", "kind", "data")}
    data = {**(values.get("data") or {}), **{key: value for key, value in own.items() if value is not None}}
    kind = values.get("kind") or _KINDS.get(table, table)
    return Record(kind=kind, data=data, **{key: values[key] for key in _COMMON})


async def replay(
    assembly: Assembly, audio: AudioFrame, recorded: Sequence[TurnView], *, fast: bool = False, run_tools: bool = False
) -> list[Comparison]:
    """
    :param assembly: entered; the configuration to try.
    :param audio: the user's side of the recording, from 0 s of its stream clock.
    :param fast: do not play in real time; then how fast it answered means nothing.
    :param run_tools: the workflow's tools may run. They do what they do: nothing is undone.
    :raises WorkflowError: the workflow may call tools, and `run_tools` is not given.
    """
    kind = assembly.config.workflow.kind
    if kind not in SAFE_WORKFLOWS and not run_tools:
        raise WorkflowError(
            f"the workflow '{kind}' may call tools, and a replay would run them once more, for real",
            hint="if that is harmless: --run-tools; or replay with the plain model: --set workflow.kind=chat",
        )
    collector = Collector()
    transport = RecordingTransport(recording_frames(audio, paced=not fast), paced=not fast)
    session = assembly.session(transport, sinks=[collector])
    await session.run()
    return compare(recorded, turns(collector.records, session.id))


def compare(then: Sequence[TurnView], now: Sequence[TurnView]) -> list[Comparison]:
    """Match turns in order, by overlap of the user's speech; what has no match stands alone."""
    old = [turn for turn in then if turn.turn and turn.speech_from_s is not None]
    new = [turn for turn in now if turn.turn and turn.speech_from_s is not None]
    pairs: list[Comparison] = []
    at = 0
    for turn in old:
        while at < len(new) and _end(new[at]) <= _start(turn):
            pairs.append(Comparison(None, new[at]))
            at += 1
        if at < len(new) and _start(new[at]) < _end(turn):
            pairs.append(Comparison(turn, new[at]))
            at += 1
        else:
            pairs.append(Comparison(turn, None))
    return [*pairs, *(Comparison(None, turn) for turn in new[at:])]


def _start(turn: TurnView) -> float:
    return turn.speech_from_s or 0.0


def _end(turn: TurnView) -> float:
    return max(_start(turn) + 0.01, turn.speech_to_s or 0.0)
