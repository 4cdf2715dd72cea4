"""A recorded session as JSONL, WebVTT or Markdown. Pure. (WAV is made of the recording: see the command.)"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from antiphon.pipeline.subtitles import vtt_cue
from antiphon.pipeline.transcript.values import Record, SessionInfo, TurnView

_SPEECH_S_PER_CHAR = 0.065
"""How long spoken text lasts, where nothing tells: about 15 characters a second."""


def header(info: SessionInfo) -> dict[str, object]:
    """A session as JSON-ready values."""
    return {
        "type": "session",
        "session": info.id,
        "started_at": utc(info.started_at),
        "ended": info.ended,
        "turns": info.turns,
        "person": info.person,
        "resumed_from": info.resumed_from,
        "audio": list(info.audio_files),
        "version": info.version,
        "config": dict(info.config),
    }


def to_jsonl(info: SessionInfo, records: Sequence[Record]) -> str:
    """The session's line, then one line for each record, in order."""
    lines = [json.dumps(header(info), ensure_ascii=False), *(record.to_json() for record in records)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class SpokenCue:
    """Who said what, when, on the stream clock (that of the recording)."""

    start_s: float
    end_s: float
    who: str
    text: str


def cues(turns: Sequence[TurnView]) -> list[SpokenCue]:
    """All that was said and heard, in the order of its beginnings. The assistant's words have the times at which they
    went out, so a listener may hear them a little later."""
    found: list[SpokenCue] = []
    for turn in turns:
        if turn.user and turn.speech_from_s is not None:
            end_s = turn.speech_to_s if turn.speech_to_s is not None else turn.speech_from_s
            found.append(SpokenCue(turn.speech_from_s, max(end_s, turn.speech_from_s + 0.001), "You", turn.user))
        found.extend(_spoken(turn))
    return sorted(found, key=lambda cue: cue.start_s)


def _spoken(turn: TurnView) -> Iterator[SpokenCue]:
    left = len(turn.heard)
    end_s = 0.0
    for start_s, piece in turn.spoken:
        text = piece[:left].strip()
        left -= len(piece)
        if text:
            start_s = max(start_s, end_s)
            end_s = start_s + max(0.3, len(text) * _SPEECH_S_PER_CHAR)
            yield SpokenCue(start_s, end_s, "Antiphon", text)


def to_vtt(turns: Sequence[TurnView]) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/) with a voice span for each speaker; times are those of the recording."""
    return "\n".join(["WEBVTT\n", *(vtt_cue(cue.start_s, cue.end_s, cue.text, voice=cue.who) for cue in cues(turns))])


def to_markdown(info: SessionInfo, turns: Sequence[TurnView]) -> str:
    """For people."""
    lines = [f"# Conversation {info.id}", "", f"{utc(info.started_at)}, {info.turns} turns"]
    if info.person:
        lines.append(f"With: {_escaped(info.person)}")
    if info.resumed_from:
        lines.append(f"Continues {info.resumed_from}")
    for turn in turns:
        lines.append("")
        at = "" if turn.at is None else f" ({wall(info, turn):%H:%M:%S})"
        lines.append(f"## Turn {turn.turn}{at}" if turn.turn else "## Outside of any turn")
        if turn.user:
            lines += ["", f"**You:** {_escaped(turn.user)}"]
        for call in turn.calls:
            result = "*in doubt: no result was recorded*" if call.output is None else f"`{_code(call.output)}`"
            lines += ["", f"- tool `{_code(call.name)}({_code(call.arguments)})`: {result}"]
        if turn.heard:
            lines += ["", f"**Antiphon:** {_escaped(turn.heard)}"]
        if turn.unheard.strip():
            lines += ["", f"*Not heard:* {_escaped(turn.unheard.strip())}"]
        if turn.status not in ("completed", "unfinished") or (turn.turn and turn.status == "unfinished"):
            lines += ["", f"*{turn.status}{': ' if turn.errors else ''}{_escaped('; '.join(turn.errors))}*"]
    return "\n".join(lines) + "\n"


def utc(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wall(info: SessionInfo, turn: TurnView) -> datetime:
    """When a turn's user began to speak, if that is known; else when its first record was made. UTC."""
    end_s = turn.timings.get("speech_end_s")
    if end_s is not None and info.t_s is not None:
        return info.started_at + timedelta(seconds=end_s - info.t_s)
    assert turn.at is not None
    return turn.at


_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>#"})


def _escaped(text: str) -> str:
    return " ".join(text.translate(_MARKUP).split())


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
