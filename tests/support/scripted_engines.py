"""Scripted engines by dotted path, for tests of commands: what they do stands in the YAML. And some that break."""

from __future__ import annotations

import ctypes
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.errors import EngineFailed
from antiphon.engines.registry import EngineSpec
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedVAD
from antiphon.engines.testing.script import LLMCall
from antiphon.pipeline.workflow import ToolCall


class Vad(ScriptedVAD):
    class Options(EngineOptions):
        speech_s: tuple[float, ...] = option((0.2, 0.8), "Begin and end of each piece of speech, one after another.")

    def __init__(self, options: Options, context: Any) -> None:
        times = options.speech_s
        super().__init__(list(zip(times[::2], times[1::2], strict=True)))


class Stt(ScriptedSTT):
    class Options(EngineOptions):
        says: str = option("hello there", "What it always hears.")

    def __init__(self, options: Options, context: Any) -> None:
        super().__init__(lambda _: Heard(options.says))


class Llm(ScriptedLLM):
    """Says again what it was told, and how many messages it saw. Breaks where it is told to."""

    class Options(EngineOptions):
        delta_delay_s: float = option(0.0, "Before each word but the first.")
        model: str | None = option(None, "Not used; but looked for.", model=True)

    def __init__(self, options: Options, context: Any) -> None:
        self._delay_s = options.delta_delay_s
        super().__init__(self._reply)

    def _reply(self, call: LLMCall) -> Reply:
        said = call.messages[-1].content
        if "break at once" in said:
            return Reply(error_after=0)
        if "break later" in said:
            return Reply(("I begin ", "but "), error_after=1)
        if "raise" in said:
            return Reply(error_after=0, error=ValueError("not expected"))
        return Reply.of(f"{len(call.messages)} messages.\nYou said: {said}.", delta_delay_s=self._delay_s)


class Tts(ScriptedTTS):
    Options = EngineOptions

    def __init__(self, options: EngineOptions, context: Any) -> None:
        super().__init__()


class Crashing(Llm):
    async def __aenter__(self) -> Any:
        ctypes.string_at(0)


class Raising(Llm):
    async def __aenter__(self) -> Any:
        raise RuntimeError("no idea")


class Failing(Llm):
    async def __aenter__(self) -> Any:
        raise EngineFailed("it is Sunday", hint="wait until Monday")


class Hanging(Llm):
    async def __aenter__(self) -> Any:
        time.sleep(60)  # noqa: ASYNC251 (a library that hangs does not await either)


class Mute(Tts):
    """Gives no audio, whatever it is asked."""

    async def synthesize(self, text: str, options: Any = None) -> AsyncIterator[Any]:
        nothing: tuple[Any, ...] = ()
        for chunk in nothing:
            yield chunk


NEEDY = EngineSpec(
    "llm", "needy", "Needs more.", "scripted_engines:Llm.Options", "scripted_engines:Llm", "cloud", ("no_such_package",)
)

CONFIG = """\
vad: {engine: "scripted_engines:Vad"}
turn: {engine: silence, silence_ms: 300}
stt: {engine: "scripted_engines:Stt"}
llm: {engine: "scripted_engines:Llm"}
tts: {engine: "scripted_engines:Tts"}
session: {on_error: "Sorry."}
"""


def write_config(folder: Path, **blocks: str) -> Path:
    """A configuration of scripted engines; a keyword replaces one stage or section, as YAML in flow form."""
    lines = {line.partition(":")[0]: line for line in CONFIG.splitlines()}
    lines |= {name: f"{name}: {text}" for name, text in blocks.items()}
    path = folder / "scripted.yaml"
    path.write_text("\n".join(lines.values()) + "\n", "utf-8")
    return path


class Tools:
    """A workflow that calls a tool, then speaks."""

    async def run(self, transcription: str) -> AsyncIterator[Any]:
        yield ToolCall("1", "clock", "{}")
        yield f"Noon. {transcription}"


async def broken_workflow(text: str) -> str:
    raise LookupError(text)
