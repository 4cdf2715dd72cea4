# mypy: ignore-errors
# (Pipecat is not installed where this file is checked.)
"""Pipecat with OpenAI's realtime service, by base URL: executed by the Python of its own environment.

    python pipecat_client.py BASE_URL KEY SCENARIO FOLDER       prints one JSON object

The pipeline is the one of Pipecat's documentation; FOLDER holds the questions as recordings (mono PCM16 at 24 kHz).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import wave
from importlib.metadata import version
from pathlib import Path

from loguru import logger
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    ErrorFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.observers.base_observer import BaseObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

RATE_HZ = 24000
CHUNK_S = 0.02
AHEAD_S = 0.2
"""How much a sound card takes before it makes its writer wait."""
CITIES: list[str] = []


class Ears(BaseInputTransport):
    """A microphone that never stops: what is to be said, else silence, at its own pace."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self._to_say = b""
        self._speaking = None

    async def start(self, frame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)
        self._speaking = asyncio.create_task(self._run())

    def say(self, recording: Path) -> None:
        with wave.open(str(recording)) as file:
            self._to_say += file.readframes(file.getnframes())

    def stop_speaking(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()

    async def _run(self) -> None:
        began_s, number, count = time.monotonic(), 0, 2 * round(RATE_HZ * CHUNK_S)
        while True:
            number += 1
            piece, self._to_say = self._to_say[:count], self._to_say[count:]
            pcm = piece.ljust(count, b"\0")
            await self.push_audio_frame(InputAudioRawFrame(audio=pcm, sample_rate=RATE_HZ, num_channels=1))
            await asyncio.sleep(max(0.0, began_s + number * CHUNK_S - time.monotonic()))


class Mouth(BaseOutputTransport):
    """Takes sound as a sound card takes it: at once, then at the pace of playing."""

    def __init__(self, params: TransportParams) -> None:
        super().__init__(params)
        self.heard_s = 0.0
        self._until_s = 0.0

    async def start(self, frame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def process_frame(self, frame, direction) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InterruptionFrame):
            self._until_s = 0.0

    async def write_audio_frame(self, frame) -> bool:
        now_s, length_s = time.monotonic(), len(frame.audio) / 2 / frame.sample_rate
        self.heard_s += length_s
        self._until_s = max(now_s, self._until_s) + length_s
        await asyncio.sleep(max(0.0, self._until_s - now_s - AHEAD_S))
        return True


class Story(BaseObserver):
    """What passed through the pipeline."""

    def __init__(self) -> None:
        super().__init__(observe_every_push=False)
        self.user: list[str] = []
        self.assistant: list[str] = []
        self.interruptions = 0
        self.audio_s = 0.0
        self.errors: list[str] = []
        self._saying = ""
        self._told: set[int] = set()

    async def on_push_frame(self, data) -> None:
        frame = data.frame
        if frame.id in self._told:
            return
        self._told.add(frame.id)
        match frame:
            case ErrorFrame():
                self.errors.append(str(frame.error))
            case TranscriptionFrame(text=text):
                self.user.append(text)
            case InterruptionFrame():
                self.interruptions += 1
            case TTSAudioRawFrame(audio=audio) if isinstance(data.source, OpenAIRealtimeLLMService):
                self.audio_s += len(audio) / 2 / RATE_HZ
            case TTSTextFrame(text=text):
                self._saying += text
            case LLMFullResponseEndFrame() if self._saying:
                self.assistant.append(self._saying.strip())
                self._saying = ""


async def get_weather(params) -> None:
    CITIES.append(params.arguments["city"])
    await params.result_callback("Sunny.")


async def until(what: str, wanted, within_s: float = 20.0) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not wanted():  # noqa: ASYNC110 (what is waited for is looked at, not told)
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"{what} did not come") from None


async def play(scenario: str, ears: Ears, story: Story, folder: Path) -> None:
    await asyncio.sleep(1.0)  # the session is being set up
    match scenario:
        case "spoken":
            ears.say(folder / "time.wav")
            await until("an answer", lambda: story.assistant)
        case "tool":
            ears.say(folder / "weather.wav")
            await until("an answer", lambda: any("I looked" in text and "Sunny." in text for text in story.assistant))
        case "interruption":
            ears.say(folder / "story.wav")
            await until("the story", lambda: story.audio_s > 1.0)
            await asyncio.sleep(0.7)
            before = story.interruptions
            ears.say(folder / "time.wav")
            await until("an interruption", lambda: story.interruptions > before)
            await until("another answer", lambda: "Arr, it is noon." in story.assistant)


async def main(base_url: str, key: str, scenario: str, folder: str) -> int:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    weather = FunctionSchema(
        name="get_weather",
        description="The weather of a city.",
        properties={"city": {"type": "string"}},
        required=["city"],
    )
    llm = OpenAIRealtimeLLMService(
        api_key=key,
        base_url=base_url,
        settings=OpenAIRealtimeLLMService.Settings(
            model="gpt-realtime-2",
            system_instruction="You are a pirate.",
            session_properties=events.SessionProperties(
                audio=events.AudioConfiguration(
                    input=events.AudioInput(
                        transcription=events.InputAudioTranscription(), turn_detection=events.SemanticTurnDetection()
                    )
                )
            ),
        ),
    )
    llm.register_function("get_weather", get_weather)
    context = LLMContext([], ToolsSchema(standard_tools=[weather]))
    aggregators = LLMContextAggregatorPair(context)
    params = TransportParams(audio_in_enabled=True, audio_out_enabled=True)
    ears, mouth, story = Ears(params), Mouth(params), Story()
    worker = PipelineWorker(
        Pipeline([ears, aggregators.user(), llm, mouth, aggregators.assistant()]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        observers=[story],
        idle_timeout_secs=None,
        enable_rtvi=False,
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    failure = None
    try:
        await play(scenario, ears, story, Path(folder))
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    told = {name: getattr(story, name) for name in ("user", "assistant", "interruptions", "audio_s", "errors")}
    versions = {"pipecat-ai": version("pipecat-ai")}
    told |= {"cities": CITIES, "heard_s": mouth.heard_s, "failure": failure, "versions": versions}
    sys.stdout.write(json.dumps(told) + "\n")
    ears.stop_speaking()
    await runner.cancel()
    await running
    return 1 if failure else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(*sys.argv[1:5])))
