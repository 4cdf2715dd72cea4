"""Which word of the text does each phoneme speak, and when is the word heard?

espeak-ng reads a whole clause at once: it turns "1,200" into four words, runs "of the" into one, and does not say which
phoneme came from where. So each word is also phonemised alone, and the clause's phonemes are aligned with the words',
as the fewest edits between two strings (Wagner and Fischer, 1974).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SPACE = " "
_PAUSES = frozenset(".,:;?!")
_MARKS = frozenset("ˈˌːˑ'\"-\u0303\u0329\u032f\u02b2\u02b0")
"""Stress, length and the like: they say nothing about which word it is."""
_VOWELS = frozenset("aeiouyæɐɑɒɔəɘɚɛɜɝɞɪʊʉʌɯɵøœᵻɨ")
_GAP = 0.75
_MISMATCH = 1.0
_KIN = 0.6
"""One vowel for another: words change their vowels in context ("the end", "a")."""
_NEVER = 4.0


def align(sentences: Sequence[Sequence[str]], words: Sequence[Sequence[str]]) -> list[list[int | None]]:
    """The word that each phoneme belongs to.

    :param sentences: the phonemes of a piece of text, sentence by sentence, with spaces and pauses.
    :param words: the phonemes of each of its words, spoken alone.
    :returns: for each sentence one word index a phoneme, None for spaces and pauses. Indexes never decrease.
    """
    owners: list[list[int | None]] = [[None] * len(sentence) for sentence in sentences]
    spoken = [(SPACE if p in _PAUSES else p, s, i) for s, row in enumerate(sentences) for i, p in enumerate(row)]
    spoken = _squeezed([one for one in spoken if one[0] not in _MARKS])
    expected = [(SPACE if p in _PAUSES else p, w, 0) for w, row in enumerate(words) for p in (*row, SPACE)]
    expected = _squeezed([one for one in expected if one[0] not in _MARKS])
    if not words or not spoken:
        return owners
    partners = _edit_path([one[0] for one in expected], [one[0] for one in spoken])
    current = expected[0][1] if expected else 0
    for (symbol, sentence, index), partner in zip(spoken, partners, strict=True):
        if symbol == SPACE:
            continue
        if partner is not None:
            current = max(current, expected[partner][1])
        owners[sentence][index] = current
    for sentence_owners, row in zip(owners, sentences, strict=True):
        _give_marks(sentence_owners, row)
    return owners


def _squeezed(symbols: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Without spaces at the ends or beside another space."""
    kept: list[tuple[str, int, int]] = []
    for one in symbols:
        if one[0] != SPACE or (kept and kept[-1][0] != SPACE):
            kept.append(one)
    return kept[:-1] if kept and kept[-1][0] == SPACE else kept


def _give_marks(owners: list[int | None], phonemes: Sequence[str]) -> None:
    """A mark belongs to the word it stands in: a stress to what follows, any other to what precedes."""
    for i, symbol in enumerate(phonemes):
        if owners[i] is None and symbol in _MARKS and symbol not in "ˈˌ" and i:
            owners[i] = owners[i - 1]
    for i in range(len(phonemes) - 2, -1, -1):
        if owners[i] is None and phonemes[i] in "ˈˌ":
            owners[i] = owners[i + 1]


def _edit_path(expected: Sequence[str], spoken: Sequence[str]) -> list[int | None]:
    """For each spoken symbol the index of the expected one it stands for, or None where it was put in."""
    costs = _costs(expected, spoken)
    rows, columns = costs.shape
    table = np.empty((rows + 1, columns + 1), dtype=np.float32)
    ramp = np.arange(columns + 1, dtype=np.float32) * np.float32(_GAP)
    table[0] = ramp
    for row in range(1, rows + 1):
        best = table[row - 1] + np.float32(_GAP)
        np.minimum(best[1:], table[row - 1, :-1] + costs[row - 1], out=best[1:])
        table[row] = np.minimum.accumulate(best - ramp) + ramp
    partners: list[int | None] = [None] * columns
    row, column = rows, columns
    while column > 0:
        here = table[row, column]
        if row and abs(table[row - 1, column - 1] + costs[row - 1, column - 1] - here) < 1e-3:
            row, column = row - 1, column - 1
            partners[column] = row
        elif row and abs(table[row - 1, column] + _GAP - here) < 1e-3:
            row -= 1
        else:
            column -= 1
    return partners


def _costs(expected: Sequence[str], spoken: Sequence[str]) -> NDArray[np.float32]:
    """What it costs to take one symbol for another, shape (expected, spoken)."""
    alphabet = {symbol: number for number, symbol in enumerate(sorted({*expected, *spoken}))}
    names = list(alphabet)
    size = len(names)
    pair = np.full((size, size), _MISMATCH, dtype=np.float32)
    vowel = np.array([name[0] in _VOWELS for name in names])
    pair[np.ix_(vowel, vowel)] = _KIN
    if SPACE in alphabet:
        pair[alphabet[SPACE], :] = pair[:, alphabet[SPACE]] = _NEVER
    np.fill_diagonal(pair, 0.0)
    left = np.array([alphabet[symbol] for symbol in expected], dtype=np.intp)
    right = np.array([alphabet[symbol] for symbol in spoken], dtype=np.intp)
    return np.asarray(pair[np.ix_(left, right)], dtype=np.float32)
