"""Word times from Whisper's cross-attention: the alignment of tokens with frames, grouped into words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.engines.protocols import Word

FRAME_S = 0.02
"""One encoder frame."""
_LONGEST_WORD_S = 2.0
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
    offset_s: float = 0.0,
    end_s: float | None = None,
) -> tuple[Word, ...]:
    """Words with times from the times of their tokens. Punctuation joins the word that it belongs to.

    :param words: as the tokenizer splits them, spaces included.
    :param word_tokens: the tokens of each.
    :param starts: begin of each token and the end of the last (:func:`token_starts`).
    :param offset_s: added to all times.
    :param end_s: the audio's end, before `offset_s`: no word lasts longer.
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
        end = min(end, begin + _LONGEST_WORD_S) if end_s is None else min(end, begin + _LONGEST_WORD_S, end_s)
        probability = float(sum(chosen) / len(chosen)) if len(chosen) else None
        begin = min(begin, end)
        out.append(Word(opening + bare, round(begin + offset_s, 3), round(end + offset_s, 3), probability))
        opening = ""
    return tuple(out)


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
    return group_words(words, word_tokens, starts, list(result.text_token_probs), end_s=duration_s)
