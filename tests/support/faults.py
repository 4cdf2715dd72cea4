"""Engines that break on purpose: which call, at which point of it, and how; else they do what their script says."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import EndpointPolicy, SpeechChunk, TextDelta, Transcript, Word
from antiphon.engines.testing import ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedTurnDetector, ScriptedVAD
from antiphon.pipeline.workflow import ToolCall, ToolResult, TurnContext

SLOW_S = 0.8
"""What a slow engine takes: longer than anybody likes, and within every deadline."""


async def for_ever() -> None:
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to break, once or always."""

    how: str
    """"fails", "raises" (an exception of nobody's), "hangs", "stubborn" (hangs on when it is cancelled, once), "slow",
    "cancels" (raises CancelledError by itself), or the name of some rubbish."""
    at: str = "first"
    """"first" (before anything came of the call), "mid", "end" (all came, but the call does not end well)."""
    calls: tuple[int, ...] | None = None
    """Which calls break, counted from 0; None: every one."""
    until_s: float = 14.0
    """No call breaks after that, on the loop's clock: then everything works again."""

    def hits(self, call: int) -> bool:
        in_time = asyncio.get_running_loop().time() < self.until_s
        return in_time and (self.calls is None or call in self.calls)

    async def strike(self) -> None:
        """Do it, where it is no rubbish."""
        match self.how:
            case "fails":
                raise EngineFailed("on purpose")
            case "raises":
                raise KeyError("on purpose")
            case "cancels":
                raise asyncio.CancelledError
            case "hangs":
                await for_ever()
            case "stubborn":
                try:
                    await for_ever()
                except asyncio.CancelledError:
                    await for_ever()
            case "slow":
                await asyncio.sleep(SLOW_S)


RUBBISH_TRANSCRIPTS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a string": lambda: "hello",
    "text is None": lambda: Transcript(None),  # type: ignore[arg-type]
    "text is bytes": lambda: Transcript(b"hello"),  # type: ignore[arg-type]
    "language is a number": lambda: Transcript("Hello.", language=7),  # type: ignore[arg-type]
    "half a surrogate": lambda: Transcript("Hello \ud800."),
    "very long": lambda: Transcript("word " * 20_000),
    "control characters": lambda: Transcript("Hello\x00\x07 there."),
    "negative times": lambda: Transcript("Hello.", words=(Word("Hello.", -3.0, -5.0),)),
    "empty": lambda: Transcript(""),
}


class FaultySTT(ScriptedSTT):
    def __init__(self, script: Any, fault: Fault) -> None:
        super().__init__(script)
        self.fault = fault
        self.asked = 0

    async def transcribe(self, audio: AudioFrame, options: Any = None) -> Any:
        hit = self.fault.hits(self.asked)
        self.asked += 1
        if not hit:
            return await super().transcribe(audio, options)
        if self.fault.how in RUBBISH_TRANSCRIPTS:
            return RUBBISH_TRANSCRIPTS[self.fault.how]()
        if self.fault.at == "end":
            await asyncio.sleep(0.05)
        await self.fault.strike()
        return await super().transcribe(audio, options)


RUBBISH_DELTAS: dict[str, Any] = {
    "a number": 7,
    "text is None": TextDelta(None),  # type: ignore[arg-type]
    "bytes": TextDelta(b"hello"),  # type: ignore[arg-type]
    "half a surrogate": TextDelta("Yes \udfff indeed."),
    "an invalid call": ToolCall("x", "no_such_tool", "{not json"),
    "control characters": TextDelta("\x00\x1b[31m."),
    "only space": TextDelta("   "),
}


class FaultyLLM(ScriptedLLM):
    def __init__(self, script: Any, fault: Fault) -> None:
        super().__init__(script)
        self.fault = fault
        self.asked = 0

    async def stream(self, *args: Any, **named: Any) -> AsyncIterator[Any]:
        hit = self.fault.hits(self.asked)
        self.asked += 1
        if not hit:
            async for event in super().stream(*args, **named):
                yield event
            return
        rubbish = RUBBISH_DELTAS.get(self.fault.how)
        if self.fault.at == "first" and rubbish is None:
            await self.fault.strike()
        if self.fault.at == "first" and rubbish is not None:
            yield rubbish
            return
        count = 0
        async for event in super().stream(*args, **named):
            yield event
            count += 1
            if count == 2 and self.fault.at == "mid":
                if rubbish is not None:
                    yield rubbish
                await self.fault.strike()
        if self.fault.at == "end":
            if rubbish is not None:
                yield rubbish
            await self.fault.strike()

    async def prefill(self, *args: Any, **named: Any) -> None:
        if self.fault.at == "prefill":
            await self.fault.strike()
        await super().prefill(*args, **named)


def _chunk(samples: Any, rate_hz: Any = 24000, **more: Any) -> SpeechChunk:
    return SpeechChunk(AudioFrame(samples, rate_hz), **{"char_start": 0, "char_end": 3, "words": None, **more})


_TONE = np.full(2400, 0.5, dtype=np.float32)

RUBBISH_CHUNKS: dict[str, Callable[[], Any]] = {
    "a string": lambda: "audio",
    "raw samples": lambda: _TONE,
    "not a number": lambda: _chunk(np.full(2400, np.nan, dtype=np.float32)),
    "infinite": lambda: _chunk(np.full(2400, np.inf, dtype=np.float32)),
    "integers": lambda: _chunk(np.ones(2400, dtype=np.int16)),
    "stereo": lambda: _chunk(np.ones((2400, 2), dtype=np.float32)),
    "no samples": lambda: _chunk(np.empty(0, dtype=np.float32)),
    "a list": lambda: _chunk([0.5] * 100),
    "no rate": lambda: _chunk(_TONE, 0),
    "a negative rate": lambda: _chunk(_TONE, -24000),
    "rate is None": lambda: _chunk(_TONE, None),
    "another rate": lambda: _chunk(_TONE, 8000),
    "much too loud": lambda: _chunk(_TONE * 1e9),
    "places beyond the text": lambda: _chunk(_TONE, char_start=-7, char_end=10**9),
    "places are None": lambda: _chunk(_TONE, char_start=None, char_end=None),
    "negative times": lambda: _chunk(_TONE, words=(Word("Yes", -9.0, -1.0),)),
    "times are no numbers": lambda: _chunk(_TONE, words=(Word("Yes", math.nan, math.inf),)),
}


class FaultyTTS(ScriptedTTS):
    """Breaks on what its script is asked; what it is told to `spare` (a line of the session's own) it always says."""

    def __init__(self, fault: Fault, *, spare: Sequence[str] = ()) -> None:
        super().__init__(repeat=True)
        self.fault = fault
        self.spare = tuple(spare)
        self.asked = 0

    async def synthesize(self, text: str, options: Any = None) -> AsyncIterator[Any]:
        spared = text in self.spare
        hit = not spared and self.fault.hits(self.asked)
        self.asked += not spared
        own = super().synthesize(text) if options is None else super().synthesize(text, options)
        if not hit:
            async for chunk in own:
                yield chunk
            return
        if self.fault.how == "silent":
            return
        if self.fault.how == "without end":
            while True:
                await asyncio.sleep(0.1)
                yield _chunk(np.tile(_TONE, 20))
        rubbish = RUBBISH_CHUNKS.get(self.fault.how)
        if self.fault.at == "first":
            if rubbish is not None:
                yield rubbish()
                return
            await self.fault.strike()
        count = 0
        async for chunk in own:
            yield chunk
            count += 1
            if count == 2 and self.fault.at == "mid":
                if rubbish is not None:
                    yield rubbish()
                await self.fault.strike()
        if self.fault.at == "end":
            if rubbish is not None:
                yield rubbish()
            await self.fault.strike()


RUBBISH_PROBABILITIES: dict[str, Any] = {
    "nothing": None,
    "not a number": math.nan,
    "too high": 1e9,
    "negative": -1.0,
    "a string": "speech",
}


class FaultyDetector(ScriptedTurnDetector):
    POLICY = EndpointPolicy(silence_ms=700, steps=((0.5, 200),), check_at_ms=(100,), max_silence_ms=1500)

    def __init__(self, fault: Fault) -> None:
        super().__init__([], policy=self.POLICY)
        self.fault = fault
        self.asked = 0

    async def end_probability(self, audio: AudioFrame, text: str | None) -> Any:
        hit = self.fault.hits(self.asked)
        self.asked += 1
        if hit and self.fault.how in RUBBISH_PROBABILITIES:
            return RUBBISH_PROBABILITIES[self.fault.how]
        if hit:
            await self.fault.strike()
        return 0.9


class FaultyVAD(ScriptedVAD):
    """Breaks on the windows whose middle lies in a stretch of stream time."""

    def __init__(self, speech: Sequence[tuple[float, float]], how: str, broken_s: tuple[float, float]) -> None:
        super().__init__(speech)
        self.how = how
        self.broken_s = broken_s
        self.windows = 0
        self.opened = 0

    def stream(self) -> Any:
        self.opened += 1
        if self.opened > 1 and self.how == "no new stream":
            raise EngineFailed("no stream")
        return _FaultyVADStream(self, super().stream())


class _FaultyVADStream:
    def __init__(self, vad: FaultyVAD, own: Any) -> None:
        self._vad = vad
        self._own = own

    def probability(self, window: Any) -> Any:
        vad = self._vad
        self._own.windows = vad.windows  # a new stream goes on in the time of the session
        value = self._own.probability(window)
        vad.windows += 1
        at_s = vad.windows * vad.window_samples / vad.rate_hz
        if not vad.broken_s[0] <= at_s < vad.broken_s[1]:
            return value
        if vad.how in RUBBISH_PROBABILITIES:
            return RUBBISH_PROBABILITIES[vad.how]
        raise EngineFailed("deaf")

    def reset(self) -> None:
        self._own.reset()


class FaultyTool:
    """A workflow that calls a tool and speaks of what it gave."""

    speculative = True

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.asked = 0
        self.ran = 0

    async def respond(self, turn: TurnContext) -> AsyncIterator[Any]:
        hit = self.fault.hits(self.asked)
        self.asked += 1
        call = ToolCall(f"call_{self.asked}", "lamp", '{"on": true}')
        if hit and self.fault.how == "arguments are None":
            call = replace(call, arguments=None)  # type: ignore[arg-type]
        permit = await turn.before_call(call)
        if not permit.allowed:
            yield "It stays off."
            return
        self.ran += 1
        yield call
        if hit and self.fault.at == "first":
            await self.fault.strike()
        output: Any = 7 if hit and self.fault.how == "output is a number" else "done"
        yield ToolResult(call.id, call.name, output)
        yield "It is "
        if hit and self.fault.at == "mid":
            await self.fault.strike()
        yield "on now."


class FaultyJournal:
    """A record that breaks on some of the times that it is waited for."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.asked = 0

    def note_speaking(self, text: str, *, turn: int, filler: bool = False) -> None: ...

    def overdue(self, error: Exception) -> None:
        raise error

    async def settled(self) -> None:
        hit = self.fault.hits(self.asked)
        self.asked += 1
        if hit:
            await self.fault.strike()
