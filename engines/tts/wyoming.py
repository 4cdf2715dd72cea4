"""Speech by a Wyoming server, such as Piper in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from antiphon.engines.audio import Samples, StreamResampler
from antiphon.engines.config import option
from antiphon.engines.errors import EngineError, EngineRequestInvalid
from antiphon.engines.protocols import TTS, SpeechChunk, TTSCapabilities, TTSOptions
from antiphon.engines.tts.cache import TTSCacheOptions, with_cache
from antiphon.engines.tts.estimated import EstimatedChunks, Pace
from antiphon.engines.wyoming_client import Exchange, WyomingEngine, WyomingOptions, primary_language
from antiphon.engines.wyoming_wire import UnreadableAudio, pcm_samples

if TYPE_CHECKING:
    from wyoming.event import Event

    from antiphon.engines.registry import EngineContext

_AS_CONFIGURED = TTSOptions()
_NOTHING: Samples = np.zeros(0, np.float32)


class WyomingTTSOptions(WyomingOptions, TTSCacheOptions):
    """Options of the TTS engine `wyoming`."""

    uri: str = option("tcp://127.0.0.1:10200", "Where the server is: `tcp://HOST:PORT`, or `unix:///PATH`.")
    voice: str | None = option(None, "Voice name, as the server lists it; unset: the server's own choice.")
    speaker: str | None = option(None, "Speaker of a voice that has several; needs `voice`.")
    sample_rate_hz: int = option(
        22050,
        "Rate of this engine's output; audio of another rate is resampled. Best is the voice's own (Piper's medium "
        "voices: 22050).",
        unit="Hz",
        ge=8000,
        le=48000,
    )


def create(options: WyomingTTSOptions, context: EngineContext) -> TTS:
    """The engine, behind its cache; not yet entered."""
    return with_cache(WyomingTTS(options, context), options)


class WyomingTTS(WyomingEngine):
    """Streams speech; one connection a text."""

    uses_context = False

    def __init__(self, options: WyomingTTSOptions, context: EngineContext) -> None:
        super().__init__("tts", options, context)
        self._options = options
        self._pace = Pace()

    @property
    def rate_hz(self) -> int:
        return self._options.sample_rate_hz

    @property
    def capabilities(self) -> TTSCapabilities:
        voices = self._voices()
        mine = [voice for voice in voices if self._options.voice in (None, voice.name)]
        languages = dict.fromkeys(
            code for voice in mine for name in voice.languages if (code := primary_language(name))
        )
        return TTSCapabilities(
            streaming=True,
            languages=tuple(languages) or None,
            voices=tuple(voice.name for voice in voices),
            local=self.local,
            cancel_granularity_ms=50.0,
        )

    def _voices(self) -> list[Any]:
        """Those that the server said it has."""
        if self.info is None or not self.info.tts:
            return []
        programs = self.info.tts
        program = next((one for one in programs if one.name == self._options.program), programs[0])
        return [voice for voice in program.voices if voice.installed]

    async def synthesize(self, text: str, options: TTSOptions = _AS_CONFIGURED) -> AsyncIterator[SpeechChunk]:
        """Speak `text`. Which characters a chunk speaks is estimated from its share of the time.

        `context_before` has no counterpart in the protocol and is not used.

        :raises EngineRequestInvalid: a speed other than 1 was asked for: the protocol has none.
        :raises EngineError: see :mod:`antiphon.engines.errors`; "partial" in the message says that audio came before.
        """
        self._require_entered()
        if not any(character.isalnum() for character in text):
            return
        if options.speed is not None and options.speed != 1.0:
            raise EngineRequestInvalid(
                f"a speed of {options.speed:g} was asked for, and the Wyoming protocol has none",
                stage="tts", engine=self.engine, hint="set the speed at the server",
            )  # fmt: skip
        deadline_s = asyncio.get_running_loop().time() + self.patience_s
        tried = 0
        while True:
            chunks = EstimatedChunks(len(text), self.rate_hz, self._pace.guess_s(len(text)))
            try:
                async with aclosing(cast(Any, self._spoken(text, options, chunks, deadline_s))) as pieces:
                    async for chunk in pieces:
                        yield chunk
            except EngineError as error:
                if chunks.emitted_s:
                    error.message += f" (partial: {chunks.emitted_s:.2f} s of audio had been delivered)"
                    error.args = (error.message,)
                    raise
                tried += 1
                await self.pause_before_retry(error, tried, deadline_s)
                continue
            if not chunks.empty:
                self._pace.learn(len(text), chunks.emitted_s)
            return

    async def _spoken(
        self, text: str, options: TTSOptions, chunks: EstimatedChunks, deadline_s: float
    ) -> AsyncIterator[SpeechChunk]:
        async with self.connected() as exchange:
            await exchange.send(self._request(text, options))
            resampler: StreamResampler | None = None
            while True:
                event = await self._next(exchange, deadline_s, chunks)
                if event.type == "audio-stop":
                    break
                if event.type != "audio-chunk":
                    continue
                samples, rate_hz = self._heard(event)
                if resampler is None:
                    resampler = StreamResampler(rate_hz, self.rate_hz)
                elif resampler.from_hz != rate_hz:
                    raise self.failed(f"{self.uri} changed from {resampler.from_hz} to {rate_hz} Hz within a text")
                if chunk := chunks.push(resampler.push(samples)):
                    yield chunk
            if resampler is not None and resampler.from_hz != resampler.to_hz:
                chunks.hold(resampler.push(_NOTHING, last=True))
            if not chunks.empty:
                yield chunks.last()

    async def _next(self, exchange: Exchange, deadline_s: float, chunks: EstimatedChunks) -> Event:
        stalled_s = asyncio.get_running_loop().time() + self._options.stall_timeout_s
        try:
            async with asyncio.timeout_at(deadline_s if chunks.empty else stalled_s):
                return await exchange.receive()
        except TimeoutError:
            what = "gave no audio in time" if chunks.empty else "stopped in the middle of its answer"
            raise self.timed_out(what) from None

    def _heard(self, event: Event) -> tuple[Samples, int]:
        """Audio of an event, and its rate.

        :raises EngineFailed: in a form that is not read.
        """
        data = event.data
        form = {"rate_hz": data.get("rate"), "width": data.get("width"), "channels": data.get("channels")}
        try:
            return pcm_samples(event.payload or b"", **form), int(data["rate"])
        except UnreadableAudio as error:
            raise self.failed(f"{self.uri} sent {error}") from None

    def _request(self, text: str, options: TTSOptions) -> Event:
        from wyoming.tts import Synthesize, SynthesizeVoice

        name = options.voice or self._options.voice
        voice = None
        if name:
            speaker = self._options.speaker if name == self._options.voice else None
            voice = SynthesizeVoice(name=name, speaker=speaker)
        elif options.language:
            voice = SynthesizeVoice(language=options.language)
        # A lone surrogate is no text that can be sent.
        return Synthesize(text.encode("utf-8", "replace").decode("utf-8"), voice=voice).event()
