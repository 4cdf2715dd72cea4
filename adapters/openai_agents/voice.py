"""The other way round: our engines in the vendor's own `agents.voice.VoicePipeline`.

    async with AntiphonVoiceModelProvider("local.yaml") as provider:
        agent = Agent(name="Assistant", model=provider.model)
        pipeline = VoicePipeline(
            workflow=SingleAgentVoiceWorkflow(agent),
            config=VoicePipelineConfig(model_provider=provider, tracing_disabled=True),
        )

Live input (`StreamedAudioInput`) is cut into turns by our own gate and turn detector. The vendor's pipeline is its own:
it does not start before the turn has ended, and cannot be interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from agents import Model
from agents.voice import (
    AudioInput,
    StreamedAudioInput,
    StreamedTranscriptionSession,
    STTModel,
    STTModelSettings,
    TTSModel,
    TTSModelSettings,
    VoiceModelProvider,
)

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler, resample, to_pcm16
from antiphon.engines.protocols import TTS, STTOptions, TTSOptions
from antiphon.pipeline.agent.model import AntiphonModel
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.errors import SessionClosed
from antiphon.pipeline.events import ErrorEvent, Event
from antiphon.pipeline.session_settings import Engines
from antiphon.pipeline.text import make_speakable
from antiphon.pipeline.transports.queued import QueuedTransport
from antiphon.pipeline.voice_types import AudioInput as Recording
from antiphon.pipeline.workflow import Workflow, as_workflow

logger = logging.getLogger(__name__)

OUTPUT_HZ = 24000
"""What the vendor's pipeline takes speech to be."""
PIECE_SAMPLES = 512
"""Its `buffer_size` counts pieces: ours are as small as its own."""
INPUT_PIECE_S = 0.1


class AntiphonTTSModel(TTSModel):
    """A voice of ours. The vendor's voice names stand for the configured voice."""

    def __init__(self, tts: TTS, *, name: str = "antiphon") -> None:
        """:param tts: an entered engine."""
        self._tts = tts
        self._name = name

    @property
    def model_name(self) -> str:
        return self._name

    async def run(self, text: str, settings: TTSModelSettings) -> AsyncIterator[bytes]:
        """Speech as 16-bit little-endian PCM, mono, 24 kHz.

        :raises EngineError: the engine failed.
        """
        capabilities = self._tts.capabilities
        languages = capabilities.languages
        spoken = make_speakable(languages[0] if languages is not None and len(languages) == 1 else None)(text)
        if not spoken.strip():
            return
        voice = settings.voice if settings.voice in capabilities.voices else None
        options = TTSOptions(voice=voice if isinstance(voice, str) else None, speed=settings.speed)
        resampler: StreamResampler | None = None
        chunks: Any = self._tts.synthesize(spoken, options)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                if resampler is None:
                    resampler = StreamResampler(chunk.frame.rate_hz, OUTPUT_HZ)
                for piece in _pieces(resampler.push(chunk.frame.samples)):
                    yield piece
        if resampler is not None:
            for piece in _pieces(resampler.push(np.empty(0, dtype=np.float32), last=True)):
                yield piece


class AntiphonSTTModel(STTModel):
    """An ear of ours: finished recordings, and live streams of any number of turns."""

    def __init__(self, assembly: Assembly, *, input_hz: int = OUTPUT_HZ, name: str = "antiphon") -> None:
        """
        :param assembly: entered.
        :param input_hz: the rate of live streams, which do not say it themselves.
        """
        self._assembly = assembly
        self._input_hz = input_hz
        self._name = name

    @property
    def model_name(self) -> str:
        return self._name

    async def transcribe(
        self,
        input: AudioInput,
        settings: STTModelSettings,
        trace_include_sensitive_data: bool,
        trace_include_sensitive_audio_data: bool,
    ) -> str:
        """What was said in a recording. Nothing of it is traced.

        :raises EngineError: the engine failed.
        :raises AudioInputError: the buffer is no audio.
        """
        stt = _engines(self._assembly).stt
        frame = _recording(input.buffer, input.frame_rate, input.channels)
        samples = resample(frame.samples, frame.rate_hz, stt.rate_hz)
        heard = await stt.transcribe(AudioFrame(samples, stt.rate_hz), _options(settings))
        return heard.text

    async def create_session(
        self,
        input: StreamedAudioInput,
        settings: STTModelSettings,
        trace_include_sensitive_data: bool,
        trace_include_sensitive_audio_data: bool,
    ) -> StreamedTranscriptionSession:
        """Listen to a live stream. `settings.turn_detection` is ours: the configuration's."""
        return ListeningSession(self._assembly, input, self._input_hz, _options(settings))


class ListeningSession(StreamedTranscriptionSession):
    """One of our sessions that only listens: each turn's words come out, and nothing is answered."""

    def __init__(self, assembly: Assembly, source: StreamedAudioInput, rate_hz: int, options: STTOptions) -> None:
        self._turns: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        transport = QueuedTransport(_frames(source, rate_hz), lambda frame, mark: None, paced=True)
        self._session = assembly.session(
            transport, workflow=self._workflow(), sinks=[self._on_event], adjust=_only_listen(options)
        )
        self._task = asyncio.create_task(self._session.run())
        self._task.add_done_callback(self._ended)

    async def transcribe_turns(self) -> AsyncIterator[str]:
        """What was said, turn by turn, until the input ends or :meth:`close`.

        :raises AntiphonError: the session failed.
        """
        while (turn := await self._turns.get()) is not None:
            if isinstance(turn, Exception):
                raise turn
            yield turn

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    def _workflow(self) -> Workflow:
        async def listen(text: str) -> str:
            self._turns.put_nowait(text)
            return ""

        return as_workflow(listen)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ErrorEvent):
            logger.warning("a turn was not understood", extra={"stage": event.stage, "code": event.code})

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._turns.put_nowait(error)
        self._turns.put_nowait(None)


class AntiphonVoiceModelProvider(VoiceModelProvider):
    """The engines of a configuration, for the vendor's pipeline. An async context manager."""

    def __init__(
        self, config: Config | str | Path | None = None, *, input_hz: int = OUTPUT_HZ, needs_llm: bool = True
    ) -> None:
        """
        :param config: as for :class:`antiphon.VoicePipeline`; None: `local.yaml`.
        :param input_hz: the rate of live streams.
        :param needs_llm: load the LLM too, for :attr:`model`.
        """
        settings = config if isinstance(config, Config) else load_config(config)
        self._assembly = Assembly(settings, needs_llm=needs_llm)
        self._input_hz = input_hz
        self._entered = False

    async def __aenter__(self) -> Self:
        """:raises AntiphonError: an engine cannot be loaded."""
        await self._assembly.__aenter__()
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered = False
        await self._assembly.__aexit__(kind, error, trace)

    @property
    def model(self) -> Model:
        """The configuration's LLM, for `Agent(model=...)`."""
        self._require_entered()
        if self._assembly.llm is None:
            raise SessionClosed("this provider has no LLM", hint="make it with needs_llm=True")
        return AntiphonModel(self._assembly.llm, session_key="agents-voice")

    def get_stt_model(self, model_name: str | None) -> STTModel:
        """The configured ear, whatever the name."""
        self._require_entered()
        return AntiphonSTTModel(self._assembly, input_hz=self._input_hz, name=model_name or "antiphon")

    def get_tts_model(self, model_name: str | None) -> TTSModel:
        """The configured voice, whatever the name."""
        self._require_entered()
        return AntiphonTTSModel(_engines(self._assembly).tts, name=model_name or "antiphon")

    def _require_entered(self) -> None:
        if not self._entered:
            raise SessionClosed("the engines are not loaded", hint="use `async with AntiphonVoiceModelProvider(...)`")


def _engines(assembly: Assembly) -> Engines:
    assert assembly.engines is not None, "the assembly has not been entered"
    return assembly.engines


def _options(settings: STTModelSettings) -> STTOptions:
    language = settings.language
    if settings.languages is not None:
        language = settings.languages[0] if len(settings.languages) == 1 else None
    hotwords = ", ".join(settings.keywords) if settings.keywords else None
    return STTOptions(language=language, prompt=settings.prompt, hotwords=hotwords)


def _only_listen(options: STTOptions) -> Callable[[Assembly, dict[str, Any]], None]:
    def adjust(assembly: Assembly, session: dict[str, Any]) -> None:
        session["settings"] = dataclasses.replace(session["settings"], stt=options, on_error="", greeting="")

    return adjust


def _recording(buffer: Any, rate_hz: int, channels: int = 1) -> AudioFrame:
    """:raises AudioInputError: it is no audio."""
    return Recording(buffer, rate_hz, channels=channels).frame()


async def _frames(source: StreamedAudioInput, rate_hz: int) -> AsyncIterator[AudioFrame]:
    position = 0
    size = round(INPUT_PIECE_S * rate_hz)
    while (buffer := await source.queue.get()) is not None:
        samples = _recording(buffer, rate_hz).samples
        for at in range(0, len(samples), size):
            piece = samples[at : at + size]
            yield AudioFrame(piece, rate_hz, position / rate_hz)
            position += len(piece)
            await asyncio.sleep(0)  # audio that comes faster than real time must not keep the loop to itself


def _pieces(samples: Samples) -> Iterator[bytes]:
    pcm = to_pcm16(samples).astype("<i2")
    for at in range(0, len(pcm), PIECE_SAMPLES):
        yield pcm[at : at + PIECE_SAMPLES].tobytes()
