"""A session: one transport, one conversation, the turns between them. The only module that starts and ends tasks.

The user's side (:mod:`antiphon.pipeline.turn_taking`) takes frames in and finds the turns in them. The other side is
one *run* a turn: transcribe, ask the workflow, speak (:mod:`antiphon.pipeline.answering`). A run may begin before the
turn is committed (speculation); until then its events are held back, it plays nothing and writes no history. Runs speak
one after another (:mod:`antiphon.pipeline.line`: who speaks next; all tasks).

Besides turns, a session speaks of its own accord (:mod:`~antiphon.pipeline.initiative`, :mod:`~antiphon.pipeline.idle`)
and does what a client asks for (:mod:`~antiphon.pipeline.requests`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from antiphon.engines.protocols import EndpointPolicy
from antiphon.pipeline import turns
from antiphon.pipeline.answering import Answering
from antiphon.pipeline.ending import Ending
from antiphon.pipeline.events import AudioStarted, Event, EventSink, WarningEvent
from antiphon.pipeline.gate import VADBroken
from antiphon.pipeline.idle import IdleWatcher
from antiphon.pipeline.initiative import Initiative
from antiphon.pipeline.line import Line
from antiphon.pipeline.live_settings import LiveSettings
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.means import make_means
from antiphon.pipeline.policy import Approval
from antiphon.pipeline.requests import Requests
from antiphon.pipeline.run import Run
from antiphon.pipeline.session_settings import Place
from antiphon.pipeline.telling import Teller
from antiphon.pipeline.turn_taking import TurnTaking
from antiphon.pipeline.upkeep import Housekeeping


class Session:
    """Make it, then await :meth:`run`; it returns when the input has ended and every turn is answered."""

    def __init__(
        self,
        makings: Makings,
        *,
        sinks: Sequence[EventSink] = (),
        closers: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """
        :param sinks: get every event, in order.
        :param closers: awaited at the end of :meth:`run`, however it ends.
        """
        self.id = makings.session_id
        self.conversation = makings.conversation
        self.settings = makings.settings
        self.muted = False
        """Whether what the user says is taken for silence."""
        self._transport = makings.transport
        self._paced = makings.transport.capabilities.paced
        self._approvals = makings.guarding.approvals
        self._closers = list(closers)
        self._running = False
        self._place: Place | None = None
        """What the user waits for; None: for nothing."""
        self._teller = Teller(self.id, sinks, audio_s=lambda: self.audio_s, before=self._seal_what_cannot_be_taken_back)
        self._ending = Ending(self.id, self.settings.max_errors, self._teller, turn=lambda: self._turn_taking.turn)
        self._idle = IdleWatcher(
            self.settings.idle,
            busy=lambda: self.busy or self._turn_taking.barge_in.held or self.waits,
            turn=lambda: self._turn_taking.turn,
            say=self.say,
            end=partial(self.end, "idle"),
        )
        self._housekeeping = Housekeeping(makings.guarding.upkeep, on_done=lambda: self._turn_taking.ahead.prepare(""))
        self._line = Line(on_leave=self._idle.stir, on_empty=self._keep_house)
        means = make_means(makings, self._teller, seal=lambda turn: self._turn_taking.seal(turn), pass_on=self._pass_on)
        self._voicing = means.voicing
        self._turn_taking = TurnTaking(
            makings,
            means,
            self._line,
            self._teller,
            answer=lambda run: self._answering.answer(run),
            on_voice=self._idle.stir,
            on_turn=self._housekeeping.disturb,
        )
        self._answering = Answering(makings, means, turns=self._turn_taking, outcomes=self._ending)
        self._initiative = Initiative(makings, means, self._line)
        self.requests = Requests(
            makings, means, self._line, self._teller, self._turn_taking, self._answering, runs=lambda: self._running
        )
        """What a client may ask for besides speaking."""
        self.live = LiveSettings(self._turn_taking, self._answering, self._voicing)
        """What may change while it runs."""

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
            watchers = [group.create_task(self._turn_taking.intake.keep_time())] if self._paced else []
            if self._paced and self._idle.watches:
                watchers.append(group.create_task(self._idle.watch()))
            try:
                if self._place is None:
                    self._initiative.greet()
                else:
                    watchers.append(group.create_task(self._wait_for(self._place)))
                self._turn_taking.ahead.prepare("")
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
        self.muted = True

    def commit(self) -> None:
        """End the user's turn now (push-to-talk, a client's commit). Nothing happens if no turn is open."""
        if self._running:
            self._turn_taking.intake.feed(turns.ManualCommit())

    def clear(self) -> None:
        """Throw the open turn away."""
        if self._running:
            self._turn_taking.intake.feed(turns.Clear())

    async def interject(self, text: str) -> None:
        """Say something within the answer that is being given: a question that it waits for."""
        await self._voicing.interject(text)

    def end(self, reason: str = "ended") -> None:
        """End the conversation: nothing more is listened to, what is being said is heard, then :meth:`run` returns."""
        self._ending.end(reason)

    @property
    def end_reason(self) -> str:
        """Why the session ends, once it does: "input_ended", "ended" (by the agent, or by :meth:`end`), "idle" (nobody
        spoke), "errors" (`max_errors`) or "vad_failed"."""
        return self._ending.reason

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
        self._turn_taking.barge_in.stop(self._line.replies())

    def pause(self) -> None:
        """Let playback stand still until :meth:`resume`, whatever the user does (a transport that can pause)."""
        self._turn_taking.barge_in.hold()

    def resume(self) -> None:
        """Go on at the sample where :meth:`pause` stopped."""
        self._turn_taking.barge_in.let_go()

    def played(self, turn: int, seconds: float) -> None:
        """The client says how many seconds of a turn's reply it has played: more exact than what we can estimate.

        If that reply was interrupted, what is remembered of it is corrected.
        """
        self._turn_taking.barge_in.played(turn, seconds)

    @property
    def undecided(self) -> bool:
        """Whether the user has begun to speak into an answer, and it is not known yet what that means."""
        return self._turn_taking.barge_in.undecided

    @property
    def audio_s(self) -> float:
        """How much of the user's audio was taken in."""
        return self._turn_taking.intake.audio_end_s

    @property
    def waits(self) -> bool:
        """Whether the user waits for a place, unheard (:meth:`wait_for`)."""
        return self._place is not None

    @property
    def listening(self) -> bool:
        """Whether a turn of the user's is open."""
        return self._turn_taking.open

    @property
    def busy(self) -> bool:
        """Whether anybody speaks, or an answer is given or heard."""
        return bool(self._line) or self._turn_taking.open

    @property
    def policy(self) -> EndpointPolicy:
        """When silence ends a turn; may be replaced at any time."""
        return self.live.policy

    @policy.setter
    def policy(self, policy: EndpointPolicy) -> None:
        self.live.policy = policy

    # ------------------------------------------------------------------------ listening

    async def _listen_until_the_end(self, group: asyncio.TaskGroup) -> None:
        """Until the input ends, or somebody ends the conversation; what is being said is heard to its end."""
        listening, over = group.create_task(self._listen()), group.create_task(self._ending.wait())
        await asyncio.wait({listening, over}, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not listening.done():
            listening.cancel()
            self._turn_taking.intake.feed(turns.Clear())
            await self._finish()

    async def _listen(self) -> None:
        try:
            await self._take_frames()
        except VADBroken as error:
            self._ending.because("vad_failed")
            self._ending.broken("vad", error)
            self._initiative.line(self.settings.errors_goodbye)
            await self._finish()
            raise
        self._turn_taking.intake.finish()
        self._ending.because("input_ended")
        await self._finish()

    async def _take_frames(self) -> None:
        async for frame in self._transport.frames():
            self._turn_taking.take(dataclasses.replace(frame, samples=frame.samples * 0) if self.muted else frame)
            if not self._paced:
                await self._catch_up()  # on the stream clock, time stands still while we compute

    async def _catch_up(self) -> None:
        """Until all is done that can be done without more input: an answer may wait for the user's yes."""
        await self._line.settled(self._approvals)
        if self._housekeeping.task is not None:
            await asyncio.wait({self._housekeeping.task})

    async def _finish(self) -> None:
        """The user says no more: what only the user's voice could decide is refused once all that was said is heard."""
        if self._approvals is not None:
            await self._line.settled(self._approvals)
            await self._approvals.no_more_voice()
        await self._line.settled()

    async def _wait_for(self, place: Place) -> None:
        self._initiative.line(place.notice)
        await place.free.wait()
        self._place, self.muted = None, False
        self._initiative.line(place.free_notice)
        self._initiative.greet()

    # ------------------------------------------------------------------------ what its parts tell it

    def _keep_house(self) -> None:
        """Nobody waits for an answer: if nobody speaks, there is time for the session's memory."""
        if self._running and not self._turn_taking.open:
            self._housekeeping.quiet(self._line.group)

    def _pass_on(self, run: Run) -> None:
        self._turn_taking.barge_in.may_be_corrected(run)
        self._line.pass_on(run)

    def _seal_what_cannot_be_taken_back(self, event: Event) -> None:
        if isinstance(event, AudioStarted) and not self._transport.capabilities.clears:
            self._turn_taking.seal(event.turn)

    # ------------------------------------------------------------------------ what its surroundings tell

    def tell_approval(self, approval: Approval) -> None:
        """A question was asked, or settled."""
        self._teller.approval(approval)

    def warn(self, code: str, message: str) -> None:
        """Tell whoever watches the session of something that ends no turn."""
        self._teller.tell(WarningEvent, turn=self._turn_taking.turn, revision=0, code=code, message=message)

    def event(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> Event:
        """Make one, as of now."""
        return self._teller.event(kind, turn=turn, revision=revision, **fields)

    def send(self, event: Event) -> None:
        """Let it go to every sink."""
        self._teller.send(event)
