"""A bank on a disk, and a process that talks about it: for tests of approvals that outlive their process.

Run as a script: `python bank_parts.py FOLDER KIND SESSION [RESUMED]` is one session over scripted engines, to its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from agents import function_tool

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import EndpointPolicy, ToolCall
from antiphon.engines.testing import (
    Heard,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedTurnDetector,
    ScriptedVAD,
)
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

RATE_HZ = 16000
CALL = ToolCall("call_1", "make_transfer", json.dumps({"amount": 100, "to": "Anna"}))


def _did(what: str) -> None:
    """On the disk before anything else happens."""
    with Path(os.environ["BANK_JOURNAL"]).open("a", encoding="utf-8") as journal:
        journal.write(what + "\n")
        journal.flush()
        os.fsync(journal.fileno())


def make_transfer(amount: float, to: str) -> str:
    """Transfer money to somebody."""
    _did("began")
    time.sleep(float(os.environ.get("BANK_TAKES_S", "0")))
    _did(f"{amount:.0f} to {to}")
    return f"{amount:.0f} euros are on their way to {to}."


asking_transfer = function_tool(make_transfer, needs_approval=True)
"""The same, as a tool that asks by itself."""


def bank_config(folder: Path, kind: str) -> Config:
    """`policy`: two checks of the gate `tool_call` ask; `run`: the SDK's own approval, whose run is stored."""
    asks = [
        {"check": "approve", "question": "Shall I transfer {amount} euros to {to}?", "by": "voice", "wait_s": 60},
        {"check": "approve", "question": "Transfer of {amount} euros to {to}", "by": "desk", "wait_s": 60},
    ]
    settings = {
        "extends": "local.yaml",
        "workflow": {
            "kind": "agent",
            "tools": {
                "make_transfer": {
                    "function": "bank_parts:make_transfer" if kind == "policy" else "bank_parts:asking_transfer"
                }
            },
        },
        "policy": {"tool_call": asks if kind == "policy" else []},
        "approvals": {"store": str(folder / "approvals.db"), "poll_ms": 20, "timeout_s": 60},
        "transcript": {"store": "sqlite", "path": str(folder / "transcripts.db")},
        "session": {"on_error": ""},
    }
    file = folder / f"{kind}.yaml"
    file.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return load_config(file)


def answered(call: Any) -> Reply:
    """An agent that transfers when it is asked to, and says what came of it."""
    last = call.messages[-1]
    if last.role == "tool":
        return Reply.of(last.content)
    return Reply(tool_calls=[CALL]) if "transfer" in last.content.lower() else Reply.of("What can I do for you?")


def engines(speech: list[tuple[float, float]], said: dict[float, str]) -> dict[Any, Any]:
    """Scripted engines; `said`: what is heard in a turn that begins after so many seconds."""

    def hear(call: Any) -> Heard:
        return Heard(said[max(at_s for at_s in said if at_s <= call.audio.start_s + 0.5)], 0.01)

    return {
        "vad": ScriptedVAD(speech),
        "turn": ScriptedTurnDetector((), policy=EndpointPolicy(silence_ms=400)),
        "stt": ScriptedSTT(hear),
        "llm": ScriptedLLM(answered),
        "tts": ScriptedTTS(repeat=True),
    }


async def talk(folder: Path, kind: str, session: str, resumed: str | None) -> dict[str, Any]:
    """One session: a request for a transfer, and a yes where only the voice can give it; resumed, only silence."""
    request, yes = (0.5, 1.5), (5.0, 5.6)
    speech = [] if resumed else [request, yes] if kind == "policy" else [request]
    made = engines(speech, {0.0: "Transfer 100 euros to Anna.", 4.0: "Yes, please."})
    async with Assembly(bank_config(folder, kind), replacements=made) as assembly:
        silence = AudioFrame(np.zeros(8 * RATE_HZ, dtype=np.float32), RATE_HZ)
        transport = RecordingTransport(recording_frames(silence, paced=False), paced=False)
        known = None if resumed is None else await assembly.recalled(resumed)
        running = assembly.session(
            transport,
            conversation=known,
            resumed_from=resumed,
            adjust=lambda _, arguments: arguments.update(session_id=session),
        )
        await running.run()
        items = [(item.kind, item.role, item.name, item.text) for item in running.conversation]
        return {"items": items, "spoken": [call.text for call in made["tts"].calls]}


if __name__ == "__main__":
    place, how, name, *more = sys.argv[1:]
    sys.stdout.write(json.dumps(asyncio.run(talk(Path(place), how, name, more[0] if more else None))) + "\n")
