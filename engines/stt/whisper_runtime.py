"""The loaded Whisper: a plain blocking object that lives on the engine host's worker."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from antiphon.engines.audio import Samples, resample
from antiphon.engines.errors import EngineFailed, EngineLoadFailed, EngineRequestInvalid
from antiphon.engines.host import abandoned
from antiphon.engines.protocols import Word
from antiphon.engines.stt import whisper_loops as loops
from antiphon.engines.stt.whisper_filter import Acoustics, Evidence, measure, rejection, unread_from
from antiphon.engines.stt.whisper_mel import BandMatrix
from antiphon.engines.stt.whisper_values import DecodeRequest, ModelFacts, Piece, merge
from antiphon.engines.stt.whisper_window import (
    FULL_WINDOW_S,
    MAX_TOKENS,
    RATE_HZ,
    WindowPolicy,
    cut_quiet,
    token_cap,
)
from antiphon.engines.stt.whisper_words import align, shifted, tighten

logger = logging.getLogger(__name__)

ENGINE = "faster_whisper"
_MAX_PROMPT_TOKENS = 223
_MIN_SAMPLES = 160
"""Less than 10 ms holds no sound that could be a word."""
_SPLIT_S = 10.0
"""Longer audio is not rejected as a whole: its parts are heard one by one."""
_SUSPECT_S = 3.0
_SPARSE_WORDS_PER_S = 2.5
"""Fewer words in a second of loud audio: the decoder may have broken off after a sentence, as it does now and then."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    text: str
    tokens: tuple[int, ...]
    logprob: float
    no_speech: float
    finished: bool
    window_s: float
    encoded: Any
    tokenizer: Any
    language: str | None
    language_probability: float | None


def _verdict(attempt: _Attempt, text: str, looped: bool, acoustics: Acoustics, request: DecodeRequest) -> str | None:
    evidence = Evidence(
        text, len(attempt.tokens), attempt.logprob, attempt.no_speech, looped, attempt.window_s, acoustics
    )
    return rejection(evidence, request.limits, strict=request.strict)


def _later(request: DecodeRequest, samples: int) -> DecodeRequest:
    """The request for what begins so many samples later."""
    return replace(request, offset_s=request.offset_s + samples / RATE_HZ)


_DRAFT_SHARE = 0.6
"""Of the tokens that speech of that length can be: what a draft may have."""


class WhisperRuntime:
    """A CTranslate2 Whisper with faster-whisper's feature extractor and tokenizer. One caller at a time.

    :raises EngineLoadFailed: a file is missing or broken, or the device or compute type is not to be had.
    """

    def __init__(self, path: str, device: str, compute_type: str, threads: int) -> None:
        import ctranslate2
        import tokenizers
        from faster_whisper.feature_extractor import FeatureExtractor

        self._ct2 = ctranslate2
        self._check_compute_type(device, compute_type)
        try:
            self._model = ctranslate2.models.Whisper(
                path, device=device, compute_type=compute_type, intra_threads=threads, inter_threads=1
            )
            self._base_tokenizer = tokenizers.Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
        except Exception as error:  # both libraries raise bare RuntimeError, ValueError and Exception
            raise EngineLoadFailed(
                f"the Whisper model in '{path}' could not be loaded: {error}",
                stage="stt",
                engine=ENGINE,
                hint="a CTranslate2 Whisper folder holds model.bin, config.json, tokenizer.json and vocabulary.*; "
                "check a catalog model with: antiphon models verify",
            ) from error
        self._mel = FeatureExtractor(feature_size=self._model.n_mels)
        self._mel.mel_filters = BandMatrix(self._mel.mel_filters)
        self._tokenizers: dict[tuple[str, bool], Any] = {}
        self.facts_ = ModelFacts(self._model.is_multilingual, self._languages())

    def facts(self) -> ModelFacts:
        return self.facts_

    def warm(self, windows_s: Sequence[float], language: str | None) -> None:
        """Run every window once, decoder included, so that the first request finds memory and kernels ready."""
        tone = (0.1 * np.sin(np.arange(RATE_HZ // 2) * 0.2)).astype(np.float32)
        for window_s in windows_s:
            self._attempt(tone, window_s, DecodeRequest(WindowPolicy(window_s), language=language or "en"), cap=4)

    def prepare(self, samples: Samples, rate_hz: int, longest_s: float) -> tuple[Samples, list[tuple[int, int]]]:
        """Audio at 16 kHz and where to cut it into pieces of at most `longest_s`."""
        at_16k = resample(samples, rate_hz, RATE_HZ)
        return at_16k, cut_quiet(at_16k, longest_s)

    def decode(self, samples: Samples, request: DecodeRequest) -> Piece:
        """Decode one piece of 16 kHz audio that fits the full window, with loop guard and filter.

        :raises EngineFailed: the library failed.
        """
        try:
            return merge(list(self._pieces(samples, request)))
        except (RuntimeError, ValueError) as error:
            raise EngineFailed(f"Whisper failed: {error}", stage="stt", engine=ENGINE) from error

    def close(self) -> None:
        self._model.unload_model()

    # ---------------------------------------------------------------------------------- decoding

    def _pieces(self, samples: Samples, request: DecodeRequest) -> Iterator[Piece]:
        """The piece; or, where the decoder broke off or all was rejected, the smaller pieces that it is made of."""
        duration_s = len(samples) / RATE_HZ
        acoustics = measure(samples)
        if acoustics.silent or len(samples) < _MIN_SAMPLES:
            yield Piece(language=request.language, words=() if request.word_times else None, duration_s=duration_s)
            return
        piece, read_s = self._decode(samples, acoustics, request)
        if request.draft:
            yield replace(piece, duration_s=duration_s)
        elif piece.rejected_text and duration_s > _SPLIT_S and not abandoned():
            parts = replace(request, prefix="", strict=True)
            for start, end in cut_quiet(samples, duration_s * 0.6):
                yield from self._pieces(samples[start:end], _later(parts, start))
        elif read_s < duration_s and not abandoned():
            yield replace(piece, duration_s=read_s)
            rest = replace(request, prefix="", language=piece.language)
            yield from self._pieces(samples[round(read_s * RATE_HZ) :], _later(rest, round(read_s * RATE_HZ)))
        else:
            yield replace(piece, duration_s=duration_s)

    def _decode(self, samples: Samples, acoustics: Acoustics, request: DecodeRequest) -> tuple[Piece, float]:
        """One piece of text, and how much of the audio it speaks of, in seconds."""
        duration_s = len(samples) / RATE_HZ
        tried, text, looped = self._guarded(samples, acoustics, request)
        if request.language is None:
            request = replace(request, language=tried[-1].language)
        judged = tried[-1]
        verdict = _verdict(judged, text, looped, acoustics, request)
        if request.draft:
            sparse = len(text.split()) < _SPARSE_WORDS_PER_S * acoustics.active_s and duration_s > _SUSPECT_S
            looped = looped or verdict is not None or sparse or self._doubtful(judged, request.policy)
        elif verdict is None and not looped and self._doubtful(judged, request.policy):
            full = self._attempt(samples, FULL_WINDOW_S, request)
            sound = loops.loop_reason(full.text, full.finished, request.limits.compression_ratio) is None
            if sound and full.logprob > judged.logprob:
                # Whether it is speech stays judged on the short window, which tells that better.
                tried, text = [*tried, full], full.text
        attempt = tried[-1]
        words: tuple[Word, ...] = ()
        read_s = duration_s
        if verdict is None:
            sparse = len(text.split()) < _SPARSE_WORDS_PER_S * acoustics.active_s
            suspect = sparse and duration_s > _SUSPECT_S and request.max_tokens is None and not request.draft
            if request.word_times or suspect:
                words = self._words(attempt, text, samples)
            if suspect and words:
                read_s = unread_from(samples, words[-1].end_s) or duration_s
        piece = Piece(
            text="" if verdict else text,
            rejected_text=text if verdict else "",
            rejected_because=verdict or "",
            language=attempt.language,
            language_probability=tried[0].language_probability,
            no_speech=judged.no_speech,
            logprob=attempt.logprob,
            tokens=len(attempt.tokens),
            words=shifted(words, request.offset_s) if request.word_times else None,
            window_s=attempt.window_s,
            attempts=len(tried),
            looped=looped or len(tried) > 1,
        )
        return piece, read_s

    def _guarded(
        self, samples: Samples, acoustics: Acoustics, request: DecodeRequest
    ) -> tuple[list[_Attempt], str, bool]:
        """Decode on longer and longer windows until the text is no loop: (attempts, text, whether it still is one)."""
        tried: list[_Attempt] = []
        for window_s in request.policy.attempts(len(samples) / RATE_HZ):
            attempt = self._attempt(samples, window_s, request)
            tried.append(attempt)
            cut_by_caller = request.max_tokens is not None and len(attempt.tokens) >= request.max_tokens
            finished = attempt.finished or cut_by_caller
            reason = loops.loop_reason(attempt.text, finished, request.limits.compression_ratio)
            if reason is None or abandoned():
                return tried, attempt.text, False
            logger.debug("whisper loop guard", extra={"window_s": window_s, "reason": reason})
            if (once := loops.said_once(attempt.text, acoustics.active_s)) is not None:
                return tried, once, False
            if request.draft or attempt.no_speech > request.limits.no_speech:
                break  # noise: a longer window would only invent something else
            if len(tried) > 1:
                agreed = loops.agreed_text(tried[-2].text, attempt.text, finished, acoustics.active_s)
                if agreed is not None:
                    return tried, agreed, False
            # A wrong prefix can be what made it loop; the language stays the one that was heard first.
            request = replace(request, prefix="", language=attempt.language)
        return tried, loops.collapse(tried[-1].text), True

    @staticmethod
    def _doubtful(attempt: _Attempt, policy: WindowPolicy) -> bool:
        limit = policy.retry_logprob
        return limit is not None and attempt.logprob < limit and attempt.window_s < FULL_WINDOW_S

    def _attempt(self, samples: Samples, window_s: float, request: DecodeRequest, cap: int | None = None) -> _Attempt:
        """One greedy decode on a window of that length: pad the waveform, then take the mel."""
        padded = np.zeros(round(window_s * RATE_HZ), dtype=np.float32)
        kept = samples[: len(padded)]
        padded[: len(kept)] = kept
        mel = np.ascontiguousarray(self._mel(padded, padding=0)[None])
        encoded = self._model.encode(self._ct2.StorageView.from_array(mel))
        language, probability = request.language, None
        if not self.facts_.multilingual:
            language = "en"
        elif language is None:
            token, probability = self._model.detect_language(encoded)[0][0]
            language = token.strip("<|>")
        tokenizer = self._tokenizer(language or "en", translate=request.translate)
        prefix = tokenizer.encode(" " + request.prefix.strip()) if request.prefix.strip() else []
        prompt = [*self._context(tokenizer, request), *tokenizer.sot_sequence, tokenizer.no_timestamps, *prefix]
        cap = cap or token_cap(len(kept) / RATE_HZ, "en" if request.translate else language, request.max_tokens)
        if request.draft:
            cap = math.ceil(cap * _DRAFT_SHARE)  # a loop costs less so; who speaks faster is heard again anyway
        cap = min(MAX_TOKENS, cap + len(prefix))
        result = self._model.generate(
            encoded,
            [prompt],
            beam_size=1,
            # CTranslate2 stops at the smaller of half of max_length and max_length minus the context.
            max_length=max(2 * cap, cap + len(prompt) - len(prefix)),
            return_scores=True,
            return_no_speech_prob=True,
        )[0]
        tokens = tuple(t for t in result.sequences_ids[0] if t < tokenizer.eot)
        decoded = len(tokens) - len(prefix)
        score = result.scores[0] if decoded <= 0 else result.scores[0] * len(tokens) / decoded
        return _Attempt(
            text=tokenizer.decode(list(tokens)).strip(),
            tokens=tokens,
            logprob=float(score),
            no_speech=float(result.no_speech_prob),
            finished=len(tokens) < cap,
            window_s=window_s,
            encoded=encoded,
            tokenizer=tokenizer,
            language=language,
            language_probability=probability,
        )

    def _context(self, tokenizer: Any, request: DecodeRequest) -> list[int]:
        """Hotwords and prompt as "what was said before", the most recent kept where they are too long."""
        said: list[int] = []
        if request.hotwords.strip():
            said += tokenizer.encode(" " + request.hotwords.strip())[: _MAX_PROMPT_TOKENS // 2]
        if request.prompt.strip():
            room = _MAX_PROMPT_TOKENS - len(said)
            said += tokenizer.encode(" " + request.prompt.strip())[-room:]
        return [tokenizer.sot_prev, *said] if said else []

    def _words(self, attempt: _Attempt, text: str, samples: Samples) -> tuple[Word, ...]:
        tokens: Sequence[int] = attempt.tokens
        if text != attempt.text:  # a collapsed loop: align what is left of it
            tokens = attempt.tokenizer.encode(" " + text)
        duration_s = len(samples) / RATE_HZ
        found = align(self._model, attempt.encoded, attempt.tokenizer, tokens, duration_s, attempt.window_s)
        return tighten(found, samples)

    # ---------------------------------------------------------------------------------- loading

    def _tokenizer(self, language: str, *, translate: bool) -> Any:
        key = (language, translate)
        if key not in self._tokenizers:
            from faster_whisper.tokenizer import Tokenizer

            multilingual = self.facts_.multilingual
            try:
                self._tokenizers[key] = Tokenizer(
                    self._base_tokenizer,
                    multilingual,
                    task=("translate" if translate else "transcribe") if multilingual else None,
                    language=language if multilingual else None,
                )
            except ValueError as error:
                raise EngineRequestInvalid(
                    f"Whisper has no language '{language}'", stage="stt", engine=ENGINE
                ) from error
        return self._tokenizers[key]

    def _languages(self) -> tuple[str, ...]:
        if not self._model.is_multilingual:
            return ("en",)
        found = (re.fullmatch(r"<\|([a-z]{2,3})\|>", token) for token in self._base_tokenizer.get_vocab())
        return tuple(sorted(match[1] for match in found if match))

    def _check_compute_type(self, device: str, compute_type: str) -> None:
        if compute_type in ("default", "auto"):
            return
        real = device
        if device == "auto":
            real = "cuda" if self._ct2.get_cuda_device_count() else "cpu"
        try:
            supported = sorted(self._ct2.get_supported_compute_types(real))
        except (RuntimeError, ValueError) as error:
            raise EngineLoadFailed(
                f"CTranslate2 cannot use device '{real}': {error}",
                stage="stt",
                engine=ENGINE,
                hint="set stt.device to cpu",
            ) from error
        if compute_type not in supported:
            raise EngineLoadFailed(
                f"compute type '{compute_type}' is not to be had on this {real} (there are: {', '.join(supported)})",
                stage="stt",
                engine=ENGINE,
                hint=f"set stt.compute_type to {'int8' if 'int8' in supported else supported[0]}",
            )


__all__ = ["DecodeRequest", "ModelFacts", "Piece", "WhisperRuntime"]
