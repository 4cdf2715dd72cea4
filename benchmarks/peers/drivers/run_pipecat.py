# mypy: ignore-errors
# (Pipecat is not installed where this file is checked.)
"""Runs Pipecat, headless, over the wire of `peer_wire`: executed by the Python of Pipecat's own environment.

The pipeline is the one of Pipecat's documentation, with its defaults: Silero VAD (0.2 s) and Smart Turn v3 in the user
aggregator, then Whisper, an OpenAI-protocol LLM, Piper. Only what a user has to say is said: files and languages.
"""

from __future__ import annotations

import asyncio
import logging
import time
from importlib.metadata import version
from pathlib import Path

from loguru import logger
from peer_wire import RATE_HZ, Wire, serve
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    InterruptionWorkerFrame,
    LLMFullResponseEndFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
    UserStoppedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.observers.base_observer import BaseObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.piper.tts import PiperTTSService
from pipecat.services.whisper.stt import WhisperSTTService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

OUT_HZ = 24000
"""Pipecat's default output rate."""
AHEAD_S = 0.2
"""How much a sound card takes before it makes its writer wait."""


class Ears(BaseInputTransport):
    """Audio from the wire."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.ready = asyncio.Event()

    async def start(self, frame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self.ready.set()

    async def hear(self, pcm: bytes) -> None:
        await self.push_audio_frame(InputAudioRawFrame(audio=pcm, sample_rate=RATE_HZ, num_channels=1))


class Mouth(BaseOutputTransport):
    """Audio to the wire, taken as a sound card takes it: at once, then at the pace of playing."""

    def __init__(self, params: TransportParams, wire: Wire) -> None:
        super().__init__(params)
        self._wire = wire
        self._played_until_s = 0.0

    async def start(self, frame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame):
            self._played_until_s = 0.0
            self._wire.send("clear")

    async def write_audio_frame(self, frame) -> bool:
        self._wire.audio(frame.audio, frame.sample_rate)
        now_s = time.monotonic()
        self._played_until_s = max(now_s, self._played_until_s) + len(frame.audio) / 2 / frame.sample_rate
        await asyncio.sleep(max(0.0, self._played_until_s - now_s - AHEAD_S))
        return True

    @property
    def left_s(self) -> float:
        """Audio that was taken and is not played yet."""
        return max(0.0, self._played_until_s - time.monotonic())


class Teller(BaseObserver):
    """Tells what happens as the frames pass."""

    def __init__(self, wire: Wire, mouth: Mouth) -> None:
        super().__init__(observe_every_push=False)
        self._wire = wire
        self._mouth = mouth
        self._told: set[str] = set()
        self._answering = False
        self._ending: asyncio.Task[None] | None = None

    async def on_push_frame(self, data) -> None:
        if isinstance(data.frame, ErrorFrame):
            self._wire.send("error", message=str(data.frame.error), fatal=False)
        if data.direction != FrameDirection.DOWNSTREAM:  # what is told to all goes both ways
            return
        match data.frame:
            case VADUserStoppedSpeakingFrame():
                self._wire.event("vad_stop")
            case TranscriptionFrame(text=text):
                self._wire.event("heard", text)
            case UserStoppedSpeakingFrame():
                self._told.clear()
                self._wire.event("commit")
            case LLMTextFrame():
                self._answering = True
                self._once("first_token")
            case LLMFullResponseEndFrame():
                self._answering = False
            case TTSAudioRawFrame():
                self._once("first_audio")
            case TTSTextFrame(text=text):
                self._wire.event("reply", text)
            case BotStoppedSpeakingFrame() if self._ending is None or self._ending.done():
                self._ending = asyncio.create_task(self._end())

    def _once(self, name: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._wire.event(name)

    async def _end(self) -> None:
        """The bot stops speaking after each sentence that the next one is late for: only the last one ends a reply."""
        await asyncio.sleep(self._mouth.left_s)
        if not self._answering and not self._mouth.left_s:
            self._wire.event("done")


class Pipecat:
    """One pipeline for all conversations; the models stay warm, the context is made new."""

    def __init__(self, job: dict, wire: Wire) -> None:
        voice = Path(job["voice"])
        params = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
        self._ears, self._mouth = Ears(params), Mouth(params, wire)
        self._system = [{"role": "system", "content": job["instructions"]}]
        self._context = LLMContext(list(self._system))
        self._hearing = False
        aggregators = LLMContextAggregatorPair(
            self._context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
        )
        stt = WhisperSTTService(
            device="cpu",
            compute_type=job["compute_type"],
            settings=WhisperSTTService.Settings(model=job["stt"], language=job["language"]),
        )
        llm = OpenAILLMService(
            api_key="none",
            base_url=job["llm_url"],
            settings=OpenAILLMService.Settings(
                model=job["llm_name"], temperature=job["temperature"], max_tokens=job["max_tokens"]
            ),
        )
        tts = PiperTTSService(download_dir=voice.parent, settings=PiperTTSService.Settings(voice=voice.stem))
        self._worker = PipelineWorker(
            Pipeline([self._ears, stt, aggregators.user(), llm, tts, self._mouth, aggregators.assistant()]),
            params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=OUT_HZ),
            observers=[Teller(wire, self._mouth)],
            idle_timeout_secs=None,
            enable_rtvi=False,
        )
        self._runner = WorkerRunner(handle_sigint=False)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._runner.add_workers(self._worker)
        self._task = asyncio.create_task(self._runner.run())
        ready = asyncio.create_task(self._ears.ready.wait())
        await asyncio.wait({ready, self._task}, return_when=asyncio.FIRST_COMPLETED, timeout=120)
        if not self._ears.ready.is_set():
            ready.cancel()
            raise RuntimeError("the pipeline did not start")

    async def open(self, keep: bool) -> None:
        if not keep:
            self._context.set_messages(list(self._system))
        self._hearing = True

    async def audio(self, pcm: bytes) -> None:
        if self._hearing:
            await self._ears.hear(pcm)

    async def end(self) -> None:
        raise RuntimeError("Pipecat hears live audio: its input has no end")

    async def close(self) -> None:
        self._hearing = False
        await self._worker.queue_frame(InterruptionWorkerFrame())
        await asyncio.sleep(0.2)

    async def aclose(self) -> None:
        await self._runner.cancel()
        if self._task is not None:
            await self._task


async def load(job: dict, wire: Wire) -> Pipecat:
    logger.remove()
    logger.add(wire_log, level="WARNING")
    pipecat = Pipecat(job, wire)
    await pipecat.start()
    names = ("pipecat-ai", "faster-whisper", "ctranslate2", "piper-tts", "onnxruntime", "openai")
    settings = {
        "vad": "SileroVADAnalyzer(), stop_secs 0.2",
        "turn": "UserTurnStrategies(): LocalSmartTurnAnalyzerV3",
        "stt": f"WhisperSTTService, {job['compute_type']}",
        "llm": "OpenAILLMService",
        "tts": "PiperTTSService",
    }
    wire.send("ready", versions={name: version(name) for name in names}, settings=settings)
    return pipecat


def wire_log(message: str) -> None:
    logging.getLogger("pipecat").warning(message.rstrip())


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(load))
