"""The turn machine: pure, sans-I/O. Events and a clock in, actions out; no await, no sleep, no audio.

All times are seconds on the stream clock. A *turn* is one contribution of the user; a *revision* is one guess of where
it ends: each pause is a candidate end (the turn may be speculated on), and when the user goes on, the revision rises
and everything that was begun for the old one is dropped.

    IDLE --SpeechBegan--> SPEAKING --SpeechPaused--> PAUSED --silence long enough--> commit, IDLE
                             ^                          |                                     |
                             +------SpeechBegan---------+   (revision + 1)                    |
                             +------SpeechBegan within `reopen_ms`, not sealed----------------+   (revision + 1)

How long is long enough: the turn detector's probability picks a step of the policy; what was said so far may shorten it
(a whole utterance) or lengthen it ("and", "um"); the speaker's own pauses stretch it; a hard cap ends it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from antiphon.engines.protocols import EndpointPolicy, WordCue
from antiphon.pipeline.pauses import PauseHabit

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
class SpeechSuspected:
    """A moment of speech in a pause: too short yet to say that the user goes on."""


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
class TextJudged:
    """What the words of one revision say about its end."""

    turn: int
    revision: int
    cue: WordCue


@dataclass(frozen=True, slots=True)
class Sealed:
    """The answer to this turn has had an effect (a tool ran, it is over): the turn cannot be reopened."""

    turn: int


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


TurnInput = (
    SpeechBegan
    | SpeechPaused
    | SpeechSuspected
    | AudioArrived
    | EndEstimated
    | TextJudged
    | Sealed
    | Tick
    | EndOfInput
    | ManualCommit
    | Clear
)


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
class ReopenTurn:
    """The user went on just after the commit: the answer is void, and the turn goes on."""

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


TurnAction = OpenTurn | ResumeTurn | ReopenTurn | PauseTurn | AskDetector | CommitTurn | DiscardTurn


def _reached(now_s: float, deadline_s: float) -> bool:
    """Whether a deadline has come, up to rounding: a tick at the deadline must count, or it would tick for ever."""
    return now_s >= deadline_s - 1e-6


_SUSPENSE_S = 0.064
"""After a moment of speech, the end of the turn waits so long for another one."""
_LONGEST_SUSPENSE_S = 0.3
"""Sounds that never become speech put the end off no longer than this."""
_NEWS_OF_SPEECH_S = 0.5
"""How much later than its beginning speech may be told of: the gate wants to be sure."""


class State(Enum):
    IDLE = "idle"
    SPEAKING = "speaking"
    PAUSED = "paused"


class TurnMachine:
    """Decides when the user's turn opens, pauses, goes on and ends."""

    def __init__(
        self,
        policy: EndpointPolicy,
        *,
        max_turn_s: float = 60.0,
        stall_s: float = 1.0,
        reopen_ms: float = 0.0,
        habit: PauseHabit | None = None,
    ) -> None:
        """
        :param policy: how long a silence ends a turn; may be replaced at any time.
        :param max_turn_s: a turn is committed at this length even while the user still speaks.
        :param stall_s: no audio for this long while the user speaks counts as silence since the last audio.
        :param reopen_ms: speech within this time after a commit by silence reopens the turn.
        :param habit: what is known of the speaker's own pauses; None: every speaker is waited for alike.
        """
        self.policy = policy
        self.max_turn_s = max_turn_s
        self.stall_s = stall_s
        self.reopen_ms = reopen_ms
        self.habit = habit
        self.state = State.IDLE
        self.turn = 0
        self.revision = 0
        self._numbered = 0
        """The highest number that was given to a turn."""
        self._opened_s = 0.0
        self._silence_from_s = 0.0
        self._suspected_s = -math.inf
        self._last_audio_s = 0.0
        self._asked = 0
        self._probability: float | None = None
        self._cue: WordCue = "unknown"
        self._reopen_until_s = -math.inf
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
            case SpeechSuspected():
                self._suspected_s = now_s
            case AudioArrived():
                self._last_audio_s = now_s
            case EndEstimated(turn, revision, probability):
                if self.state is State.PAUSED and (turn, revision) == (self.turn, self.revision):
                    self._probability = probability
            case TextJudged(turn, revision, cue):
                if self.state is State.PAUSED and (turn, revision) == (self.turn, self.revision):
                    self._cue = cue
            case Sealed(turn):
                if turn == self.turn and self.state is State.IDLE:
                    self._reopen_until_s = -math.inf
            case Tick():
                if self.state is State.SPEAKING and _reached(now_s, self._last_audio_s + self.stall_s):
                    actions += self._pause(self._last_audio_s)
            case EndOfInput():
                self._ended = True
                if self.state is not State.IDLE:
                    actions += self._commit("end_of_input", now_s)
            case ManualCommit():
                if self.state is not State.IDLE:
                    actions += self._commit("manual", now_s)
            case Clear():
                self._reopen_until_s = -math.inf
                if self.state is not State.IDLE:
                    self.state = State.IDLE
                    actions.append(DiscardTurn(self.turn))
        actions += self._by_time(now_s)
        return actions

    def deadline(self) -> float | None:
        """When to feed the next :class:`Tick` if nothing else happens; None: no need."""
        if self.state is State.IDLE:
            return None if math.isinf(self._reopen_until_s) else self._reopen_until_s + _NEWS_OF_SPEECH_S
        times = [self._opened_s + self.max_turn_s]
        if self.state is State.SPEAKING:
            times.append(self._last_audio_s + self.stall_s)
        else:
            times.append(self._end_of_silence_s())
            if self._asked < len(self.policy.check_at_ms):
                times.append(self._silence_from_s + self.policy.check_at_ms[self._asked] / 1000)
        earliest = min(times)
        return None if math.isinf(earliest) else earliest

    def number(self) -> int:
        """A number for a turn without speech (typed words, an answer that a client asks for); none is given twice."""
        self._numbered += 1
        if self.state is State.IDLE:
            self._reopen_until_s = -math.inf  # the turn before it is over
        return self._numbered

    def reopens(self, at_s: float) -> bool:
        """Whether speech that begins then would reopen the last turn."""
        return self.state is State.IDLE and not self._ended and at_s <= self._reopen_until_s

    # ---------------------------------------------------------------------------- inside

    def _speech_began(self, at_s: float) -> list[TurnAction]:
        if self._ended or self.state is State.SPEAKING:
            return []
        if self.state is State.PAUSED or self.reopens(at_s):
            reopened = self.state is State.IDLE
            self.state = State.SPEAKING
            self.revision += 1
            if self.habit is not None:
                self.habit.note(max(0.0, at_s - self._silence_from_s) * 1000)
            return [(ReopenTurn if reopened else ResumeTurn)(self.turn, self.revision)]
        self.state = State.SPEAKING
        self.turn = self.number()
        self.revision = 0
        self._opened_s = at_s
        return [OpenTurn(self.turn, at_s)]

    def _pause(self, at_s: float) -> list[TurnAction]:
        self.state = State.PAUSED
        self._silence_from_s = at_s
        self._suspected_s = -math.inf
        self._asked = 0
        self._probability = None
        self._cue = "unknown"
        return [PauseTurn(self.turn, self.revision, at_s)]

    def _by_time(self, now_s: float) -> list[TurnAction]:
        if self.state is State.IDLE:
            # By time that really passes: where no audio comes, the stream clock of what comes later stands still.
            if _reached(now_s, self._reopen_until_s + _NEWS_OF_SPEECH_S):
                self._reopen_until_s = -math.inf
            return []
        if _reached(now_s, self._opened_s + self.max_turn_s):
            return self._commit("max_turn", now_s)
        if self.state is not State.PAUSED:
            return []
        if _reached(now_s, self._end_of_silence_s()):
            return self._commit("silence", now_s)
        due = sum(1 for at_ms in self.policy.check_at_ms if _reached(now_s, self._silence_from_s + at_ms / 1000))
        if due > self._asked:
            self._asked = due
            return [AskDetector(self.turn, self.revision)]
        return []

    def _end_of_silence_s(self) -> float:
        """When the silence will have been long enough; if the user may just be going on, a moment later."""
        end_s = self._silence_from_s + self._enough_silence_s()
        return max(end_s, min(self._suspected_s + _SUSPENSE_S, end_s + _LONGEST_SUSPENSE_S))

    def _enough_silence_s(self) -> float:
        """Silence that ends the turn, given what is known of it now."""
        policy = self.policy
        row = policy.by_words.get(self._cue)
        if self._probability is None:
            # Words that ask for more are waited for even where the detector is silent.
            silence_ms = (
                max(policy.silence_ms, row[-1]) if row and self._cue in ("open", "doubtful") else policy.silence_ms
            )
            return self._stretched_ms(silence_ms) / 1000
        step = next((at for at, (least, _) in enumerate(policy.steps) if self._probability >= least), len(policy.steps))
        if row is not None:
            silence_ms = row[step]
        elif step < len(policy.steps):
            silence_ms = policy.steps[step][1]
        else:
            silence_ms = policy.max_silence_ms if policy.low_silence_ms is None else policy.low_silence_ms
        if step == 0:
            return min(silence_ms, policy.max_silence_ms) / 1000  # as sure as can be: no habit tells more
        return self._stretched_ms(silence_ms) / 1000

    def _stretched_ms(self, silence_ms: float) -> float:
        """For this speaker, and within the cap."""
        if self.habit is not None and math.isfinite(silence_ms):
            silence_ms = self.habit.stretch(silence_ms)
        return min(silence_ms, self.policy.max_silence_ms)

    def _commit(self, reason: CommitReason, now_s: float) -> list[TurnAction]:
        self.state = State.IDLE
        self._reopen_until_s = now_s + self.reopen_ms / 1000 if reason == "silence" and self.reopen_ms else -math.inf
        if self.habit is not None:
            self.habit.end_of_turn()
        return [CommitTurn(self.turn, self.revision, reason, self._probability)]
