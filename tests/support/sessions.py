"""Sessions on scripted engines and a virtual clock: what the session tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import EndpointPolicy
from antiphon.engines.testing import ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedTurnDetector, ScriptedVAD
from antiphon.pipeline.events import Event
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines, SessionSettings, TextTools
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.workflow import ChatWorkflow

RATE_HZ = 16000


class WholeText:
    """A splitter that speaks each delta that ends a sentence."""

    def __init__(self) -> None:
        self._kept = ""

    def push(self, delta: str) -> list[str]:
        self._kept += delta
        if not self._kept.rstrip().endswith((".", "?", "!")):
            return []
        piece, self._kept = self._kept, ""
        return [piece]

    def stall(self) -> list[str]:
        return []

    def hurry(self) -> list[str]:
        return []

    def finish(self) -> list[str]:
        rest, self._kept = self._kept, ""
        return [rest] if rest else []


TEXT = TextTools(splitter=lambda language: WholeText(), speakable=lambda language: str.strip)


class Rig:
    """A session over `seconds` of input in which somebody speaks at the given times."""

    def __init__(
        self,
        speech: Sequence[tuple[float, float]],
        *,
        seconds: float,
        stt: Any = (),
        llm: Sequence[Any] = (),
        tts: ScriptedTTS | None = None,
        detector: ScriptedTurnDetector | None = None,
        policy: EndpointPolicy | None = None,
        workflow: Any = None,
        settings: SessionSettings | None = None,
        paced: bool = True,
        voices: dict[str, str] | None = None,
        source: AsyncIterator[AudioFrame] | None = None,
        prepared: Any = None,
        stt_local: bool = True,
        answer_local: bool = True,
        cores_free: Callable[[], bool] = lambda: True,
        guarding: Any = None,
        sinks: Sequence[Any] = (),
        queues: bool = False,
    ) -> None:
        self.vad = ScriptedVAD(speech)
        self.stt = ScriptedSTT(stt)
        self.llm = ScriptedLLM(llm)
        self.tts = tts if tts is not None else ScriptedTTS(repeat=True)
        self.detector = detector
        self.events: list[Event] = []
        self._seconds = seconds
        self._source = source
        self._paced = paced
        self._workflow = workflow
        self._settings = settings or SessionSettings(on_error="")
        self._policy = policy or (detector.policy if detector else EndpointPolicy(silence_ms=400))
        self._voices = voices
        self._prepared = prepared or {}
        self._guarding = guarding or Guarding()
        self._more_sinks = list(sinks)
        self._queues = queues
        self._places = {"stt_local": stt_local, "answer_local": answer_local, "cores_free": cores_free}

    async def run(self) -> Rig:
        silence = AudioFrame(np.zeros(round(self._seconds * RATE_HZ), dtype=np.float32), RATE_HZ)
        source = self._source or recording_frames(silence, paced=self._paced)
        self.transport = RecordingTransport(source, paced=self._paced)
        self.transport.capabilities = replace(self.transport.capabilities, queues=self._queues)
        async with self.vad as vad, self.stt as stt, self.llm as llm, self.tts as tts:
            made_of = Makings(
                engines=Engines(vad, stt, tts, self.detector, self._policy, self._voices, **self._places),
                transport=self.transport,
                workflow=self._workflow or ChatWorkflow(llm, "Be brief."),
                text=TEXT,
                settings=self._settings,
                prepared=self._prepared,
                guarding=self._guarding,
            )
            self.session = Session(made_of, sinks=[self.events.append, *self._more_sinks])
            await self.session.run()
        return self

    def of(self, *types: str) -> list[Event]:
        return [event for event in self.events if event.type in types]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def said(self) -> list[str]:
        return [item.text for item in self.session.conversation if item.role == "assistant" and item.kind == "message"]

    @property
    def heard(self) -> list[str]:
        return [item.text for item in self.session.conversation if item.role == "user" and item.kind == "message"]
