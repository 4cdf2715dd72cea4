# mypy: ignore-errors
# (LiveKit Agents is not installed where this file is checked.)
"""Runs LiveKit Agents, headless, over the wire of `peer_wire`: executed by the Python of LiveKit's own environment.

An `AgentSession` without a room, with its defaults for VAD, turn detection, preemptive generation and interruptions.
Whisper and Piper, for which LiveKit has no plugin, are adapted in the way its documentation shows: an `STT` that
recognises whole segments, a `TTS` that synthesises whole sentences.
"""

from __future__ import annotations

import asyncio
import logging
import time
from importlib.metadata import version

import numpy as np
from faster_whisper import WhisperModel
from livekit import rtc
from livekit.agents import Agent, AgentSession, llm, stt, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN
from livekit.agents.voice import io
from livekit.plugins import openai
from peer_wire import RATE_HZ, Wire, serve
from piper import PiperVoice


class Whisper(stt.STT):
    """faster-whisper, a segment at a time; the session puts its VAD before it."""

    def __init__(self, folder: str, compute_type: str, language: str | None) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))
        self._whisper = WhisperModel(folder, device="cpu", compute_type=compute_type)
        self._language = language

    async def _recognize_impl(self, buffer, *, language=NOT_GIVEN, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        frame = rtc.combine_audio_frames(buffer)
        samples = np.frombuffer(frame.data, np.int16).astype(np.float32) / 32768.0
        text = await asyncio.to_thread(self._transcribe, samples)
        said = stt.SpeechData(language=self._language or "", text=text)
        return stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=[said])

    def _transcribe(self, samples) -> str:
        segments, _ = self._whisper.transcribe(samples, language=self._language)
        return " ".join(segment.text.strip() for segment in segments)


class Piper(tts.TTS):
    """Piper, a sentence at a time; the session cuts the sentences."""

    def __init__(self, voice: str) -> None:
        self.voice = PiperVoice.load(voice)
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=self.voice.config.sample_rate,
            num_channels=1,
        )

    def synthesize(self, text, *, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return PiperStream(tts=self, input_text=text, conn_options=conn_options)


class PiperStream(tts.ChunkedStream):
    async def _run(self, output_emitter) -> None:
        output_emitter.initialize(
            request_id=utils.shortuuid(),
            sample_rate=self._tts.sample_rate,
            num_channels=1,
            mime_type="audio/pcm",
        )
        chunks = iter(self._tts.voice.synthesize(self.input_text))
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            output_emitter.push(chunk.audio_int16_bytes)
        output_emitter.flush()


class Ears(io.AudioInput):
    """Audio from the wire."""

    def __init__(self) -> None:
        super().__init__(label="wire")
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()

    def hear(self, pcm: bytes) -> None:
        self._frames.put_nowait(pcm)

    async def __anext__(self):
        pcm = await self._frames.get()
        return rtc.AudioFrame(pcm, RATE_HZ, 1, len(pcm) // 2)


class Mouth(io.AudioOutput):
    """Audio to the wire, as fast as it comes; what has been played is known by the clock."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(label="wire", capabilities=io.AudioOutputCapabilities(pause=False))
        self._wire = wire
        self._began_s = 0.0
        self._pushed_s = 0.0
        self._ending: asyncio.Task[None] | None = None

    async def capture_frame(self, frame) -> None:
        if self._ending is not None:  # the segment before is played to its end first
            await self._ending
        await super().capture_frame(frame)
        if not self._pushed_s:
            self._began_s = time.monotonic()
            self._wire.event("first_audio")
            self.on_playback_started(created_at=time.time())
        self._wire.audio(bytes(frame.data), frame.sample_rate)
        self._pushed_s += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._pushed_s and self._ending is None:
            self._ending = asyncio.create_task(self._play_out())

    def clear_buffer(self) -> None:
        self._wire.send("clear")
        if self._ending is not None:
            self._ending.cancel()
        if self._pushed_s:
            self._finish(interrupted=True)

    async def _play_out(self) -> None:
        await asyncio.sleep(max(0.0, self._began_s + self._pushed_s - time.monotonic()))
        self._finish(interrupted=False)

    def _finish(self, *, interrupted: bool) -> None:
        played_s = min(self._pushed_s, time.monotonic() - self._began_s) if interrupted else self._pushed_s
        self._pushed_s, self._ending = 0.0, None
        self.on_playback_finished(playback_position=played_s, interrupted=interrupted)


class Assistant(Agent):
    """An agent that tells what happens, and changes nothing."""

    def __init__(self, instructions: str, wire: Wire) -> None:
        super().__init__(instructions=instructions)
        self._wire = wire

    async def on_user_turn_completed(self, turn_ctx, new_message) -> None:
        self._wire.event("commit")

    async def llm_node(self, chat_ctx, tools, model_settings):
        told = False
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            if not told and isinstance(chunk, llm.ChatChunk) and chunk.delta and chunk.delta.content:
                told = True
                self._wire.event("first_token")
            yield chunk


class LiveKit:
    """A session for each conversation; the models are shared and stay warm."""

    def __init__(self, job: dict, wire: Wire) -> None:
        self._job, self._wire = job, wire
        self._stt = Whisper(job["stt"], job["compute_type"], job["language"])
        self._tts = Piper(job["voice"])
        self._llm = openai.LLM(
            model=job["llm_name"],
            base_url=job["llm_url"],
            api_key="none",
            temperature=job["temperature"],
            extra_body={"max_tokens": job["max_tokens"]},
        )
        self._session: AgentSession | None = None
        self._ears: Ears | None = None

    async def open(self, keep: bool) -> None:
        if keep and self._session is not None:
            return
        await self.close()
        session = AgentSession(stt=self._stt, llm=self._llm, tts=self._tts)
        session.on("user_input_transcribed", self._heard)
        session.on("user_state_changed", self._user)
        session.on("agent_state_changed", self._agent)
        session.on("conversation_item_added", self._item)
        session.on("error", self._failed)
        self._ears = Ears()
        session.input.audio = self._ears
        session.output.audio = Mouth(self._wire)
        await session.start(Assistant(self._job["instructions"], self._wire), record=False)
        self._session = session

    async def audio(self, pcm: bytes) -> None:
        if self._ears is not None:
            self._ears.hear(pcm)

    async def end(self) -> None:
        raise RuntimeError("LiveKit Agents hears live audio: its input has no end")

    async def close(self) -> None:
        session, self._session, self._ears = self._session, None, None
        if session is not None:
            await session.interrupt(force=True)
            await session.aclose()

    async def aclose(self) -> None:
        await self.close()

    def _heard(self, event) -> None:
        if event.is_final:
            self._wire.event("heard", event.transcript)

    def _user(self, event) -> None:
        if event.old_state == "speaking":
            self._wire.event("vad_stop")

    def _agent(self, event) -> None:
        if event.old_state == "speaking" and event.new_state == "listening":
            self._wire.event("done")

    def _item(self, event) -> None:
        if getattr(event.item, "role", "") == "assistant":
            self._wire.event("reply", event.item.text_content or "")

    def _failed(self, event) -> None:
        self._wire.send("error", message=f"{event.source}: {event.error}", fatal=False)


async def load(job: dict, wire: Wire) -> LiveKit:
    livekit = LiveKit(job, wire)
    names = ("livekit-agents", "livekit-local-inference", "faster-whisper", "ctranslate2", "piper-tts", "openai")
    settings = {
        "vad": "the session's own: inference.VAD('silero'), min_silence_duration 0.25",
        "turn": "the session's own: inference.TurnDetector(), turn-detector-v1-mini, on this machine",
        "stt": f"faster-whisper in a non-streaming STT, {job['compute_type']}",
        "llm": "livekit.plugins.openai.LLM",
        "tts": "piper in a non-streaming TTS",
    }
    wire.send("ready", versions={name: version(name) for name in names}, settings=settings)
    return livekit


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(load))
