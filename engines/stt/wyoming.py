"""Transcription by a Wyoming server: another machine's, another process's, or another program's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, resample, to_pcm16
from antiphon.engines.config import option
from antiphon.engines.errors import EngineError
from antiphon.engines.protocols import STTCapabilities, STTOptions, Transcript
from antiphon.engines.stt.samples import checked_samples
from antiphon.engines.wyoming_client import Exchange, WyomingEngine, WyomingOptions, primary_language

if TYPE_CHECKING:
    from wyoming.event import Event

    from antiphon.engines.registry import EngineContext

RATE_HZ = 16000
"""What Home Assistant sends, and every server takes."""
_CHUNK_S = 0.1
_SILENT_PEAK = 1e-4
"""-80 dB of full scale: below it nobody can have spoken."""

_AS_CONFIGURED = STTOptions()


class WyomingSTTOptions(WyomingOptions):
    """Options of the STT engine `wyoming`."""

    uri: str = option("tcp://127.0.0.1:10300", "Where the server is: `tcp://HOST:PORT`, or `unix:///PATH`.")
    model: str | None = option(None, "Model name, as the server lists it; unset: the server's own choice.")
    language: str | None = option(None, "Language spoken (ISO 639-1); unset: the server finds out.", min_length=2)
    min_audio_ms: float = option(
        100.0, "Shorter audio is not sent: its transcript is empty.", unit="ms", ge=0
    )  # fmt: skip


def create(options: WyomingSTTOptions, context: EngineContext) -> WyomingSTT:
    """The engine, not yet entered."""
    return WyomingSTT(options, context)


class WyomingSTT(WyomingEngine):
    """Sends 16 kHz PCM, and waits for its transcript."""

    def __init__(self, options: WyomingSTTOptions, context: EngineContext) -> None:
        super().__init__("stt", options, context)
        self._options = options

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def capabilities(self) -> STTCapabilities:
        return STTCapabilities(languages=self._languages(), local=self.local)

    def _languages(self) -> tuple[str, ...] | None:
        """Those of the model that is asked for, as far as the server told them."""
        if self.info is None or not self.info.asr:
            return None
        programs = self.info.asr
        program = next((one for one in programs if one.name == self._options.program), programs[0])
        models = [model for model in program.models if self._options.model in (None, model.name)]
        codes = dict.fromkeys(code for model in models for name in model.languages if (code := primary_language(name)))
        return tuple(codes) or None

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _AS_CONFIGURED) -> Transcript:
        """Transcribe finished audio of any rate. Silence, and less than `min_audio_ms`, is not even sent.

        `hotwords` go as `transcript_terms`; `prompt`, `agreed_prefix` and `max_tokens` have no counterpart in the
        protocol and are not used.

        :raises EngineError: see :mod:`antiphon.engines.errors`.
        """
        self._require_entered()
        samples = checked_samples(audio, engine=self.engine)
        too_short = audio.duration_s * 1000.0 < self._options.min_audio_ms
        if too_short or not len(samples) or float(np.max(np.abs(samples))) < _SILENT_PEAK:
            return Transcript("")
        samples = await asyncio.to_thread(resample, samples, audio.rate_hz, RATE_HZ)
        deadline_s = asyncio.get_running_loop().time() + self.patience_s
        tried = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline_s):
                    return await self._ask(samples, options)
            except TimeoutError:
                raise self.timed_out("gave no transcript in time") from None
            except EngineError as error:
                tried += 1
                await self.pause_before_retry(error, tried, deadline_s)

    async def _ask(self, samples: Samples, options: STTOptions) -> Transcript:
        async with self.connected() as exchange:
            await exchange.send_unless_answered([*self._request(options), *_audio(samples)])
            return await self._answer(exchange)

    def _request(self, options: STTOptions) -> Iterator[Event]:
        from wyoming.asr import Transcribe

        terms = [word.strip() for word in (options.hotwords or "").split(",") if word.strip()]
        language = options.language or self._options.language
        yield Transcribe(name=self._options.model, language=language, transcript_terms=terms or None).event()

    async def _answer(self, exchange: Exchange) -> Transcript:
        """Streamed or not: what counts is the whole transcript, which comes in either case."""
        pieces: list[str] = []
        while True:
            event = await exchange.receive()
            text = event.data.get("text")
            if event.type in ("transcript", "transcript-chunk") and not isinstance(text, str):
                raise self.failed(f"{self.uri} sent a transcript without text")
            if event.type == "transcript":
                return Transcript(str(text).strip(), language=primary_language(event.data.get("language")))
            if event.type == "transcript-chunk":
                pieces.append(str(text))
            elif event.type == "transcript-stop":  # a server that streams and leaves out the whole
                return Transcript("".join(pieces).strip())


def _audio(samples: Samples) -> Iterator[Event]:
    from wyoming.audio import AudioChunk, AudioStart, AudioStop

    form = {"rate": RATE_HZ, "width": 2, "channels": 1}
    data = to_pcm16(samples).astype("<i2").tobytes()
    size = round(_CHUNK_S * RATE_HZ) * 2
    yield AudioStart(**form, timestamp=0).event()
    for at in range(0, len(data), size):
        chunk = AudioChunk(audio=data[at : at + size], timestamp=at // 2 * 1000 // RATE_HZ, **form)
        yield chunk.event()
    yield AudioStop(timestamp=len(samples) * 1000 // RATE_HZ).event()
