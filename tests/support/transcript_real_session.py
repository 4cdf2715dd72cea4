"""The real session as a child that is killed: scripted engines; its workflow and its transport write the journal."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from sessions import RATE_HZ, TEXT

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import EndpointPolicy, SpeechChunk, ToolCall, TTSCapabilities
from antiphon.engines.testing import Heard, ScriptedSTT, ScriptedVAD
from antiphon.pipeline.events import Event
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines, SessionSettings
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.workflow import ToolResult, TurnContext

OUTPUT_HZ = 24000
TURN_S = 2.0
"""The user begins to speak so often."""


class TellingTTS:
    """Speaks each text at a level of its own, by which the transport knows it again."""

    rate_hz = OUTPUT_HZ
    capabilities = TTSCapabilities(streaming=True)

    def __init__(self, scene: Any) -> None:
        self.texts: list[str] = []
        self._scene = scene

    async def synthesize(self, text: str, options: Any = None) -> AsyncIterator[SpeechChunk]:
        self.texts.append(text)
        samples = np.full(OUTPUT_HZ // 20, 0.02 * len(self.texts), dtype=np.float32)
        await self._scene.pause()
        for number in range(2):
            yield SpeechChunk(AudioFrame(samples, OUTPUT_HZ, number * 0.05), 0, len(text))


class TellingTransport(RecordingTransport):
    """Writes down what it was given to play, when it is given."""

    def __init__(self, scene: Any, tts: TellingTTS, source: AsyncIterator[AudioFrame]) -> None:
        super().__init__(source, paced=False)
        self._scene, self._tts = scene, tts
        self._told: set[int] = set()

    async def play(self, frame: AudioFrame, mark: int) -> float:
        number = round(float(frame.samples[0]) / 0.02) - 1
        if number not in self._told:
            self._told.add(number)
            self._scene.journal.did("played", turn=mark, text=self._tts.texts[number])
            self._scene.journal.stage("playing")
        await self._scene.pause()
        return await super().play(frame, mark)


class PayingWorkflow:
    """Calls a tool once or twice in each turn, and says what it did."""

    speculative = True

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    async def respond(self, turn: TurnContext) -> AsyncIterator[Any]:
        journal, chance = self._scene.journal, random.Random(f"{self._scene.session} {turn.turn}")
        journal.stage("final_noted")
        await turn.committed()
        journal.did("acted", turn=turn.turn, text=turn.transcript)
        journal.stage("acting")
        for number in range(chance.choice((1, 1, 2))):
            call = ToolCall(f"call_{number}", "pay", f'{{"amount": {turn.turn}}}')
            yield call
            journal.stage("call_noted")
            await turn.before_call(call)
            facts = {"turn": turn.turn, "call_id": call.id}
            journal.did("tool_ran", **facts)
            journal.stage("tool_runs")
            await self._scene.pause()
            journal.did("tool_returned", **facts)
            journal.stage("tool_returned")
            yield ToolResult(call.id, "pay", "paid")
            journal.stage("result_noted")
        for number in range(chance.choice((1, 2, 3))):
            journal.stage("text_noted")
            yield f"piece {number} of answer {turn.turn}."
            await self._scene.pause()


class Journal:
    """The recorder, with the scene's barriers: a test may take them out."""

    def __init__(self, scene: Any) -> None:
        self.note_speaking = scene.recorder.note_speaking
        self.settled = scene.settled
        self.overdue = scene.recorder.overdue


async def real(scene: Any, turns: int) -> None:
    """A whole session over a recording in which somebody speaks every two seconds."""
    speech = [(0.5 + TURN_S * turn, 1.0 + TURN_S * turn) for turn in range(turns)]

    def hear(call: Any) -> Heard:
        scene.journal.stage("hearing")
        return Heard(f"question {int(call.audio.start_s // TURN_S) + 1} of {scene.session}?")

    def tell(event: Event) -> None:
        if event.type in ("spoken", "turn_ended"):
            scene.journal.stage({"spoken": "spoken", "turn_ended": "turn_over"}[event.type])

    tts = TellingTTS(scene)
    silence = AudioFrame(np.zeros(round((TURN_S * turns + 0.5) * RATE_HZ), dtype=np.float32), RATE_HZ)
    transport = TellingTransport(scene, tts, recording_frames(silence, paced=False))
    async with ScriptedVAD(speech) as vad, ScriptedSTT(hear) as stt:
        made_of = Makings(
            engines=Engines(vad, stt, tts, None, EndpointPolicy(silence_ms=400)),  # type: ignore[arg-type]
            transport=transport,
            workflow=PayingWorkflow(scene),
            text=TEXT,
            settings=SessionSettings(on_error="", output_hz=OUTPUT_HZ),
            session_id=scene.session,
            guarding=Guarding(journal=Journal(scene)),
        )
        await Session(made_of, sinks=[scene.recorder, tell]).run()
    await asyncio.sleep(0)
