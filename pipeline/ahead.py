"""What is done for the open turn while the user still speaks: it is heard ahead, and the workflow knows how it begins.

All of it may be for nothing, so a budget bounds it (:mod:`antiphon.pipeline.speculation`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from antiphon.engines.host import Priority, Ticket
from antiphon.engines.protocols import STTOptions, Transcript
from antiphon.pipeline import turns
from antiphon.pipeline.events import TranscriptEvent
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.interruption import Verdict
from antiphon.pipeline.line import Line
from antiphon.pipeline.listening import Hearing, Listener
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.speculation import Budget, Ledger, whole_words
from antiphon.pipeline.telling import Teller

Prepare = Callable[[int, int, str, Ticket], Coroutine[Any, Any, None]]
"""(turn, revision, text so far, ticket): the workflow may evaluate how the turn begins."""


class Ahead:
    """One per session.

    :param tells: hypotheses are told, and the workflow knows of them; False where words must be judged first.
    :param weigh_words: decides what words said into a reply mean for that reply.
    """

    def __init__(
        self,
        makings: Makings,
        intake: Intake,
        line: Line,
        teller: Teller,
        *,
        tells: bool,
        prepare: Prepare,
        weigh_words: Callable[[int, str], Verdict],
    ) -> None:
        engines, settings = makings.engines, makings.settings
        may_hear = engines.stt_local or settings.speculate_in_cloud
        in_time = makings.transport.capabilities.paced and not settings.manual_turns
        self.enabled = settings.speculate and may_hear and in_time
        """False: a turn is transcribed once it has paused, and nothing else is done ahead."""
        self._session = makings.session_id
        self._cores_free = engines.cores_free
        self._settings = settings
        self._intake = intake
        self._line = line
        self._teller = teller
        self._tells = tells
        self._prepare_workflow = prepare
        self._weigh_words = weigh_words
        self._listener = Listener(
            engines.stt,
            settings.stt,
            session=self._session,
            timeout_s=settings.stt_timeout_s,
            spawn=line.spawn,
            on_heard=self._tell_hypothesis,
        )
        self._budget = Budget(settings.speculation_budget)
        self.ledger = Ledger()
        """The open turn's."""
        self.hypothesis = ""
        """What the last transcription of the open turn heard."""
        self._told_until_s = 0.0
        """How far that one heard, on the stream clock."""
        self._preparing: asyncio.Task[None] | None = None

    @property
    def options(self) -> STTOptions:
        """How it is heard; may be replaced at any time."""
        return self._listener.options

    @options.setter
    def options(self, options: STTOptions) -> None:
        self._listener.options = options

    def open_turn(self) -> None:
        """The user has begun to speak."""
        self._budget.waste(self.ledger.cost_s())
        self.ledger = Ledger()
        self.hypothesis = ""
        self._told_until_s = 0.0
        self.prepare("")

    def goes_on(self, seconds: float) -> None:
        """The user goes on speaking: so much more audio came."""
        self._budget.spoke(seconds)
        last, turn = self._listener.last, self._intake.machine.turn
        heard_until_s = last.until_s if last is not None and last.turn == turn else self._intake.turn_start_s
        every_s = self._settings.speculation_rerun_ms / 1000
        if every_s and self._intake.audio_end_s - heard_until_s >= every_s and self._cores_free():
            self.hear_ahead(Priority.RERUN)

    def affordable(self) -> bool:
        """Whether the budget bears more work that may be for nothing."""
        last = self._listener.last
        pending = last.meter if last is not None and last.turn == self._intake.machine.turn else None
        return self._budget.allows(self.ledger.cost_s(pending))

    # ------------------------------------------------------------------------ hearing

    @property
    def hears(self) -> bool:
        """Whether a transcription of the open turn is under way."""
        return self._listener.busy

    def tasks(self) -> list[asyncio.Task[None]]:
        """At work on a transcription of the open turn."""
        return [] if self._listener.task is None else [self._listener.task]

    def covering(self, turn: int, at_s: float) -> Hearing | None:
        """A transcription, done or under way, that heard all of this turn up to then; None if there is none."""
        return self._listener.covering(turn, at_s)

    def hear(self, priority: Priority) -> Hearing:
        """Transcribe the open turn as it is."""
        machine = self._intake.machine
        audio = self._intake.snapshot()
        hearing = self._listener.listen(
            audio, turn=machine.turn, revision=machine.revision, until_s=self._intake.turn_end_s, priority=priority
        )
        self.ledger.hearings.append(hearing.meter)
        return hearing

    def hear_ahead(self, priority: Priority = Priority.SPECULATION) -> None:
        """The same, if it may be done; at the first silence this may be all that there is to hear."""
        if self.enabled and not self.hears and self.affordable():
            self.hear(priority)

    def hear_fading(self) -> None:
        """The voice may be dying away: if that is the end, its transcript is ready when silence says so."""
        if self._cores_free():
            self.hear_ahead()

    def hear_dip(self) -> None:
        """Silence, for the first time since speech: what was heard up to there may have been asked for already."""
        if self.covering(self._intake.machine.turn, self._intake.gate.last_speech_s) is None:
            self.hear_ahead()

    def _tell_hypothesis(self, hearing: Hearing, heard: Transcript) -> None:
        """Show what is heard so far, and let the workflow prepare for what is sure of it."""
        machine, gate = self._intake.machine, self._intake.gate
        if machine.state is turns.State.IDLE or hearing.turn != machine.turn:
            return
        is_news = hearing.until_s >= self._told_until_s and bool(heard.text.strip())  # else a later one was quicker
        before = self.hypothesis
        if is_news:
            self._told_until_s = hearing.until_s
            self.hypothesis = heard.text
        if is_news and self._tells and heard.text != before:
            said = {"role": "user", "text": heard.text, "language": heard.language, "final": False}
            self._teller.tell(TranscriptEvent, turn=machine.turn, revision=machine.revision, **said)
        covers = self.covering(hearing.turn, gate.last_speech_s) is hearing
        if covers and not gate.hears_speech and self._weigh_words(hearing.turn, heard.text) is Verdict.GO_ON:
            return
        if not is_news or not self._tells:
            return
        if machine.state is turns.State.SPEAKING:
            # In a silence this may be all; in mid-speech, the words that a later transcription hears otherwise are
            # evaluated in vain, at a few milliseconds each: waiting until two agree costs more words than it saves.
            likely = whole_words(heard.text) if gate.hears_speech else heard.text
            if likely:
                self.prepare(likely)

    # ------------------------------------------------------------------------ the workflow

    def prepare(self, text: str) -> None:
        """Let the workflow evaluate what its next prompt will begin with, if nothing of it can still change."""
        busy = self._preparing is not None and not self._preparing.done()
        if not self.enabled or not self._settings.prefill or busy or self._line or not self.affordable():
            return
        machine = self._intake.machine
        ticket = Ticket(self._session, machine.turn, machine.revision, Priority.PREFILL, meter=self.ledger.ahead)
        self._preparing = self._line.spawn(self._prepare_workflow(machine.turn, machine.revision, text, ticket))
