"""The user speaks into a reply: playback pauses at once, then the reply is stopped, or goes on where it paused.

What speech and words mean is decided in :mod:`antiphon.pipeline.interruption`; here it is carried out.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
from collections.abc import Sequence

from antiphon.pipeline import turns
from antiphon.pipeline.conversation import ItemError
from antiphon.pipeline.events import Interrupted, PlaybackPaused, PlaybackResumed
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.interruption import Interruption, InterruptionSettings, Verdict
from antiphon.pipeline.line import Line
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.policy import SessionApprovals
from antiphon.pipeline.run import Run
from antiphon.pipeline.telling import Teller

logger = logging.getLogger(__name__)

_REMEMBERED_STOPS = 8
"""Interrupted replies of which a client may still say how much was heard."""


class BargeIn:
    """One per session. Owns pausing and stopping of what is played."""

    def __init__(self, makings: Makings, intake: Intake, line: Line, teller: Teller) -> None:
        self._settings = makings.settings.interruption
        self._session = makings.session_id
        self._transport = makings.transport
        self._can = self._transport.capabilities.paced and self._transport.capabilities.clears
        """False: nothing that the user says stops a reply; callers still may."""
        self._conversation = makings.conversation
        self._approvals = makings.guarding.approvals
        self._front = makings.front
        self._intake = intake
        self._line = line
        self._teller = teller
        self._attempt: Interruption | None = None
        """The user has begun to speak into a reply; what that means is not known yet."""
        self._stopped: dict[int, Run] = {}
        """Replies of late, by turn, of which a client may still say how much was heard."""
        self._dismissing = ""
        """Why the open turn is about to be thrown away."""
        self.held = False
        """Playback was paused by :meth:`hold`."""

    @property
    def undecided(self) -> bool:
        """Whether somebody waits to know what the user's words into a reply mean."""
        return self._attempt is not None

    @property
    def settings(self) -> InterruptionSettings:
        """What stops a reply."""
        return self._settings

    @settings.setter
    def settings(self, settings: InterruptionSettings) -> None:
        """For what the user begins to say from now on."""
        self._settings = settings

    # ------------------------------------------------------------------------ by callers

    def may_be_corrected(self, run: Run) -> None:
        """A client may say how much was heard of this reply."""
        self._stopped[run.turn] = run
        while len(self._stopped) > _REMEMBERED_STOPS:
            del self._stopped[next(iter(self._stopped))]

    def hold(self) -> None:
        """Let playback stand still until :meth:`let_go`, whatever the user does."""
        self.held = True
        if self._transport.capabilities.pauses:
            self._transport.pause()

    def let_go(self) -> None:
        """Go on at the sample where :meth:`hold` stopped."""
        self.held = False
        paused_for_voice = self._attempt is not None and self._attempt.paused
        if self._transport.capabilities.pauses and not paused_for_voice:
            self._transport.resume()

    def stop(self, runs: Sequence[Run]) -> None:
        """Stop these replies: what was heard of them is all that was said."""
        for run in runs:
            run.interrupted = True
            if run.turn:
                self.may_be_corrected(run)
                if self._approvals is not None:
                    self._approvals.forget(run.turn)
                    self._line.spawn(self._withdraw(self._approvals, run.turn))
            if run.task is not None and (run.text is not None or run.failed or not run.turn):
                run.task.cancel()  # else what the user said is not known yet: it ends itself once that is
        if any(run.floor.is_set() and not run.muted for run in runs):
            self._transport.clear()  # what sounds is theirs

    def played(self, turn: int, seconds: float) -> None:
        """The client says how many seconds of a turn's reply it has played."""
        run = self._stopped.get(turn)
        if run is None or run.reply is None:
            return
        try:
            item = self._conversation.truncate(run.item_id, run.reply.heard_chars(seconds))
        except ItemError:
            return  # somebody has deleted it since
        fields = {"heard": item.text, "unheard": item.unheard, "acknowledged": True}
        self._teller.tell(Interrupted, turn=turn, revision=run.revision, **fields)

    # ------------------------------------------------------------------------ by the user's voice

    def begin(self, turn: turns.OpenTurn) -> None:
        """The user's voice was heard: if a reply is under way, it may be meant to stop it."""
        runs = [run for run in self._line.replies() if run.interruptible]
        if not (self._can and self._settings.enabled) or not runs or self._attempt is not None:
            return
        if self._approvals is not None and self._approvals.awaits_voice:
            return
        since_s = min((run.audible_s for run in runs if run.audible_s is not None), default=None)
        now_s = asyncio.get_running_loop().time()
        audible = since_s is not None and since_s <= now_s
        if since_s is not None and audible and now_s < since_s + self._settings.mute_ms / 1000:
            return
        self._attempt = Interruption(self._settings, turn.turn, turn.at_s, audible)
        if audible:
            self._pause_for(self._attempt, runs[0])
        if self._attempt.on_speech(0.0, "") is Verdict.STOP:
            self._stop_for_user()  # any sound of a voice is enough

    def weigh_speech(self, text: str) -> None:
        """The user goes on speaking; `text`: what was heard of it so far, as far as anybody knows."""
        attempt = self._attempt
        if attempt is None:
            return
        if not attempt.audible:
            now_s = asyncio.get_running_loop().time()
            sounding = [run for run in self._stoppable(attempt) if run.audible_s is not None and run.audible_s <= now_s]
            if sounding:
                attempt.audible = True  # it has begun into the user's words
                self._pause_for(attempt, sounding[0])
        gate = self._intake.gate
        speech_ms = attempt.hear(gate.first_speech_s, gate.last_speech_s)
        if attempt.on_speech(speech_ms, text, sure_ms=gate.sure_ms) is Verdict.STOP:
            self._stop_for_user()

    def weigh_words(self, turn: int, text: str) -> Verdict:
        """The user has stopped, for now, and this was said."""
        attempt = self._attempt
        if attempt is None or attempt.turn != turn:
            return Verdict.WAIT
        verdict = attempt.on_words(text)
        if verdict is Verdict.STOP:
            self._stop_for_user()
        elif verdict is Verdict.GO_ON:
            reason = "no_speech" if not text.strip() else "too_short"
            self._go_on("backchannel" if attempt.is_backchannel(text) else reason)
            machine = self._intake.machine
            ends_by_itself = not math.isinf(machine.policy.max_silence_ms)  # else the user says when a turn is over
            if machine.turn == turn and machine.state is not turns.State.IDLE and ends_by_itself:
                self._dismissing = "backchannel"
                self._intake.feed(turns.Clear())
        return verdict

    def words_unknown(self, turn: int) -> None:
        """What was said is not known; that something was said, is."""
        if self._attempt is not None and self._attempt.turn == turn:
            self._stop_for_user()

    def why_discarded(self) -> str:
        """Why the open turn is thrown away. Asked once, when it is."""
        reason, self._dismissing = self._dismissing or "cleared", ""
        return reason

    def discarded(self, turn: int) -> None:
        """The user's turn was thrown away: it meant nothing."""
        if self._attempt is not None and self._attempt.turn == turn:
            self._go_on("no_speech")

    # ------------------------------------------------------------------------ inside

    def _stoppable(self, attempt: Interruption) -> list[Run]:
        return [run for run in self._line.replies() if run.interruptible and run.turn < attempt.turn]

    def _pause_for(self, attempt: Interruption, run: Run) -> None:
        if self._transport.capabilities.pauses:
            attempt.paused = True
            self._transport.pause()
            self._teller.tell(PlaybackPaused, turn=run.turn, revision=run.revision)

    def _stop_for_user(self) -> None:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        self._front.stopping(attempt.turn)
        self.stop(self._stoppable(attempt))
        if attempt.paused and not self.held:
            self._transport.resume()

    def _go_on(self, reason: str) -> None:
        attempt, self._attempt = self._attempt, None
        machine = self._intake.machine
        if attempt is not None:
            self._front.going_on(attempt.turn)
        if attempt is not None and machine.turn > attempt.turn and machine.state is not turns.State.IDLE:
            # Meanwhile the user has begun to say something else: the reply waits for that, too.
            self._attempt = dataclasses.replace(attempt, turn=machine.turn, began_s=self._intake.turn_start_s)
            return
        if attempt is not None and attempt.paused:
            if not self.held:
                self._transport.resume()
            replies = self._line.replies()
            turn = replies[0].turn if replies else 0
            self._teller.tell(PlaybackResumed, turn=turn, revision=0, reason=reason)

    async def _withdraw(self, approvals: SessionApprovals, turn: int) -> None:
        try:
            await approvals.interrupted(turn, self._session)
        except Exception:
            logger.exception("the questions of an interrupted turn could not be withdrawn")
