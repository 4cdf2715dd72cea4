"""Fallback chains: several engines of one stage that look like one.

The rules of all chains are in :mod:`antiphon.engines.chain`. Nothing is ever said twice:

- LLM: once a piece of text or a tool call came out, a failure is raised as it is, and the answer ends there. The next
  request already goes to the next engine.
- TTS: the next engine speaks the rest, from the first word boundary at or after the last chunk's `char_end`. So the
  rest of a word that was broken off is lost; no word is repeated.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler, resample
from antiphon.engines.chain import Attempt, Chain, FallbackEvent, Health, Link, OnEvent
from antiphon.engines.errors import AntiphonError, EngineRequestInvalid, StaleRequest
from antiphon.engines.protocols import (
    LLM,
    STT,
    TTS,
    Finish,
    LLMCapabilities,
    LLMEvent,
    LLMOptions,
    Message,
    SpeechChunk,
    Stage,
    STTCapabilities,
    STTOptions,
    TextDelta,
    ToolSpec,
    Transcript,
    TTSCapabilities,
    TTSOptions,
    Word,
)

__all__ = ["FallbackEvent", "FallbackLLM", "FallbackSTT", "FallbackTTS", "Link", "OnEvent"]

AudioEngineT = TypeVar("AudioEngineT", STT, TTS)

_STT_OPTIONS = STTOptions()
_LLM_OPTIONS = LLMOptions()
_TTS_OPTIONS = TTSOptions()


class _AudioChain(Chain[AudioEngineT]):
    """A chain at one rate: that of the first engine that was loaded on entering."""

    _rate_hz = 0

    def _entered(self) -> None:
        self._rate_hz = self._lead.engine.rate_hz

    @property
    def rate_hz(self) -> int:
        return self._rate_hz or self._lead.engine.rate_hz


class FallbackSTT(_AudioChain[STT]):
    """A chain of STT engines. It takes audio at the rate of the first one loaded, and resamples for the others."""

    stage: Stage = "stt"

    @property
    def capabilities(self) -> STTCapabilities:
        """Those of the first loaded engine; languages of all; local only if all are. Never streaming.

        It translates if any engine does: only those that do are asked then.
        """
        all_of = [link.engine.capabilities for link in self._links]
        return replace(
            self._lead.engine.capabilities,
            streaming=False,
            translates=any(one.translates for one in all_of),
            languages=_languages([one.languages for one in all_of]),
            local=all(one.local for one in all_of),
        )

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _STT_OPTIONS) -> Transcript:
        failures: list[tuple[Health[STT], AntiphonError]] = []
        # Whoever asks waits for the audio's length besides: shared, so that the last engine is still asked in time.
        share_s = audio.duration_s / len(self._links)
        with self._attempts() as links:
            for link in links:
                if options.translate and not link.engine.capabilities.translates:
                    continue
                self.goes_on(failures, link)
                try:
                    wanted_hz = link.engine.rate_hz
                    given = audio
                    if wanted_hz != audio.rate_hz:
                        given = AudioFrame(resample(audio.samples, audio.rate_hz, wanted_hz), wanted_hz, audio.start_s)
                    async with self.deadline(link, share_s):
                        transcript = await link.engine.transcribe(given, options)
                except StaleRequest:
                    raise
                except Exception as error:
                    failures.append((link, self.failed(link, error)))
                else:
                    self.works(link)
                    return transcript
        if not failures:
            raise EngineRequestInvalid("no engine of the chain that is loaded can translate", stage="stt")
        raise self.exhausted(failures)


class FallbackLLM(Chain[LLM]):
    """A chain of language models."""

    stage: Stage = "llm"

    @property
    def capabilities(self) -> LLMCapabilities:
        """Those of the first loaded engine; local only if all are; the slowest cancellation.

        An engine without tools is asked without them: a spoken answer is better than none.
        """
        all_of = [link.engine.capabilities for link in self._links]
        return replace(
            self._lead.engine.capabilities,
            prefill=any(one.prefill for one in all_of),
            local=all(one.local for one in all_of),
            cancel_granularity_ms=max(one.cancel_granularity_ms for one in all_of),
        )

    async def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = _LLM_OPTIONS,
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        failures: list[tuple[Health[LLM], AntiphonError]] = []
        with self._attempts() as links:
            for link in links:
                self.goes_on(failures, link)
                tools_here = tools if link.engine.capabilities.tools else ()
                # Another model's name means nothing to the engines further on.
                options_here = options if link is self._links[0] else replace(options, model=None)
                given = finished = False
                async with Attempt(
                    self, link, link.engine.stream(messages, tools_here, options_here, session_key)
                ) as tried:
                    while (event := await tried.next()) is not None:
                        given = given or not isinstance(event, TextDelta) or bool(event.text)
                        finished = isinstance(event, Finish)
                        yield event
                if tried.error is None or finished:
                    return
                failures.append((link, tried.error))
                if given:
                    raise self.exhausted(failures[-1:])
        raise self.exhausted(failures)

    async def prefill(
        self, messages: Sequence[Message], session_key: str = "", tools: Sequence[ToolSpec] | None = None
    ) -> None:
        """Goes to the engine that the next request would go to. A failure counts, but is not raised: it was a hint."""
        with self._attempts() as links:
            for link in links:
                if link.engine.capabilities.prefill and link.out_until_s is None:
                    try:
                        async with self.deadline(link):
                            await link.engine.prefill(messages, session_key, *(() if tools is None else (tools,)))
                    except StaleRequest:
                        raise
                    except Exception as error:
                        self.exhausted([(link, self.failed(link, error))])
                return


class FallbackTTS(_AudioChain[TTS]):
    """A chain of voices. All speak at the rate of the first one loaded; the others are resampled."""

    stage: Stage = "tts"

    @property
    def capabilities(self) -> TTSCapabilities:
        """Those of the first loaded engine; languages and voices of all; local only if all are; slowest cancel."""
        all_of = [link.engine.capabilities for link in self._links]
        return replace(
            self._lead.engine.capabilities,
            languages=_languages([one.languages for one in all_of]),
            voices=tuple(dict.fromkeys(voice for one in all_of for voice in one.voices)),
            local=all(one.local for one in all_of),
            cancel_granularity_ms=max(one.cancel_granularity_ms for one in all_of),
        )

    async def synthesize(self, text: str, options: TTSOptions = _TTS_OPTIONS) -> AsyncIterator[SpeechChunk]:
        failures: list[tuple[Health[TTS], AntiphonError]] = []
        joiner = _Joiner(self.rate_hz)
        with self._attempts() as links:
            for link in links:
                self.goes_on(failures, link)
                rest_at = joiner.rest_at(text)
                joiner.begin(link.engine.rate_hz, rest_at)
                asked = link.engine.synthesize(text[rest_at:], self._options_for(link, options, text[:rest_at]))
                async with Attempt(self, link, asked) as tried:
                    while (chunk := await tried.next()) is not None:
                        if joined := joiner.push(chunk):
                            yield joined
                if tail := joiner.flush():
                    yield tail
                if tried.error is None:
                    return
                failures.append((link, tried.error))
                if not re.search(r"\w", text[joiner.rest_at(text) :]):
                    return  # it broke, but had said all
        raise self.exhausted(failures)

    def _options_for(self, link: Health[TTS], options: TTSOptions, before: str) -> TTSOptions:
        """Drop a voice that this engine does not have, and tell it what was spoken before."""
        voices = link.engine.capabilities.voices
        known = options.voice in voices if voices else link is self._links[0]
        return replace(
            options,
            voice=options.voice if known else None,
            context_before=options.context_before + before,
        )


class _Joiner:
    """Joins what several engines speak of one text: one rate, one clock, one count of characters."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._samples = 0
        """How many came out so far."""
        self._spoken_chars = 0
        self.begin(rate_hz, 0)

    def begin(self, from_hz: int, char_base: int) -> None:
        """Another engine goes on from this character."""
        self._resampler = StreamResampler(from_hz, self._rate_hz)
        self._char_base = char_base
        self._base_s = self._samples / self._rate_hz
        self._held: list[Word] | None = None
        self._held_start = char_base

    def push(self, chunk: SpeechChunk) -> SpeechChunk | None:
        """The chunk as part of the whole; None while the resampler still holds its samples."""
        if len(chunk.frame.samples):
            self._spoken_chars = max(self._spoken_chars, self._char_base + chunk.char_end)
        if chunk.words is not None:
            shifted = (
                replace(word, start_s=word.start_s + self._base_s, end_s=word.end_s + self._base_s)
                for word in chunk.words
            )
            self._held = [*(self._held or ()), *shifted]
        return self._out(self._resampler.push(chunk.frame.samples), self._char_base + chunk.char_end)

    def flush(self) -> SpeechChunk | None:
        """What the resampler still holds of the engine that has ended."""
        tail = self._resampler.push(np.zeros(0, np.float32), last=True)
        return self._out(tail, max(self._held_start, self._spoken_chars))

    def _out(self, samples: Samples, char_end: int) -> SpeechChunk | None:
        if not len(samples):
            return None
        words, self._held = self._held, None
        frame = AudioFrame(samples, self._rate_hz, self._samples / self._rate_hz)
        chunk = SpeechChunk(frame, self._held_start, char_end, None if words is None else tuple(words))
        self._samples += len(samples)
        self._held_start = char_end
        return chunk

    def rest_at(self, text: str) -> int:
        """Where the next engine goes on: 0, or the first word boundary at or after the last spoken character."""
        at = self._spoken_chars
        while 0 < at < len(text) and not (_ends_word(text[at - 1]) or _ends_word(text[at])):
            at += 1
        return at


def _ends_word(character: str) -> bool:
    """Whether a word can end before or after it: space, and the characters of scripts that write without spaces."""
    return character.isspace() or unicodedata.east_asian_width(character) in ("W", "F")


def _languages(all_of: Sequence[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    if any(one is None for one in all_of):
        return None
    return tuple(dict.fromkeys(language for one in all_of for language in one or ()))
