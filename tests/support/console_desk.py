"""The desk of the interop tests with tools of its own, approvals and a record: for the console in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from interop_desk import Stt, Tts, Vad, answer, write_recording

from antiphon.engines.config import EngineOptions
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import LLMCall, Reply, ScriptedLLM

__all__ = ["Llm", "Stt", "Tts", "Vad", "delete_account", "get_weather", "write_config", "write_recording"]

REPEAT = "Repeat: "
WHERE = "Weather: "


def talk(call: LLMCall) -> Reply:
    """The rules of the desk, and those that the console is tried with."""
    last = call.messages[-1]
    told = [message.content for message in call.messages if message.role == "user"]
    if last.role == "user" and last.content.startswith(REPEAT):
        return Reply.of(last.content.removeprefix(REPEAT))
    if last.role == "user" and last.content == "What did I say first?":
        return Reply.of(f"You said: {told[0]}")
    if last.role == "user" and last.content.startswith(WHERE):
        place = json.dumps({"city": last.content.removeprefix(WHERE)})
        return Reply(tool_calls=[ToolCall(f"call_w{len(call.messages)}", "get_weather", place)], usage=Usage(20, 5))
    return answer(call)


class Llm(ScriptedLLM):
    Options = EngineOptions

    def __init__(self, options: EngineOptions, context: Any) -> None:
        super().__init__(talk)


def get_weather(city: str) -> str:
    """What the weather is like in a city."""
    return f"The sky over {city} is clear, and it has 21 degrees."


def delete_account() -> str:
    """Delete the caller's account for good."""
    return "The account is gone."


CONFIG = """\
vad: {engine: "console_desk:Vad"}
turn: {engine: silence, silence_ms: 400}
stt: {engine: "console_desk:Stt"}
llm: {engine: "console_desk:Llm"}
tts: {engine: "console_desk:Tts"}
workflow:
  kind: agent
  instructions: You sit at a desk and answer questions.
  tools:
    get_weather: {function: "console_desk:get_weather"}
    delete_account: {function: "console_desk:delete_account"}
policy:
  tool_call:
    - {check: approve, tools: [delete_account], question: "Delete the caller's account for good?", by: desk, wait_s: 60}
session: {on_error: "Sorry."}
"""


def write_config(folder: Path, *, max_sessions: int = 4) -> Path:
    """The configuration of a server whose record and questions are kept in `folder`."""
    path = folder / "console.yaml"
    kept = f"""\
transcript: {{store: sqlite, path: "{folder / "transcripts.db"}", record_audio: true, keep: 30d}}
approvals: {{store: "{folder / "approvals.db"}", poll_ms: 50}}
server: {{max_sessions: {max_sessions}, capacity: "off"}}
"""
    path.write_text(CONFIG + kept, "utf-8")
    return path
