"""What a transcript store gives back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from antiphon.pipeline.usage import EngineUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A recorded session."""

    id: str
    started_at: datetime
    """UTC."""
    last_at: datetime
    """Of its last record, UTC."""
    ended: bool
    """False: it is still going on, or its process died."""
    turns: int
    """Turns of the user that were answered or failed."""
    person: str | None = None
    resumed_from: str | None = None
    t_s: float | None = None
    """The session's monotonic clock at `started_at`."""
    config: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""
    audio_files: tuple[str, ...] = ()
    """Recordings, relative to the folder of recordings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that happened, whichever table it stands in."""

    seq: int
    at: datetime
    kind: str
    """An event's type; also "speaking", "turn_ended", "usage", "audio", "session_ended", "compacted"."""
    turn: int
    revision: int
    t_s: float | None
    audio_s: float | None
    data: Mapping[str, Any]
    """All that is particular to the kind: `text`, `role`, `call_id`, ..."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "type": self.kind,
            "seq": self.seq,
            "at": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "turn": self.turn,
            "revision": self.revision,
            "t_s": self.t_s,
            "audio_s": self.audio_s,
            **self.data,
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool that was called."""

    session: str
    seq: int
    at: datetime
    turn: int
    call_id: str
    name: str
    arguments: str
    output: str | None = None
    """None: no result was recorded. Whether the tool ran is in doubt."""

    @property
    def in_doubt(self) -> bool:
        return self.output is None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnView:
    """One turn as it came out."""

    turn: int
    """0: said outside of any turn."""
    seq: int = 0
    """Of its first record."""
    user: str = ""
    language: str | None = None
    heard: str = ""
    """What of the reply the user heard, or (where the process died while it played) may have heard."""
    unheard: str = ""
    calls: tuple[Call, ...] = ()
    status: str = "unfinished"
    """As in `turn_ended`; "unfinished": the process died, or the turn is still going on."""
    aside: bool = False
    """Said into another answer, which went on ("uh-huh"): no part of the conversation."""
    errors: tuple[str, ...] = ()
    timings: Mapping[str, float | None] = field(default_factory=dict)
    """Step to seconds on the session's monotonic clock."""
    usage: tuple[EngineUsage, ...] = ()
    """What each engine used."""
    at: datetime | None = None
    speech_from_s: float | None = None
    """Where the user's speech began and ended, on the stream clock."""
    speech_to_s: float | None = None
    spoken: tuple[tuple[float, str], ...] = ()
    """The reply's pieces, each with the stream time at which it went out."""

    @property
    def response_ms(self) -> float | None:
        """From the user's last speech sample to the first audible one of the reply."""
        end_s, audible_s = self.timings.get("speech_end_s"), self.timings.get("audible_s")
        return None if end_s is None or audible_s is None else (audible_s - end_s) * 1000
