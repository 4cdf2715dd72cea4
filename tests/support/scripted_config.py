"""A configuration whose engines are objects of the test's own: for tests of the voice API and of whole sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon import AudioInput, VoicePipeline, VoiceStreamEvent
from antiphon.engines.config import EngineOptions
from antiphon.engines.protocols import EndpointPolicy
from antiphon.engines.testing import (
    Heard,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedTurnDetector,
    ScriptedVAD,
)
from antiphon.pipeline.config import Config, SessionConfig, SpeculationConfig, TextConfig, WorkflowConfig, engine_block

SILENCE_400_MS = EndpointPolicy(silence_ms=400)


class GivenOptions(EngineOptions):
    engine: Any = None


def given(options: GivenOptions, context: Any) -> Any:
    """The engine that stands in the options."""
    return options.engine


given.Options = GivenOptions  # type: ignore[attr-defined]


@dataclass
class Script:
    """Scripted engines, and configurations and pipelines made of them."""

    speech: Sequence[tuple[float, float]] = ((0.2, 0.8),)
    """Where somebody speaks, in every session alike."""
    stt: Any = ()
    llm: Any = ()
    tts: ScriptedTTS | None = None
    policy: EndpointPolicy = SILENCE_400_MS
    session: dict[str, Any] = field(default_factory=lambda: {"on_error": ""})
    workflow: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)
    repeat: bool = False

    def __post_init__(self) -> None:
        self.vad_engine = ScriptedVAD(list(self.speech))
        self.detector = ScriptedTurnDetector((), policy=self.policy)
        self.stt_engine = ScriptedSTT(self.stt, repeat=self.repeat)
        self.llm_engine = ScriptedLLM(self.llm, repeat=self.repeat)
        self.tts_engine = self.tts if self.tts is not None else ScriptedTTS()

    def config(self, **sections: Any) -> Config:
        def block(stage: Any, engine: Any) -> Any:
            return engine_block(stage, "scripted_config:given", GivenOptions(engine=engine))

        return Config(
            vad=block("vad", self.vad_engine),
            turn=block("turn", self.detector),
            stt=(block("stt", self.stt_engine),),
            llm=(block("llm", self.llm_engine),),
            tts=(block("tts", self.tts_engine),),
            session=SessionConfig(**self.session),
            workflow=WorkflowConfig(**{"instructions": "Be brief.", **self.workflow}),
            text=TextConfig(**self.text),
            **{"speculation": SpeculationConfig(rerun_ms=0), **sections},
        )

    def pipeline(self, **arguments: Any) -> VoicePipeline:
        """A pipeline on these engines; `settings` are those that users of `agents.voice` know."""
        settings = arguments.pop("settings", None)
        pipeline = VoicePipeline(config=self.config(), **arguments)
        if settings is not None:
            pipeline.settings = settings
        return pipeline


def one_turn(question: str = "What time is it?", answer: str = "It is noon.") -> Script:
    return Script(stt=[Heard(question, 0.1)], llm=[Reply.of(answer)])


def spoken_audio(seconds: float = 1.2, rate_hz: int = 16000) -> AudioInput:
    """A recording; what is said in it stands in the script."""
    return AudioInput(buffer=np.zeros(round(seconds * rate_hz), dtype=np.int16), frame_rate=rate_hz)


def samples(events: Sequence[VoiceStreamEvent]) -> NDArray[Any]:
    """The audio of all audio events."""
    pieces = [event.data for event in events if event.type == "voice_stream_event_audio" and event.data is not None]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int16)


def kinds(events: Sequence[VoiceStreamEvent]) -> list[str]:
    """One short name for each event; runs of audio events count once."""
    found: list[str] = []
    for event in events:
        match event.type:
            case "voice_stream_event_audio":
                name = "audio"
            case "voice_stream_event_lifecycle":
                name = event.event
            case "voice_stream_event_transcript":
                name = event.role
            case other:
                name = other.removeprefix("voice_stream_event_")
        if name != "audio" or found[-1:] != ["audio"]:
            found.append(name)
    return found


def texts(events: Sequence[VoiceStreamEvent], role: str) -> list[str]:
    heard = [event for event in events if event.type == "voice_stream_event_transcript"]
    return [event.text for event in heard if event.role == role and event.final]
