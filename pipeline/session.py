"""A session: one transport, one conversation, the turns between them. The only module that starts and ends tasks.

Input half: frames -> resample -> gate -> turn machine -> actions. Output half: one *run* a turn: transcribe, ask the
workflow, speak (:mod:`antiphon.pipeline.answering`). A run may begin before the turn is committed (speculation); until
then its events are held back, it plays nothing and writes no history. Runs speak one after another.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import AntiphonError
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import EndpointPolicy, Transcript
from antiphon.pipeline import turns
from antiphon.pipeline.answering import Answering, Outlook
from antiphon.pipeline.conversation import Conversation, ItemError, new_id
from antiphon.pipeline.events import (
    ApprovalEvent,
    AudioStarted,
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    EventSink,
    Interrupted,
    PlaybackPaused,
    PlaybackResumed,
    Speculated,
    SpeechStarted,
    SpeechStopped,
    TranscriptEvent,
    WarningEvent,
)
from antiphon.pipeline.gate import Gate, SpeechClosed, SpeechOpened
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.interruption import Interruption, Verdict
from antiphon.pipeline.listening import Hearing, Listener
from antiphon.pipeline.pauses import PauseHabit
from antiphon.pipeline.policy import Approval, SessionApprovals
from antiphon.pipeline.run import Run
from antiphon.pipeline.session_settings import Engines, SessionSettings, TextTools
from antiphon.pipeline.speculation import Budget, Ledger, same_words, whole_words
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.workflow import Workflow, WorkflowEvent, pieces

logger = logging.getLogger(__name__)

_KEEP_S = 0.4
"""So much new sound may be a cough; after more of it, an answer that was begun before is taken for void."""


_REMEMBERED_STOPS = 8
"""Interrupted replies of which a client may still say how much was heard."""


class Session:
    """Make it, then await :meth:`run`; it returns when the input has ended and every turn is answered."""

    def __init__(
        self,
        *,
        engines: Engines,
        transport: Transport,
        workflow: Workflow,
        text: TextTools,
        settings: SessionSettings | None = None,
        sinks: Sequence[EventSink] = (),
        conversation: Conversation | None = None,
        session_id: str | None = None,
        apology: Sequence[AudioFrame] = (),
        guarding: Guarding | None = None,
        closers: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """
        :param guarding: the record and the policy around answers; None: neither.
        :param closers: awaited at the end of :meth:`run`, however it ends.
        :param apology: `settings.on_error` as audio made beforehand, so that it can be said when the TTS is what broke.
        """
        self.id = session_id or new_id("sess")
        self.conversation = conversation if conversation is not None else Conversation()
        self.settings = settings or SessionSettings()
        self._engines = engines
        self._transport = transport
        self._workflow = workflow
        self._text = text
        self._sinks = list(sinks)
        self._guarding = guarding or Guarding()
        self._closers = tuple(closers)
        self._paced = transport.capabilities.paced
        self._intake = self._make_intake()
        self._answering = Answering(
            self,
            session=self.id,
            engines=engines,
            transport=transport,
            workflow=workflow,
            text=text,
            settings=self.settings,
            conversation=self.conversation,
            apology=apology,
            guarding=self._guarding,
        )
        self._listener = Listener(
            engines.stt,
            self.settings.stt,
            session=self.id,
            timeout_s=self.settings.stt_timeout_s,
            spawn=self._spawn,
            on_heard=self._tell_hypothesis,
        )
        may_hear_ahead = engines.stt_local or self.settings.speculate_in_cloud
        self._speculates = self.settings.speculate and self._paced and may_hear_ahead and not self.settings.manual_turns
        self._budget = Budget(self.settings.speculation_budget)
        self._ledger = Ledger()
        self._hypothesis = ""
        """What the last transcription of the open turn heard."""
        self._told_until_s = 0.0
        """How far that one heard, on the stream clock."""
        self._preparing: asyncio.Task[None] | None = None
        self._rearm = asyncio.Event()
        self._speculation: Run | None = None
        """Begun for the open turn's current pause."""
        self._parked: Run | None = None
        """Begun for a pause that has just ended: if nothing but a cough came of it, its answer is still good."""
        self._parked_s = 0.0
        self._latest: Run | None = None
        """The run that was committed last."""
        self._paused_s = 0.0
        self._interruption: Interruption | None = None
        """The user has begun to speak into a reply; what that means is not known yet."""
        self._stopped: dict[int, Run] = {}
        """Replies that were interrupted lately, by turn."""
        self._held = False
        """Playback was paused by :meth:`pause`."""
        self._over = asyncio.Event()
        self._stirred_s = 0.0
        """When somebody was last heard, on the event loop's clock."""
        self._turn_when_asked = 0
        self._muted = False
        self._dismissing = ""
        """Why the open turn is about to be thrown away."""
        self._line: list[Run] = []
        self._helpers: set[asyncio.Task[None]] = set()
        self._runs: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._running = False

    def _make_intake(self) -> Intake:
        settings, engines = self.settings, self._engines
        policy = turns.MANUAL if settings.manual_turns else engines.policy
        return Intake(
            Gate(engines.vad, settings.gate),
            turns.TurnMachine(
                policy,
                max_turn_s=settings.max_turn_s,
                reopen_ms=settings.reopen_ms if self._paced else 0.0,
                habit=_habit(policy),
            ),
            paced=self._paced,
            dip_ms=settings.speculation_start_ms,
            on_action=self._act,
            on_speech=self._tell_speech,
            fading=settings.speculation_fading,
            on_fade=self._hear_fading,
            on_dip=self._hear_dip,
            on_failure=self._tell_vad_failure,
        )

    # ------------------------------------------------------------------------ public

    async def run(self) -> None:
        """Serve the transport until its input ends and the last reply has been heard.

        :raises ExceptionGroup: the transport failed, or the VAD fails on every window. Other engines and workflows end
            a turn, never a session.
        """
        async with contextlib.AsyncExitStack() as stack:
            for close in reversed(self._closers):
                stack.push_async_callback(close)
            await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._running = True
            watchers = [group.create_task(self._tick())] if self._paced else []
            if self._paced and not math.isinf(self.settings.idle.after_s):
                watchers.append(group.create_task(self._break_silence()))
            try:
                if self.settings.greeting and self._transport.capabilities.greets:
                    self._start_saying(_once(self.settings.greeting))
                elif self._transport.capabilities.greets and (on_start := getattr(self._workflow, "on_start", None)):
                    self._start_saying(pieces(on_start, may_be_silent=True))
                self._prepare("")
                await self._listen_until_the_end(group)
            finally:
                self._running = False
                for task in [*self._runs, *self._helpers, *watchers]:
                    task.cancel()

    def commit(self) -> None:
        """End the user's turn now (push-to-talk, a client's commit). Nothing happens if no turn is open."""
        if self._running:
            self._feed(turns.ManualCommit())

    def clear(self) -> None:
        """Throw the open turn away."""
        if self._running:
            self._feed(turns.Clear())

    async def interject(self, text: str) -> None:
        """Say something within the answer that is being given: a question that it waits for."""
        await self._answering.interject(text)

    def end(self) -> None:
        """End the conversation: nothing more is listened to, what is being said is heard, then :meth:`run` returns."""
        self._over.set()

    def say(self, text: str, *, interruptible: bool = True) -> None:
        """Speak a text of the caller's own after what is being said; it joins the conversation.

        :param interruptible: the user's voice stops it.
        """
        if self._running:
            self._start_saying(_once(text), interruptible=interruptible)

    def cancel(self) -> None:
        """Stop everything that is being said or about to be. Nothing happens if nothing is."""
        self._stop_replies([run for run in self._line if run.committed.is_set() and not run.void])

    def pause(self) -> None:
        """Let playback stand still until :meth:`resume`, whatever the user does (a transport that can pause)."""
        self._held = True
        if self._transport.capabilities.pauses:
            self._transport.pause()

    def resume(self) -> None:
        """Go on at the sample where :meth:`pause` stopped."""
        self._held = False
        paused_for_voice = self._interruption is not None and self._interruption.paused
        if self._transport.capabilities.pauses and not paused_for_voice:
            self._transport.resume()

    @property
    def muted(self) -> bool:
        """Whether what the user says is taken for silence."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        self._muted = muted

    def played(self, turn: int, seconds: float) -> None:
        """The client says how many seconds of a turn's reply it has played: more exact than what we can estimate.

        If that reply was interrupted, what is remembered of it is corrected.
        """
        run = self._stopped.get(turn)
        if run is None or run.reply is None:
            return
        try:
            item = self.conversation.truncate(run.item_id, run.reply.heard_chars(seconds))
        except ItemError:
            return  # somebody has deleted it since
        fields = {"heard": item.text, "unheard": item.unheard, "acknowledged": True}
        self.send(self.event(Interrupted, turn=turn, revision=run.revision, **fields))

    @property
    def policy(self) -> EndpointPolicy:
        """When silence ends a turn."""
        return self._intake.machine.policy

    @policy.setter
    def policy(self, policy: EndpointPolicy) -> None:
        """Takes effect at once, for the open turn too."""
        machine = self._intake.machine
        if policy.adapts_up_to != machine.policy.adapts_up_to:
            machine.habit = _habit(policy)
        machine.policy = policy
        self._rearm.set()

    # ------------------------------------------------------------------------ input half

    async def _listen_until_the_end(self, group: asyncio.TaskGroup) -> None:
        """Until the input ends, or somebody ends the conversation; what is being said is heard to its end."""
        listening, over = group.create_task(self._listen()), group.create_task(self._over.wait())
        await asyncio.wait({listening, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not listening.done():
            listening.cancel()
            self._feed(turns.Clear())
            await self._settled()

    async def _listen(self) -> None:
        async for frame in self._transport.frames():
            before_s = self._intake.audio_end_s
            self._intake.take(dataclasses.replace(frame, samples=frame.samples * 0) if self._muted else frame)
            self._rearm.set()
            if not self._paced:
                await self._settled()  # on the stream clock, time stands still while we compute
            elif self._intake.machine.state is turns.State.SPEAKING:
                if self._interruption is not None:
                    self._weigh_speech(self._interruption)
                if self._speculates:
                    self._while_speaking(self._intake.audio_end_s - before_s)
        self._intake.finish()
        await self._settled()

    async def _settled(self) -> None:
        while pending := self._runs | self._helpers:
            await asyncio.wait(pending)

    def _while_speaking(self, seconds: float) -> None:
        """The user goes on speaking: so much more audio came."""
        self._budget.spoke(seconds)
        now_s = self._intake.audio_end_s
        if self._parked is not None and now_s - self._parked_s > _KEEP_S:
            self._drop_parked()
        last = self._listener.last
        turn = self._intake.machine.turn
        heard_until_s = last.until_s if last is not None and last.turn == turn else self._intake.turn_start_s
        every_s = self.settings.speculation_rerun_ms / 1000
        if every_s and now_s - heard_until_s >= every_s and self._engines.cores_free():
            self._hear_ahead(Priority.RERUN)

    def _affordable(self) -> bool:
        """Whether the budget bears more work that may be for nothing."""
        last = self._listener.last
        pending = last.meter if last is not None and last.turn == self._intake.machine.turn else None
        return self._budget.allows(self._ledger.cost_s(pending))

    def _hear_fading(self) -> None:
        """The voice may be dying away: if that is the end, its transcript is ready when silence says so."""
        if self._engines.cores_free():
            self._hear_ahead()

    def _hear_dip(self) -> None:
        """Silence, for the first time since speech: what was heard up to there may have been asked for already."""
        if self._listener.covering(self._intake.machine.turn, self._intake.gate.last_speech_s) is None:
            self._hear_ahead()

    def _hear_ahead(self, priority: Priority = Priority.SPECULATION) -> None:
        """Transcribe the open turn as it is; at the first silence this may be all that there is to hear."""
        if self._speculates and not self._listener.busy and self._affordable():
            self._hear(priority)

    def _hear(self, priority: Priority) -> Hearing:
        machine = self._intake.machine
        audio = self._intake.snapshot()
        hearing = self._listener.listen(
            audio, turn=machine.turn, revision=machine.revision, until_s=self._intake.turn_end_s, priority=priority
        )
        self._ledger.hearings.append(hearing.meter)
        return hearing

    def _feed(self, event: turns.TurnInput) -> None:
        self._intake.feed(event)
        self._rearm.set()

    def _tell_speech(self, change: SpeechOpened | SpeechClosed) -> None:
        self._stirred_s = asyncio.get_running_loop().time()
        kind = SpeechStarted if isinstance(change, SpeechOpened) else SpeechStopped
        machine = self._intake.machine
        self.send(self.event(kind, turn=machine.turn, revision=machine.revision, at_s=change.at_s))

    def _tell_vad_failure(self, error: Exception) -> None:
        logger.warning("the VAD failed", extra={"session": self.id, "code": type(error).__name__})
        machine = self._intake.machine
        fields = {"stage": "vad", "code": type(error).__name__, "message": str(error)}
        self.send(self.event(ErrorEvent, turn=machine.turn, revision=machine.revision, **fields))

    def _tell_hypothesis(self, hearing: Hearing, heard: Transcript) -> None:
        """Show what is heard so far, and let the workflow prepare for what is sure of it."""
        machine, gate = self._intake.machine, self._intake.gate
        if machine.state is turns.State.IDLE or hearing.turn != machine.turn:
            return
        is_news = hearing.until_s >= self._told_until_s and bool(heard.text.strip())  # else a later one was quicker
        judged = bool(self._guarding.policy.transcript)  # nobody may know of words that were not judged
        before = self._hypothesis
        if is_news:
            self._told_until_s = hearing.until_s
            self._hypothesis = heard.text
        if is_news and not judged and heard.text != before:
            said = {"role": "user", "text": heard.text, "language": heard.language, "final": False}
            self.send(self.event(TranscriptEvent, turn=machine.turn, revision=machine.revision, **said))
        covers = self._listener.covering(hearing.turn, gate.last_speech_s) is hearing
        if covers and not gate.hears_speech and self._weigh_words(hearing.turn, heard.text) is Verdict.GO_ON:
            return
        if not is_news or judged:
            return
        if machine.state is turns.State.SPEAKING:
            # In a silence this may be all; in mid-speech, the words that a later transcription hears otherwise are
            # evaluated in vain, at a few milliseconds each: waiting until two agree costs more words than it saves.
            likely = whole_words(heard.text) if gate.hears_speech else heard.text
            if likely:
                self._prepare(likely)

    def _prepare(self, text: str) -> None:
        """Let the workflow evaluate what its next prompt will begin with, if nothing of it can still change."""
        busy = self._preparing is not None and not self._preparing.done()
        if not self._speculates or not self.settings.prefill or busy or self._line or not self._affordable():
            return
        machine = self._intake.machine
        ticket = Ticket(self.id, machine.turn, machine.revision, Priority.PREFILL, meter=self._ledger.ahead)
        self._preparing = self._spawn(self._answering.prepare(machine.turn, machine.revision, text, ticket))

    async def _break_silence(self) -> None:
        """Speak to a user who says nothing; after the last prompt, end the conversation."""
        loop, idle = asyncio.get_running_loop(), self.settings.idle
        self._stirred_s = loop.time()
        asked = 0
        while True:
            await asyncio.sleep(max(0.0, self._stirred_s + idle.after_s - loop.time()))
            if self._line or self._held or self._intake.machine.state is not turns.State.IDLE:
                self._stirred_s = loop.time()
                continue
            if loop.time() < self._stirred_s + idle.after_s - 1e-6:
                continue
            if self._intake.machine.turn != self._turn_when_asked:
                self._turn_when_asked, asked = self._intake.machine.turn, 0
            if asked < len(idle.prompts):
                self._start_saying(_once(idle.prompts[asked]))
                asked += 1
                self._stirred_s = loop.time()
                continue
            if idle.goodbye:
                self._start_saying(_once(idle.goodbye), interruptible=False)
            self.end()
            return

    async def _tick(self) -> None:
        """Feed the turn machine the time when no audio does."""
        loop = asyncio.get_running_loop()
        while True:
            self._rearm.clear()
            wait_s = self._intake.tick_in_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if wait_s is None else loop.time() + wait_s):
                    await self._rearm.wait()
            if not self._rearm.is_set():
                self._feed(turns.Tick())

    def _act(self, action: turns.TurnAction) -> None:
        match action:
            case turns.OpenTurn():
                self._budget.waste(self._ledger.cost_s())
                self._ledger = Ledger()
                self._hypothesis = ""
                self._told_until_s = 0.0
                self._prepare("")
                self._begin_interruption(action)
            case turns.DiscardTurn(turn):
                self._drop_parked()
                reason, self._dismissing = self._dismissing or "cleared", ""
                if not self._drop(reason):
                    revision = self._intake.machine.revision
                    self.send(self.event(Dropped, turn=turn, revision=revision, reason=reason))
                if self._interruption is not None and self._interruption.turn == turn:
                    self._go_on("no_speech")
            case turns.ResumeTurn():
                self._park()
            case turns.ReopenTurn(turn):
                self._reopen(turn)
            case turns.AskDetector(turn, revision):
                self._ask_detector(turn, revision)
            case turns.PauseTurn(turn, revision, at_s):
                self._paused_s = asyncio.get_running_loop().time()
                if self._speculates and (self._affordable() or self._interruption is not None):
                    self._speculation = self._start_run(turn, revision, at_s)
                    self._ledger.started += 1
                    self.send(self.event(Speculated, turn=turn, revision=revision))
                elif self._interruption is not None and not self._listener.busy:
                    self._hear(Priority.SPECULATION)  # whether it stops the reply cannot wait for the turn's end
            case turns.CommitTurn():
                self._commit(action)

    # ------------------------------------------------------------------------ turns

    def _start_run(self, turn: int, revision: int, speech_end_s: float | None) -> Run:
        """
        :param speech_end_s: the last speech sample on the stream clock; None: the user has not stopped.
        """
        run = Run(turn, revision, self._ledger)
        run.begun_before_commit = self._intake.machine.state is turns.State.PAUSED if self._speculates else None
        run.earlier, self._parked = self._parked, None
        run.hearing = None if speech_end_s is None else self._listener.covering(turn, speech_end_s)
        if run.hearing is None:
            run.hearing = self._hear(Priority.SPECULATION if run.begun_before_commit else Priority.COMMITTED)
        now_s = asyncio.get_running_loop().time()
        ended_s = self._intake.gate.last_speech_s if speech_end_s is None else speech_end_s
        run.speech_end_s = now_s - (self._intake.now_s() - ended_s)
        run.vad_stop_s = max(run.speech_end_s, self._paused_s) if not self._intake.gate.speaking else now_s
        run.task = self._join_line(run, self._answering.answer(run))
        return run

    def _commit(self, action: turns.CommitTurn) -> None:
        run, self._speculation = self._speculation, None
        still_speaking = action.reason == "max_turn" and self._intake.gate.speaking
        if run is None or still_speaking:
            self._speculation = run
            self._drop("resumed")
            run = self._start_run(action.turn, action.revision, None if still_speaking else self._ended_s())
        run.commit_s = asyncio.get_running_loop().time()
        self._latest = run
        fields = {"reason": action.reason, "end_probability": action.end_probability}
        self.send(self.event(Committed, turn=action.turn, revision=action.revision, **fields))
        self._release(run)

    def _ended_s(self) -> float:
        """The last speech sample of a turn that is over; with one that was ended in mid-speech, its last sample."""
        gate = self._intake.gate
        return self._intake.turn_end_s if gate.hears_speech else gate.last_speech_s

    def _release(self, run: Run) -> None:
        """Open the gate: the turn is committed."""
        run.committed.set()
        run.ledger.used = run.hearing.meter if run.hearing is not None else None
        for event in run.outbox:
            self.send(event)
        run.outbox.clear()

    def _reopen(self, turn: int) -> None:
        """The user went on just after the commit: the answer never was."""
        run = self._latest
        if run is None or run.turn != turn or run.task is None or run.task.done():
            return
        run.void = True
        if run.earlier is not None:
            self._give_up(run.earlier, "reopened")
            run.earlier = None
        run.task.cancel()
        if run.floor.is_set():
            self._transport.clear()
        run.ledger.used = None
        self._waste(run)
        self.send(self.event(Dropped, turn=turn, revision=run.revision, reason="reopened"))

    def _park(self) -> None:
        """Sound after a pause: wait a moment with dropping the answer that was begun."""
        run, self._speculation = self._speculation, None
        if run is None:
            return
        if run.text is None or not run.text.strip():  # nothing was begun yet but the transcription
            self._give_up(run, "resumed")
        else:
            self._parked, self._parked_s = run, self._intake.audio_end_s

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
        if run.earlier is not None:
            self._give_up(run.earlier, reason)
            run.earlier = None
        assert run.task is not None
        run.task.cancel()
        self._waste(run)
        self.send(self.event(Dropped, turn=run.turn, revision=run.revision, reason=reason))

    def _waste(self, run: Run) -> None:
        run.ledger.dropped += 1
        run.ledger.wasted.append(run.meter)

    def _advance_line(self) -> None:
        """Who is first in line has the floor."""
        if self._line:
            self._line[0].floor.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a helping task."""
        assert self._group is not None
        task = self._group.create_task(work)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return task

    def _join_line(self, run: Run, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a run's work behind those before it. It leaves the line however its task ends, even unstarted."""
        assert self._group is not None
        self._line.append(run)
        self._advance_line()
        task = self._group.create_task(work, name=f"turn-{run.turn}.{run.revision}")
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        task.add_done_callback(lambda _: self._leave_line(run))
        return task

    def _leave_line(self, run: Run) -> None:
        self._stirred_s = asyncio.get_running_loop().time()
        self._line.remove(run)
        self._advance_line()

    def _ask_detector(self, turn: int, revision: int) -> None:
        detector = self._engines.detector
        if detector is None:
            return
        audio, text = self._intake.snapshot(), self._hypothesis or None

        async def ask() -> None:
            probability: float | None = None
            current_ticket.set(Ticket(self.id, turn, revision, Priority.COMMITTED, self.settings.detector_timeout_s))
            try:
                async with asyncio.timeout(self.settings.detector_timeout_s):
                    probability = float(await detector.end_probability(audio, text))
            except TimeoutError:
                self._warn_detector(turn, revision, "it gave no answer in time")
            except AntiphonError as error:
                self._warn_detector(turn, revision, error.message)
            except Exception as error:
                logger.exception("turn detector broke")
                self._warn_detector(turn, revision, type(error).__name__)
            self._feed(turns.EndEstimated(turn, revision, probability))

        self._spawn(ask())

    def _warn_detector(self, turn: int, revision: int, why: str) -> None:
        message = f"the turn detector failed ({why}); silence alone ends this turn"
        self.send(self.event(WarningEvent, turn=turn, revision=revision, code="turn_detector_failed", message=message))

    def _start_saying(self, source: AsyncIterator[str | WorkflowEvent], *, interruptible: bool = True) -> None:
        """Say something that answers no turn."""
        run = Run(0, 0, interruptible=interruptible)
        run.committed.set()
        run.task = self._join_line(run, self._answering.say(run, source))

    # ------------------------------------------------------------------------ the user speaks into a reply

    def _begin_interruption(self, turn: turns.OpenTurn) -> None:
        settings = self.settings.interruption
        runs = [run for run in self._replies() if run.interruptible]
        approvals = self._guarding.approvals
        if not settings.enabled or not self._paced or not runs or self._interruption is not None:
            return
        if not self._transport.capabilities.clears or (approvals is not None and approvals.awaits_voice):
            return
        since_s = min((run.audible_s for run in runs if run.audible_s is not None), default=None)
        now_s = asyncio.get_running_loop().time()
        audible = since_s is not None and since_s <= now_s
        if since_s is not None and audible and now_s < since_s + settings.mute_ms / 1000:
            return
        self._interruption = Interruption(settings, turn.turn, turn.at_s, audible)
        if audible:
            self._pause_for(self._interruption, runs[0])

    def _pause_for(self, interruption: Interruption, run: Run) -> None:
        if self._transport.capabilities.pauses:
            interruption.paused = True
            self._transport.pause()
            self.send(self.event(PlaybackPaused, turn=run.turn, revision=run.revision))

    def _replies(self) -> list[Run]:
        """What is being said, or will be."""
        return [run for run in self._line if run.committed.is_set() and not run.void and not run.interrupted]

    def _weigh_speech(self, interruption: Interruption) -> None:
        if not interruption.audible:
            now_s = asyncio.get_running_loop().time()
            runs = [run for run in self._replies() if run.interruptible and run.turn < interruption.turn]
            if sounding := [run for run in runs if run.audible_s is not None and run.audible_s <= now_s]:
                interruption.audible = True  # it has begun into the user's words
                self._pause_for(interruption, sounding[0])
        speech_ms = 1000 * (self._intake.gate.last_speech_s - interruption.began_s)
        if interruption.on_speech(speech_ms, self._hypothesis) is Verdict.STOP:
            self._stop_for_user()

    def _weigh_words(self, turn: int, text: str) -> Verdict:
        """The user has stopped, for now, and this was said."""
        interruption = self._interruption
        if interruption is None or interruption.turn != turn:
            return Verdict.WAIT
        verdict = interruption.on_words(text, final=True)
        if verdict is Verdict.STOP:
            self._stop_for_user()
        elif verdict is Verdict.GO_ON:
            reason = "no_speech" if not text.strip() else "too_short"
            self._go_on("backchannel" if interruption.is_backchannel(text) else reason)
            machine = self._intake.machine
            ends_by_itself = not math.isinf(self.policy.max_silence_ms)  # else the user says when a turn is over
            if machine.turn == turn and machine.state is not turns.State.IDLE and ends_by_itself:
                self._dismissing = "backchannel"
                self._feed(turns.Clear())
        return verdict

    def _stop_for_user(self) -> None:
        interruption, self._interruption = self._interruption, None
        assert interruption is not None
        self._stop_replies([run for run in self._replies() if run.interruptible and run.turn < interruption.turn])
        if interruption.paused and not self._held:
            self._transport.resume()

    def _stop_replies(self, runs: Sequence[Run]) -> None:
        """What was heard of them is all that was said."""
        for run in runs:
            run.interrupted = True
            if run.turn:
                self._stopped[run.turn] = run
                if self._guarding.approvals is not None:
                    self._guarding.approvals.forget(run.turn)
                    self._spawn(self._withdraw(self._guarding.approvals, run.turn))
            if run.task is not None and (run.text is not None or run.failed or not run.turn):
                run.task.cancel()  # else what the user said is not known yet: it ends itself once that is
        if any(run.floor.is_set() for run in runs):
            self._transport.clear()  # what sounds is theirs
        while len(self._stopped) > _REMEMBERED_STOPS:
            del self._stopped[next(iter(self._stopped))]

    async def _withdraw(self, approvals: SessionApprovals, turn: int) -> None:
        try:
            await approvals.interrupted(turn, self.id)
        except Exception:
            logger.exception("the questions of an interrupted turn could not be withdrawn")

    def _go_on(self, reason: str) -> None:
        interruption, self._interruption = self._interruption, None
        machine = self._intake.machine
        if interruption is not None and machine.turn > interruption.turn and machine.state is not turns.State.IDLE:
            # Meanwhile the user has begun to say something else: the reply waits for that, too.
            self._interruption = dataclasses.replace(interruption, turn=machine.turn, began_s=self._intake.turn_start_s)
            return
        if interruption is not None and interruption.paused:
            if not self._held:
                self._transport.resume()
            replies = self._replies()
            turn = replies[0].turn if replies else 0
            self.send(self.event(PlaybackResumed, turn=turn, revision=0, reason=reason))

    # ------------------------------------------------------------------------ what answers need (Owner)

    def heard(self, run: Run, transcript: Transcript) -> Outlook:
        if self._weigh_words(run.turn, transcript.text) is Verdict.GO_ON:
            run.dismissed = "backchannel" if transcript.text.strip() else "no_speech"
            return "dismiss" if run.committed.is_set() else "needless"
        needless = self._kept_instead(run, transcript.text)
        cue = self._text.cue(transcript.text, transcript.language)
        self._feed(turns.TextJudged(run.turn, run.revision, cue))  # last: it may commit the turn
        return "needless" if needless else "answer"

    def _kept_instead(self, run: Run, text: str) -> bool:
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

    def heard_nothing(self, run: Run) -> None:
        earlier, run.earlier = run.earlier, None
        if earlier is not None:
            self._give_up(earlier, "resumed")
        if self._interruption is not None and self._interruption.turn == run.turn:
            self._stop_for_user()  # what was said is not known; that something was said, is

    def tell_approval(self, approval: Approval) -> None:
        """A question was asked, or settled."""
        fields = {
            "approval_id": approval.id,
            "state": approval.state,
            "question": approval.question,
            "tool": approval.tool,
            "call_id": approval.call_id,
            "arguments": approval.arguments,
            "by": approval.decided_by or "",
        }
        self.send(self.event(ApprovalEvent, turn=approval.turn, revision=0, **fields))

    def warn(self, code: str, message: str) -> None:
        """Tell whoever watches the session of something that ends no turn."""
        self.send(self.event(WarningEvent, turn=self._intake.machine.turn, revision=0, code=code, message=message))

    def seal(self, turn: int) -> None:
        self._feed(turns.Sealed(turn))

    def event(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> Event:
        t_s = fields.pop("t_s", None)
        if t_s is None:
            t_s = asyncio.get_running_loop().time()
        return kind(t_s=t_s, audio_s=self._intake.audio_end_s, session=self.id, turn=turn, revision=revision, **fields)

    def send(self, event: Event) -> None:
        if isinstance(event, AudioStarted) and not self._transport.capabilities.clears:
            self.seal(event.turn)  # what was handed over cannot be taken back
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:
                logger.exception("an event sink failed", extra={"event_type": event.type})


def _habit(policy: EndpointPolicy) -> PauseHabit | None:
    return PauseHabit(high=policy.adapts_up_to) if policy.adapts_up_to > 1 else None


async def _once(text: str) -> AsyncIterator[str]:
    yield text
