"""The rules: what counts as an answer, and what its time is. Pure: one observation in, one record out.

A turn that was cut off, answered on a part of its text, or opened by a filler, a click or a breath has no time to
first audio. That makes it impossible to look fast by answering early.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from antiphon.benchmarks.drive import Observation
from antiphon.benchmarks.records import Outcome, StageTimes, TurnRecord
from antiphon.benchmarks.sink import Onset, gaps_ms, onset
from antiphon.benchmarks.words import Errors, compare
from antiphon.pipeline.events import (
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    Speculated,
    SpeechStarted,
    SpeechStopped,
    TextDeltaEvent,
    TranscriptEvent,
    TurnEnded,
)

E = TypeVar("E", bound=Event)

PART_WORDS = 2
PART_SHARE = 0.25
"""An answer is to a part of the turn if at least so many words, and this share of them, are missing at one end."""

FILLERS = re.compile(
    r"\s*((um+|uh+|er+m*|h+m+|mhm|mm+)\b"
    r"|(let me (see|think|check)|(one|just a) (moment|second)|hold on)\s*([,.!…-]|$))",
    re.IGNORECASE,
)
"""Sounds that win time and say nothing."""


def judge(seen: Observation, *, run: int, cold: bool = False, concurrency: int = 1) -> TurnRecord:
    """The record of one clip."""
    facts = _Facts.of(seen)
    clip = seen.track.clip
    outcome, why = _verdict(seen, facts)
    answered = outcome == "answered" and facts.onset is not None
    ttfa_ms = _ms(facts.onset.at_s - seen.zero_s) if answered and facts.onset is not None else None
    delay_ms = None
    if seen.live and clip.has_speech and facts.onset is not None and answered:
        before = [commit for commit in facts.commits if commit.t_s <= facts.onset.at_s]
        delay_ms = _ms(before[-1].t_s - seen.zero_s) if before else None
    elif seen.live and clip.has_speech and len(facts.commits) == 1:
        delay_ms = _ms(facts.commits[0].t_s - seen.zero_s)
    # Of a turn that was split there are two replies, and the user between them: that is no gap in either.
    gaps = gaps_ms(seen.pieces, until_s=seen.hurried_s) if answered else []
    errors = (
        facts.errors if outcome != "failed" else None
    )  # what was not heard because something broke is no word error
    ended = facts.ended
    return TurnRecord(
        clip=clip.name,
        kind=clip.kind,
        lang=clip.lang,
        scenario=clip.scenario,
        split=clip.split,
        dialogue=clip.dialogue,
        run=run,
        cold=cold,
        concurrency=concurrency,
        outcome=outcome,
        why=why,
        ttfa_ms=ttfa_ms,
        commit_delay_ms=delay_ms,
        compute_after_commit_ms=_ms((ttfa_ms - delay_ms) / 1000)
        if ttfa_ms is not None and delay_ms is not None
        else None,
        end_probability=facts.commits[-1].end_probability if facts.commits else None,
        reference=clip.transcript,
        heard=facts.heard,
        reply=facts.reply,
        words=errors.words if errors else None,
        word_errors=errors.word_errors if errors else None,
        characters=errors.characters if errors else None,
        character_errors=errors.character_errors if errors else None,
        stages=_stages(seen, facts),
        commits=len(facts.commits),
        speculations=len(_of(seen.events, Speculated)),
        speculation_hit=_hit(seen, facts),
        wasted_s=_wasted_s(seen),
        reopened=facts.reopened,
        cpu_s=None if seen.cpu_s is None else round(seen.cpu_s, 3),
        reply_s=round(sum(len(piece.samples) / piece.rate_hz for piece in seen.pieces), 3) if seen.pieces else None,
        underruns=len(gaps),
        underrun_ms=round(sum(gaps), 3),
        cached_tokens=ended.cached_tokens if ended else None,
        prompt_tokens=ended.input_tokens if ended else None,
    )


# -------------------------------------------------------------------------------------------- facts


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the verdict is based on."""

    onset: Onset | None
    commits: tuple[Committed, ...]
    """Without those that were taken back before anything was heard."""
    reopened: int
    heard: str
    reply: str
    errors: Errors | None
    ended: TurnEnded | None
    """Of the turn that was answered."""

    @classmethod
    def of(cls, seen: Observation) -> _Facts:
        clip = seen.track.clip
        sound = onset(seen.pieces)
        commits, reopened = _standing(seen.events, sound)
        heard = _heard(seen.events)
        ended = _answered_end(_of(seen.events, TurnEnded), sound)
        errors = compare(clip.transcript, heard, clip.lang) if clip.transcript else None
        return cls(sound, commits, reopened, heard, _reply(seen.events, ended), errors, ended)


def _of(events: Iterable[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def _answered_end(ends: Sequence[TurnEnded], sound: Onset | None) -> TurnEnded | None:
    """The end of the turn that is heard first; without sound, of the last that had words."""
    audible = [end for end in ends if end.timings.audible_s is not None]
    if sound is not None and audible:
        return min(audible, key=lambda end: abs((end.timings.audible_s or 0.0) - sound.at_s))
    return next((end for end in reversed(ends) if end.status != "no_speech"), ends[-1] if ends else None)


def _standing(events: Sequence[Event], sound: Onset | None) -> tuple[tuple[Committed, ...], int]:
    """The commits that stand, and how many turns were reopened in time."""
    standing: list[Committed] = []
    reopened = 0
    for event in events:
        if isinstance(event, Committed):
            standing.append(event)
        elif isinstance(event, Dropped) and event.reason == "reopened":
            last = next((commit for commit in reversed(standing) if commit.turn == event.turn), None)
            if last is not None and (sound is None or not last.t_s <= sound.at_s <= event.t_s):
                standing.remove(last)
                reopened += 1
    return tuple(standing), reopened


def _heard(events: Sequence[Event]) -> str:
    """What was understood: of each turn the last final transcript."""
    by_turn: dict[Any, str] = {}
    for number, event in enumerate(events):
        if isinstance(event, TranscriptEvent) and event.role == "user" and event.final:
            by_turn[event.turn or f"piece {number}"] = event.text.strip()
    return " ".join(text for text in by_turn.values() if text)


def _reply(events: Sequence[Event], ended: TurnEnded | None) -> str:
    if ended is not None and ended.text:
        return ended.text
    return "".join(event.text for event in _of(events, TextDeltaEvent)) or " ".join(
        event.text for event in _of(events, TranscriptEvent) if event.role == "assistant" and event.final
    )


# ------------------------------------------------------------------------------------------- verdict


def _verdict(seen: Observation, facts: _Facts) -> tuple[Outcome, str]:
    if seen.failure:
        return "failed", seen.failure
    if not seen.track.clip.has_speech:
        return _quiet(facts)
    broken = [event for event in _of(seen.events, TurnEnded) if event.status == "failed"]
    if broken:
        errors = _of(seen.events, ErrorEvent)
        return "failed", f"{errors[-1].stage}: {errors[-1].code}" if errors else "the turn failed"
    return _cut_off(seen, facts) or _missed(facts) or ("answered", "")


def _quiet(facts: _Facts) -> tuple[Outcome, str]:
    if facts.onset is not None:
        return "false_start", "it answered"
    if facts.heard:
        return "false_start", "it understood words"
    if facts.commits:
        return "false_start", "it took a turn, without words"
    return "quiet", ""


def _cut_off(seen: Observation, facts: _Facts) -> tuple[Outcome, str] | None:
    if seen.live and facts.onset is not None and facts.onset.at_s < seen.zero_s:
        return "cutoff", f"it spoke {_ms(seen.zero_s - facts.onset.at_s):.0f} ms before the end"
    if seen.live and facts.commits and facts.commits[0].t_s < seen.zero_s:
        return "cutoff", f"it took the turn {_ms(seen.zero_s - facts.commits[0].t_s):.0f} ms before the end"
    turns = {commit.turn for commit in facts.commits}
    if seen.live and len(turns) > 1 and _began_later(seen, facts):
        return "cutoff", f"it made {len(turns)} turns of one"
    errors = facts.errors
    if errors is not None and facts.heard:
        for lost, where in ((errors.lost_at_start, "first"), (errors.lost_at_end, "last")):
            if lost >= PART_WORDS and lost >= PART_SHARE * errors.words:
                return "cutoff", f"it answered a part: the {where} {lost} words are missing"
    return None


def _began_later(seen: Observation, facts: _Facts) -> bool:
    """Whether speech before the end opened a turn after the first (what comes after the end is no piece of it)."""
    first = facts.commits[0]
    zero_audio_s = [event for event in _of(seen.events, SpeechStarted) if event.t_s > first.t_s]
    return any(event.t_s - (event.audio_s - event.at_s) < seen.zero_s for event in zero_audio_s)


def _missed(facts: _Facts) -> tuple[Outcome, str] | None:
    if facts.onset is None:
        if not facts.commits and not facts.heard:
            return "missed", "it took no turn"
        return "missed", "no audible answer in time" if facts.heard else "it understood no words"
    if facts.onset.kind != "voice":
        return "missed", f"opened by a {facts.onset.kind}"
    if FILLERS.match(facts.reply):
        return "missed", "opened by a filler"
    return None


# --------------------------------------------------------------------------------------------- times


def _stages(seen: Observation, facts: _Facts) -> StageTimes:
    """The waterfall. Stage times are the system's own events; only the last one is the sink's."""
    times = facts.ended.timings if facts.ended is not None else None

    def at(own_s: float | None, event_s: float | None = None) -> float | None:
        value_s = own_s if own_s is not None else event_s
        return None if value_s is None else _ms(value_s - seen.zero_s)

    stops = _of(seen.events, SpeechStopped)
    deltas = _of(seen.events, TextDeltaEvent)
    finals = [event for event in _of(seen.events, TranscriptEvent) if event.role == "user" and event.final]
    return StageTimes(
        vad_stop_ms=at(times.vad_stop_s if times else None, stops[-1].t_s if stops else None),
        commit_ms=at(facts.commits[-1].t_s if facts.commits else None),
        stt_ms=at(times.stt_s if times else None, finals[-1].t_s if finals else None),
        first_token_ms=at(times.first_token_s if times else None, deltas[0].t_s if deltas else None),
        first_clause_ms=at(times.first_clause_s if times else None),
        first_audio_ms=at(times.first_audio_s if times else None),
        audible_ms=at(facts.onset.at_s if facts.onset else None),
    )


def _hit(seen: Observation, facts: _Facts) -> bool | None:
    """Whether the answer was begun before commit and kept."""
    report = getattr(facts.ended, "speculation", None)
    if report is not None:
        return None if report.hit is None else bool(report.hit)
    begun = {(event.turn, event.revision) for event in _of(seen.events, Speculated)}
    if not begun or not facts.commits:
        return None
    return (facts.commits[-1].turn, facts.commits[-1].revision) in begun


def _wasted_s(seen: Observation) -> float | None:
    reports = [report for end in _of(seen.events, TurnEnded) if (report := getattr(end, "speculation", None))]
    return round(sum(report.wasted_s for report in reports), 3) if reports else None


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3) + 0.0  # no negative zero
