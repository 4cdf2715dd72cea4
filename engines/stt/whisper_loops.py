"""Finds a decoder that repeats itself, and undoes it. Pure.

A greedy Whisper on a short window sometimes says a sentence again and again ("What time is it? What time is it? ...").
People repeat themselves too ("no no no"), so a repetition alone is a suspicion: a longer window decides.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

_WORDS_PER_S_POSSIBLE = 5.0
"""Faster speech than that is no speech."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """`sequence[start : start + period]` comes `count` times in a row (whole times; a part may follow)."""

    start: int
    period: int
    count: int
    covered: int
    """Items from `start` on that continue the pattern, the part at the end included."""


def find_repetition(sequence: Sequence[Hashable]) -> Repetition | None:
    """The exact repetition that covers most of a sequence (ties: the shortest unit), or None.

    O(n^2) for n items; a decoder's output has at most 224.
    """
    best: Repetition | None = None
    n = len(sequence)
    for period in range(1, n // 2 + 1):
        run = 0
        for i in range(n - period + 1):
            if i < n - period and sequence[i] == sequence[i + period]:
                run += 1
                continue
            if run >= period:
                covered = run + period
                if best is None or covered > best.covered:
                    best = Repetition(i - run, period, covered // period, covered)
            run = 0
    return best


def normalised_words(text: str) -> list[str]:
    """Words without case and punctuation; where a script has no spaces, its letters."""
    words = [kept for word in text.split() if (kept := "".join(c for c in word.casefold() if c.isalnum()))]
    if len(words) <= 2 and sum(map(len, words)) > 12:
        return list("".join(words))
    return words


def compression_ratio(text: str) -> float:
    """Bytes of the text over bytes of it compressed: about 1 for speech, above 2.4 for loops. 0 for no text."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def loop_reason(text: str, finished: bool, max_compression_ratio: float) -> str | None:
    """Why a decoded text looks like a loop, or None. A suspicion: the same from a longer window clears it.

    :param finished: the decoder ended by itself, before its token cap.
    """
    if not finished:
        return "token cap reached"
    words = normalised_words(text)
    if (found := find_repetition(words)) is not None and _is_loop(found):
        return "repetition"
    if compression_ratio(text) > max_compression_ratio:
        return "compression ratio"
    return None


def _is_loop(found: Repetition) -> bool:
    """Whether a repetition is worth a second look: single words are said again more often than phrases."""
    if found.period == 1:
        return found.count >= 4
    return found.count >= 3 or found.period >= 3


def agreed_text(shorter: str, longer: str, finished: bool, active_s: float) -> str | None:
    """What two windows agree on when both texts repeat themselves, or None where they differ.

    Where there was time to say it all, it was said; else the repetition is the decoder's, and it was said once.

    :param finished: the longer window's decoder ended by itself.
    :param active_s: how long the audio is loud.
    """
    words = normalised_words(longer)
    possible = finished and len(words) <= _WORDS_PER_S_POSSIBLE * max(active_s, 0.5) + 1
    if possible:
        return longer if words == normalised_words(shorter) else None
    once = collapse(longer)
    same = normalised_words(once) == normalised_words(collapse(shorter))
    return once if same and once != longer else None


def said_once(text: str, active_s: float) -> str | None:
    """What was said, where the text is one phrase over and over and there was no time to say it twice; else None.

    :param active_s: how long the audio is loud.
    """
    words = normalised_words(text)
    found = find_repetition(words)
    if found is None or found.start or found.period < 3 or found.covered < len(words):
        return None
    if len(words) <= _WORDS_PER_S_POSSIBLE * max(active_s, 0.5) + 1:
        return None
    once = collapse(text)
    return once if normalised_words(once) == words[: found.period] else None


def collapse(text: str) -> str:
    """The text with its longest repetition said once; the cut-off part at the end of a loop goes too."""
    words = text.split()
    found = find_repetition([_bare(word) for word in words])
    if found is None:
        return text
    once = words[: found.start + found.period]
    after = words[found.start + found.covered :]
    return " ".join(once + after)


def _bare(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum()) or word
