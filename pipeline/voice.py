"""The library's front door: :class:`VoicePipeline`, with the names and events of OpenAI's `agents.voice`.

Beyond those names: turn ids and times on every event, transcripts (final) and spoken text as events, declared sample
rates on input, configuration by YAML, and errors that end a turn and not the session.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import AudioFrame, to_pcm16
from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import Stage, STTOptions, TTSOptions
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.errors import SessionClosed, StageError
from antiphon.pipeline.events import ErrorEvent, Event, Spoken, TranscriptEvent, TurnEnded, WarningEvent
from antiphon.pipeline.transports.queued import QueuedTransport
from antiphon.pipeline.transports.recording import recording_frames
from antiphon.pipeline.user_code import may_use_llm
from antiphon.pipeline.voice_types import (
    AudioInput,
    CallableSplitter,
    StreamedAudioInput,
    VoicePipelineConfig,
    VoiceStreamEvent,
    VoiceStreamEventAudio,
    VoiceStreamEventError,
    VoiceStreamEventLifecycle,
    VoiceStreamEventSpoken,
    VoiceStreamEventTranscript,
    VoiceStreamEventWarning,
)
from antiphon.pipeline.workflow import Workflow, as_workflow

logger = logging.getLogger(__name__)


class StreamedAudioResult:
    """What :meth:`VoicePipeline.run` returns at once; its events come while the session runs."""

    def __init__(self, settings: VoicePipelineConfig) -> None:
        self.total_output_text = ""
        """All that the assistant has said so far, turn after turn."""
        self._settings = settings.tts_settings
        self._queue: asyncio.Queue[tuple[VoiceStreamEvent | None, AudioFrame | None]] = asyncio.Queue()
        self._transport: QueuedTransport | None = None
        self._task: asyncio.Task[None] | None = None
        self._started: set[int] = set()
        self._ended = False
        self._said = ""
        """What `total_output_text` holds of replies that have ended."""

    async def stream(self) -> AsyncIterator[VoiceStreamEvent]:
        """The events, in order, up to "session_ended". To be read once.

        A failed turn gives a :class:`VoiceStreamEventError` and the session goes on.

        :raises AntiphonError: the session itself failed (after its error event).
        """
        while not self._ended:
            event, frame = await self._queue.get()
            if frame is not None and self._transport is not None:
                self._transport.taken(frame)
            if event is None:
                self._ended = True
            else:
                yield event
        if self._task is not None:
            # Not awaited: a session that was closed from elsewhere ends its reader, it does not cancel it.
            await asyncio.wait({self._task})
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                raise error

    async def aclose(self) -> None:
        """Cancel the session if it still runs; wait until nothing of it is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    # ------------------------------------------------------------------------ from the session

    def _put(self, event: VoiceStreamEvent | None, frame: AudioFrame | None = None) -> None:
        self._queue.put_nowait((event, frame))

    def _deliver(self, frame: AudioFrame, mark: int) -> None:
        samples: NDArray[Any] = to_pcm16(frame.samples)
        if np.dtype(self._settings.dtype) == np.float32:
            samples = frame.samples.reshape(-1, 1)
        if self._settings.transform_data is not None:
            try:
                samples = self._settings.transform_data(samples)
            except Exception as error:
                raise StageError("transform_data", error) from error
        now_s = asyncio.get_running_loop().time()
        self._put(VoiceStreamEventAudio(data=samples, turn=mark, frame_rate=frame.rate_hz, t_s=now_s), frame)

    def _on_event(self, event: Event) -> None:
        at: dict[str, Any] = {"turn": event.turn, "t_s": event.t_s, "audio_s": event.audio_s}
        heard = isinstance(event, TranscriptEvent) and event.role == "user" and event.final
        begins = heard or isinstance(event, ErrorEvent)
        if begins and event.turn and event.turn not in self._started:
            self._started.add(event.turn)
            self._put(VoiceStreamEventLifecycle(event="turn_started", **at))
        if isinstance(event, TranscriptEvent):
            if event.role == "assistant":  # all of it, also pieces that made no sound
                self._said += event.text
                self.total_output_text = self._said
            self._put(VoiceStreamEventTranscript(role=event.role, text=event.text, final=event.final, **at))
        elif isinstance(event, Spoken):
            self.total_output_text += event.text
            self._put(VoiceStreamEventSpoken(text=event.text, **at))
        elif isinstance(event, ErrorEvent):
            error = AntiphonError(f"{event.stage}: {event.code}: {event.message}")
            self._put(VoiceStreamEventError(error=error, **at))
        elif isinstance(event, WarningEvent):
            logger.warning("a session has a warning", extra={"code": event.code, "turn": event.turn})
            self._put(VoiceStreamEventWarning(code=event.code, message=event.message, **at))
        elif isinstance(event, TurnEnded) and event.turn in self._started:
            self._put(VoiceStreamEventLifecycle(event="turn_ended", **at))


class VoicePipeline:
    """Speech in, speech out, on the engines of one configuration.

    One pipeline is one conversation partner: its history goes on from run to run. Engines load at the first run and
    stay loaded until :meth:`aclose` (or the end of `async with`).
    """

    def __init__(
        self,
        *,
        workflow: Any = None,
        stt_model: Any = None,
        tts_model: Any = None,
        config: VoicePipelineConfig | Config | Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        """
        :param workflow: a :class:`VoiceWorkflowBase`, any workflow, or a coroutine or async generator function of one
            text. None: the configured one.
        :param stt_model: an STT engine of your own. A name is taken as an alias of the configured engine.
        :param tts_model: the same for TTS.
        :param config: what `agents.voice` users know (:class:`VoicePipelineConfig`, or its fields as a mapping), or an
            Antiphon configuration: a :class:`Config`, a path, the name of a packaged one. None: `local.yaml`.
        """
        self.settings = VoicePipelineConfig()
        yaml: Config | str | Path | None = None
        if isinstance(config, VoicePipelineConfig):
            self.settings = config
        elif isinstance(config, Mapping):
            self.settings = VoicePipelineConfig.from_mapping(config)
        else:
            yaml = config
        self.config = yaml if isinstance(yaml, Config) else load_config(yaml)
        self.conversation = Conversation()
        self._workflow: Workflow | None = None if workflow is None else as_workflow(workflow)
        self._replacements = _replacements(stt_model, tts_model)
        self._assembly: Assembly | None = None
        self._loading: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._results: set[StreamedAudioResult] = set()

    @classmethod
    def from_config(
        cls,
        path: str | Path | Config | None = None,
        *,
        workflow: Any = None,
        overrides: Sequence[str] = (),
        settings: VoicePipelineConfig | Mapping[str, Any] | None = None,
    ) -> VoicePipeline:
        """A pipeline from a YAML file.

        :param overrides: as in `antiphon run --set`.
        :param settings: what `agents.voice` users know, on top of the file.
        :raises ConfigError: the file or the settings have mistakes; the message has each with its place.
        """
        config = path if isinstance(path, Config) else load_config(path, overrides=overrides)
        pipeline = cls(workflow=workflow, config=config)
        if settings is not None:
            if not isinstance(settings, VoicePipelineConfig):
                settings = VoicePipelineConfig.from_mapping(settings)
            pipeline.settings = settings
        return pipeline

    async def __aenter__(self) -> Self:
        await self._loaded()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End running sessions and free the engines."""
        for result in list(self._results):
            await result.aclose()
        assembly, self._assembly = self._assembly, None
        if assembly is not None:
            await assembly.__aexit__(None, None, None)

    async def run(
        self, audio_input: AudioInput | StreamedAudioInput, *, conversation: Conversation | None = None
    ) -> StreamedAudioResult:
        """Start a session on the input; returns at once.

        :param audio_input: an :class:`AudioInput` is one finished turn; a :class:`StreamedAudioInput` is live and may
            hold any number of turns.
        :param conversation: another history than the pipeline's own.
        :raises TypeError: the input is neither.
        :raises SessionClosed: the engines were loaded in another event loop and not closed there.
        """
        if not isinstance(audio_input, AudioInput | StreamedAudioInput):
            raise TypeError(
                "VoicePipeline.run wants an antiphon.AudioInput or an antiphon.StreamedAudioInput, "
                f"not {type(audio_input).__module__}.{type(audio_input).__qualname__}"
            )
        self._stay_in_one_loop()
        result = StreamedAudioResult(self.settings)
        self._results.add(result)
        result._task = asyncio.create_task(self._serve(audio_input, result, conversation))
        result._task.add_done_callback(lambda task: self._done(task, result, audio_input))
        return result

    # ------------------------------------------------------------------------ inside

    def _stay_in_one_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._assembly is not None:
                raise SessionClosed(
                    "this pipeline's engines were loaded in another event loop",
                    hint="await pipeline.aclose() before that loop ends (or use `async with pipeline:`)",
                )
            self._loop, self._loading = loop, asyncio.Lock()

    async def _loaded(self) -> Assembly:
        self._stay_in_one_loop()
        assert self._loading is not None
        async with self._loading:
            if self._assembly is None:
                needs_llm = None if self._workflow is None else may_use_llm(self._workflow)
                assembly = Assembly(self.config, replacements=dict(self._replacements), needs_llm=needs_llm)
                self._assembly = await assembly.__aenter__()
            return self._assembly

    async def _serve(
        self,
        audio_input: AudioInput | StreamedAudioInput,
        result: StreamedAudioResult,
        conversation: Conversation | None,
    ) -> None:
        try:
            finished = isinstance(audio_input, AudioInput)
            source = (
                recording_frames(audio_input.frame(), paced=False)
                if isinstance(audio_input, AudioInput)
                else audio_input.frames()
            )
            assembly = await self._loaded()
            result._transport = QueuedTransport(source, result._deliver, paced=not finished)
            session = assembly.session(
                result._transport,
                workflow=self._workflow,
                sinks=[result._on_event],
                conversation=self.conversation if conversation is None else conversation,
                manual_turns=finished,
                adjust=self._adjust,
            )
            await session.run()
        except Exception as error:
            single = _only(error)
            result._put(VoiceStreamEventError(error=single))
            raise single from None

    def _adjust(self, assembly: Assembly, session: dict[str, Any]) -> None:
        """Bring the settings that `agents.voice` users know into a session's arguments."""
        stt, tts = self.settings.stt_settings, self.settings.tts_settings
        keywords = ", ".join(stt.keywords) if stt.keywords else None
        voice = tts.voice
        assert assembly.engines is not None
        if voice is not None and voice not in assembly.engines.tts.capabilities.voices:
            logger.info("an unknown voice name stands for the configured voice", extra={"voice": str(voice)})
            voice = None
        session["settings"] = dataclasses.replace(
            session["settings"],
            stt=STTOptions(language=stt.language, prompt=stt.prompt, hotwords=keywords),
            tts=TTSOptions(voice=voice, speed=tts.speed),
        )
        if tts.text_splitter is not None:
            split = tts.text_splitter
            session["text"] = dataclasses.replace(session["text"], splitter=lambda language: CallableSplitter(split))

    def _done(
        self, task: asyncio.Task[None], result: StreamedAudioResult, audio_input: AudioInput | StreamedAudioInput
    ) -> None:
        """However the session ended, even before its first step: nobody may wait for more."""
        if isinstance(audio_input, StreamedAudioInput):
            audio_input.abandon()
        result._put(VoiceStreamEventLifecycle(event="session_ended"))
        result._put(None)
        self._results.discard(result)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a session failed", exc_info=error)


def _replacements(stt_model: Any, tts_model: Any) -> dict[Stage, Any]:
    found: dict[Stage, Any] = {}
    stages: tuple[tuple[Stage, Any, str], ...] = (("stt", stt_model, "transcribe"), ("tts", tts_model, "synthesize"))
    for stage, model, method in stages:
        if model is None:
            continue
        if isinstance(model, str):
            logger.info("a model name stands for the configured engine", extra={"stage": stage, "alias": model})
        elif callable(getattr(model, method, None)) and hasattr(model, "capabilities"):
            found[stage] = model
        else:
            raise TypeError(
                f"{stage}_model must be a name or an Antiphon {stage} engine (antiphon.engines.protocols), "
                f"not {type(model).__name__}"
            )
    return found


def _only(error: Exception) -> Exception:
    """The one error inside nested groups of one."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
