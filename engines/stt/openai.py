"""Transcription at any base URL that speaks OpenAI's audio API."""

from __future__ import annotations

import asyncio
import functools
import io
import logging
import math
import wave
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, to_pcm16
from antiphon.engines.config import option
from antiphon.engines.errors import EngineFailed, EngineRequestInvalid
from antiphon.engines.openai_client import OpenAIEngine, OpenAIOptions
from antiphon.engines.openai_errors import names_field
from antiphon.engines.protocols import STTCapabilities, STTOptions, Transcript, Word
from antiphon.engines.stt.openai_languages import language_code
from antiphon.engines.stt.samples import checked_samples

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

_SILENT_PEAK = 1e-4
"""-80 dB of full scale: below it nobody can have spoken."""

_AS_CONFIGURED = STTOptions()

_log = logging.getLogger(__name__)


class OpenAISTTOptions(OpenAIOptions):
    """Options of the STT engine `openai`."""

    model: str = option("gpt-transcribe", "Model name, as the server lists it.", min_length=1)
    language: str | None = option(None, "Language spoken (ISO 639-1); unset: the server finds out.", min_length=2)
    prompt: str | None = option(None, "Text that shows the server names and style.")
    temperature: float | None = option(None, "Sampling temperature; unset: the server's default.", ge=0, le=1)
    response_format: Literal["auto", "json", "verbose_json"] = option(
        "auto", "Form of the answer. Only verbose_json has word times, the language and how sure the server is; "
        "auto: that for models named whisper, json for others, and json where a server refuses it."
    )  # fmt: skip
    min_audio_ms: float = option(
        100.0, "Shorter audio is not sent: its transcript is empty. The vendor refuses less than 100.", unit="ms", ge=0
    )
    no_speech_probability: float | None = option(
        0.6, "A transcript is rejected as invented where the server says that silence is at least this likely and is "
        "unsure of its words (verbose_json only); unset: never.", gt=0, le=1
    )  # fmt: skip
    no_speech_logprob: float = option(
        -1.0, "Unsure of its words: the average log probability is below this.", unit="nat", le=0
    )


def create(options: OpenAISTTOptions, context: EngineContext) -> OpenAISTT:
    """The engine, not yet entered."""
    return OpenAISTT(options, context)


class OpenAISTT(OpenAIEngine):
    """Uploads a WAV, made in memory, and waits for its transcript."""

    def __init__(self, options: OpenAISTTOptions, context: EngineContext) -> None:
        super().__init__("stt", options, context)
        self._options = options
        wanted = options.response_format
        self._verbose = "whisper" in options.model.lower() if wanted == "auto" else wanted == "verbose_json"

    @property
    def rate_hz(self) -> int:
        return 16000

    @property
    def capabilities(self) -> STTCapabilities:
        return STTCapabilities(
            streaming=False,
            word_times=self._verbose,
            local=self._connection.local,
            translates="whisper" in self._options.model.lower(),  # the vendor's others have no such call
        )

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _AS_CONFIGURED) -> Transcript:
        """Transcribe finished audio of any rate. Silence, and less than `min_audio_ms`, is not even sent.

        `agreed_prefix` and `max_tokens` have no counterpart in the API and are not used.

        :raises EngineError: see :mod:`antiphon.engines.errors`.
        """
        if options.translate and not self.capabilities.translates:
            message = f"the model '{self._options.model}' cannot translate"
            raise EngineRequestInvalid(message, stage="stt", engine="openai", hint="use a model named whisper")
        samples = checked_samples(audio, engine=self.engine)
        too_short = audio.duration_s * 1000.0 < self._options.min_audio_ms
        if too_short or not len(samples) or float(np.max(np.abs(samples))) < _SILENT_PEAK:
            return Transcript("")
        upload = await asyncio.to_thread(_wav, samples, audio.rate_hz)
        send = functools.partial(self._send, upload, options)
        result = await self._connection.call(send, model=self._options.model)
        try:
            return self._transcript(result)
        except (AttributeError, TypeError, ValueError) as error:
            raise EngineFailed(
                f"{self._connection.url} sent something that is no transcript ({type(error).__name__})",
                stage="stt", engine="openai",
            ) from None  # fmt: skip

    async def _send(self, upload: bytes, options: STTOptions) -> Any:
        try:
            return await self._create(upload, options)
        except Exception as error:
            refused = names_field(error, "response_format", "verbose_json", "timestamp_granularities")
            if not (self._verbose and self._options.response_format == "auto" and refused):
                raise
            self._verbose = False
            _log.info("the server does not know verbose_json: no word times", extra={"stage": "stt"})
            return await self._create(upload, options)

    async def _create(self, upload: bytes, options: STTOptions) -> Any:
        fields = self._fields(options)
        extra = {**fields.pop("extra_body", {}), **self._options.extra_body}
        audio = self._connection.client.audio
        if options.translate:  # a call of its own, which takes less
            taken = ("model", "temperature", "response_format", "prompt")
            fields = {key: value for key, value in fields.items() if key in taken}
            create: Any = audio.translations.create
        else:
            create = audio.transcriptions.create
        return await create(file=("speech.wav", upload, "audio/wav"), **fields, extra_body=extra or None)

    def _fields(self, options: STTOptions) -> dict[str, Any]:
        mine = self._options
        language = options.language or mine.language
        fields: dict[str, Any] = {"model": mine.model, "temperature": mine.temperature}
        fields["response_format"] = "verbose_json" if self._verbose else "json"
        hints = [mine.prompt if options.prompt is None else options.prompt]
        if mine.model.startswith("gpt-transcribe"):  # the model that takes lists
            extra: dict[str, Any] = {}
            if language:
                extra["languages"] = [language]
            if options.hotwords:
                extra["keywords"] = [word.strip() for word in options.hotwords.split(",") if word.strip()]
            fields["extra_body"] = extra
        else:
            fields["language"] = language
            hints.insert(0, options.hotwords)
        fields["prompt"] = " ".join(hint for hint in hints if hint) or None
        if self._verbose and options.word_times:
            fields["timestamp_granularities"] = ["word", "segment"]
        return {key: value for key, value in fields.items() if value is not None}

    def _transcript(self, result: Any) -> Transcript:
        text = result.text
        if not isinstance(text, str):
            raise TypeError("no text")
        segments = getattr(result, "segments", None) or ()
        no_speech, logprob = _average(segments, "no_speech_prob"), _average(segments, "avg_logprob")
        invented = (
            self._options.no_speech_probability is not None
            and no_speech is not None
            and no_speech >= self._options.no_speech_probability
            and (logprob is None or logprob < self._options.no_speech_logprob)
        )
        words = getattr(result, "words", None)
        return Transcript(
            text="" if invented else text.strip(),
            words=None if words is None else () if invented else tuple(_word(word) for word in words),
            language=_language(result),
            no_speech_probability=no_speech,
            average_logprob=logprob,
            rejected_text=text.strip() if invented else "",
        )


def _wav(samples: Samples, rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(to_pcm16(samples).astype("<i2").tobytes())
    return buffer.getvalue()


def _average(segments: Sequence[Any], field: str) -> float | None:
    """Mean of a field over the segments, weighted by their length; None where any lacks it."""
    total = weight = 0.0
    for segment in segments:
        value = getattr(segment, field, None)
        if value is None:
            return None
        length_s = max(1e-3, float(segment.end) - float(segment.start))
        total, weight = total + float(value) * length_s, weight + length_s
    if not weight:
        return None
    mean = total / weight
    return mean if math.isfinite(mean) else None


def _word(word: Any) -> Word:
    return Word(str(word.word), float(word.start), float(word.end), getattr(word, "probability", None))


def _language(result: Any) -> str | None:
    if code := language_code(getattr(result, "language", None)):
        return code
    for language in getattr(result, "languages", None) or ():
        return language_code(getattr(language, "code", None))
    return None
