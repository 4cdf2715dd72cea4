"""A session: one transport, one conversation, the turns between them. The only module that starts and ends tasks.

Input half: frames -> resample -> gate -> turn machine -> actions. Output half: one *run* a turn: transcribe, ask the
workflow, speak (:mod:`antiphon.pipeline.answering`). A run may begin before the turn is committed (speculation); until
then its events are held back, it plays nothing and writes no history. Runs speak one after another.

Here the parts are put together, and each action of the turn machine goes to the part that carries it out:
:mod:`~antiphon.pipeline.ahead` (hearing the growing turn), :mod:`~antiphon.pipeline.attempts` (which answer counts),
:mod:`~antiphon.pipeline.barge_in` (speech into a reply), :mod:`~antiphon.pipeline.detecting`,
:mod:`~antiphon.pipeline.idle`, :mod:`~antiphon.pipeline.line` (who speaks next; all tasks).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import EndpointPolicy, Transcript
from antiphon.pipeline import turns
from antiphon.pipeline.ahead import Ahead
from antiphon.pipeline.answering import Answering, Outlook
from antiphon.pipeline.attempts import Attempts
from antiphon.pipeline.barge_in import BargeIn
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.detecting import Detecting
from antiphon.pipeline.errors import TooManyErrors
from antiphon.pipeline.events import (
    AudioStarted,
    ErrorEvent,
    Event,
    EventSink,
    SpeechStarted,
    SpeechStopped,
    WarningEvent,
)
from antiphon.pipeline.front import Front
from antiphon.pipeline.gate import Gate, SpeechClosed, SpeechOpened, VADBroken
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.idle import IdleWatcher
from antiphon.pipeline.initiative import Initiative
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.interruption import Verdict
from antiphon.pipeline.line import Line
from antiphon.pipeline.live_settings import LiveSettings, habit_of
from antiphon.pipeline.policy import Approval
from antiphon.pipeline.requests import Requests
from antiphon.pipeline.run import Run
from antiphon.pipeline.session_settings import Engines, Place, SessionSettings, TextTools
from antiphon.pipeline.telling import Teller
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.upkeep import Housekeeping
from antiphon.pipeline.workflow import Workflow

logger = logging.getLogger(__name__)


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
        prepared: Mapping[str, Sequence[AudioFrame]] | None = None,
        guarding: Guarding | None = None,
        closers: Sequence[Callable[[], Awaitable[None]]] = (),
        front: Front | None = None,
    ) -> None:
        """
        :param front: shows a client the conversation while it is made.
        :param guarding: the record and the policy around answers; None: neither.
        :param closers: awaited at the end of :meth:`run`, however it ends.
        :param apology: `settings.on_error` as audio made beforehand, so that it can be said when the TTS is what broke.
        :param prepared: other lines (`on_overload`, `errors_goodbye`) as audio, by their text.
        """
        self.id = session_id or new_id("sess")
        self.conversation = conversation if conversation is not None else Conversation()
        self.settings = settings or SessionSettings()
        self._engines = engines
        self._transport = transport
        self._workflow = workflow
        self._text = text
        self._guarding = guarding or Guarding()
        self._closers = list(closers)
        self._paced = transport.capabilities.paced
        self._rearm = asyncio.Event()
        self._over = asyncio.Event()
        self._muted = False
        self._running = False
        self._place: Place | None = None
        """What the user waits for; None: for nothing."""
        self._failures = 0
        """Turns in a row that have failed."""
        self.end_reason = ""
        """Why the session ends, once it does: "input_ended", "ended" (by the agent, or by :meth:`end`), "idle" (nobody
        spoke), "errors" (`max_errors`) or "vad_failed"."""
        self._intake = self._make_intake()
        self._teller = Teller(
            self.id, sinks, audio_s=lambda: self._intake.audio_end_s, before=self._seal_what_cannot_be_taken_back
        )
        self._idle = IdleWatcher(
            self.settings.idle,
            busy=lambda: (
                bool(self._line)
                or self._barge_in.held
                or self._place is not None
                or self._intake.machine.state is not turns.State.IDLE
            ),
            turn=lambda: self._intake.machine.turn,
            say=self.say,
            end=lambda: self.end("idle"),
        )
        self._line = Line(on_leave=self._idle.stir, on_empty=self._keep_house)
        self._housekeeping = Housekeeping(self._guarding.upkeep, on_done=lambda: self._ahead.prepare(""))
        self._answering = Answering(
            self,
            session=self.id,
            engines=engines,
            transport=transport,
            workflow=workflow,
            text=text,
            settings=self.settings,
            conversation=self.conversation,
            prepared={**(prepared or {}), **({self.settings.on_error: apology} if len(apology) else {})},
            guarding=self._guarding,
            front=front,
            pass_on=self._pass_on,
        )
        self._barge_in = BargeIn(
            self.settings.interruption,
            session=self.id,
            enabled=self._paced,
            intake=self._intake,
            line=self._line,
            transport=transport,
            teller=self._teller,
            conversation=self.conversation,
            approvals=self._guarding.approvals,
            feed=self._feed,
            front=front,
        )
        self._ahead = self._make_ahead()
        self._attempts = Attempts(
            intake=self._intake,
            ahead=self._ahead,
            line=self._line,
            transport=transport,
            teller=self._teller,
            answer=self._answering.answer,
        )
        self._detecting = Detecting(
            engines.detector,
            session=self.id,
            timeout_s=self.settings.detector_timeout_s,
            line=self._line,
            teller=self._teller,
            feed=self._feed,
        )
        self._initiative = Initiative(
            answering=self._answering,
            line=self._line,
            workflow=workflow,
            greeting=self.settings.greeting,
            greets=transport.capabilities.greets,
            unfinished=self._guarding.unfinished,
        )
        self.requests = self._make_requests()
        """What a client may ask for besides speaking."""
        self.live = LiveSettings(
            intake=self._intake,
            ahead=self._ahead,
            answering=self._answering,
            barge_in=self._barge_in,
            on_change=self._rearm.set,
        )
        """What may change while it runs."""

    def _make_requests(self) -> Requests:
        def on_turn() -> None:
            self._rearm.set()
            self._housekeeping.disturb()
            self._attempts.withdraw()

        return Requests(
            session=self.id,
            stt=self._engines.stt,
            stt_timeout_s=self.settings.stt_timeout_s,
            intake=self._intake,
            ahead=self._ahead,
            line=self._line,
            answering=self._answering,
            barge_in=self._barge_in,
            teller=self._teller,
            runs=lambda: self._running,
            on_turn=on_turn,
        )

    def _make_intake(self) -> Intake:
        settings, engines = self.settings, self._engines
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
            on_fade=lambda: self._ahead.hear_fading(),
            on_dip=lambda: self._ahead.hear_dip(),
            on_failure=self._tell_vad_failure,
        )

    def _make_ahead(self) -> Ahead:
        settings = self.settings
        may_hear_ahead = self._engines.stt_local or settings.speculate_in_cloud
        return Ahead(
            session=self.id,
            engines=self._engines,
            settings=settings,
            intake=self._intake,
            line=self._line,
            teller=self._teller,
            enabled=settings.speculate and self._paced and may_hear_ahead and not settings.manual_turns,
            tells=not self._guarding.policy.transcript,  # nobody may know of words that were not judged
            prepare=self._answering.prepare,
            weigh_words=self._barge_in.weigh_words,
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
            self._line.open(group)
            self._running = True
            watchers = [group.create_task(self._tick())] if self._paced else []
            if self._paced and self._idle.watches:
                watchers.append(group.create_task(self._idle.watch()))
            try:
                if self._place is None:
                    self._initiative.greet()
                else:
                    watchers.append(group.create_task(self._wait_for(self._place)))
                self._ahead.prepare("")
                if self._paced:  # on the stream clock, the first answer would wait for it
                    self._keep_house()
                await self._listen_until_the_end(group)
            finally:
                self._running = False
                self._housekeeping.stop()
                self._line.cancel()
                for watcher in watchers:
                    watcher.cancel()

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Await this, too, at the end of :meth:`run`, however it ends."""
        self._closers.append(close)

    def wait_for(self, place: Place) -> None:
        """Let the user wait, from the beginning on: call it before :meth:`run`."""
        self._place = place
        self._muted = True

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

    def end(self, reason: str = "ended") -> None:
        """End the conversation: nothing more is listened to, what is being said is heard, then :meth:`run` returns."""
        self.end_reason = self.end_reason or reason
        self._over.set()

    def say(self, text: str, *, interruptible: bool = True) -> None:
        """Speak a text of the caller's own after what is being said; it joins the conversation.

        :param interruptible: the user's voice stops it.
        """
        if self._running:
            self._initiative.say(text, interruptible=interruptible)

    def ask(self, text: str) -> int:
        """Answer something that the user has typed, after what is being said. Returns the number of its turn.

        :raises SessionClosed: the session does not run.
        """
        return self.requests.respond(text)

    def add_sink(self, sink: EventSink) -> Callable[[], None]:
        """One more sink for events, from now on. Returns what takes it away again."""
        return self._teller.add(sink)

    def cancel(self) -> None:
        """Stop everything that is being said or about to be. Nothing happens if nothing is.

        What was stopped before is left to note what was heard of it.
        """
        self._barge_in.stop(self._line.replies())

    def pause(self) -> None:
        """Let playback stand still until :meth:`resume`, whatever the user does (a transport that can pause)."""
        self._barge_in.hold()

    def resume(self) -> None:
        """Go on at the sample where :meth:`pause` stopped."""
        self._barge_in.let_go()

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
        self._barge_in.played(turn, seconds)

    @property
    def undecided(self) -> bool:
        """Whether the user has begun to speak into an answer, and it is not known yet what that means."""
        return self._barge_in.undecided

    @property
    def audio_s(self) -> float:
        """How much of the user's audio was taken in."""
        return self._intake.audio_end_s

    @property
    def waits(self) -> bool:
        """Whether the user waits for a place, unheard (:meth:`wait_for`)."""
        return self._place is not None

    @property
    def listening(self) -> bool:
        """Whether a turn of the user's is open."""
        return self._intake.machine.state is not turns.State.IDLE

    @property
    def busy(self) -> bool:
        """Whether anybody speaks, or an answer is given or heard."""
        return bool(self._line) or self._intake.machine.state is not turns.State.IDLE

    @property
    def policy(self) -> EndpointPolicy:
        """When silence ends a turn; may be replaced at any time."""
        return self.live.policy

    @policy.setter
    def policy(self, policy: EndpointPolicy) -> None:
        self.live.policy = policy

    # ------------------------------------------------------------------------ input half

    async def _listen_until_the_end(self, group: asyncio.TaskGroup) -> None:
        """Until the input ends, or somebody ends the conversation; what is being said is heard to its end."""
        listening, over = group.create_task(self._listen()), group.create_task(self._over.wait())
        await asyncio.wait({listening, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not listening.done():
            listening.cancel()
            self._feed(turns.Clear())
            await self._finish()

    async def _listen(self) -> None:
        try:
            await self._take_frames()
        except VADBroken as error:
            self.end_reason = self.end_reason or "vad_failed"
            self._tell_end("vad", error)
            self._initiative.line(self.settings.errors_goodbye)
            await self._finish()
            raise
        self._intake.finish()
        self.end_reason = self.end_reason or "input_ended"
        await self._finish()

    async def _take_frames(self) -> None:
        async for frame in self._transport.frames():
            before_s = self._intake.audio_end_s
            self._intake.take(dataclasses.replace(frame, samples=frame.samples * 0) if self._muted else frame)
            self._rearm.set()
            if not self._paced:
                await self._catch_up()  # on the stream clock, time stands still while we compute
            elif self._intake.machine.state is turns.State.SPEAKING:
                self._barge_in.weigh_speech(self._ahead.hypothesis)
                if self._ahead.enabled:
                    self._attempts.goes_on()
                    self._ahead.goes_on(self._intake.audio_end_s - before_s)

    async def _catch_up(self) -> None:
        """Until all is done that can be done without more input: an answer may wait for the user's yes."""
        await self._line.settled(self._guarding.approvals)
        if self._housekeeping.task is not None:
            await asyncio.wait({self._housekeeping.task})

    async def _finish(self) -> None:
        """The user says no more: what only the user's voice could decide is refused once all that was said is heard."""
        if (approvals := self._guarding.approvals) is not None:
            await self._line.settled(approvals)
            await approvals.no_more_voice()
        await self._line.settled()

    def _keep_house(self) -> None:
        """Nobody waits for an answer: if nobody speaks, there is time for the session's memory."""
        if self._running and self._intake.machine.state is turns.State.IDLE:
            self._housekeeping.quiet(self._line.group)

    def _feed(self, event: turns.TurnInput) -> None:
        self._intake.feed(event)
        self._rearm.set()

    def _tell_speech(self, change: SpeechOpened | SpeechClosed) -> None:
        self._idle.stir()
        kind = SpeechStarted if isinstance(change, SpeechOpened) else SpeechStopped
        machine = self._intake.machine
        self._teller.tell(kind, turn=machine.turn, revision=machine.revision, at_s=change.at_s)

    def _tell_vad_failure(self, error: Exception) -> None:
        logger.warning("the VAD failed", extra={"session": self.id, "code": type(error).__name__})
        machine = self._intake.machine
        fields = {"stage": "vad", "code": type(error).__name__, "message": str(error)}
        self._teller.tell(ErrorEvent, turn=machine.turn, revision=machine.revision, **fields)

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
                self._housekeeping.disturb()
                self._ahead.open_turn()
                self._barge_in.begin(action)
            case turns.DiscardTurn(turn):
                self._attempts.discard(turn, self._barge_in.why_discarded())
                self._barge_in.discarded(turn)
            case turns.ResumeTurn():
                self._attempts.park()
            case turns.ReopenTurn(turn):
                self._attempts.reopen(turn)
            case turns.AskDetector(turn, revision):
                self._detecting.ask(turn, revision, self._intake.snapshot(), self._ahead.hypothesis or None)
            case turns.PauseTurn(turn, revision, at_s):
                # Whether it stops a reply cannot wait for the turn's end.
                self._attempts.pause(turn, revision, at_s, pressing=self._barge_in.undecided)
            case turns.CommitTurn():
                self._attempts.commit(action)

    def _pass_on(self, run: Run) -> None:
        self._barge_in.may_be_corrected(run)
        self._line.pass_on(run)

    # ------------------------------------------------------------------------ the beginning

    async def _wait_for(self, place: Place) -> None:
        self._initiative.line(place.notice)
        await place.free.wait()
        self._place, self._muted = None, False
        self._initiative.line(place.free_notice)
        self._initiative.greet()

    # ------------------------------------------------------------------------ what answers need (Owner)

    def heard(self, run: Run, transcript: Transcript) -> Outlook:
        if self._barge_in.weigh_words(run.turn, transcript.text) is Verdict.GO_ON:
            run.dismissed = "backchannel" if transcript.text.strip() else "no_speech"
            return "dismiss" if run.committed.is_set() else "needless"
        needless = self._attempts.kept_instead(run, transcript.text)
        cue = self._text.cue(transcript.text, transcript.language)
        self._feed(turns.TextJudged(run.turn, run.revision, cue))  # last: it may commit the turn
        return "needless" if needless else "answer"

    def heard_nothing(self, run: Run) -> None:
        self._attempts.forget_earlier(run, "resumed")
        self._barge_in.words_unknown(run.turn)

    def turn_failed(self) -> bool:
        self._failures += 1
        limit = self.settings.max_errors
        return limit is not None and self._failures >= limit and not self._over.is_set()

    def turn_worked(self) -> None:
        self._failures = 0

    def give_up(self) -> None:
        self._tell_end("session", TooManyErrors(f"{self._failures} turns in a row have failed"))
        self.end("errors")

    def _tell_end(self, stage: str, error: Exception) -> None:
        logger.error("the session ends", extra={"session": self.id, "stage": stage, "code": type(error).__name__})
        fields = {"stage": stage, "code": type(error).__name__, "message": str(error), "fatal": True}
        self._teller.tell(ErrorEvent, turn=self._intake.machine.turn, revision=0, **fields)

    def tell_approval(self, approval: Approval) -> None:
        """A question was asked, or settled."""
        self._teller.approval(approval)

    def warn(self, code: str, message: str) -> None:
        """Tell whoever watches the session of something that ends no turn."""
        self._teller.tell(WarningEvent, turn=self._intake.machine.turn, revision=0, code=code, message=message)

    def seal(self, turn: int) -> None:
        self._feed(turns.Sealed(turn))

    def event(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> Event:
        return self._teller.event(kind, turn=turn, revision=revision, **fields)

    def send(self, event: Event) -> None:
        self._teller.send(event)

    def _seal_what_cannot_be_taken_back(self, event: Event) -> None:
        if isinstance(event, AudioStarted) and not self._transport.capabilities.clears:
            self.seal(event.turn)
