"""The answers that were begun to the user's newest words, and which of them counts.

One is begun at each pause, when the turn may not be over (speculation), or at its commit. The user goes on: it is set
aside for a moment, and given up unless nothing but a cough came. A commit makes it count; a turn that is reopened just
after that makes it void.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from antiphon.engines.host import Priority
from antiphon.pipeline import turns
from antiphon.pipeline.ahead import Ahead
from antiphon.pipeline.events import Committed, Dropped, Speculated, UsageEvent
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.line import Line
from antiphon.pipeline.reporting import Reporting
from antiphon.pipeline.run import Run
from antiphon.pipeline.speculation import Ledger, same_words
from antiphon.pipeline.telling import Teller
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.usage import usage_of

_KEEP_S = 0.4
"""So much new sound may be a cough; after more of it, an answer that was begun before is taken for void."""


class Attempts:
    """One per session.

    :param answer: all the work of a run.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        ahead: Ahead,
        line: Line,
        transport: Transport,
        teller: Teller,
        reporting: Reporting,
        answer: Callable[[Run], Coroutine[Any, Any, None]],
    ) -> None:
        self._intake = intake
        self._ahead = ahead
        self._line = line
        self._transport = transport
        self._teller = teller
        self._reporting = reporting
        self._answer = answer
        self._speculation: Run | None = None
        """Begun for the open turn's current pause."""
        self._parked: Run | None = None
        """Begun for a pause that has just ended: if nothing but a cough came of it, its answer is still good."""
        self._parked_s = 0.0
        self._latest: Run | None = None
        """The run that was committed last."""
        self._paused_s = 0.0

    # ------------------------------------------------------------------------ what the turn machine says

    def pause(self, turn: int, revision: int, at_s: float, *, pressing: bool) -> None:
        """The user has stopped, for now.

        :param pressing: somebody must know at once what was said.
        """
        self._paused_s = asyncio.get_running_loop().time()
        if self._ahead.enabled and (pressing or self._ahead.affordable()):
            self._speculation = self._start(turn, revision, at_s)
            self._ahead.ledger.started += 1
            self._teller.tell(Speculated, turn=turn, revision=revision)
        elif pressing and not self._ahead.hears:
            self._ahead.hear(Priority.SPECULATION)

    def park(self) -> None:
        """Sound after a pause: wait a moment with dropping the answer that was begun."""
        run, self._speculation = self._speculation, None
        if run is None:
            return
        if run.text is None or not run.text.strip():  # nothing was begun yet but the transcription
            self._give_up(run, "resumed")
        else:
            self._parked, self._parked_s = run, self._intake.audio_end_s

    def withdraw(self) -> None:
        """Another answer goes before what the user is saying: what was begun for that is begun again later."""
        self._drop_parked()
        self._drop("refused")

    def goes_on(self) -> None:
        """The user goes on speaking."""
        if self._parked is not None and self._intake.audio_end_s - self._parked_s > _KEEP_S:
            self._drop_parked()

    def discard(self, turn: int, reason: str) -> None:
        """The open turn is thrown away."""
        begun = [run.task for run in (self._parked, self._speculation) if run is not None and run.task is not None]
        self._drop_parked()
        if not self._drop(reason):
            self._teller.tell(Dropped, turn=turn, revision=self._intake.machine.revision, reason=reason)
        self._line.spawn(self._tell_usage(turn, self._intake.machine.revision, self._ahead.ledger, begun))

    def commit(self, action: turns.CommitTurn) -> None:
        """The turn is over: what was begun for it counts, or is begun now."""
        run, self._speculation = self._speculation, None
        still_speaking = action.reason == "max_turn" and self._intake.gate.speaking
        if run is None or still_speaking or _was_refused(run):
            self._speculation = run
            self._drop("resumed" if still_speaking else "refused")
            run = self._start(action.turn, action.revision, None if still_speaking else self._ended_s())
        run.commit_s = asyncio.get_running_loop().time()
        self._latest = run
        fields = {"reason": action.reason, "end_probability": action.end_probability}
        self._teller.tell(Committed, turn=action.turn, revision=action.revision, **fields)
        self._release(run)

    def reopen(self, turn: int) -> None:
        """The user went on just after the commit: the answer never was."""
        run = self._latest
        if run is None or run.turn != turn or run.task is None or run.task.done():
            return
        run.void = True
        self.forget_earlier(run, "reopened")
        run.task.cancel()
        if run.floor.is_set():
            self._transport.clear()
        run.ledger.used = None
        _waste(run)
        self._teller.tell(Dropped, turn=turn, revision=run.revision, reason="reopened")

    # ------------------------------------------------------------------------ what runs find out

    def kept_instead(self, run: Run, text: str) -> bool:
        """Whether the answer that was begun before the last pause does for this run too; else that is given up."""
        earlier, run.earlier = run.earlier, None
        if earlier is None:
            return False
        if earlier.text is None or not same_words(earlier.text, text):
            self._give_up(earlier, "resumed")
            return False
        earlier.take_over(run)
        if run is self._speculation:
            self._speculation = earlier
        if run is self._latest:
            self._latest = earlier
        if run.committed.is_set():
            self._release(earlier)
        return True

    def forget_earlier(self, run: Run, reason: str) -> None:
        """The answer that was begun before the last pause cannot stand in for this run."""
        earlier, run.earlier = run.earlier, None
        if earlier is not None:
            self._give_up(earlier, reason)

    # ------------------------------------------------------------------------ inside

    async def _tell_usage(self, turn: int, revision: int, ledger: Ledger, begun: Sequence[asyncio.Task[None]]) -> None:
        """What engines used for a turn that was thrown away, once they are done with it."""
        if working := [*begun, *self._ahead.tasks()]:
            await asyncio.wait(working)
        if usage := usage_of((), [*ledger.hearings, *ledger.wasted]):
            self._teller.tell(UsageEvent, turn=turn, revision=revision, usage=usage)

    def _start(self, turn: int, revision: int, speech_end_s: float | None) -> Run:
        """
        :param speech_end_s: the last speech sample on the stream clock; None: the user has not stopped.
        """
        run = Run(turn, revision, self._ahead.ledger)
        run.begun_before_commit = self._intake.machine.state is turns.State.PAUSED if self._ahead.enabled else None
        run.earlier, self._parked = self._parked, None
        run.hearing = None if speech_end_s is None else self._ahead.covering(turn, speech_end_s)
        if run.hearing is None:
            run.hearing = self._ahead.hear(Priority.SPECULATION if run.begun_before_commit else Priority.COMMITTED)
        now_s = asyncio.get_running_loop().time()
        ended_s = self._intake.gate.last_speech_s if speech_end_s is None else speech_end_s
        run.speech_end_s = now_s - (self._intake.now_s() - ended_s)
        run.vad_stop_s = max(run.speech_end_s, self._paused_s) if not self._intake.gate.speaking else now_s
        run.task = self._line.join(run, self._answer(run))
        return run

    def _ended_s(self) -> float:
        """The last speech sample of a turn that is over; with one that was ended in mid-speech, its last sample."""
        gate = self._intake.gate
        return self._intake.turn_end_s if gate.hears_speech else gate.last_speech_s

    def _release(self, run: Run) -> None:
        """Open the gate: the turn is committed."""
        run.committed.set()
        if run.hearing is not None:
            run.hearing.due = True
        run.ledger.used = run.hearing.meter if run.hearing is not None else None
        self._reporting.release(run)

    def _drop_parked(self) -> None:
        run, self._parked = self._parked, None
        if run is not None:
            self._give_up(run, "resumed")

    def _drop(self, reason: str) -> bool:
        """Give up the speculation. Returns whether there was one."""
        run, self._speculation = self._speculation, None
        if run is not None:
            self._give_up(run, reason)
        return run is not None

    def _give_up(self, run: Run, reason: str) -> None:
        self.forget_earlier(run, reason)
        assert run.task is not None
        run.task.cancel()
        _waste(run)
        self._teller.tell(Dropped, turn=run.turn, revision=run.revision, reason=reason)


def _was_refused(run: Run) -> bool:
    return run.refused or (run.text is None and run.hearing is not None and run.hearing.was_refused)


def _waste(run: Run) -> None:
    run.ledger.dropped += 1
    run.ledger.wasted.append(run.meter)
