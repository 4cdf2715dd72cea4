"""The turn machine: pure, sans-I/O. Events and a clock in, actions out; no await, no sleep, no audio.

All times are seconds on the stream clock. A *turn* is one contribution of the user; a *revision* is one guess of where
it ends: each pause is a candidate end (the turn may be speculated on), and when the user goes on, the revision rises
and everything that was begun for the old one is dropped.

    IDLE --SpeechStarted--> SPEAKING --SpeechStopped--> PAUSED --silence long enough--> commit, IDLE
                               ^                           |
                               +------SpeechStarted--------+   (revision + 1)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from antiphon.engines.protocols import EndpointPolicy

CommitReason = Literal["silence", "end_of_input", "manual", "max_turn"]

MANUAL = EndpointPolicy(silence_ms=math.inf, max_silence_ms=math.inf)
"""Silence never ends a turn: :class:`ManualCommit` and :class:`EndOfInput` do (push-to-talk, finished recordings)."""


# ------------------------------------------------------------------------------------------ events in


@dataclass(frozen=True, slots=True)
class SpeechBegan:
    at_s: float
    """Estimated first speech sample."""


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    at_s: float
    """Estimated last speech sample."""


@dataclass(frozen=True, slots=True)
class AudioArrived:
    """Input audio came; a turn whose audio stalls is treated as silence."""


@dataclass(frozen=True, slots=True)
class EndEstimated:
    """The turn detector's answer about one revision; probability None means that it failed."""

    turn: int
    revision: int
    probability: float | None


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened but the passing of time."""


@dataclass(frozen=True, slots=True)
class EndOfInput:
    """No more audio will come."""


@dataclass(frozen=True, slots=True)
class ManualCommit:
    """The user (or client) says that the turn is over."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Throw the open turn away."""


TurnInput = SpeechBegan | SpeechPaused | AudioArrived | EndEstimated | Tick | EndOfInput | ManualCommit | Clear


# ----------------------------------------------------------------------------------------- actions out


@dataclass(frozen=True, slots=True)
class OpenTurn:
    turn: int
    at_s: float


@dataclass(frozen=True, slots=True)
class ResumeTurn:
    """The user went on: what was begun for older revisions is void."""

    turn: int
    revision: int
    """The new one."""


@dataclass(frozen=True, slots=True)
class PauseTurn:
    """A candidate end: work on an answer may begin, held back until the commit."""

    turn: int
    revision: int
    at_s: float
    """Estimated last speech sample."""


@dataclass(frozen=True, slots=True)
class AskDetector:
    turn: int
    revision: int


@dataclass(frozen=True, slots=True)
class CommitTurn:
    turn: int
    revision: int
    reason: CommitReason
    end_probability: float | None


@dataclass(frozen=True, slots=True)
class DiscardTurn:
    turn: int


TurnAction = OpenTurn | ResumeTurn | PauseTurn | AskDetector | CommitTurn | DiscardTurn


def _reached(now_s: float, deadline_s: float) -> bool:
    """Whether a deadline has come, up to rounding: a tick at the deadline must count, or it would tick for ever."""
    return now_s >= deadline_s - 1e-6


class State(Enum):
    IDLE = "idle"
    SPEAKING = "speaking"
    PAUSED = "paused"


class TurnMachine:
    """Decides when the user's turn opens, pauses, goes on and ends."""

    def __init__(self, policy: EndpointPolicy, *, max_turn_s: float = 60.0, stall_s: float = 1.0) -> None:
        """
        :param policy: how long a silence ends a turn.
        :param max_turn_s: a turn is committed at this length even while the user still speaks.
        :param stall_s: no audio for this long while the user speaks counts as silence since the last audio.
        """
        self.policy = policy
        self.max_turn_s = max_turn_s
        self.stall_s = stall_s
        self.state = State.IDLE
        self.turn = 0
        self.revision = 0
        self._opened_s = 0.0
        self._silence_from_s = 0.0
        self._last_audio_s = 0.0
        self._asked = 0
        self._probability: float | None = None
        self._ended = False

    def feed(self, event: TurnInput, now_s: float) -> list[TurnAction]:
        """Take one event; returns what is to be done, in order."""
        actions: list[TurnAction] = []
        match event:
            case SpeechBegan(at_s):
                self._last_audio_s = now_s
                actions += self._speech_began(at_s)
            case SpeechPaused(at_s):
                self._last_audio_s = now_s
                if self.state is State.SPEAKING:
                    actions += self._pause(at_s)
            case AudioArrived():
                self._last_audio_s = now_s
            case EndEstimated(turn, revision, probability):
                if self.state is State.PAUSED and (turn, revision) == (self.turn, self.revision):
                    self._probability = probability
            case Tick():
                if self.state is State.SPEAKING and _reached(now_s, self._last_audio_s + self.stall_s):
                    actions += self._pause(self._last_audio_s)
            case EndOfInput():
                self._ended = True
                if self.state is not State.IDLE:
                    actions += self._commit("end_of_input")
            case ManualCommit():
                if self.state is not State.IDLE:
                    actions += self._commit("manual")
            case Clear():
                if self.state is not State.IDLE:
                    self.state = State.IDLE
                    actions.append(DiscardTurn(self.turn))
        actions += self._by_time(now_s)
        return actions

    def deadline(self) -> float | None:
        """When to feed the next :class:`Tick` if nothing else happens; None: no need."""
        if self.state is State.IDLE:
            return None
        times = [self._opened_s + self.max_turn_s]
        if self.state is State.SPEAKING:
            times.append(self._last_audio_s + self.stall_s)
        else:
            times.append(self._silence_from_s + self._enough_silence_s())
            if self._asked < len(self.policy.check_at_ms):
                times.append(self._silence_from_s + self.policy.check_at_ms[self._asked] / 1000)
        earliest = min(times)
        return None if math.isinf(earliest) else earliest

    # ---------------------------------------------------------------------------- inside

    def _speech_began(self, at_s: float) -> list[TurnAction]:
        if self._ended or self.state is State.SPEAKING:
            return []
        if self.state is State.PAUSED:
            self.state = State.SPEAKING
            self.revision += 1
            return [ResumeTurn(self.turn, self.revision)]
        self.state = State.SPEAKING
        self.turn += 1
        self.revision = 0
        self._opened_s = at_s
        return [OpenTurn(self.turn, at_s)]

    def _pause(self, at_s: float) -> list[TurnAction]:
        self.state = State.PAUSED
        self._silence_from_s = at_s
        self._asked = 0
        self._probability = None
        return [PauseTurn(self.turn, self.revision, at_s)]

    def _by_time(self, now_s: float) -> list[TurnAction]:
        if self.state is State.IDLE:
            return []
        if _reached(now_s, self._opened_s + self.max_turn_s):
            return self._commit("max_turn")
        if self.state is not State.PAUSED:
            return []
        if _reached(now_s, self._silence_from_s + self._enough_silence_s()):
            return self._commit("silence")
        due = sum(1 for at_ms in self.policy.check_at_ms if _reached(now_s, self._silence_from_s + at_ms / 1000))
        if due > self._asked:
            self._asked = due
            return [AskDetector(self.turn, self.revision)]
        return []

    def _enough_silence_s(self) -> float:
        """Silence that ends the turn, given what is known of it now."""
        if self._probability is None:
            return min(self.policy.silence_ms, self.policy.max_silence_ms) / 1000
        for at_least, silence_ms in self.policy.steps:
            if self._probability >= at_least:
                return min(silence_ms, self.policy.max_silence_ms) / 1000
        return self.policy.max_silence_ms / 1000

    def _commit(self, reason: CommitReason) -> list[TurnAction]:
        self.state = State.IDLE
        return [CommitTurn(self.turn, self.revision, reason, self._probability)]
