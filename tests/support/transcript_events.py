"""Conversations as streams of events, and stores to write them to: what the transcript tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from antiphon.pipeline.events import (
    Committed,
    Dropped,
    Event,
    SpeechStarted,
    SpeechStopped,
    Spoken,
    TextDeltaEvent,
    Timings,
    ToolCallEvent,
    ToolResultEvent,
    TranscriptEvent,
    TurnEnded,
)
from antiphon.pipeline.transcript import Recorder, TranscriptStore, open_store


class Talk:
    """Makes the events of one session; time goes on by a tenth of a second with each."""

    def __init__(self, session: str = "sess_a") -> None:
        self.session = session
        self._t_s = 100.0

    def make(self, kind: type[Event], turn: int = 1, revision: int = 1, **fields: Any) -> Event:
        self._t_s += 0.1
        return kind(
            t_s=self._t_s, audio_s=self._t_s - 100.0, session=self.session, turn=turn, revision=revision, **fields
        )

    def asks(self, text: str, turn: int = 1, revision: int = 1) -> list[Event]:
        at_s = self._t_s - 100.0
        return [
            self.make(SpeechStarted, turn, revision, at_s=at_s),
            self.make(TranscriptEvent, turn, revision, role="user", text=text[: len(text) // 2], final=False),
            self.make(SpeechStopped, turn, revision, at_s=at_s + 0.2),
            self.make(Committed, turn, revision, reason="silence"),
            self.make(TranscriptEvent, turn, revision, role="user", text=text, final=True, language="en"),
        ]

    def calls(self, name: str, arguments: str = "{}", turn: int = 1, call_id: str = "c1") -> Event:
        return self.make(ToolCallEvent, turn, call_id=call_id, name=name, arguments=arguments)

    def gives(self, output: str, name: str = "clock", turn: int = 1, call_id: str = "c1") -> Event:
        return self.make(ToolResultEvent, turn, call_id=call_id, name=name, output=output)

    def says(self, text: str, turn: int = 1, revision: int = 1, heard: str | None = None) -> list[Event]:
        heard = text if heard is None else heard
        return [
            self.make(TextDeltaEvent, turn, revision, text=text),
            self.make(Spoken, turn, revision, text=heard),
            self.make(TranscriptEvent, turn, revision, role="assistant", text=heard, final=True),
        ]

    def ends(self, text: str, turn: int = 1, revision: int = 1, status: Any = "completed") -> Event:
        timings = Timings(speech_end_s=self._t_s - 1.0, commit_s=self._t_s - 0.8, audible_s=self._t_s - 0.4)
        return self.make(
            TurnEnded, turn, revision, status=status, text=text, timings=timings, input_tokens=40, output_tokens=7
        )

    def drops(self, reason: str, turn: int = 1, revision: int = 1) -> Event:
        return self.make(Dropped, turn, revision, reason=reason)

    def whole_turn(self, turn: int, asked: str, said: str) -> list[Event]:
        return [*self.asks(asked, turn), *self.says(said, turn), self.ends(said, turn)]


def sqlite_store(folder: Path, **options: Any) -> TranscriptStore:
    return open_store("sqlite", path=folder / "transcripts.db", **options)


def tell(recorder: Recorder, *events: Event) -> None:
    for event in events:
        recorder(event)
