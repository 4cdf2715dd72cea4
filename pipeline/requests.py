"""What a client asks a session for besides speaking: an answer to typed words, to a tool's output, or beside it all.

Such an answer has a turn of its own, with a number that no turn of speech has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from antiphon.engines.audio import AudioFrame
from antiphon.engines.host import Meter, Priority, Ticket
from antiphon.engines.protocols import Transcript, TTSOptions
from antiphon.pipeline.answering import Answering
from antiphon.pipeline.errors import SessionClosed
from antiphon.pipeline.events import ToolResultEvent, UsageEvent
from antiphon.pipeline.line import Line
from antiphon.pipeline.listening import Hearing, transcribe
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.means import Means
from antiphon.pipeline.reply import Emit
from antiphon.pipeline.run import Run
from antiphon.pipeline.telling import Teller
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.turn_taking import TurnTaking
from antiphon.pipeline.usage import usage_of
from antiphon.pipeline.workflow import WorkflowEvent


class Requests:
    """One per session, as its `requests`."""

    def __init__(
        self,
        makings: Makings,
        means: Means,
        line: Line,
        teller: Teller,
        turn_taking: TurnTaking,
        answering: Answering,
        *,
        runs: Callable[[], bool],
    ) -> None:
        """:param runs: whether the session does."""
        self._session = makings.session_id
        self._stt = makings.engines.stt
        self._stt_timeout_s = makings.settings.stt_timeout_s
        self._means = means
        self._line = line
        self._teller = teller
        self._turn_taking = turn_taking
        self._answering = answering
        self._runs = runs

    def respond(
        self,
        words: str | Awaitable[Transcript] | None,
        *,
        user_id: str = "",
        muted: bool = False,
        voice: TTSOptions | None = None,
    ) -> int:
        """Give an answer that no turn of speech asks for, after what is being said. Returns the number of its turn.

        :param words: what it answers; while it is awaited, the answer waits. None: whatever stands at the end of the
            conversation (the output of a tool).
        :param user_id: of the item of the conversation that has these words, if there is one already.
        :param muted: for reading: no voice is asked for it.
        :param voice: in place of the session's own.
        :raises SessionClosed: the session does not run.
        """
        self._require_running()
        number = self._turn_taking.open_silent()
        run = Run(number, 0, user_id=user_id, asked=True, prompted=words is not None, muted=muted, voice=voice)
        run.commit_s = asyncio.get_running_loop().time()
        if words is not None:
            run.hearing = Hearing(number, self._turn_taking.intake.audio_end_s, _known(words))
        run.committed.set()
        run.task = self._line.join(run, self._answering.answer(run))
        return number

    def aside(
        self,
        source: AsyncIterator[str | WorkflowEvent],
        transport: Transport,
        emit: Emit,
        *,
        muted: bool = False,
        voice: TTSOptions | None = None,
    ) -> asyncio.Task[None]:
        """Give an answer beside the conversation, of which it becomes no part, at the same time as any other.

        :param transport: plays it.
        :param emit: `emit(EventClass, **fields)`, told what happens.
        :returns: its task, which raises :class:`StageError` where the source or the TTS fails; cancel it to stop it.
        :raises SessionClosed: the session does not run.
        """
        self._require_running()
        run = Run(self._turn_taking.intake.machine.number(), 0, asked=True, prompted=False, muted=muted, voice=voice)
        run.committed.set()
        run.floor.set()
        return self._line.beside(self._aside(run, source, transport, emit))

    def stop(self, turn: int) -> bool:
        """Stop the answer to one turn. Returns whether there was one to be stopped."""
        runs = [run for run in self._line.replies() if run.turn == turn]
        self._turn_taking.barge_in.stop(runs)
        return bool(runs)

    async def hear(self, audio: AudioFrame) -> Transcript:
        """What is said in a piece of audio, by the session's own engine; nothing else happens with it.

        :raises StageError: the engine failed.
        """
        meter, turn = Meter(), self._turn_taking.turn
        ticket = Ticket(self._session, turn, 0, Priority.COMMITTED, meter=meter)
        work = transcribe(self._stt, audio, self._turn_taking.ahead.options, self._stt_timeout_s, ticket)
        try:
            return await asyncio.create_task(work)  # the ticket is of that task alone
        finally:
            if usage := usage_of([meter]):
                self._teller.tell(UsageEvent, turn=turn, revision=0, usage=usage)

    @property
    def judges(self) -> bool:
        """Whether a policy wants to see what users say before anybody else does."""
        return self._means.consulting.judges

    async def judged(self, text: str) -> str:
        """What the policy lets the conversation know of words of the user's; "" where nothing."""
        if not self.judges:
            return text
        run = Run(self._turn_taking.turn, 0)
        run.committed.set()
        guard = self._means.consulting.guard(run, self._means.reporting.emitter(run), None)
        await self._means.consulting.judge_words(run, Transcript(text), guard)
        return run.said or ""

    def tool_done(self, turn: int, call_id: str, name: str, output: str) -> None:
        """A tool of the client's has given its result: whoever watches the session, and its record, know of it."""
        self._teller.tell(ToolResultEvent, turn=turn, revision=0, call_id=call_id, name=name, output=output)

    def prepare(self) -> None:
        """Somebody is about to speak: let the workflow get ready."""
        if self._runs():
            self._turn_taking.ahead.prepare("")

    async def _aside(
        self, run: Run, source: AsyncIterator[str | WorkflowEvent], transport: Transport, emit: Emit
    ) -> None:
        """Say it as far as the policy lets it be said; nothing of it is on record.

        :param emit: told what happens in place of the session's sinks.
        """
        means = self._means
        ours = means.reporting.emitter(run)
        guard = means.consulting.guard(run, ours, None)
        reply = means.voicing.reply(run, emit, None, transport=transport, on_record=False)
        try:
            await reply.speak(guard.speech(source))
        finally:
            means.reporting.used(run, ours)

    def _require_running(self) -> None:
        if not self._runs():
            raise SessionClosed("the session does not run")


def _known(words: str | Awaitable[Transcript]) -> asyncio.Future[Transcript]:
    if not isinstance(words, str):
        return asyncio.ensure_future(words)
    known: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
    known.set_result(Transcript(words))
    return known
