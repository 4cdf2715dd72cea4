"""Speech-to-text with any CTranslate2 Whisper: a short encoder window, a loop guard, a filter for inventions.

faster-whisper's own `transcribe` pads every call to 30 s and decodes up to six times; here CTranslate2 is called
directly, with faster-whisper's feature extractor and tokenizer. See docs/engines-stt.md for the measurements.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import os
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from antiphon.engines.audio import AudioFrame
from antiphon.engines.config import EngineOptions, option
from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.host import Isolation
from antiphon.engines.lifecycle import Hosted
from antiphon.engines.protocols import ModelFiles, Stage, STTCapabilities, STTOptions, Transcript
from antiphon.engines.registry import EngineContext
from antiphon.engines.stt.samples import checked_samples
from antiphon.engines.stt.whisper_filter import FilterLimits
from antiphon.engines.stt.whisper_runtime import ENGINE, WhisperRuntime
from antiphon.engines.stt.whisper_values import DecodeRequest, ModelFacts, Piece, merge
from antiphon.engines.stt.whisper_window import RATE_HZ, WindowPolicy, policy_for

_DEFAULTS = STTOptions()

ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]


class FasterWhisperOptions(EngineOptions):
    model: str = option(
        "whisper-tiny.en",
        "A CTranslate2 Whisper: a catalog name, a path to its folder, or hub:owner/name@revision.",
        model=True,
        min_length=1,
    )
    language: str | None = option(
        None, "Language spoken, as ISO 639-1 code; empty: detected from the audio (multilingual models)."
    )
    prompt: str = option("", "Text that could have been said before: sets spelling and style.")
    hotwords: str = option("", "Names and terms to expect, separated by spaces or commas.")
    compute_type: ComputeType = option("int8", "Number format of the weights at work; int8 is the fastest on CPUs.")
    device: Literal["cpu", "cuda", "auto"] = option("cpu", "Where the model runs; auto takes a GPU where there is one.")
    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = option(
        "auto", "CPU threads; auto: as planned for this machine.", unit="threads"
    )
    window_floor_s: float | None = option(
        None, "Shortest encoder window; empty: the one measured for the model, else 30.", unit="s", ge=1.0, le=30.0
    )
    window_margin_s: float | None = option(
        None,
        "Silence added after the audio in the window; empty: as measured for the model.",
        unit="s",
        ge=0.0,
        le=10.0,
    )
    word_times: bool = option(False, "Always return word times, not only when a request asks for them.")
    max_tokens: int | None = option(
        None, "Most tokens for a piece of up to 30 s; empty: by its length.", unit="tokens", ge=1, le=224
    )
    carry_context: bool = option(
        False, "Long audio: give the text of the previous piece to the next one as its prompt."
    )
    no_speech_threshold: float = option(
        0.6, "Text is thrown away where the model's no-speech probability is above this.", unit="0-1", gt=0.0, le=1.0
    )
    logprob_threshold: float = option(
        -0.8,
        "Mean log-probability of a token below which other signs of noise are enough to throw the text away.",
        unit="ln p",
        le=0.0,
    )
    compression_ratio_threshold: float = option(
        2.4, "A text that compresses better than this is taken for a loop.", unit="ratio", gt=1.0
    )
    isolation: Isolation = option(
        "thread", "Where the model runs: process is safe from a crash of CTranslate2, at some cost a request."
    )


def create(options: FasterWhisperOptions, context: EngineContext) -> FasterWhisper:
    """The engine, not yet entered."""
    return FasterWhisper(options, context)


class FasterWhisper(Hosted):
    """An STT engine; see :class:`antiphon.engines.protocols.STT`."""

    stage: Stage = "stt"
    engine = ENGINE

    def __init__(self, options: FasterWhisperOptions, context: EngineContext) -> None:
        super().__init__(context.host)
        self._options = options
        self._context = context
        self._facts: ModelFacts | None = None
        self._policy = WindowPolicy()
        self._limits = FilterLimits(
            options.no_speech_threshold, options.logprob_threshold, options.compression_ratio_threshold
        )

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def capabilities(self) -> STTCapabilities:
        """`languages` is known once the engine was entered; before, from the model's name."""
        if self._facts is not None:
            facts = self._facts
            return STTCapabilities(word_times=True, languages=facts.languages, translates=facts.multilingual)
        english = self._options.model.split("@")[0].rstrip("/").endswith(".en")
        return STTCapabilities(word_times=True, languages=("en",) if english else None, translates=not english)

    @property
    def window(self) -> WindowPolicy:
        """The encoder window in use."""
        return self._policy

    async def _load(self) -> None:
        """Load the model (or share the one that is loaded) and warm its windows.

        :raises ModelMissing, UnknownModel: from the store.
        :raises EngineLoadFailed: the files, the device or the compute type cannot be used.
        :raises EngineRequestInvalid: the model does not speak the configured language.
        """
        options = self._options
        files = await asyncio.to_thread(self._context.models.resolve, options.model)  # may hash the files
        self._policy = policy_for(options.model, files.metadata, options.window_floor_s, options.window_margin_s)
        path = _model_folder(files)
        threads = self._context.plan.stt if options.threads == "auto" else options.threads
        arguments = (path, options.device, options.compute_type, threads)
        self._worker = worker = await self._host.acquire(
            (ENGINE, *arguments),
            functools.partial(WhisperRuntime, *arguments),
            name=ENGINE,
            isolation=options.isolation,
        )
        self._facts = facts = await worker.call("facts")
        language = _language(options.language, facts, options.model)
        await worker.call("warm", self._policy.warm_windows, language)

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _DEFAULTS) -> Transcript:
        """Transcribe a finished piece of audio of any length and rate; silence and noise give an empty text.

        Audio longer than the full window is cut at quiet places. Each piece is a request of its own to the engine host,
        so a cancelled call stops after the piece at hand, and more urgent requests go between.

        :raises EngineRequestInvalid: a language that the model does not speak, or samples that are no audio.
        :raises EngineFailed: the library failed, or the engine is not entered.
        """
        worker, facts = self._worker, self._facts
        if worker is None or facts is None:
            raise self._not_entered()
        request = self._request(options, facts)
        samples = checked_samples(audio, engine=ENGINE)
        cuts = [(0, len(samples))]
        longest_s = self._policy.longest_piece_s
        if audio.rate_hz != RATE_HZ or len(samples) > longest_s * RATE_HZ:
            samples, cuts = await worker.call("prepare", samples, audio.rate_hz, longest_s)
        pieces: list[Piece] = []
        for start, end in cuts:
            piece: Piece = await worker.call("decode", samples[start:end], replace(request, offset_s=start / RATE_HZ))
            pieces.append(piece)
            request = self._next(request, piece)
        whole = merge(pieces) if pieces else Piece(words=() if request.word_times else None)
        return _transcript(whole, final=not (request.draft and whole.looped))

    def _request(self, options: STTOptions, facts: ModelFacts) -> DecodeRequest:
        mine = self._options
        limits = [n for n in (options.max_tokens, mine.max_tokens) if n is not None]
        if options.translate and not facts.multilingual:
            raise EngineRequestInvalid(
                f"the model '{mine.model}' knows English only: it cannot translate",
                stage="stt",
                engine=ENGINE,
                hint="use a multilingual model (whisper-base)",
            )
        return DecodeRequest(
            policy=self._policy,
            limits=self._limits,
            language=_language(options.language or mine.language, facts, mine.model),
            prompt=_whole(mine.prompt if options.prompt is None else options.prompt),
            hotwords=_whole(mine.hotwords if options.hotwords is None else options.hotwords),
            prefix=_safe_prefix(options.agreed_prefix),
            word_times=options.word_times or mine.word_times,
            max_tokens=min(limits) if limits else None,
            translate=options.translate,
            draft=options.draft,
        )

    def _next(self, request: DecodeRequest, piece: Piece) -> DecodeRequest:
        """What the next piece of long audio takes over: never the prefix; the text only if asked for and sound."""
        carried = request.prompt
        if self._options.carry_context:
            sound = piece.text and not piece.looped and (piece.logprob or 0.0) > self._limits.logprob
            carried = piece.text if sound else self._options.prompt
        return replace(request, prefix="", prompt=carried)


def _whole(text: str) -> str:
    """The text without halves of characters (lone surrogates), which the tokenizer refuses."""
    return text.encode("utf-8", "ignore").decode("utf-8")


def _model_folder(files: ModelFiles) -> str:
    """The folder that CTranslate2 loads: where model.bin lies."""
    model = files.files.get("model.bin")
    return os.path.dirname(model) if model else files.directory


def _language(wanted: str | None, facts: ModelFacts, model: str) -> str | None:
    """The language code to decode with: "de-AT" and "DE" are "de"; None means detect.

    :raises EngineRequestInvalid: the model does not speak it.
    """
    if not facts.multilingual:
        if wanted and wanted.lower().replace("_", "-").split("-")[0] != "en":
            raise EngineRequestInvalid(
                f"the model '{model}' speaks English only, but language '{wanted}' was asked for",
                stage="stt",
                engine=ENGINE,
                hint="use a multilingual model (whisper-base) or language: en",
                about="language",
            )
        return "en"
    if not wanted:
        return None
    code = wanted.lower().replace("_", "-").split("-")[0]
    if code not in facts.languages:
        near = difflib.get_close_matches(code, facts.languages, 1)
        raise EngineRequestInvalid(
            f"the model '{model}' has no language '{wanted}'" + (f"; did you mean '{near[0]}'?" if near else ""),
            stage="stt",
            engine=ENGINE,
            hint=f"languages: {', '.join(facts.languages)}",
            about="language",
        )
    return code


def _safe_prefix(agreed: str | None) -> str:
    """The agreed text without its last word and without closing punctuation: the end of a hypothesis is a guess.

    Forcing a word that was cut in half, or a full stop in the middle, makes the decoder stop or loop.
    """
    words = _whole(agreed or "").split()[:-1]
    return " ".join(words).rstrip(".,;:!?…。！？、 ")


def _transcript(piece: Piece, *, final: bool) -> Transcript:
    return Transcript(
        text=piece.text,
        final=final,
        language=piece.language,
        language_probability=piece.language_probability,
        words=piece.words,
        no_speech_probability=piece.no_speech,
        average_logprob=piece.logprob,
        rejected_text=piece.rejected_text,
    )


__all__ = ["FasterWhisper", "FasterWhisperOptions", "create"]
