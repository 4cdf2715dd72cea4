"""A session: one transport, one conversation, the turns between them. The only module that starts and ends tasks.

Input half: frames -> resample -> gate -> turn machine -> actions. Output half: one *run* a turn: transcribe, ask the
workflow, speak. A run may begin before the turn is committed (speculation); until then its events are held back, it
plays nothing and writes no history. Runs speak one after another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.errors import AntiphonError, EngineTimeout
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import (
    TTS,
    Transcript,
    TTSOptions,
)
from antiphon.pipeline import turns
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.errors import StageError
from antiphon.pipeline.events import (
    Committed,
    Dropped,
    ErrorEvent,
    Event,
    EventSink,
    Speculated,
    SpeechStarted,
    SpeechStopped,
    Timings,
    TranscriptEvent,
    TurnEnded,
    TurnStatus,
    WarningEvent,
)
from antiphon.pipeline.gate import Gate, SpeechClosed, SpeechOpened
from antiphon.pipeline.intake import Intake
from antiphon.pipeline.reply import Emit, Reply
from antiphon.pipeline.session_settings import Engines, SessionSettings, TextTools
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.workflow import TurnContext, Workflow, WorkflowEvent, pieces

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Run:
    """The work on one revision of one turn."""

    turn: int
    revision: int
    audio: AudioFrame
    committed: asyncio.Event = field(default_factory=asyncio.Event)
    outbox: list[Event] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    speech_end_s: float | None = None
    vad_stop_s: float | None = None
    commit_s: float | None = None
    stt_s: float | None = None
    floor: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when everything said before this run has been heard."""


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
    ) -> None:
        """
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
        self._apology = tuple(apology)
        policy = turns.MANUAL if self.settings.manual_turns else engines.policy
        self._paced = transport.capabilities.paced
        self._intake = Intake(
            Gate(engines.vad, self.settings.gate),
            turns.TurnMachine(policy, max_turn_s=self.settings.max_turn_s),
            paced=self._paced,
            on_action=self._act,
            on_speech=self._tell_speech,
            on_failure=self._tell_vad_failure,
        )
        self._speculates = self.settings.speculate and self._paced and engines.local and not self.settings.manual_turns
        self._rearm = asyncio.Event()
        self._speculation: _Run | None = None
        self._paused_s = 0.0
        self._line: list[_Run] = []
        self._asking: set[asyncio.Task[None]] = set()
        self._runs: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._running = False

    # ------------------------------------------------------------------------ public

    async def run(self) -> None:
        """Serve the transport until its input ends and the last reply has been heard.

        :raises ExceptionGroup: the transport failed, or the VAD fails on every window. Other engines and workflows end
            a turn, never a session.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._running = True
            ticker = group.create_task(self._tick()) if self._paced else None
            try:
                if self.settings.greeting and self._transport.capabilities.greets:
                    self._start_saying(_once(self.settings.greeting))
                elif self._transport.capabilities.greets and (on_start := getattr(self._workflow, "on_start", None)):
                    self._start_saying(pieces(on_start, may_be_silent=True))
                await self._listen()
            finally:
                self._running = False
                for task in [*self._runs, *self._asking, *([ticker] if ticker else [])]:
                    task.cancel()

    def commit(self) -> None:
        """End the user's turn now (push-to-talk, a client's commit). Nothing happens if no turn is open."""
        if self._running:
            self._feed(turns.ManualCommit())

    def clear(self) -> None:
        """Throw the open turn away."""
        if self._running:
            self._feed(turns.Clear())

    # ------------------------------------------------------------------------ input half

    async def _listen(self) -> None:
        async for frame in self._transport.frames():
            self._intake.take(frame)
            self._rearm.set()
            if not self._paced:
                await self._settled()  # on the stream clock, time stands still while we compute
        self._intake.finish()
        await self._settled()

    async def _settled(self) -> None:
        while pending := self._runs | self._asking:
            await asyncio.wait(pending)

    def _feed(self, event: turns.TurnInput) -> None:
        self._intake.feed(event)
        self._rearm.set()

    def _tell_speech(self, change: SpeechOpened | SpeechClosed) -> None:
        kind = SpeechStarted if isinstance(change, SpeechOpened) else SpeechStopped
        machine = self._intake.machine
        self._send(self._event(kind, turn=machine.turn, revision=machine.revision, at_s=change.at_s))

    def _tell_vad_failure(self, error: Exception) -> None:
        logger.warning("the VAD failed", extra={"session": self.id, "code": type(error).__name__})
        machine = self._intake.machine
        fields = {"stage": "vad", "code": type(error).__name__, "message": str(error)}
        self._send(self._event(ErrorEvent, turn=machine.turn, revision=machine.revision, **fields))

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
                pass  # its audio is being gathered already
            case turns.DiscardTurn(turn):
                if not self._drop("cleared"):
                    self._send(
                        self._event(Dropped, turn=turn, revision=self._intake.machine.revision, reason="cleared")
                    )
            case turns.ResumeTurn():
                self._drop("resumed")
            case turns.AskDetector(turn, revision):
                self._ask_detector(turn, revision)
            case turns.PauseTurn(turn, revision, at_s):
                self._paused_s = asyncio.get_running_loop().time()
                if self._speculates:
                    self._speculation = self._start_run(turn, revision, at_s)
                    self._send(self._event(Speculated, turn=turn, revision=revision))
            case turns.CommitTurn():
                self._commit(action)

    # ------------------------------------------------------------------------ turns

    def _start_run(self, turn: int, revision: int, speech_end_s: float) -> _Run:
        assert self._group is not None
        run = _Run(turn, revision, self._intake.snapshot())
        now_s = asyncio.get_running_loop().time()
        run.speech_end_s = now_s - (self._intake.now_s() - speech_end_s)
        run.vad_stop_s = max(run.speech_end_s, self._paused_s) if not self._intake.gate.speaking else now_s
        run.task = self._join_line(run, self._answer(run))
        return run

    def _commit(self, action: turns.CommitTurn) -> None:
        run = self._speculation
        self._speculation = None
        if run is None or (action.reason == "max_turn" and self._intake.gate.speaking):
            self._speculation = run
            self._drop("resumed")
            run = self._start_run(action.turn, action.revision, self._intake.gate.last_speech_s)
        run.commit_s = asyncio.get_running_loop().time()
        fields = {"reason": action.reason, "end_probability": action.end_probability}
        self._send(self._event(Committed, turn=action.turn, revision=action.revision, **fields))
        for event in run.outbox:
            self._send(event)
        run.outbox.clear()
        run.committed.set()

    def _drop(self, reason: str) -> bool:
        """Give up the speculation. Returns whether there was one."""
        run, self._speculation = self._speculation, None
        if run is None or run.task is None:
            return False
        run.task.cancel()
        self._send(self._event(Dropped, turn=run.turn, revision=run.revision, reason=reason))
        return True

    def _advance_line(self) -> None:
        """Who is first in line has the floor."""
        if self._line:
            self._line[0].floor.set()

    def _join_line(self, run: _Run, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a run's work behind those before it. It leaves the line however its task ends, even unstarted."""
        assert self._group is not None
        self._line.append(run)
        self._advance_line()
        task = self._group.create_task(work, name=f"turn-{run.turn}.{run.revision}")
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        task.add_done_callback(lambda _: self._leave_line(run))
        return task

    def _leave_line(self, run: _Run) -> None:
        self._line.remove(run)
        self._advance_line()

    def _ask_detector(self, turn: int, revision: int) -> None:
        detector = self._engines.detector
        if detector is None or self._group is None:
            return

        audio = self._intake.snapshot()

        async def ask() -> None:
            probability: float | None = None
            current_ticket.set(Ticket(self.id, turn, revision, Priority.COMMITTED, self.settings.detector_timeout_s))
            try:
                async with asyncio.timeout(self.settings.detector_timeout_s):
                    probability = float(await detector.end_probability(audio, None))
            except TimeoutError:
                self._warn_detector(turn, revision, "it gave no answer in time")
            except AntiphonError as error:
                self._warn_detector(turn, revision, error.message)
            except Exception as error:
                logger.exception("turn detector broke")
                self._warn_detector(turn, revision, type(error).__name__)
            self._feed(turns.EndEstimated(turn, revision, probability))

        task = self._group.create_task(ask())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _warn_detector(self, turn: int, revision: int, why: str) -> None:
        message = f"the turn detector failed ({why}); silence alone ends this turn"
        self._send(
            self._event(WarningEvent, turn=turn, revision=revision, code="turn_detector_failed", message=message)
        )

    # ------------------------------------------------------------------------ runs

    async def _answer(self, run: _Run) -> None:
        emit = self._emitter(run)
        try:
            await self._answer_in_order(run, emit)
        except StageError as error:
            await run.committed.wait()
            await run.floor.wait()
            await self._apologise(run, emit, error)

    async def _answer_in_order(self, run: _Run, emit: Emit) -> None:
        heard = await self._transcribe(run, emit)
        run.stt_s = asyncio.get_running_loop().time()
        if not heard.text.strip():
            await run.committed.wait()
            emit(Dropped, reason="no_speech")
            self._end(run, emit, "no_speech", None)
            return
        said = {"role": "user", "text": heard.text, "language": heard.language}
        if not run.committed.is_set():  # the user may go on: what is heard so far is shown, and not yet counted on
            self._send(self._event(TranscriptEvent, turn=run.turn, revision=run.revision, final=False, **said))
        emit(TranscriptEvent, final=True, **said)
        await run.floor.wait()
        if not self._workflow.speculative:
            await run.committed.wait()
        context = TurnContext(
            self.id,
            run.turn,
            run.revision,
            heard.text,
            self.conversation.messages(max_turns=self.settings.history_turns, max_tokens=self.settings.history_tokens),
            heard.language,
            run.committed,
        )
        reply = self._reply(run, emit, heard.language)
        user = Item(id=new_id(), role="user", text=heard.text, turn=run.turn)
        try:
            await reply.speak(pieces(lambda: self._workflow.respond(context)))
        finally:
            if run.committed.is_set():
                self._remember(run, user, reply, emit)
        self._end(run, emit, "completed" if reply.tts is not None else "text_only", reply)

    async def _transcribe(self, run: _Run, emit: Emit) -> Transcript:
        stt = self._engines.stt
        audio = run.audio
        if audio.rate_hz != stt.rate_hz:
            audio = AudioFrame(resample(audio.samples, audio.rate_hz, stt.rate_hz), stt.rate_hz, audio.start_s)
        timeout_s = self.settings.stt_timeout_s + audio.duration_s
        self._take_ticket(run)
        try:
            async with asyncio.timeout(timeout_s):
                heard = await stt.transcribe(audio, self.settings.stt)
            if not isinstance(heard, Transcript):
                raise TypeError(f"the STT engine gave a {type(heard).__name__}, not a Transcript")
        except TimeoutError:
            raise StageError("stt", EngineTimeout(f"no transcript within {timeout_s:.0f} s", stage="stt")) from None
        except Exception as error:
            raise StageError("stt", error) from error
        run.audio = AudioFrame(run.audio.samples[:0], run.audio.rate_hz)  # a run may wait long for its turn to speak
        return heard

    def _reply(self, run: _Run, emit: Emit, language: str | None) -> Reply:
        tts: TTS | None = self._engines.tts
        options = self.settings.tts
        voices = self._engines.voices
        if voices and language is not None:
            voice = voices.get(language)
            if voice is None:
                tts = None
                message = f"no voice for the language '{language}' (tts.voices has: {', '.join(sorted(voices))})"
                emit(WarningEvent, code="no_voice_for_language", message=f"{message}; the reply stays text")
            else:
                options = TTSOptions(voice=voice, speed=options.speed, language=language)
        spoken = language
        languages = self._engines.tts.capabilities.languages
        if not voices and languages is not None and len(languages) == 1:
            spoken = languages[0]  # one voice speaks everything: by the rules of its language
        return Reply(
            tts=tts,
            transport=self._transport,
            splitter=self._text.splitter(spoken),
            speakable=self._text.speakable(spoken),
            emit=emit,
            mark=run.turn,
            before_call=lambda: self._take_ticket(run),
            committed=run.committed,
            voice=options,
            settings=self.settings.reply,
        )

    def _remember(self, run: _Run, user: Item, reply: Reply, emit: Emit) -> None:
        """History holds what was said; a reply cut off by a failure or the end of the session, only its spoken part."""
        self.conversation.add(user)
        said = reply.text if reply.tts is None else reply.spoken
        if reply.text.strip():
            unheard = reply.text[len(said) :]
            self.conversation.add(Item(id=new_id(), role="assistant", text=said, unheard=unheard, turn=run.turn))
            if said.strip():
                emit(TranscriptEvent, role="assistant", text=said, final=True)

    def _end(self, run: _Run, emit: Emit, status: TurnStatus, reply: Reply | None) -> None:
        times = reply.times if reply is not None else None
        timings = Timings(
            speech_end_s=run.speech_end_s,
            vad_stop_s=run.vad_stop_s,
            commit_s=run.commit_s,
            stt_s=run.stt_s,
            first_token_s=times.first_token_s if times else None,
            first_clause_s=times.first_clause_s if times else None,
            first_audio_s=times.first_audio_s if times else None,
            audible_s=times.audible_s if times else None,
        )
        emit(
            TurnEnded,
            status=status,
            text=reply.text if reply else "",
            timings=timings,
            input_tokens=reply.usage.input_tokens if reply else 0,
            output_tokens=reply.usage.output_tokens if reply else 0,
            cached_tokens=reply.usage.cached_tokens if reply else 0,
        )

    async def _apologise(self, run: _Run, emit: Emit, error: StageError) -> None:
        cause = error.__cause__
        logger.warning(
            "turn failed", extra={"session": self.id, "turn": run.turn, "stage": error.stage, "code": error.code}
        )
        if cause is not None and not isinstance(cause, AntiphonError):
            logger.debug("cause of the failed turn", exc_info=cause)
        emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
        try:
            for frame in self._apology:
                await self._transport.play(frame, run.turn)
            await self._transport.drain()
            if self.settings.on_error and not self._apology:
                reply = self._reply(run, self._emitter(run, quiet=True), None)
                await reply.speak(_once(self.settings.on_error))
        except StageError:
            logger.warning("the apology could not be spoken", extra={"session": self.id, "turn": run.turn})
        self._end(run, emit, "failed", None)

    def _start_saying(self, source: AsyncIterator[str | WorkflowEvent]) -> None:
        """Say something that answers no turn."""
        assert self._group is not None
        run = _Run(0, 0, AudioFrame(np.empty(0, dtype=np.float32), self._intake.gate.rate_hz))
        run.committed.set()

        async def say() -> None:
            emit = self._emitter(run)
            reply = self._reply(run, emit, None)
            try:
                await run.floor.wait()
                await reply.speak(source)
            except StageError as error:
                emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)
            finally:
                if reply.spoken:
                    self.conversation.add(Item(id=new_id(), role="assistant", text=reply.spoken))
                    emit(TranscriptEvent, role="assistant", text=reply.spoken, final=True)

        self._join_line(run, say())

    def _take_ticket(self, run: _Run) -> None:
        priority = Priority.COMMITTED if run.committed.is_set() else Priority.SPECULATION
        current_ticket.set(Ticket(self.id, run.turn, run.revision, priority))

    # ------------------------------------------------------------------------ events

    def _event(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> Event:
        t_s = fields.pop("t_s", None)
        if t_s is None:
            t_s = asyncio.get_running_loop().time()
        return kind(t_s=t_s, audio_s=self._intake.audio_end_s, session=self.id, turn=turn, revision=revision, **fields)

    def _emitter(self, run: _Run, *, quiet: bool = False) -> Emit:
        """An emit function for one run: holds its events back until the turn is committed."""

        def emit(kind: type[Event], **fields: Any) -> None:
            if quiet:
                return
            event = self._event(kind, turn=run.turn, revision=run.revision, **fields)
            if run.committed.is_set():
                self._send(event)
            else:
                run.outbox.append(event)

        return emit

    def _send(self, event: Event) -> None:
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:
                logger.exception("an event sink failed", extra={"event_type": event.type})


async def _once(text: str) -> AsyncIterator[str]:
    yield text
