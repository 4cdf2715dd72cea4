"""A desk that is asked questions in tones: scripted engines for conversations with other people's clients.

A question is a tone of one pitch, which survives G.711, Opus and a browser's microphone; speech-to-text here hears
which pitch it was. The language model follows a few fixed rules, so that tools, handoffs and interruptions happen when
they should. As objects for a test's own server (:func:`desk`), by dotted path for `antiphon serve` (:data:`CONFIG`).
"""

from __future__ import annotations

import itertools
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
from loud_vad import LoudVad
from numpy.typing import NDArray

from antiphon.engines.config import EngineOptions
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import Heard, LLMCall, Reply, ScriptedLLM, ScriptedSTT, ScriptedTTS, STTCall
from antiphon.pipeline.config import Config

RATE_HZ = 24000
TONE_S = 0.8
QUESTIONS = {
    300: "What time is it?",
    400: "What is the weather in Oslo?",
    500: "I want my money back.",
    600: "Tell me a long story.",
    700: "Tell me the secret.",
    800: "Delete my account.",
}
"""By pitch in Hz."""
PITCHES = {"time": 300, "weather": 400, "refund": 500, "story": 600, "secret": 700, "account": 800}
STORY = "Once upon a time there was a lighthouse and its keeper, who liked to talk about the sea. " * 6
SECRET = "The secret is swordfish, and there is a lot more to be said about it than you would think. " * 4
REFUNDS = "You answer for the refund desk."
"""Instructions by which an agent that was handed over to is known."""
_calls = itertools.count(1)


def tone(question: str, *, rate_hz: int = RATE_HZ) -> NDArray[np.int16]:
    """One of :data:`PITCHES`, as PCM16."""
    times = np.arange(round(TONE_S * rate_hz)) / rate_hz
    return (0.3 * 32767 * np.sin(2 * np.pi * PITCHES[question] * times)).astype(np.int16)


def silence(seconds: float, *, rate_hz: int = RATE_HZ) -> NDArray[np.int16]:
    return np.zeros(round(seconds * rate_hz), dtype=np.int16)


def write_recording(path: Path, *parts: str | float, rate_hz: int = 48000) -> Path:
    """A WAV of questions, and pauses in seconds."""
    pieces = [tone(one, rate_hz=rate_hz) if isinstance(one, str) else silence(one, rate_hz=rate_hz) for one in parts]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.concatenate(pieces).tobytes())
    return path


def hear(call: STTCall) -> Heard:
    samples, rate_hz = call.audio.samples, call.audio.rate_hz
    strength = np.abs(np.fft.rfft(samples))
    if not len(samples) or strength.max() < 1.0:
        return Heard("")
    pitch = float(np.fft.rfftfreq(len(samples), 1 / rate_hz)[int(strength.argmax())])
    return Heard(QUESTIONS[min(QUESTIONS, key=lambda one: abs(one - pitch))], 0.02)


def answer(call: LLMCall) -> Reply:
    """The rules of the desk."""
    system = " ".join(message.content for message in call.messages if message.role == "system")
    last = call.messages[-1]
    said = last.content.lower()
    if last.role == "tool":
        return _say("The refund desk is here." if REFUNDS in system else f"I looked: {last.content}")
    tools = [tool.name for tool in call.tools]
    for word, wanted, arguments in (
        ("weather", "get_weather", {"city": "Oslo"}),
        ("money", "transfer_to", {}),
        ("account", "delete_account", {}),
    ):
        name = next((tool for tool in tools if tool.startswith(wanted)), None)
        if word in said and name is not None:
            return Reply(tool_calls=[ToolCall(f"call_{next(_calls)}", name, json.dumps(arguments))], usage=Usage(20, 5))
    if "guardrail" in said:
        return _say("Let us talk about something else.")
    if "story" in said:
        return _say(STORY, delay_s=0.02)
    if "secret" in said:
        return _say(SECRET, delay_s=0.05)
    return _say("Arr, it is noon." if "pirate" in system.lower() else "It is noon.")


def _say(text: str, *, delay_s: float = 0.0) -> Reply:
    words = Reply.of(text, delta_delay_s=delay_s)
    return Reply(words.deltas, 0.0, delay_s, usage=Usage(20, len(words.deltas)))


def desk(server: dict[str, Any] | None = None, **fields: Any) -> Config:
    """A configuration with this desk behind it."""
    from served import config  # the server itself: not needed where only the engines are

    return config(server, **{"stt": hear, "llm": answer, "repeat": False, **fields})


# ------------------------------------------------------------------------------ by dotted path


class Vad(LoudVad):
    pass


class Stt(ScriptedSTT):
    Options = EngineOptions

    def __init__(self, options: EngineOptions, context: Any) -> None:
        super().__init__(hear)


class Llm(ScriptedLLM):
    Options = EngineOptions

    def __init__(self, options: EngineOptions, context: Any) -> None:
        super().__init__(answer)


class Tts(ScriptedTTS):
    Options = EngineOptions

    def __init__(self, options: EngineOptions, context: Any) -> None:
        super().__init__()


CONFIG = """\
vad: {engine: "interop_desk:Vad"}
turn: {engine: silence, silence_ms: 400}
stt: {engine: "interop_desk:Stt"}
llm: {engine: "interop_desk:Llm"}
tts: {engine: "interop_desk:Tts"}
workflow: {kind: chat, instructions: "You sit at a desk and answer questions."}
session: {on_error: "Sorry."}
"""
"""For `antiphon serve`, with this folder on the path."""
