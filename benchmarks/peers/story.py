"""A peer's conversation in the events of Antiphon's vocabulary."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from antiphon.benchmarks.subject import Listener
from antiphon.pipeline.events import (
    Committed,
    ErrorEvent,
    SpeechStarted,
    Timings,
    TranscriptEvent,
    TurnEnded,
    TurnStatus,
)

_BEFORE_COMMIT = ("vad_stop_s", "stt_s", "first_token_s")
"""Steps that may come before the commit: some transcribe first, some begin the answer early."""


class Story:
    """Turns are counted by their commits. Times are those of arrival: nobody's own clock is believed."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.turn = 0
        """Commits so far."""
        self._open = False
        """The last committed turn is being answered."""
        self._heard: list[str] = []
        self._heard_turn = 0
        self._reply: list[str] = []
        self._said = ""
        self._times = Timings()
        self._failed = False

    def tell(self, name: str, text: str = "") -> None:
        """One of the wire's events (`peer_wire.EVENTS`); an unknown one is left out."""
        now_s = asyncio.get_running_loop().time()
        match name:
            case "vad_stop":
                self._mark(vad_stop_s=now_s, again=True)
            case "heard":
                self.hear(text)
            case "commit":
                self._commit(now_s)
            case "first_token":  # a generation that was begun too early is begun again
                self._mark(first_token_s=now_s, again=self._times.first_audio_s is None)
            case "first_audio":
                self._mark(first_audio_s=now_s)
            case "reply":
                self._reply.append(text.strip())
            case "done":
                self.end()

    def started(self, at_s: float, audio_s: float) -> None:
        """The peer hears speech: since when on the stream clock, and how much audio it had been given by now."""
        self._listener.tell(SpeechStarted, at_s=at_s, audio_s=audio_s, turn=self.turn + 1)

    def hear(self, text: str, turn: int | None = None) -> None:
        """A final transcript, of a piece of a turn or all of it; pieces are told as one transcript that grows.

        :param turn: None: of the turn that is open; once its answer has begun, of the next one.
        """
        self._mark(stt_s=asyncio.get_running_loop().time(), again=True)
        if turn is None:
            turn = self.turn if self._open and self._times.first_token_s is None else self.turn + 1
        if turn != self._heard_turn:
            self._heard.clear()
        self._heard_turn = turn
        self._heard.append(text.strip())
        whole = " ".join(part for part in self._heard if part)
        self._listener.tell(TranscriptEvent, role="user", text=whole, final=True, turn=turn)

    def end(self, status: TurnStatus = "completed", turn: int | None = None) -> None:
        """The answer is over; nothing, if none was open.

        :param turn: if given, only that turn is ended.
        """
        if not self._open or turn not in (None, self.turn):
            return
        text = " ".join(part for part in (*self._reply, self._said.strip()) if part)
        status = "failed" if self._failed and status == "completed" else status
        self._listener.tell(TurnEnded, status=status, text=text, turn=self.turn, timings=self._times)
        self._open = self._failed = False
        self._reply.clear()
        self._said = ""
        self._times = Timings()

    def say(self, delta: str) -> None:
        """Text of the answer as it comes, spaces and all."""
        self._said += delta

    def fail(self, message: str, *, ends: bool = True) -> None:
        """The peer said that something broke. `ends`: the turn with it."""
        self._failed = self._failed or ends
        self._listener.tell(ErrorEvent, stage="peer", code="PeerFailed", message=message, fatal=False, turn=self.turn)

    def _commit(self, now_s: float) -> None:
        before = self._times
        self.end("interrupted")
        # What was told since the commit before belongs to this turn.
        since_s = before.commit_s or 0.0
        fresh = {name: at_s for name in _BEFORE_COMMIT if (at_s := getattr(before, name)) and at_s > since_s}
        if fresh.get("first_token_s", since_s) < fresh.get("stt_s", since_s):
            fresh.pop("first_token_s", None)  # of the answer to the turn before: this one had not been heard yet
        self._times = Timings(commit_s=now_s, **fresh)
        self.turn += 1
        self._open = True
        self._listener.tell(Committed, reason="peer", turn=self.turn)

    def _mark(self, *, again: bool = False, **at: Any) -> None:
        for name, at_s in at.items():
            if again or getattr(self._times, name) is None:
                self._times = replace(self._times, **{name: at_s})
