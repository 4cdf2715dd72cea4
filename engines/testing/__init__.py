"""What a test of a voice pipeline needs: scripted engines and a virtual clock. Ships with the package, for users too.

async def asks_and_answers() -> None:
    async with ScriptedSTT([Heard("hello", delay_s=0.2)]) as stt:
        transcript = await stt.transcribe(AudioFrame(np.zeros(1600, np.float32), 16000))
        assert transcript.text == "hello"
        assert stt.calls[0].ended_s == 0.2

run_virtual(asks_and_answers())     # takes no real time
"""

from antiphon.engines.testing.clock import VirtualClockLoop, VirtualDeadlock, VirtualTimeout, run_virtual
from antiphon.engines.testing.hearing import ScriptedSTT, ScriptedTurnDetector, ScriptedVAD
from antiphon.engines.testing.script import (
    Answer,
    Call,
    Heard,
    LLMCall,
    PrefillCall,
    Reply,
    Speak,
    STTCall,
    TTSCall,
    TurnCall,
    UnexpectedCall,
    UnusedStep,
)
from antiphon.engines.testing.speaking import ScriptedLLM, ScriptedTTS

__all__ = [
    "Answer",
    "Call",
    "Heard",
    "LLMCall",
    "PrefillCall",
    "Reply",
    "STTCall",
    "ScriptedLLM",
    "ScriptedSTT",
    "ScriptedTTS",
    "ScriptedTurnDetector",
    "ScriptedVAD",
    "Speak",
    "TTSCall",
    "TurnCall",
    "UnexpectedCall",
    "UnusedStep",
    "VirtualClockLoop",
    "VirtualDeadlock",
    "VirtualTimeout",
    "run_virtual",
]
