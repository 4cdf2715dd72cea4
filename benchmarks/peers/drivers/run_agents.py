# mypy: ignore-errors
# (It may run where Antiphon's checks do not see the packages.)
"""Runs `agents.voice.VoicePipeline` of openai-agents over the wire of `peer_wire`, on finished recordings.

Engines are plugged in as its users do: `WhisperModel.transcribe` as the STT model, `PiperVoice.synthesize` as the TTS
model, and `SingleAgentVoiceWorkflow` with an agent whose LLM is an OpenAI-protocol server. Settings are the package's.
"""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version

import numpy as np
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, set_tracing_disabled
from agents.voice import (
    AudioInput,
    SingleAgentVoiceWorkflow,
    STTModel,
    TTSModel,
    VoicePipeline,
    VoicePipelineConfig,
)
from openai import AsyncOpenAI
from peer_wire import RATE_HZ, Wire, serve

OUT_HZ = 24000
"""The pipeline's output rate: what its consumers play at."""


class Whisper(STTModel):
    def __init__(self, folder: str, compute_type: str, language: str | None, wire: Wire) -> None:
        from faster_whisper import WhisperModel

        self._whisper = WhisperModel(folder, device="cpu", compute_type=compute_type)
        self._language = language
        self._wire = wire

    @property
    def model_name(self) -> str:
        return "faster-whisper"

    async def transcribe(self, input, settings, trace_include_sensitive_data, trace_include_sensitive_audio_data):
        samples = input.buffer.astype(np.float32) / 32768.0
        text = await asyncio.to_thread(self._transcribe, samples)
        self._wire.event("heard", text)
        return text

    def _transcribe(self, samples) -> str:
        segments, _ = self._whisper.transcribe(samples, language=self._language)
        return " ".join(segment.text.strip() for segment in segments)

    async def create_session(self, *args, **kwargs):
        raise NotImplementedError("Whisper transcribes recordings")


class Piper(TTSModel):
    def __init__(self, voice: str, wire: Wire) -> None:
        import soxr
        from piper import PiperVoice

        self._voice = PiperVoice.load(voice)
        self._soxr = soxr
        self._wire = wire

    @property
    def model_name(self) -> str:
        return "piper"

    async def run(self, text, settings):
        self._wire.event("reply", text)
        rate_hz = self._voice.config.sample_rate
        chunks = iter(self._voice.synthesize(text))
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            yield self._soxr.resample(chunk.audio_int16_array, rate_hz, OUT_HZ).tobytes()


class Workflow(SingleAgentVoiceWorkflow):
    """Tells of the first text, and changes nothing."""

    wire: Wire

    async def run(self, transcription):
        told = False
        async for text in super().run(transcription):
            if text and not told:
                told = True
                self.wire.event("first_token")
            yield text


class Voice:
    """One pipeline for each conversation; the models are shared and stay warm."""

    def __init__(self, job: dict, wire: Wire, stt: STTModel, tts: TTSModel, agent: Agent) -> None:
        self._wire = wire
        self._stt, self._tts, self._agent = stt, tts, agent
        self._pipeline: VoicePipeline | None = None
        self._recording = bytearray()
        self._turn: asyncio.Task[None] | None = None

    async def open(self, keep: bool) -> None:
        if keep and self._pipeline is not None:
            return
        await self.close()
        workflow = Workflow(self._agent)
        workflow.wire = self._wire
        config = VoicePipelineConfig(tracing_disabled=True)
        self._pipeline = VoicePipeline(workflow=workflow, stt_model=self._stt, tts_model=self._tts, config=config)

    async def audio(self, pcm: bytes) -> None:
        self._recording += pcm

    async def end(self) -> None:
        samples = np.frombuffer(bytes(self._recording), np.int16)
        self._recording.clear()
        self._wire.event("commit")
        self._turn = asyncio.create_task(self._answer(samples))

    async def close(self) -> None:
        turn, self._turn, self._pipeline = self._turn, None, None
        self._recording.clear()
        if turn is not None:
            turn.cancel()
            await asyncio.wait({turn})

    async def aclose(self) -> None:
        await self.close()

    async def _answer(self, samples) -> None:
        try:
            result = await self._pipeline.run(AudioInput(buffer=samples, frame_rate=RATE_HZ))
            first = True
            async for event in result.stream():
                if event.type == "voice_stream_event_audio" and event.data is not None:
                    if first:
                        self._wire.event("first_audio")
                        first = False
                    self._wire.audio(event.data.astype(np.int16).tobytes(), OUT_HZ)
        except Exception as error:
            self._wire.send("error", message=f"{type(error).__name__}: {error}", fatal=False)
        self._wire.event("done")


async def load(job: dict, wire: Wire) -> Voice:
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=job["llm_url"], api_key="none")
    agent = Agent(
        name="Assistant",
        instructions=job["instructions"],
        model=OpenAIChatCompletionsModel(model=job["llm_name"], openai_client=client),
        model_settings=ModelSettings(temperature=job["temperature"], max_tokens=job["max_tokens"]),
    )
    stt = Whisper(job["stt"], job["compute_type"], job["language"], wire)
    voice = Voice(job, wire, stt, Piper(job["voice"], wire), agent)
    names = ("openai-agents", "faster-whisper", "ctranslate2", "piper-tts", "onnxruntime", "openai")
    settings = {
        "input": "a finished recording (AudioInput)",
        "stt": f"WhisperModel.transcribe, {job['compute_type']}",
        "workflow": "SingleAgentVoiceWorkflow, OpenAIChatCompletionsModel",
        "tts": "PiperVoice.synthesize, resampled to 24 kHz; TTSModelSettings() as they are",
    }
    wire.send("ready", versions={name: version(name) for name in names}, settings=settings)
    return voice


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(load))
