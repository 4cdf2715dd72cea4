"""A conversation in text with everything that stands around spoken ones: policy, record, approvals, tools, usage.

Nothing is heard and nothing is spoken: what the user wrote takes the place of a transcript, and the answer stays text.
The same parts carry it out as in a :class:`~antiphon.pipeline.session.Session`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import AntiphonError
from antiphon.engines.host import Priority
from antiphon.engines.protocols import Transcript
from antiphon.pipeline.answering import Answering, Outlook
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.errors import ApprovalError, SessionClosed, StageError, WorkflowError
from antiphon.pipeline.events import Committed, Event, EventSink, TurnEnded, WarningEvent
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.listening import Hearing
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.means import make_means
from antiphon.pipeline.patience import end_tasks
from antiphon.pipeline.policy import Approval
from antiphon.pipeline.run import Run
from antiphon.pipeline.session_settings import Engines, SessionSettings, TextTools
from antiphon.pipeline.telling import Teller
from antiphon.pipeline.transports.base import TransportCapabilities
from antiphon.pipeline.workflow import Workflow

logger = logging.getLogger(__name__)


class Nowhere:
    """The transport of a conversation without sound: nothing comes in, and what is played is gone."""

    capabilities = TransportCapabilities(paced=False, greets=False)

    async def frames(self) -> AsyncGenerator[AudioFrame]:
        nothing: tuple[AudioFrame, ...] = ()
        for frame in nothing:
            yield frame

    async def play(self, frame: AudioFrame, mark: int) -> float:
        return asyncio.get_running_loop().time()

    async def drain(self) -> None:
        """Nothing is on its way."""

    def clear(self) -> None:
        """There is nothing to take back."""

    def pause(self) -> None:
        """There is nothing to hold."""

    def resume(self) -> None:
        """There is nothing to go on with."""

    def heard_s(self, mark: int) -> float:
        return 0.0


class TextSession:
    """Enter it, then :meth:`ask`, as often as wanted; leaving ends its record and its workflow."""

    def __init__(
        self,
        *,
        engines: Engines,
        workflow: Workflow,
        text: TextTools,
        settings: SessionSettings,
        sinks: Sequence[EventSink] = (),
        conversation: Conversation | None = None,
        session_id: str | None = None,
        guarding: Guarding | None = None,
        closers: Sequence[Callable[[], Awaitable[None]]] = (),
        priority: Priority = Priority.COMMITTED,
    ) -> None:
        """
        :param conversation: what was said before.
        :param closers: awaited on leaving.
        :param priority: of what engines are asked for it.
        """
        self.id = session_id or new_id("sess")
        self.conversation = conversation if conversation is not None else Conversation()
        self._guarding = guarding or Guarding()
        self._closers = list(closers)
        self._turn = max((item.turn for item in self.conversation), default=0)
        self._asking = False
        self._closed = False
        self._told: asyncio.Queue[Event | None] | None = None
        """Where the events of the turn go that is being answered."""
        self._failure: StageError | None = None
        """What the turn has failed by that is being answered."""
        self._teller = Teller(self.id, sinks, audio_s=lambda: 0.0, before=self._hand_over)
        # What is only said aloud is not written: no apology, no words that bridge a wait.
        settings = replace(settings, on_error="", on_overload="", reply=replace(settings.reply, filler=""))
        makings = Makings(
            engines=engines,
            transport=Nowhere(),
            workflow=workflow,
            text=text,
            settings=settings,
            session_id=self.id,
            conversation=self.conversation,
            guarding=self._guarding,
        )
        self._means = make_means(makings, self._teller, seal=self.seal, priority=priority)
        self._means.voicing.speaks = False
        self._answering = Answering(makings, self._means, turns=self, outcomes=self)

    async def __aenter__(self) -> TextSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        async with AsyncExitStack() as stack:
            for close in reversed(self._closers):
                stack.push_async_callback(close)

    async def ask(self, text: str) -> AsyncGenerator[Event]:
        """One turn. Its events as they happen: the pieces of the answer are the `text_delta` ones, as policy lets them
        through; the last one is `turn_ended`, and then all of it is on record.

        Close the iterator to break the turn off: what was written and done until then stays in the conversation, what
        was asked of anybody is withdrawn.

        :raises AntiphonError: a stage failed; its events, `turn_ended` too, came before.
        :raises SessionClosed: the session has been left, or another turn is being answered.
        """
        if self._closed or self._asking:
            raise SessionClosed("the session has ended" if self._closed else "one turn at a time can be asked")
        self._asking, self._turn = True, self._turn + 1
        told: asyncio.Queue[Event | None] = asyncio.Queue()
        self._told = told
        work = asyncio.create_task(self._answer(self._run(text), told), name=f"text-turn-{self._turn}")
        try:
            while (event := await told.get()) is not None:
                yield event
            await work
        finally:
            await end_tasks([work])
            self._told, self._asking = None, False

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Await this on leaving, too, before what was there already."""
        self._closers.append(close)

    def _run(self, text: str) -> Run:
        """A run whose words are known and whose turn is sure."""
        heard = asyncio.get_running_loop().create_future()
        heard.set_result(Transcript(text))
        run = Run(self._turn, 0, hearing=Hearing(self._turn, 0.0, heard))
        run.committed.set()
        run.floor.set()
        return run

    async def _answer(self, run: Run, told: asyncio.Queue[Event | None]) -> None:
        self._failure = None
        try:
            self._teller.tell(Committed, turn=run.turn, revision=0, reason="manual")
            await self._answering.answer(run)
            if self._failure is not None:
                raise _as_raised(self._failure)
            await self._means.consulting.settled()
        except asyncio.CancelledError:
            await self._withdraw(run)
            raise
        finally:
            told.put_nowait(None)

    async def _withdraw(self, run: Run) -> None:
        """What the turn has asked is of no use any more."""
        if self._guarding.approvals is None:
            return
        try:
            await self._guarding.approvals.interrupted(run.turn, self.id, by="client")
        except ApprovalError as error:
            logger.warning("questions of a turn could not be withdrawn", extra={"code": type(error).__name__})

    def _hand_over(self, event: Event) -> None:
        if self._told is not None and event.turn == self._turn:
            self._told.put_nowait(event)

    # ------------------------------------------------------------------------ what answers tell (Turns, Outcomes)

    def heard(self, run: Run, transcript: Transcript) -> Outlook:
        """Every turn is wanted: nothing was said into another answer."""
        return "answer"

    def heard_nothing(self, run: Run) -> None:
        """What was written is known, whatever fails."""

    def end(self) -> None:
        """The agent says good-bye. Whoever asks decides whether they ask again."""

    def turn_failed(self, error: StageError) -> bool:
        """Nobody counts failures here: whoever asks gets each of them."""
        self._failure = error
        return False

    def turn_worked(self) -> None:
        """Whoever asks has the answer."""

    def seal(self, turn: int) -> None:
        """A written turn is sure from the start."""

    def event(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> Event:
        return self._teller.event(kind, turn=turn, revision=revision, **fields)

    def send(self, event: Event) -> None:
        self._teller.send(event)

    # ------------------------------------------------------------------------ what its surroundings tell

    def tell_approval(self, approval: Approval) -> None:
        """A question was asked, or settled."""
        self._teller.approval(approval)

    def warn(self, code: str, message: str) -> None:
        """Tell whoever watches of something that ends no turn."""
        self._teller.tell(WarningEvent, turn=self._turn, revision=0, code=code, message=message)


def _as_raised(failure: StageError) -> AntiphonError:
    """What a stage raised, where it is one of our errors; else that it broke."""
    cause = failure.__cause__
    if isinstance(cause, AntiphonError):
        return cause
    error = WorkflowError(f"the {failure.stage} broke: {type(cause).__name__}")
    error.__cause__ = cause
    return error


async def answer_text(events: AsyncIterator[Event]) -> str:
    """The whole answer of a turn, for callers that want nothing else of :meth:`TextSession.ask`."""
    text = ""
    async for event in events:
        if isinstance(event, TurnEnded):
            text = event.text
    return text
