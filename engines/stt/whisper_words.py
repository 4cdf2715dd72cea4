"""Word times from Whisper's cross-attention: the alignment of tokens with frames, grouped into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from antiphon.engines.audio import Samples
from antiphon.engines.protocols import Word

FRAME_S = 0.02
"""One encoder frame."""
_LONGEST_WORD_S = 3.0
_PAUSE_DB = 25.0
"""So far below the loud frames is a pause."""
_INNER = "-'’"  # "ill-disposed", "it's": one word
_OPENING = "\"'“¿([{-"


def token_starts(alignments: Sequence[tuple[int, int]], tokens: int) -> list[float]:
    """The time at which each token begins, in seconds; one more for the end of the last.

    :param alignments: the path (token index, frame index), non-decreasing in both.
    :param tokens: how many text tokens there are.
    """
    starts = [0.0] * (tokens + 1)
    seen = -1
    last = 0.0
    for token, frame in alignments:
        last = frame * FRAME_S
        while seen < min(token, tokens):
            seen += 1
            starts[seen] = last
    for index in range(seen + 1, tokens + 1):
        starts[index] = last
    return starts


def group_words(
    words: Sequence[str],
    word_tokens: Sequence[Sequence[int]],
    starts: Sequence[float],
    probabilities: Sequence[float],
    end_s: float,
) -> tuple[Word, ...]:
    """Words with times from the times of their tokens. Punctuation joins the word that it belongs to.

    :param words: as the tokenizer splits them, spaces included.
    :param word_tokens: the tokens of each.
    :param starts: begin of each token and the end of the last (:func:`token_starts`).
    :param end_s: the audio's end: no word lasts longer.
    """
    out: list[Word] = []
    opening = ""
    position = 0
    for text, tokens in zip(words, word_tokens, strict=True):
        begin, end = starts[position], starts[position + len(tokens)]
        chosen = probabilities[position : position + len(tokens)]
        position += len(tokens)
        bare = text.strip()
        if not bare:
            continue
        if not any(c.isalnum() for c in bare):
            if text.startswith(" ") and bare in _OPENING:
                opening += bare
            elif out:
                out[-1] = Word(out[-1].text + bare, out[-1].start_s, out[-1].end_s, out[-1].probability)
            continue
        if out and not text.startswith(" ") and bare[0] in _INNER:
            out[-1] = replace(out[-1], text=out[-1].text + bare, end_s=min(end, end_s))
            continue
        end = min(end, begin + _LONGEST_WORD_S, end_s)
        probability = float(sum(chosen) / len(chosen)) if len(chosen) else None
        begin = min(begin, end)
        out.append(Word(opening + bare, begin, end, probability))
        opening = ""
    return tuple(out)


def tighten(words: Sequence[Word], samples: Samples, rate_hz: int = 16_000) -> tuple[Word, ...]:
    """Take the pauses off the ends of words: the alignment gives a pause to the word after it, or before it.

    :param samples: the audio in which the words' times count, shape (n,).
    """
    hop = rate_hz // 50
    if len(samples) < hop:
        return tuple(words)
    power = np.square(samples[: len(samples) // hop * hop].reshape(-1, hop), dtype=np.float64).mean(axis=1)
    level = 10.0 * np.log10(power + 1e-12)
    loud = level > max(float(np.percentile(level, 95)) - _PAUSE_DB, float(np.percentile(level, 10)) + 3.0)
    out = []
    for word in words:
        first, last = round(word.start_s * 50), round(word.end_s * 50)
        heard = np.flatnonzero(loud[first:last])
        if len(heard):
            start = max(word.start_s, (first + int(heard[0])) / 50)
            end = min(word.end_s, (first + int(heard[-1]) + 1) / 50)
            word = replace(word, start_s=min(start, word.end_s), end_s=max(end, min(start, word.end_s)))
        out.append(word)
    return tuple(out)


def shifted(words: Sequence[Word], offset_s: float) -> tuple[Word, ...]:
    """The words that much later, times rounded to milliseconds."""
    return tuple(
        replace(word, start_s=round(word.start_s + offset_s, 3), end_s=round(word.end_s + offset_s, 3))
        for word in words
    )


def align(
    model: Any, encoded: Any, tokenizer: Any, tokens: Sequence[int], duration_s: float, window_s: float
) -> tuple[Word, ...]:
    """Words of decoded `tokens` with their times in the window.

    :param model: a ctranslate2 Whisper.
    :param encoded: its encoder's output for the window.
    :param tokenizer: faster-whisper's tokenizer for the language.
    :param duration_s: length of the audio, without padding.
    """
    if not tokens:
        return ()
    frames = max(2, min(round(duration_s * 100), round(window_s * 100)))
    result = model.align(encoded, tokenizer.sot_sequence, [list(tokens)], [frames])[0]
    words, word_tokens = tokenizer.split_to_word_tokens(list(tokens))
    starts = token_starts(result.alignments, len(tokens))
    return group_words(words, word_tokens, starts, list(result.text_token_probs), duration_s)
