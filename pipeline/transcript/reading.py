"""Records back to turns, calls and a conversation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from antiphon.pipeline.conversation import Conversation, Item
from antiphon.pipeline.transcript.rows import WASTED
from antiphon.pipeline.transcript.values import Call, Record, TurnView
from antiphon.pipeline.usage import EngineUsage, summed

COMPACTED = "compacted"
"""Kind of the record that says: up to this turn, this summary stands for what was said."""

UNKNOWN_RESULT = (
    "The result is not known: the program ended while this tool ran. It may or may not have taken effect. "
    "Do not call it again for this before the user has agreed."
)
"""What an agent is told of a call in doubt."""

_VOID = frozenset({"reopened", "resumed", "cleared", "cancelled"})
"""Reasons of `dropped` after which what this revision heard and said does not count."""


def calls(records: Iterable[Record], session: str) -> list[Call]:
    """All calls in order, each with its result. A result belongs to the earliest open call of its id and turn."""
    found: list[Call] = []
    for record in records:
        if record.kind == "tool_call":
            data = record.data
            found.append(
                Call(
                    session=session,
                    seq=record.seq,
                    at=record.at,
                    turn=record.turn,
                    call_id=data["call_id"],
                    name=data["name"],
                    arguments=data["arguments"],
                )
            )
        elif record.kind == "tool_result":
            index = _answered(found, record)
            if index is not None:
                found[index] = replace(found[index], output=record.data["output"])
    return found


def _answered(found: Sequence[Call], result: Record) -> int | None:
    open_calls = [
        (index, call)
        for index, call in enumerate(found)
        if call.in_doubt and call.call_id == result.data["call_id"] and call.seq < result.seq
    ]
    same_turn = [index for index, call in open_calls if call.turn == result.turn]
    return next(iter(same_turn or [index for index, _ in open_calls]), None)


@dataclass(slots=True)
class _Draft:
    """A turn while its records are read."""

    user: str = ""
    language: str | None = None
    pieces: list[str] = field(default_factory=list)
    """What was about to be played, piece by piece."""
    confirmed: list[str] = field(default_factory=list)
    """What had been handed over."""
    spoken: list[tuple[float, str]] = field(default_factory=list)
    heard: str | None = None
    """What the session said in the end that the user had heard."""
    interrupted: bool = False
    unheard: str | None = None
    whole: str = ""
    """All that the assistant meant to say."""

    def outcome(self) -> tuple[str, str]:
        """What was heard and what not. Until the session has said so, everything that was about to be played counts."""
        heard = self.heard
        if heard is None:
            heard = "".join(self.pieces or self.confirmed)
        unheard = self.unheard
        if unheard is None:
            unheard = self.whole[len(heard) :] if self.whole.startswith(heard) else ""
        return heard, unheard


def turns(records: Sequence[Record], session: str) -> list[TurnView]:
    """The turns in order, and between them (as turn 0) what was said outside of any."""
    answered = calls(records, session)
    found = []
    for number, own in _groups(records):
        void = _void_seqs(own)
        seqs = {record.seq for record in own} - void
        view = _turn(own, number, void)
        found.append(replace(view, calls=tuple(call for call in answered if call.seq in seqs)))
    return [view for view in found if view.turn or view.heard or view.unheard or view.calls]


def _groups(records: Sequence[Record]) -> list[tuple[int, list[Record]]]:
    """The records of each turn; of turn 0 those of each thing that was said."""
    numbered: dict[int, list[Record]] = {}
    others: list[list[Record]] = [[]]
    for record in records:
        if record.turn:
            numbered.setdefault(record.turn, []).append(record)
        elif record.kind == "interrupted" and not others[-1] and len(others) > 1:
            others[-2].append(record)
        else:
            others[-1].append(record)
            if record.kind == "transcript" and record.data.get("final"):
                others.append([])
    groups = [*numbered.items(), *((0, group) for group in others if group)]
    return sorted(groups, key=lambda group: group[1][0].seq)


def _void_seqs(records: Iterable[Record]) -> frozenset[int]:
    """Of a turn's records those of answers that were taken back."""
    void: set[int] = set()
    seen: list[Record] = []
    for record in records:
        if record.turn and record.kind == "dropped" and record.data.get("reason") in _VOID:
            void.update(earlier.seq for earlier in seen if earlier.revision <= record.revision)
        seen.append(record)
    return frozenset(void)


def _turn(records: Sequence[Record], number: int, void: frozenset[int]) -> TurnView:
    draft = _Draft()
    view = TurnView(turn=number, seq=records[0].seq, at=records[0].at)
    timings: dict[str, float | None] = {}
    errors: list[str] = []
    for record in records:
        data = record.data
        match record.kind:
            case "speech_started" if view.speech_from_s is None:
                view = replace(view, speech_from_s=data.get("at_s"))
            case "speech_stopped":
                view = replace(view, speech_to_s=data.get("at_s"))
            case "timing":
                timings[data["step"]] = data["at_s"]
            case "error":
                errors.append(f"{data.get('stage', '')}: {data.get('message', '')}")
            case "dropped" if data.get("reason") == "backchannel":
                view = replace(view, status="dismissed", aside=True)
                draft.user = draft.user or data.get("text") or ""
            case "turn_ended":
                view = replace(view, status=data["status"])
                draft.whole = data["text"]
            case _ if record.seq not in void:
                _take(draft, record)
    heard, unheard = draft.outcome()
    return replace(
        view,
        user=draft.user,
        language=draft.language,
        heard=heard,
        unheard=unheard,
        spoken=tuple(draft.spoken),
        timings=timings,
        usage=usage(records),
        errors=tuple(errors),
    )


def usage(records: Iterable[Record]) -> tuple[EngineUsage, ...]:
    """What each engine used, in all of these records."""
    found = []
    for record in records:
        if record.kind == "usage":
            unit, amount = str(record.data["unit"]), float(record.data["amount"])
            wasted = unit.startswith(WASTED)
            found.append(
                EngineUsage(
                    stage=record.data["stage"],
                    engine=record.data["engine"],
                    unit=unit.removeprefix(WASTED),
                    amount=0.0 if wasted else amount,
                    wasted=amount if wasted else 0.0,
                )
            )
    return summed(found)


def _take(draft: _Draft, record: Record) -> None:
    data = record.data
    text = data.get("text") or ""
    match record.kind:
        case "transcript" if data.get("role") == "user" and data.get("final"):
            draft.user, draft.language = text, data.get("language")
        case "transcript" if data.get("role") == "assistant" and data.get("final") and not draft.interrupted:
            draft.heard = text
        case "interrupted":
            draft.interrupted = True  # may come again, more exact
            draft.heard, draft.unheard = data.get("heard") or "", data.get("unheard") or ""
        case "speaking" | "spoken" if data.get("filler"):
            pass  # it bridged a wait; the agent has not said it
        case "speaking":
            draft.pieces.append(text)
        case "spoken":
            draft.confirmed.append(text)
            draft.spoken.append((record.audio_s or 0.0, text))


def conversation(
    sessions: Sequence[tuple[str, Sequence[Record]]], *, compacted: bool = True, in_doubt: str = UNKNOWN_RESULT
) -> Conversation:
    """What the agent is to know: a session, and before it those that it continues, oldest first.

    All of it is past: every item has the turn 0. A call without a result gets `in_doubt` as its output.

    :param compacted: where a summary was made of old turns, it stands for them.
    """
    result = Conversation()
    for index, (session, records) in enumerate(sessions):
        views = turns(records, session)
        finished = finished_later(records_of_later for _, records_of_later in sessions[index + 1 :])
        summary = next((r for r in reversed(records) if r.kind == COMPACTED), None) if compacted else None
        if summary is not None:
            views = views[_covered(views, int(summary.data.get("through_turn", 0))) :]
            for item in result:
                result.delete(item.id)
            result.add(summary_item(str(summary.data.get("text") or ""), f"{session}:{summary.seq}"))
        for view in views:
            if view.aside:
                continue
            kept = tuple(call for call in view.calls if not (call.in_doubt and what_was_called(call) in finished))
            for item in _items(replace(view, calls=kept), session, in_doubt):
                result.add(item)
    return result


def finished_later(later: Iterable[Sequence[Record]]) -> frozenset[tuple[str, str, str]]:
    """What was called, of calls that sessions which went on with an earlier one have finished for it."""
    found = (call for records in later for call in calls(records, "") if call.turn == 0 and not call.in_doubt)
    return frozenset(what_was_called(call) for call in found)


def what_was_called(call: Call) -> tuple[str, str, str]:
    """By which a call and the one that finished it are known as the same."""
    return call.call_id, call.name, call.arguments


def _covered(views: Sequence[TurnView], through_turn: int) -> int:
    """How many of the first views a summary stands for. Through turn 0: for earlier sessions, up to the first turn."""
    for index in reversed(range(len(views))):
        if 0 < views[index].turn <= through_turn:
            return index + 1
    return next((index for index, view in enumerate(views) if view.turn), len(views))


def summary_item(summary: str, item_id: str) -> Item:
    """A summary as the first item of a conversation. Said by the user: many chat templates know no later instruction,
    and none forbids this one to be joined with what the user says next."""
    return Item(id=item_id, role="user", text=f"(Summary of our conversation until now: {summary})")


def _items(view: TurnView, session: str, in_doubt: str) -> Iterable[Item]:
    name = f"{session}:{view.seq}"
    if view.user.strip():
        yield Item(id=f"{name}:user", role="user", text=view.user)
    for call in view.calls:
        common: dict[str, Any] = {"call_id": call.call_id, "name": call.name}
        yield Item(id=f"{session}:{call.seq}", kind="function_call", arguments=call.arguments, **common)
        output = in_doubt if call.output is None else call.output
        yield Item(id=f"{session}:{call.seq}:output", kind="function_call_output", text=output, **common)
    if view.heard or view.unheard:
        cut_off = view.status == "interrupted" and bool(view.unheard.strip())
        yield Item(id=f"{name}:assistant", role="assistant", text=view.heard, unheard=view.unheard, interrupted=cut_off)
