"""One client's connection to the Wyoming server: its events, in order, and what each asks for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from antiphon.engines.errors import AntiphonError, EngineOverloaded, EngineTimeout, StaleRequest
from antiphon.engines.wyoming_wire import BadEvent, WireBroken, read_event
from antiphon.server.service import Refused, Service
from antiphon.server.together import end_all, first_over
from antiphon.server.wyoming.conversing import Conversing
from antiphon.server.wyoming.describing import describe, offered
from antiphon.server.wyoming.hearing import Recording, TooLong, samples_of, stt_options, transcribe
from antiphon.server.wyoming.sending import ClientGone, Sender
from antiphon.server.wyoming.speaking import SpokenText, UnknownVoice, tts_options
from antiphon.server.wyoming.thinking import MAX_TEXT_CHARS, Talks

if TYPE_CHECKING:
    from wyoming.event import Event

    from antiphon.pipeline.config.wyoming import WyomingService

logger = logging.getLogger(__name__)

_WAITING_EVENTS = 4
"""Events that may wait while another is worked on; past that the connection is not read on."""
_LAST_S = 0.5
_READ_BYTES = 1 << 16
_LONGEST_NAP_S = 3600.0
_LOOK_S = 0.05
"""So often it is looked whether a connection that is to be closed has finished."""


class NotOffered(BadEvent):
    """Raised for what this server does not do."""


class WyomingConnection:
    """Await :meth:`run` once."""

    def __init__(
        self,
        service: Service,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        talks: Talks,
        *,
        idle_s: float | None = None,
    ) -> None:
        """
        :param idle_s: a connection that is idle for so long is closed; None: as configured.
        """
        self._service = service
        self._idle_s = service.settings.wyoming.idle_s if idle_s is None else idle_s
        self._reader = reader
        self._sender = Sender(writer)
        self._talks = talks
        self._events: asyncio.Queue[Event | None] = asyncio.Queue(_WAITING_EVENTS)
        self._conversing = Conversing(service, self._sender)
        self._transcribe: Event | None = None
        """What was asked for the next recording."""
        self._recording: Recording | None = None
        self._spoken: SpokenText | None = None
        """A text that is being streamed in."""
        self._speaks_answers = False
        """A run was asked for that begins with text and ends in speech."""
        self._audio_answers: str | None = None
        """A run was asked for that begins with a recording and ends with this stage, before speech."""
        self._busy = False
        self._last_s = asyncio.get_running_loop().time()
        self._closing = asyncio.Event()
        self._handlers: dict[str, Callable[[Event], Awaitable[None]]] = {
            "describe": self._describe,
            "ping": self._ping,
            "transcribe": self._expect_recording,
            "audio-start": self._begin_audio,
            "audio-chunk": self._take_audio,
            "audio-stop": self._end_audio,
            "synthesize": self._synthesize,
            "synthesize-start": self._begin_text,
            "synthesize-chunk": self._take_text,
            "synthesize-stop": self._end_text,
            "transcript": self._handle,
            "recognize": self._recognize,
            "run-pipeline": self._run_pipeline,
        }

    async def run(self) -> None:
        """Serve until the client goes, is idle for too long, or breaks the protocol; or, after :meth:`close`, until
        what is under way is done."""
        reading = asyncio.create_task(self._read(), name="wyoming-read")
        working = asyncio.create_task(self._work(), name="wyoming-work")
        watching = asyncio.create_task(self._watch(), name="wyoming-watch")
        tasks = (reading, working, watching)
        try:
            await first_over(tasks)
        except WireBroken as error:
            await self._say_last(str(error))
        except (ClientGone, OSError):
            logger.info("a client has gone in the middle", extra={"front": "wyoming"})
        finally:
            if self._spoken is not None:
                await self._spoken.cancel()
            await end_all(tasks)
            await self._conversing.leave()

    def close(self) -> None:
        """No more is taken in; :meth:`run` returns once what is under way is done."""
        self._closing.set()

    async def _say_last(self, why: str) -> None:
        """An error, and no more. What still comes is taken in for a moment: who closes with bytes unread takes back
        what was said last."""
        with contextlib.suppress(ClientGone, OSError, TimeoutError):
            await self._sender.error(why, "bad-event")
            self._sender.end()
            async with asyncio.timeout(_LAST_S):
                while await self._reader.read(_READ_BYTES):
                    pass

    # ------------------------------------------------------------------------ the three tasks

    async def _read(self) -> None:
        """Until the client has gone: nobody wants what is still being made then."""
        limit = self._service.settings.max_message_kb * 1024
        while (event := await read_event(self._reader, max_data_bytes=limit, max_payload_bytes=limit)) is not None:
            self._last_s = asyncio.get_running_loop().time()
            await self._events.put(event)

    async def _work(self) -> None:
        while True:
            event = await self._events.get()
            assert event is not None
            handler = self._handlers.get(event.type)
            if handler is None:
                continue  # as the protocol has it: programs of different age understand one another
            self._busy = True
            try:
                await self._answered(handler, event)
            finally:
                self._busy = False
                self._last_s = asyncio.get_running_loop().time()

    async def _answered(self, handler: Callable[[Event], Awaitable[None]], event: Event) -> None:
        """Carry an event out; what goes wrong is told, and the connection goes on."""
        try:
            await handler(event)
        except Refused as why:
            await self._sender.error(why.message, why.code)
        except TooLong as error:
            await self._sender.error(str(error), "too-long")
        except UnknownVoice as error:
            await self._sender.error(str(error), "unknown-voice")
        except NotOffered as error:
            await self._sender.error(str(error), "not-offered")
        except BadEvent as error:
            await self._sender.error(str(error), "bad-event")
        except (EngineOverloaded, StaleRequest) as error:
            await self._sender.error(error.message, "overloaded")
        except EngineTimeout as error:
            await self._sender.error(error.message, "timeout")
        except AntiphonError as error:
            logger.warning("a request failed", extra={"front": "wyoming", "code": type(error).__name__})
            await self._sender.error(error.message, "failed")

    async def _watch(self) -> None:
        """Until the connection has been idle for too long, or is to be closed and has nothing left to do."""
        loop = asyncio.get_running_loop()
        while True:
            idle = not (self._busy or self._conversing.busy or self._events.qsize())
            if self._closing.is_set():
                if idle and self._recording is None and self._spoken is None:
                    return
                self._conversing.close()
                await asyncio.sleep(_LOOK_S)
                continue
            last_s = self._last_s if self._spoken is None else max(self._last_s, self._spoken.active_s)
            rest_s = self._idle_s - (loop.time() - last_s)
            if idle and rest_s <= 0:
                await self._sender.error(f"nothing came for {self._idle_s:g} s", "idle")
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(rest_s, 1.0), _LONGEST_NAP_S)):
                    await self._closing.wait()

    # ------------------------------------------------------------------------ service

    def _offers(self, name: WyomingService) -> None:
        """
        :raises NotOffered: it is not.
        """
        self._service.must_be_ready()
        if name not in offered(self._service):
            raise NotOffered(f"this server does not offer '{name}'")

    async def _describe(self, event: Event) -> None:
        self._service.must_be_ready()
        await self._sender.send(describe(self._service).event())

    async def _ping(self, event: Event) -> None:
        from wyoming.ping import Pong

        await self._sender.send(Pong(text=_text(event, "text", missing=None)).event())

    # ------------------------------------------------------------------------ audio in

    async def _expect_recording(self, event: Event) -> None:
        self._offers("asr")
        stt_options(self._service, event)  # a bad one is told of at once
        self._transcribe = event

    async def _begin_audio(self, event: Event) -> None:
        if not self._in_conversation and self._recording is None:
            self._recording = self._new_recording()

    async def _take_audio(self, event: Event) -> None:
        samples, rate_hz = samples_of(event)
        if self._in_conversation:
            await self._conversing.hear(samples, rate_hz)
            return
        if self._recording is None:  # some programs leave out the beginning
            self._recording = self._new_recording()
        try:
            self._recording.push(samples, rate_hz)
        except TooLong:
            self._recording = self._transcribe = self._audio_answers = None
            raise

    @property
    def _in_conversation(self) -> bool:
        """Audio belongs to a conversation, not to a recording that was asked for."""
        return self._conversing.asked_for and self._transcribe is None and self._audio_answers is None

    def _new_recording(self) -> Recording:
        self._offers("asr")
        return Recording(self._service.engines.stt.rate_hz, self._service.settings.wyoming.max_audio_s)

    async def _end_audio(self, event: Event) -> None:
        if self._in_conversation:
            await self._conversing.stop_hearing()
            return
        recording, self._recording = self._recording, None
        asked, self._transcribe = self._transcribe, None
        answers, self._audio_answers = self._audio_answers, None
        if recording is None:
            return  # the end of something that was refused
        text = await self._tell_transcript(recording, asked)
        if answers == "handle" and text:
            await self._answer(text, None)

    async def _tell_transcript(self, recording: Recording, asked: Event | None) -> str:
        from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop

        heard = await transcribe(self._service, recording.finished(), stt_options(self._service, asked))
        await self._sender.send(
            TranscriptStart(language=heard.language).event(),
            TranscriptChunk(text=heard.text).event(),
            Transcript(text=heard.text, language=heard.language).event(),
            TranscriptStop().event(),
        )
        return heard.text

    # ------------------------------------------------------------------------ speech out

    async def _synthesize(self, event: Event) -> None:
        if self._spoken is not None:
            return  # the same text once more, for servers that cannot take it piece by piece
        await self._speak(_text(event, "text"), event.data.get("voice"))

    async def _speak(self, text: str, voice: Any = None) -> None:
        self._offers("tts")
        spoken = SpokenText(self._service, self._sender, tts_options(self._service, voice))
        try:
            await spoken.push(text)
            await spoken.finish()
        finally:
            await spoken.cancel()

    async def _begin_text(self, event: Event) -> None:
        self._offers("tts")
        if self._spoken is not None:
            raise BadEvent("synthesize-start: a text is being streamed already")
        self._spoken = SpokenText(self._service, self._sender, tts_options(self._service, event.data.get("voice")))

    async def _take_text(self, event: Event) -> None:
        text = _text(event, "text")
        if self._spoken is None:
            return  # the rest of a text that was refused
        try:
            await self._spoken.push(text)
        except BaseException:
            await self._drop_text()
            raise

    async def _end_text(self, event: Event) -> None:
        from wyoming.tts import SynthesizeStopped

        if self._spoken is None:
            return
        try:
            await self._spoken.finish()
        finally:
            await self._drop_text()
        await self._sender.send(SynthesizeStopped().event())

    async def _drop_text(self) -> None:
        spoken, self._spoken = self._spoken, None
        if spoken is not None:
            await spoken.cancel()

    # ------------------------------------------------------------------------ the agent

    async def _handle(self, event: Event) -> None:
        text = _text(event, "text")
        if not text.strip() or len(text) > MAX_TEXT_CHARS:
            raise BadEvent(f"transcript: a text of 1 to {MAX_TEXT_CHARS} characters")
        context = event.data.get("context") or {}
        name = context.get("conversation_id") if isinstance(context, dict) else None
        await self._answer(text, str(name)[:200] if name else None)

    async def _answer(self, text: str, conversation_id: str | None) -> None:
        from wyoming.handle import Handled, HandledChunk, HandledStart, HandledStop

        self._offers("handle")
        spoken = None
        if self._speaks_answers:
            self._speaks_answers = False
            self._offers("tts")
            spoken = SpokenText(self._service, self._sender, tts_options(self._service, None))
        pieces: list[str] = []
        try:
            async with aclosing(self._talks.answer(text, conversation_id)) as answer:
                async for piece in answer:
                    if not pieces:
                        await self._sender.send(HandledStart().event())
                    pieces.append(piece)
                    await self._sender.send(HandledChunk(text=piece).event())
                    if spoken is not None:
                        await spoken.push(piece)
            whole = "".join(pieces)
            await self._sender.send(Handled(text=whole).event())
            if pieces:
                await self._sender.send(HandledStop().event())
            if spoken is not None:
                await spoken.finish()
        finally:
            if spoken is not None:
                await spoken.cancel()

    async def _recognize(self, event: Event) -> None:
        from wyoming.intent import NotRecognized

        _text(event, "text")
        await self._sender.send(NotRecognized(text="this server answers in words: send a transcript").event())

    async def _run_pipeline(self, event: Event) -> None:
        from wyoming.pipeline import PipelineStage, RunPipeline

        try:
            run = RunPipeline.from_event(event)
        except (KeyError, ValueError) as error:
            raise BadEvent(f"run-pipeline: {error}") from None
        begin, end = run.start_stage, run.end_stage
        self._speaks_answers, self._audio_answers = False, None
        if begin in (PipelineStage.WAKE, PipelineStage.ASR) and end is PipelineStage.TTS:
            self._offers("pipeline")
            # Who leaves the wake word to the server streams all the time.
            await self._conversing.start(goes_on=run.restart_on_end or begin is PipelineStage.WAKE)
        elif begin is PipelineStage.ASR and end in (PipelineStage.ASR, PipelineStage.HANDLE):
            self._offers("asr" if end is PipelineStage.ASR else "handle")
            self._audio_answers = end.value
        elif begin in (PipelineStage.INTENT, PipelineStage.HANDLE):
            self._offers("handle")
            self._speaks_answers = end is PipelineStage.TTS
        elif begin is PipelineStage.TTS:
            if run.announce_text:
                await self._speak(_text(event, "announce_text"))
        else:
            raise NotOffered(f"a run from {begin.value} to {end.value} is not made here")


def _text(event: Event, key: str, *, missing: Any = ...) -> Any:
    """
    :raises BadEvent: it is no text.
    """
    value = event.data.get(key, missing)
    if value is missing and missing is not ...:
        return missing
    if not isinstance(value, str) and not (value is None and missing is None):
        raise BadEvent(f"{event.type}: '{key}' is to be a text")
    return value
