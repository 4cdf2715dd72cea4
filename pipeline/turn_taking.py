"""The user's side of a session: frames come in, and what the turn machine makes of them is carried out.

Each action goes to the part that it is for: :mod:`~antiphon.pipeline.ahead` (hearing the growing turn),
:mod:`~antiphon.pipeline.attempts` (which answer counts), :mod:`~antiphon.pipeline.barge_in` (speech into a reply),
:mod:`~antiphon.pipeline.detecting` (whether the user is done).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import EndpointPolicy, Transcript
from antiphon.pipeline import turns
from antiphon.pipeline.ahead import Ahead
from antiphon.pipeline.answering import Outlook
from antiphon.pipeline.attempts import Attempts
from antiphon.pipeline.barge_in import BargeIn
from antiphon.pipeline.detecting import Detecting
from antiphon.pipeline.events import ErrorEvent, SpeechStarted, SpeechStopped
from antiphon.pipeline.gate import Gate, SpeechClosed, SpeechOpened
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.interruption import Verdict
from antiphon.pipeline.line import Line
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.means import Means
from antiphon.pipeline.pauses import PauseHabit
from antiphon.pipeline.run import Run
from antiphon.pipeline.session_settings import Engines, SessionSettings
from antiphon.pipeline.telling import Teller

logger = logging.getLogger(__name__)


class TurnTaking:
    """One per session, which feeds it. Owns the user's turn; starts its tasks in the session's line.

    Its parts are there for those whom a session lets speak to them: `intake`, `ahead`, `barge_in`.
    """

    def __init__(
        self,
        makings: Makings,
        means: Means,
        line: Line,
        teller: Teller,
        *,
        answer: Callable[[Run], Coroutine[Any, Any, None]],
        on_voice: Callable[[], None],
        on_turn: Callable[[], None],
    ) -> None:
        """
        :param answer: all the work of a run.
        :param on_voice: told when the user begins or ceases to speak.
        :param on_turn: told when a turn begins.
        """
        settings = makings.settings
        self._session = makings.session_id
        self._cue = makings.text.cue
        self._teller = teller
        self._on_voice = on_voice
        self._on_turn = on_turn
        self._paced = makings.transport.capabilities.paced
        self.intake = self._make_intake(makings.engines, settings)
        self.barge_in = BargeIn(makings, self.intake, line, teller)
        self.ahead = Ahead(
            makings,
            self.intake,
            line,
            teller,
            tells=not means.consulting.judges,  # nobody may know of words that were not judged
            prepare=means.consulting.prepare,
            weigh_words=self.barge_in.weigh_words,
        )
        self._attempts = Attempts(
            intake=self.intake,
            ahead=self.ahead,
            line=line,
            transport=makings.transport,
            teller=teller,
            reporting=means.reporting,
            answer=answer,
        )
        self._detecting = Detecting(
            makings.engines.detector,
            session=self._session,
            timeout_s=settings.detector_timeout_s,
            line=line,
            teller=teller,
            feed=self.intake.feed,
        )

    def _make_intake(self, engines: Engines, settings: SessionSettings) -> Intake:
        policy = turns.MANUAL if settings.manual_turns else engines.policy
        return Intake(
            Gate(engines.vad, settings.gate),
            turns.TurnMachine(
                policy,
                max_turn_s=settings.max_turn_s,
                reopen_ms=settings.reopen_ms if self._paced else 0.0,
                habit=habit_of(policy),
            ),
            paced=self._paced,
            dip_ms=settings.speculation_start_ms,
            on_action=self._act,
            on_speech=self._tell_speech,
            fading=settings.speculation_fading,
            on_fade=lambda: self.ahead.hear_fading(),
            on_dip=lambda: self.ahead.hear_dip(),
            on_failure=self._tell_vad_failure,
        )

    @property
    def open(self) -> bool:
        """Whether there is a turn that is not over."""
        return self.intake.machine.state is not turns.State.IDLE

    @property
    def turn(self) -> int:
        """The number of the user's newest turn."""
        return self.intake.machine.turn

    # ------------------------------------------------------------------------ what comes in

    def take(self, frame: AudioFrame) -> None:
        """The user's audio goes on."""
        before_s = self.intake.audio_end_s
        self.intake.take(frame)
        if self._paced and self.intake.machine.state is turns.State.SPEAKING:
            self.barge_in.weigh_speech(self.ahead.hypothesis)
            if self.ahead.enabled:
                self._attempts.goes_on()
                self.ahead.goes_on(self.intake.audio_end_s - before_s)

    def open_silent(self) -> int:
        """A turn without speech begins, and goes before what the user is saying. Returns its number."""
        number = self.intake.machine.number()
        self.intake.rearm()
        self._on_turn()
        self._attempts.withdraw()
        return number

    # ------------------------------------------------------------------------ what becomes of it

    def _act(self, action: turns.TurnAction) -> None:
        match action:
            case turns.OpenTurn():
                self._on_turn()
                self.ahead.open_turn()
                self.barge_in.begin(action)
            case turns.DiscardTurn(turn):
                self._attempts.discard(turn, self.barge_in.why_discarded())
                self.barge_in.discarded(turn)
            case turns.ResumeTurn():
                self._attempts.park()
            case turns.ReopenTurn(turn):
                self._attempts.reopen(turn)
            case turns.AskDetector(turn, revision):
                self._detecting.ask(turn, revision, self.intake.snapshot(), self.ahead.hypothesis or None)
            case turns.PauseTurn(turn, revision, at_s):
                # Whether it stops a reply cannot wait for the turn's end.
                self._attempts.pause(turn, revision, at_s, pressing=self.barge_in.undecided)
            case turns.CommitTurn():
                self._attempts.commit(action)

    def _tell_speech(self, change: SpeechOpened | SpeechClosed) -> None:
        self._on_voice()
        kind = SpeechStarted if isinstance(change, SpeechOpened) else SpeechStopped
        machine = self.intake.machine
        self._teller.tell(kind, turn=machine.turn, revision=machine.revision, at_s=change.at_s)

    def _tell_vad_failure(self, error: Exception) -> None:
        logger.warning("the VAD failed", extra={"session": self._session, "code": type(error).__name__})
        machine = self.intake.machine
        fields = {"stage": "vad", "code": type(error).__name__, "message": str(error)}
        self._teller.tell(ErrorEvent, turn=machine.turn, revision=machine.revision, **fields)

    # ------------------------------------------------------------------------ what answers tell (Turns)

    def heard(self, run: Run, transcript: Transcript) -> Outlook:
        if self.barge_in.weigh_words(run.turn, transcript.text) is Verdict.GO_ON:
            run.dismissed = "backchannel" if transcript.text.strip() else "no_speech"
            return "dismiss" if run.committed.is_set() else "needless"
        needless = self._attempts.kept_instead(run, transcript.text)
        cue = self._cue(transcript.text, transcript.language)
        self.intake.feed(turns.TextJudged(run.turn, run.revision, cue))  # last: it may commit the turn
        return "needless" if needless else "answer"

    def heard_nothing(self, run: Run) -> None:
        self._attempts.forget_earlier(run, "resumed")
        self.barge_in.words_unknown(run.turn)

    def seal(self, turn: int) -> None:
        self.intake.feed(turns.Sealed(turn))


def habit_of(policy: EndpointPolicy) -> PauseHabit | None:
    """What a policy wants to know of the speaker's own pauses."""
    return PauseHabit(high=policy.adapts_up_to) if policy.adapts_up_to > 1 else None
