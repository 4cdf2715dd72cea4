"""What a configuration makes of broken engines: a breaker for one that stands alone, a chain that is done in time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from faults import Fault, FaultyLLM, FaultySTT, FaultyTTS
from scripted_config import GivenOptions, Script

from antiphon.engines.audio import AudioFrame
from antiphon.engines.fallback import FallbackEvent
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, ScriptedSTT, ScriptedTTS, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import engine_block
from antiphon.pipeline.events import Event
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

EVERY_10_S = tuple((1.0 + 10.0 * turn, 1.6 + 10.0 * turn) for turn in range(7))
LIMITS = {
    "stt_deadline_s": 3.0,
    "answer_deadline_s": 4.0,
    "tts_deadline_s": 3.0,
    "recovery_s": 32.0,
    "max_errors": None,
    "on_overload": "",
    "errors_goodbye": "",
}


class Told:
    """What came of a session."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fallbacks: list[FallbackEvent] = []

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event.to_dict() for event in self.events if event.type in kinds]

    @property
    def waits_s(self) -> list[float]:
        """From the end of each turn until it was told what became of it, in whole seconds."""
        committed = {event["turn"]: event["t_s"] for event in self.of("committed")}
        errors = {event["turn"]: event["t_s"] for event in self.of("error", "audio_started")}
        return [round(errors[turn] - committed[turn]) for turn in sorted(errors)]


def hold(config: Any, seconds: float = 66.0) -> Told:
    """A session by this configuration."""
    told = Told()

    async def main() -> None:
        silence = AudioFrame(np.zeros(round(seconds * 16000), dtype=np.float32), 16000)
        transport = RecordingTransport(recording_frames(silence, paced=True, chunk_ms=60.0))
        async with Assembly(config, on_fallback=told.fallbacks.append) as assembly:
            await assembly.session(transport, sinks=[told.events.append]).run()

    run_virtual(main())
    return told


def script(**engines: Any) -> Script:
    made = Script(speech=EVERY_10_S, session={"on_error": "Sorry.", **LIMITS})
    made.stt_engine = engines.get("stt") or ScriptedSTT(lambda call: Heard("What?", 0.05))
    made.llm_engine = engines.get("llm") or ScriptedLLM(lambda call: Reply(["Yes."]))
    made.tts_engine = engines.get("tts") or ScriptedTTS()
    return made


def hanging(stage: str, until_s: float) -> Any:
    """Also on what the session prepares for itself: nothing but the engine knows what it is asked for."""
    fault = Fault("hangs", until_s=until_s)
    match stage:
        case "stt":
            return FaultySTT(lambda call: Heard("What?", 0.05), fault)
        case "llm":
            return FaultyLLM(lambda call: Reply(["Yes."]), fault)
        case _:
            return FaultyTTS(fault, spare=("Sorry.",))


@pytest.mark.parametrize("stage", ["llm", "tts"])
def test_a_lone_engine_that_hangs_is_waited_for_twice_and_then_tried_now_and_then(stage: str) -> None:
    told = hold(script(**{stage: hanging(stage, 38.0)}).config())
    long_s = {"llm": 4, "tts": 3}[stage]
    # Out of order for 8 s after the second turn, and for 16 s after the fourth; it is well again after 38 s.
    assert told.waits_s[:5] == [long_s, long_s, 0, long_s, 0]
    assert [event["status"] for event in told.of("turn_ended")][-1] == "completed"
    assert [event.kind for event in told.fallbacks] == ["failed", "failed", "recovered"]
    assert told.of("error")[2]["code"] == "EngineOutOfOrder"


@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_a_chain_whose_first_engine_hangs_answers_within_the_stages_deadline(stage: str) -> None:
    made = script()
    config = made.config()
    good = {"stt": made.stt_engine, "llm": made.llm_engine, "tts": made.tts_engine}[stage]
    chain = tuple(
        engine_block(stage, "scripted_config:given", GivenOptions(engine=engine))  # type: ignore[arg-type]
        for engine in (hanging(stage, 1e9), good)
    )
    told = hold(config.model_copy(update={stage: chain}))
    statuses = [event["status"] for event in told.of("turn_ended")]
    assert statuses == ["completed"] * 7, statuses
    assert "switched" in [event.kind for event in told.fallbacks]
    assert max(told.waits_s) <= 3
