"""Streamed speech at any base URL that speaks OpenAI's audio API."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from antiphon.engines.audio import Samples, StreamResampler
from antiphon.engines.config import option
from antiphon.engines.openai_client import Exchange, OpenAIEngine, OpenAIOptions, invalid
from antiphon.engines.protocols import TTS, SpeechChunk, TTSCapabilities, TTSOptions
from antiphon.engines.tts.cache import TTSCacheOptions, with_cache
from antiphon.engines.tts.estimated import EstimatedChunks, Pace
from antiphon.engines.tts.openai_audio import AudioDecoder, UnreadableAudio

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

_AS_CONFIGURED = TTSOptions()


class OpenAITTSOptions(OpenAIOptions, TTSCacheOptions):
    """Options of the TTS engine `openai`."""

    model: str = option("gpt-4o-mini-tts", "Model name, as the server lists it.", min_length=1)
    voice: str = option("alloy", "Voice name, as the server knows it.", min_length=1)
    speed: float | None = option(
        None, "1.0 is the voice's own pace, 2.0 twice as fast; unset: the server's.", ge=0.25, le=4
    )
    instructions: str | None = option(None, "How to speak, for models that take instructions.")
    response_format: Literal["pcm", "wav"] = option(
        "pcm", "Form of the audio: pcm begins earliest; wav for servers that have no pcm."
    )
    sample_rate_hz: int = option(
        24000, "Rate of the server's pcm, and the rate of this engine's output.", unit="Hz", ge=8000, le=48000
    )


def create(options: OpenAITTSOptions, context: EngineContext) -> TTS:
    """The engine, behind its cache; not yet entered."""
    return with_cache(OpenAITTS(options, context), options)


class OpenAITTS(OpenAIEngine):
    """Streams speech; one HTTP request a text."""

    uses_context = False

    def __init__(self, options: OpenAITTSOptions, context: EngineContext) -> None:
        super().__init__("tts", options, context)
        self._options = options
        self.pace = Pace()

    @property
    def rate_hz(self) -> int:
        return self._options.sample_rate_hz

    @property
    def capabilities(self) -> TTSCapabilities:
        return TTSCapabilities(streaming=True, local=self._connection.local, cancel_granularity_ms=50.0)

    async def synthesize(self, text: str, options: TTSOptions = _AS_CONFIGURED) -> AsyncIterator[SpeechChunk]:
        """Speak `text`. Which characters a chunk speaks is estimated from its share of the time.

        `language` and `context_before` have no counterpart in the API and are not used.

        :raises EngineError: see :mod:`antiphon.engines.errors`; "partial" in the message says that audio came before.
        """
        if not any(character.isalnum() for character in text):
            return
        speed = self._options.speed if options.speed is None else options.speed
        if speed is not None and not 0.25 <= speed <= 4:
            raise invalid("tts", f"a speed of {speed:g} was asked for; the API takes 0.25 to 4")
        answer = _SpokenAnswer(self, text, speed or 1.0)
        exchange = self._connection.exchange(
            functools.partial(self._send, answer, self._body(text, options, speed)), model=self._options.model
        )
        async with aclosing(cast(Any, exchange.items())) as pieces:
            async for piece in pieces:
                chunk = answer.feed(piece, exchange)
                if chunk is not None:
                    exchange.delivered = f"{answer.emitted_s:.2f} s of audio"
                    yield chunk
        yield answer.last(exchange)
        self.pace.learn(len(text), answer.emitted_s * (speed or 1.0))

    async def _send(
        self, answer: _SpokenAnswer, body: dict[str, Any]
    ) -> tuple[AsyncIterator[bytes], Callable[[], Awaitable[None]]]:
        request = self._connection.client.audio.speech.with_streaming_response.create(
            **body, extra_body=dict(self._options.extra_body) or None
        )
        response = await request.__aenter__()
        answer.begin(response.headers)
        return response.iter_bytes(), response.close

    def _body(self, text: str, options: TTSOptions, speed: float | None) -> dict[str, Any]:
        mine = self._options
        body = {
            "model": mine.model,
            "voice": options.voice or mine.voice,
            "input": text,
            "response_format": mine.response_format,
            "speed": speed,
            "instructions": mine.instructions,
        }
        return {key: value for key, value in body.items() if value is not None}


class _SpokenAnswer:
    """Makes chunks out of one answer's bytes."""

    def __init__(self, engine: OpenAITTS, text: str, speed: float) -> None:
        self._engine = engine
        self._rate_hz = engine.rate_hz
        self._chunks = EstimatedChunks(len(text), engine.rate_hz, engine.pace.guess_s(len(text), speed))
        self._content_type = ""
        self._length: int | None = None
        self._decoder: AudioDecoder | None = None
        self._resampler: StreamResampler | None = None

    @property
    def emitted_s(self) -> float:
        return self._chunks.emitted_s

    def begin(self, headers: Any) -> None:
        """Called with the response's headers; again if the request is tried again."""
        self._content_type = headers.get("content-type", "")
        length = headers.get("content-length", "")
        self._length = int(length) if length.isdecimal() and not headers.get("content-encoding") else None

    def feed(self, data: bytes, exchange: Exchange[bytes]) -> SpeechChunk | None:
        try:
            if self._decoder is None:
                expect = self._engine._options.response_format
                self._decoder = AudioDecoder(self._rate_hz, expect=expect, content_type=self._content_type)
            samples = self._decoder.feed(data)
        except UnreadableAudio as error:
            raise self._unreadable(error, exchange) from None
        if len(samples):
            samples = self._resampled(samples)
        return self._chunks.push(samples, self._total_s())

    def last(self, exchange: Exchange[bytes]) -> SpeechChunk:
        """What was held back, to the text's end."""
        if self._decoder is not None:
            try:
                self._decoder.finish()
            except UnreadableAudio as error:
                raise self._unreadable(error, exchange) from None
        if self._resampler is not None:
            self._chunks.hold(self._resampler.push(np.zeros(0, np.float32), last=True))
        if self._chunks.empty:
            raise exchange.broken("sent no audio")
        return self._chunks.last()

    def _resampled(self, samples: Samples) -> Samples:
        assert self._decoder is not None
        if self._resampler is None:
            if self._decoder.rate_hz == self._rate_hz:
                return samples
            self._resampler = StreamResampler(self._decoder.rate_hz, self._rate_hz)
        return self._resampler.push(samples)

    def _total_s(self) -> float | None:
        assert self._decoder is not None
        if self._decoder.total_samples is not None:
            return self._decoder.total_samples / self._decoder.rate_hz
        if self._length is not None and self._engine._options.response_format == "pcm":
            return self._length / 2 / self._rate_hz
        return None

    @staticmethod
    def _unreadable(error: UnreadableAudio, exchange: Exchange[bytes]) -> Exception:
        failure = exchange.broken(f"sent {error}")
        failure.hint = "try tts.response_format: wav, or pcm; other forms are not read"
        return failure
