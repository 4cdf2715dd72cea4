"""The scripted engines that answer: LLM and TTS."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import numpy as np

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed, EngineRequestInvalid
from antiphon.engines.protocols import (
    Finish,
    LLMCapabilities,
    LLMEvent,
    LLMOptions,
    Message,
    SpeechChunk,
    Stage,
    TextDelta,
    ToolSpec,
    TTSCapabilities,
    TTSOptions,
    Word,
)
from antiphon.engines.testing.script import (
    LLMCall,
    PrefillCall,
    Reply,
    ScriptedEngine,
    Speak,
    TTSCall,
    UnexpectedCall,
    now_s,
    timed,
)

_LLM_CAPABILITIES = LLMCapabilities(tools=True, json_schema=True, prefill=True, cancel_granularity_ms=0.0)
_LLM_OPTIONS = LLMOptions()
_TTS_OPTIONS = TTSOptions()


class ScriptedLLM(ScriptedEngine[Reply, LLMCall]):
    """Answers with the replies of its script."""

    stage: Stage = "llm"

    def __init__(
        self,
        steps: Sequence[Reply | Exception] | Callable[[LLMCall], Reply | Exception] = (),
        *,
        capabilities: LLMCapabilities = _LLM_CAPABILITIES,
        prefill_delay_s: float = 0.0,
        repeat: bool = False,
        name: str = "scripted",
        load_s: float = 0.0,
        load_errors: Sequence[Exception] = (),
    ) -> None:
        super().__init__(steps, repeat=repeat, name=name, load_s=load_s, load_errors=load_errors)
        self.capabilities = capabilities
        self.prefills: list[PrefillCall] = []
        """Prefills take no step."""
        self._prefill_delay_s = prefill_delay_s

    async def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = _LLM_OPTIONS,
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        self._require_entered()
        call = LLMCall(began_s=now_s(), messages=tuple(messages), tools=tuple(tools), options=options,
                       session_key=session_key)  # fmt: skip
        self.calls.append(call)
        with timed(call):
            reply = self.take(call)
            await asyncio.sleep(reply.first_delay_s)
            for index, delta in enumerate(reply.deltas):
                if index and reply.delta_delay_s:
                    await asyncio.sleep(reply.delta_delay_s)
                self._break_if(reply, index)
                call.text += delta
                yield TextDelta(delta)
            self._break_if(reply, len(reply.deltas))
            for tool_call in reply.tool_calls:
                yield tool_call
            if reply.usage is not None:
                yield reply.usage
            call.outcome = "done"  # nothing is lost if the stream is closed now
            yield Finish(reply.finish or ("tool_calls" if reply.tool_calls else "stop"))

    def _break_if(self, reply: Reply, index: int) -> None:
        if reply.error_after is not None and index >= reply.error_after:
            raise reply.error or EngineFailed("a scripted failure", stage="llm", engine=self.name)

    async def prefill(
        self, messages: Sequence[Message], session_key: str = "", tools: Sequence[ToolSpec] | None = None
    ) -> None:
        self._require_entered()
        call = PrefillCall(
            began_s=now_s(),
            messages=tuple(messages),
            session_key=session_key,
            tools=None if tools is None else tuple(tools),
        )
        self.prefills.append(call)
        with timed(call):
            await asyncio.sleep(self._prefill_delay_s)


class ScriptedTTS(ScriptedEngine[Speak, TTSCall]):
    """Speaks a steady tone, each character of the text for the same time. Without a script it speaks any text."""

    stage: Stage = "tts"

    def __init__(
        self,
        steps: Sequence[Speak | Exception] | Callable[[TTSCall], Speak | Exception] | None = None,
        *,
        rate_hz: int = 24000,
        seconds_per_char: float = 0.06,
        chunk_s: float = 0.25,
        first_delay_s: float = 0.0,
        chunk_delay_s: float = 0.0,
        tone_hz: float = 440.0,
        word_times: bool = True,
        repeat: bool = False,
        name: str = "scripted",
        load_s: float = 0.0,
        load_errors: Sequence[Exception] = (),
    ) -> None:
        """
        :param chunk_s: length of each chunk but the last.
        :param first_delay_s: how long the first chunk takes; `chunk_delay_s`: each later one.
        :param tone_hz: the tone, so that a test can tell who spoke.
        """
        super().__init__((lambda _: Speak()) if steps is None else steps, repeat=repeat, name=name, load_s=load_s,
                         load_errors=load_errors)  # fmt: skip
        self.rate_hz = rate_hz
        self.capabilities = TTSCapabilities(streaming=True, word_times=word_times, cancel_granularity_ms=0.0)
        self.seconds_per_char = seconds_per_char
        self.chunk_s = chunk_s
        self.tone_hz = tone_hz
        self._first_delay_s = first_delay_s
        self._chunk_delay_s = chunk_delay_s

    async def synthesize(self, text: str, options: TTSOptions = _TTS_OPTIONS) -> AsyncIterator[SpeechChunk]:
        self._require_entered()
        if not any(character.isalnum() for character in text):
            return
        speed = 1.0 if options.speed is None else options.speed
        if not 0.1 <= speed <= 10:
            raise EngineRequestInvalid(f"the speed is within 0.1 and 10, not {speed:g}", stage="tts", engine=self.name)
        call = TTSCall(began_s=now_s(), text=text, options=options)
        self.calls.append(call)
        with timed(call):
            step = self.take(call)
            if step.text is not None and step.text != text:
                self.unexpected.append(repr(call))
                raise UnexpectedCall(f"tts '{self.name}' was to speak {step.text!r}, but was asked for {text!r}")
            first_s = self._first_delay_s if step.first_delay_s is None else step.first_delay_s
            later_s = self._chunk_delay_s if step.chunk_delay_s is None else step.chunk_delay_s
            for chunk in self._chunks(text, self.seconds_per_char / speed):
                await asyncio.sleep(later_s if call.chunks else first_s)
                self._break_if(step, call.chunks)
                call.chunks += 1
                yield chunk
            self._break_if(step, call.chunks)

    def _break_if(self, step: Speak, index: int) -> None:
        if step.error_after is not None and index >= step.error_after:
            raise step.error or EngineFailed("a scripted failure", stage="tts", engine=self.name)

    def _chunks(self, text: str, char_s: float) -> Iterator[SpeechChunk]:
        total = round(len(text) * char_s * self.rate_hz)
        step = max(1, round(self.chunk_s * self.rate_hz))
        words = [
            Word(match.group(), match.start() * char_s, match.end() * char_s) for match in re.finditer(r"\S+", text)
        ]
        char_start = 0
        for begin in range(0, total, step):
            end = min(begin + step, total)
            char_end = len(text) if end == total else round(end / (char_s * self.rate_hz))
            # A cosine: already the first sample is audible.
            phase = 2 * np.pi * self.tone_hz / self.rate_hz * np.arange(begin, end)
            frame = AudioFrame((0.3 * np.cos(phase)).astype(np.float32), self.rate_hz, begin / self.rate_hz)
            spoken = tuple(word for word in words if begin <= round(word.start_s * self.rate_hz) < end)
            yield SpeechChunk(frame, char_start, char_end, spoken if self.capabilities.word_times else None)
            char_start = char_end
