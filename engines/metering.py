"""What engines use: seconds of audio, tokens, characters; noted with who pays (the meter of the current ticket).

Each engine of a chain is metered by itself, so what is noted names the engine that really worked. What a vendor would
bill is counted, also where nobody waits for it any more: an utterance when its transcript is there, a text when a voice
is asked for it, tokens as the engine tells them. A model that is stopped before it tells its tokens is noted by the
pieces of text that it gave (`output_pieces`: about a token each for an engine on this machine).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.host import current_ticket
from antiphon.engines.protocols import (
    LLMEvent,
    LLMOptions,
    Message,
    SpeechChunk,
    Stage,
    STTOptions,
    TextDelta,
    ToolSpec,
    Transcript,
    TTSOptions,
    Usage,
)

_STT_OPTIONS = STTOptions()
_LLM_OPTIONS = LLMOptions()
_TTS_OPTIONS = TTSOptions()


def metered(stage: Stage, engine: Any, name: str) -> Any:
    """An engine with its meter; those of other stages than `stt`, `llm` and `tts` as they are.

    :param name: of the engine, as the usage tells it.
    """
    kind = _KINDS.get(stage)
    return engine if kind is None or isinstance(engine, _Metered) else kind(engine, name)


class _Metered:
    """Whatever is not counted goes to the engine itself."""

    stage: Stage

    def __init__(self, engine: Any, name: str) -> None:
        self._engine = engine
        self._name = name

    async def __aenter__(self) -> Any:
        await self._engine.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._engine.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        if name == "_engine":  # not made yet
            raise AttributeError(name)
        return getattr(self._engine, name)

    def _note(self, unit: str, amount: float) -> None:
        meter = current_ticket.get().meter
        if meter is not None and amount:
            meter.use(self.stage, self._name, unit, amount)


class _MeteredSTT(_Metered):
    stage: Stage = "stt"

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _STT_OPTIONS) -> Transcript:
        heard: Transcript = await self._engine.transcribe(audio, options)
        self._note("audio_s", audio.duration_s)
        return heard


class _MeteredLLM(_Metered):
    stage: Stage = "llm"

    async def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = _LLM_OPTIONS,
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        pieces, told = 0, False
        try:
            async with aclosing(self._engine.stream(messages, tools, options, session_key)) as events:
                async for event in events:
                    if isinstance(event, Usage):
                        told = True
                        self._note("input_tokens", event.input_tokens)
                        self._note("output_tokens", event.output_tokens)
                        self._note("cached_tokens", event.cached_tokens)
                    pieces += isinstance(event, TextDelta) and bool(event.text)
                    yield event
        finally:
            if not told:
                self._note("output_pieces", pieces)


class _MeteredTTS(_Metered):
    stage: Stage = "tts"

    async def synthesize(self, text: str, options: TTSOptions = _TTS_OPTIONS) -> AsyncIterator[SpeechChunk]:
        self._note("characters", len(text))
        async with aclosing(self._engine.synthesize(text, options)) as chunks:
            async for chunk in chunks:
                yield chunk


_KINDS: dict[str, type[_Metered]] = {"stt": _MeteredSTT, "llm": _MeteredLLM, "tts": _MeteredTTS}
