"""Speaks one answer: text as it comes -> clauses -> speech -> transport, in order, with bounded look-ahead.

The steps run side by side, joined by small queues. Nothing reaches the transport before `committed` is set, so the
same code serves a speculated answer and a sure one. A step that fails lets what was made before it be heard, then its
failure comes out of :meth:`Reply.speak`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.engines.errors import AntiphonError, EngineFailed, EngineTimeout
from antiphon.engines.protocols import TTS, SpeechChunk, ToolCall, TTSOptions, Usage
from antiphon.pipeline.errors import StageError, WorkflowError, had_no_time
from antiphon.pipeline.events import AudioStarted, Spoken, TextDeltaEvent, ToolCallEvent, ToolResultEvent
from antiphon.pipeline.heard import HeardText
from antiphon.pipeline.patience import GRACE_S, end_tasks
from antiphon.pipeline.speech_check import ChunkCheck
from antiphon.pipeline.text.encodable import encodable
from antiphon.pipeline.transports.base import Transport
from antiphon.pipeline.workflow import EndCall, Filler, ToolResult, WorkflowEvent

logger = logging.getLogger(__name__)

AUDIBLE = 0.01
"""A sample above this (of full scale 1.0) can be heard: the rule of the latency clock."""


class TransportBroken(ExceptionGroup[Exception]):
    """Raised when the transport failed: nothing more can be heard, and the session ends. Holds what it raised."""

    def derive(self, excs: Sequence[Exception], /) -> TransportBroken:  # type: ignore[override]
        return TransportBroken(self.message, excs)


class Splitter(Protocol):
    """Cuts text as it comes into pieces to speak; the pieces join to exactly the text."""

    def push(self, delta: str) -> list[str]: ...

    def stall(self) -> list[str]:
        """The text has paused: what may be spoken already."""
        ...

    def hurry(self) -> list[str]:
        """The first piece takes long: what a listener can be given of it, if it can be parted from the rest."""
        ...

    def finish(self) -> list[str]: ...


Speakable = Callable[[str], str]
"""One piece of written text to what a voice should say; "" where there is nothing to say. Called in order."""


class BeforeCall(Protocol):
    """Called before each request to an engine; sets its ticket."""

    def __call__(self, *, foremost: bool = False) -> None:
        """:param foremost: nothing of the answer has been heard yet."""
        ...


class BeforeSound(Protocol):
    """Awaited with each piece of text before its audio is handed to the sink."""

    def __call__(self, text: str, *, filler: bool) -> Awaitable[None]:
        """:raises AntiphonError: it must not be."""
        ...


Emit = Callable[..., None]
"""emit(EventClass, **fields): fills in times and ids."""


@dataclass(slots=True)
class ReplyTimes:
    """When things happened, on the event loop's clock."""

    first_token_s: float | None = None
    first_clause_s: float | None = None
    first_audio_s: float | None = None
    audible_s: float | None = None


@dataclass(frozen=True, slots=True)
class ReplySettings:
    output_hz: int = 24000
    look_ahead: int = 2
    """How many pieces of text may wait for TTS, and how many synthesised chunks for the sink (times 16)."""
    stall_s: float = 0.25
    """The workflow has paused this long: speak what there is."""
    hurry_s: float = 0.06
    """So long after the first text, with no clause complete: speak the words that can stand alone. inf: never."""
    filler: str = ""
    """Said where the workflow keeps the user waiting; "" for nothing."""
    filler_after_s: float = math.inf
    """So long after the commit, with no text yet."""
    workflow_timeout_s: float = 20.0
    """Longest wait for the workflow's first text."""
    workflow_gap_s: float = 20.0
    """Longest pause between two of its pieces."""
    tts_timeout_s: float = 10.0
    """Until the first audio of a piece, and between two chunks."""


@dataclass(frozen=True, slots=True)
class _Failure:
    error: StageError


@dataclass(frozen=True, slots=True)
class _Piece:
    """The start of one piece of text: its chunks follow."""

    text: str
    spoken: str = ""
    """What the voice is given for it."""
    filler: bool = False
    """It bridges a wait, and is no part of the answer."""
    said: asyncio.Event | None = field(default=None, compare=False)
    """Set when all of its audio has gone to the sink."""


class _End:
    """The answer is over."""


@dataclass(slots=True)
class Reply:
    """One answer on its way out. Make one for each; call :meth:`speak` once."""

    tts: TTS | None
    """None: nobody can speak this; the text is still taken in."""
    transport: Transport
    splitter: Splitter
    speakable: Speakable
    emit: Emit
    mark: int
    before_call: BeforeCall
    committed: asyncio.Event
    on_sound: Callable[[float], None] | None = None
    """Told when something of it, a filler too, is first heard: loop time."""
    before_sound: BeforeSound | None = None
    on_complete: Callable[[], None] | None = None
    """Told when all of it has gone to the sink, before it has been heard to its end."""
    voice: TTSOptions = field(default_factory=TTSOptions)
    settings: ReplySettings = field(default_factory=ReplySettings)
    times: ReplyTimes = field(default_factory=ReplyTimes)
    usage: Usage = field(default_factory=Usage)
    ends_call: bool = False
    """The workflow said that the conversation is over."""
    did: list[ToolCall | ToolResult] = field(default_factory=list)
    """What tools were called for it, and what they gave, in order."""
    text: str = ""
    """All text that the workflow gave."""
    spoken: str = ""
    """The part of it whose audio went to the sink."""
    _heard: HeardText = field(default_factory=HeardText)
    _pieces: asyncio.Queue[Any] | None = None
    _sounded: bool = False
    _handed_s: float = 0.0
    """Audio that went to the sink."""
    _before_s: float | None = None
    """What had been heard of this mark before this reply."""

    def heard_chars(self, played_s: float | None = None) -> int:
        """How much of the text was heard so far, to the word.

        :param played_s: seconds of this turn's audio that were heard; None: as many as the transport says.
        """
        if self.tts is None:
            return len(self.text)
        if self._before_s is None:
            return 0
        played_s = self.transport.heard_s(self.mark) if played_s is None else played_s
        return self._heard.chars(played_s - self._before_s)

    async def speak(self, source: AsyncIterator[str | WorkflowEvent]) -> None:
        """Take the whole answer in and play it; returns when the last sample has been heard.

        :raises StageError: the workflow or the TTS failed; what came before has been played.
        :raises TransportBroken: the transport failed.
        """
        texts: asyncio.Queue[str | WorkflowEvent | _Failure | _End] = asyncio.Queue(64)
        pieces: asyncio.Queue[_Piece | _Failure | _End] = asyncio.Queue(self.settings.look_ahead)
        chunks: asyncio.Queue[_Piece | SpeechChunk | asyncio.Event | _Failure | _End] = asyncio.Queue(
            16 * self.settings.look_ahead
        )
        self._pieces = pieces
        upstream = [
            asyncio.create_task(_guarded("workflow", self._pull(source, texts), texts)),
            asyncio.create_task(_guarded("workflow", self._split(texts, pieces), pieces)),
            asyncio.create_task(_guarded("tts", self._synthesize(pieces, chunks), chunks)),
        ]
        if self.settings.filler and not math.isinf(self.settings.filler_after_s):
            upstream.append(asyncio.create_task(self._bridge(pieces)))
        try:
            failure = await self._play(chunks)
        except StageError as error:  # of the caller's own code on the way out; a transport's failure is none
            failure = _Failure(error)
        finally:
            await end_tasks(upstream)
        self._pieces = None  # too late for interjections
        if failure is None and self.on_complete is not None:
            self.on_complete()
        with ends_session():
            await self.transport.drain()
        if failure is not None:
            raise failure.error

    # ------------------------------------------------------------------------ text -> pieces

    async def _pull(self, source: AsyncIterator[str | WorkflowEvent], out: asyncio.Queue[Any]) -> None:
        """Run the workflow in one task of its own: its context variables and timeouts span its yields."""
        self.before_call()
        try:
            async for item in source:
                await out.put(item)
            await out.put(_End())
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()

    async def interject(self, text: str) -> None:
        """Say something between the pieces of the answer that is no part of it (a question to the user).

        Returns when its audio has gone to the sink; when the answer ends before that, it waits for ever: end it with
        the answer.
        """
        if self._pieces is not None:
            said = asyncio.Event()
            await self._pieces.put(_Piece(text, filler=True, said=said))
            await said.wait()

    async def _bridge(self, pieces: asyncio.Queue[Any]) -> None:
        """Say something where the workflow lets the user wait, once."""
        await self.committed.wait()
        await asyncio.sleep(self.settings.filler_after_s)
        if not self.text:
            await pieces.put(_Piece(self.settings.filler, filler=True))

    async def _split(self, texts: asyncio.Queue[Any], out: asyncio.Queue[Any]) -> None:
        stalled = False
        while True:
            patient = not self.text or stalled
            longest_s = self.settings.workflow_gap_s if self.text else self.settings.workflow_timeout_s
            wait_s = longest_s if patient else self.settings.stall_s
            try:
                async with asyncio.timeout(wait_s):
                    item = await texts.get()
            except TimeoutError:
                if patient:
                    raise EngineTimeout(f"the workflow gave no text for {wait_s:g} s", stage="workflow") from None
                stalled = True
                await self._hand_over(self.splitter.stall(), out)
                continue
            stalled = False
            if isinstance(item, Filler):
                await out.put(_Piece(item, filler=True))
            elif isinstance(item, str):
                item = encodable(item)
                self._take_text(item)
                pieces = self.splitter.push(item)
                if not pieces and self._first_clause_is_late():
                    pieces = self.splitter.hurry()
                await self._hand_over(pieces, out)
            elif isinstance(item, _End | _Failure):
                await self._hand_over(self.splitter.finish(), out)
                await out.put(item)
                return
            else:
                self._take_event(item)

    def _first_clause_is_late(self) -> bool:
        times = self.times
        if times.first_clause_s is not None or times.first_token_s is None:
            return False
        return asyncio.get_running_loop().time() >= times.first_token_s + self.settings.hurry_s

    async def _hand_over(self, texts: list[str], out: asyncio.Queue[Any]) -> None:
        for text in texts:
            if self.times.first_clause_s is None:
                self.times.first_clause_s = asyncio.get_running_loop().time()
            await out.put(_Piece(text))

    def _take_text(self, text: str) -> None:
        if not text:
            return
        if self.times.first_token_s is None:
            self.times.first_token_s = asyncio.get_running_loop().time()
        self.text += text
        self.emit(TextDeltaEvent, text=text)

    def _take_event(self, event: WorkflowEvent) -> None:
        if isinstance(event, ToolResult) and not isinstance(event.output, str):
            event = replace(event, output=str(event.output))
        if isinstance(event, ToolCall) and not isinstance(event.arguments, str):
            raise WorkflowError(
                f"the workflow called a tool with arguments that are a {type(event.arguments).__name__}",
                hint="give them as text, a JSON object",
            )
        if isinstance(event, ToolCall | ToolResult):
            self.did.append(event)
        if isinstance(event, ToolCall):
            self.emit(ToolCallEvent, call_id=event.id, name=event.name, arguments=event.arguments)
        elif isinstance(event, ToolResult):
            self.emit(ToolResultEvent, call_id=event.call_id, name=event.name, output=event.output)
        elif isinstance(event, EndCall):
            self.ends_call = True
        elif isinstance(event, Usage):
            self.usage = Usage(
                self.usage.input_tokens + event.input_tokens,
                self.usage.output_tokens + event.output_tokens,
                self.usage.cached_tokens + event.cached_tokens,
            )
        else:
            raise WorkflowError(
                f"the workflow gave a {type(event).__name__}",
                hint="yield str pieces, and the events of antiphon.pipeline.workflow",
            )

    # ------------------------------------------------------------------------ pieces -> chunks

    async def _synthesize(self, pieces: asyncio.Queue[Any], out: asyncio.Queue[Any]) -> None:
        while True:
            piece = await pieces.get()
            if not isinstance(piece, _Piece):
                await out.put(piece)
                return
            words = self.speakable(piece.text)
            await out.put(replace(piece, spoken=words))
            if self.tts is None or not words.strip():
                if piece.said is not None:
                    await out.put(piece.said)
                continue
            await self._synthesize_piece(self.tts, piece, words, out)
            if piece.said is not None:
                await out.put(piece.said)

    async def _synthesize_piece(self, tts: TTS, piece: _Piece, words: str, out: asyncio.Queue[Any]) -> None:
        guess, began = not self.committed.is_set(), False
        self.before_call(foremost=self.times.first_audio_s is None)
        check = ChunkCheck(words)
        stream = tts.synthesize(words, self.voice)
        try:
            while (chunk := await self._next_chunk(stream, out)) is not None:
                began = True
                chunk = check(chunk)
                if self.times.first_audio_s is None and not piece.filler:
                    self.times.first_audio_s = asyncio.get_running_loop().time()
                await out.put(chunk)
        except AntiphonError as error:
            if began or not guess or not had_no_time(error):
                raise
        else:
            return
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        await self.committed.wait()  # there was no time for a guess; for the turn itself there may be
        await self._synthesize_piece(tts, piece, words, out)

    async def _next_chunk(self, stream: AsyncIterator[Any], out: asyncio.Queue[Any]) -> Any:
        """The voice's next chunk; None at its end.

        :raises EngineTimeout: it did not come in time. A voice that hangs even when it is told to stop does not get as
            far: then whoever plays is told beside it.
        """
        timeout_s = self.settings.tts_timeout_s
        late = EngineTimeout(f"no audio within {timeout_s:g} s", stage="tts")
        hangs = asyncio.get_running_loop().call_later(
            timeout_s + GRACE_S, _put_if_room, out, _Failure(StageError("tts", late))
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await anext(stream, None)
        except TimeoutError:
            raise late from None
        finally:
            hangs.cancel()

    # ------------------------------------------------------------------------ chunks -> transport

    async def _play(self, chunks: asyncio.Queue[Any]) -> _Failure | None:
        await self.committed.wait()
        resampler: StreamResampler | None = None
        waiting: _Piece | None = None
        filler = has_words = False
        while True:
            item = await chunks.get()
            if isinstance(item, SpeechChunk):
                if resampler is None:
                    resampler = StreamResampler(item.frame.rate_hz, self.settings.output_hz)
                if waiting is not None and self.before_sound is not None:
                    await self._may_sound(waiting)
                if not filler:
                    self._heard.chunk(item, self._handed_s)
                await self._to_sink(resampler.push(item.frame.samples), filler=filler)
                if waiting is not None:
                    self._has_spoken(waiting)
                    waiting = None
                continue
            if resampler is not None:
                await self._to_sink(resampler.push(np.empty(0, dtype=np.float32), last=True), filler=filler)
            if isinstance(item, _Failure):
                return item
            if isinstance(item, asyncio.Event):
                item.set()
                continue
            if waiting is not None and not waiting.filler:
                self.spoken += waiting.text  # a piece without sound (a dash, an emoji): said as far as it can be
            waiting = None
            if isinstance(item, _End):
                self._heard.finish()
                return None if self._handed_s or not has_words else _silent()
            waiting, filler = item, item.filler
            has_words = has_words or (self.tts is not None and any(map(str.isalnum, item.spoken)))
            if not filler:
                self._heard.piece(item.text, item.spoken)

    async def _may_sound(self, piece: _Piece) -> None:
        assert self.before_sound is not None
        try:
            await self.before_sound(piece.text, filler=piece.filler)
        except Exception as error:
            raise StageError("transcript", error) from error

    def _has_spoken(self, piece: _Piece) -> None:
        if not piece.filler:
            self.spoken += piece.text
        self.emit(Spoken, text=piece.text, filler=piece.filler)

    async def _to_sink(self, samples: Samples, *, filler: bool) -> None:
        if not len(samples):
            return
        with ends_session():
            if self._before_s is None:
                self._before_s = self.transport.heard_s(self.mark)
            self._handed_s += len(samples) / self.settings.output_hz
            start_s = await self.transport.play(AudioFrame(samples, self.settings.output_hz), self.mark)
        if (self.times.audible_s is None and not filler) or not self._sounded:
            loud = np.flatnonzero(np.abs(samples) > AUDIBLE)
            if len(loud) and not self._sounded:
                self._sounded = True
                if self.on_sound is not None:
                    self.on_sound(start_s + float(loud[0]) / self.settings.output_hz)
            if len(loud) and not filler:
                self.times.audible_s = start_s + float(loud[0]) / self.settings.output_hz
                self.emit(AudioStarted, t_s=self.times.audible_s)


@contextlib.contextmanager
def ends_session() -> Iterator[None]:
    """Around what a transport does.

    :raises TransportBroken: it failed.
    """
    try:
        yield
    except StageError:
        raise  # of the caller's own code on the way to the sink
    except Exception as error:
        raise TransportBroken("the transport failed", [error]) from error


def _silent() -> _Failure:
    return _Failure(StageError("tts", EngineFailed("the voice gave no audio for the whole answer", stage="tts")))


def _put_if_room(out: asyncio.Queue[Any], item: Any) -> None:
    """Without room there is still something to be heard, and nobody waits in silence."""
    with contextlib.suppress(asyncio.QueueFull):
        out.put_nowait(item)


async def _guarded(stage: str, work: Coroutine[Any, Any, None], out: asyncio.Queue[Any]) -> None:
    """Run a step; its failure becomes the last item of its output."""
    try:
        await work
    except Exception as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # nobody reads `out` any more: waiting for room would never end
            logger.warning("a stage failed while it was stopped", extra={"stage": stage, "code": type(error).__name__})
            raise asyncio.CancelledError from error
        await out.put(_Failure(StageError(getattr(error, "stage", "") or stage, error)))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled this step: somebody's own cancelled task came out of the caller's code or an engine.
        await out.put(_Failure(StageError(stage, error)))
