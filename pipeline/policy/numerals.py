"""Numbers as people say them, character by character: "four one double one" and "4111" are the same four digits.

What is spoken comes as words out of a recogniser, and goes as words into a voice; what is sought in it is written.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_DIGITS = {
    "zero": "0", "oh": "0", "nought": "0", "naught": "0", "nil": "0", "one": "1", "two": "2", "three": "3",
    "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "niner": "9", "ten": "10",
    "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15", "sixteen": "16",
    "seventeen": "17", "eighteen": "18", "nineteen": "19", "hundred": "00", "thousand": "000",
    # German, French, Spanish: digit by digit, as card numbers are read
    "null": "0", "eins": "1", "zwei": "2", "zwo": "2", "drei": "3", "vier": "4", "fünf": "5", "sechs": "6",
    "sieben": "7", "acht": "8", "neun": "9",
    "zéro": "0", "un": "1", "une": "1", "deux": "2", "trois": "3", "quatre": "4", "cinq": "5", "sept": "7",
    "huit": "8", "neuf": "9",
    "cero": "0", "uno": "1", "una": "1", "dos": "2", "tres": "3", "cuatro": "4", "cinco": "5", "seis": "6",
    "siete": "7", "ocho": "8", "nueve": "9",
}  # fmt: skip
_TENS = {
    word: str(tens)
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_TIMES = {"double": 2, "triple": 3, "treble": 3}
_BETWEEN = frozenset(("uh um erm er hm hmm dash hyphen space and then comma plus stroke slash dot point").split())
"""Words that may stand within a number that is read out, and are no part of it."""

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Symbol:
    """One digit or letter of a number that was written or spoken."""

    char: str
    """A digit "0" to "9", a capital letter, or "+"."""
    start: int
    end: int
    """The part of the text that stands for it."""
    group: int
    """Which token it came in: a number begins and ends where a token does."""


def ends_numeric(token: str, more: Mapping[str, str] | None = None) -> bool:
    """Whether a token (between white space) may end with a part of a number whose next group follows.

    :param more: further words for digits.
    """
    words = _WORD.findall(token)
    return not words or _is_numeric_word(words[-1], more)


def begins_numeric(token: str, more: Mapping[str, str] | None = None) -> bool:
    """Whether a token may begin with a part of a number whose last group stands before it."""
    words = _WORD.findall(token)
    return not words or _is_numeric_word(words[0], more)


def _is_numeric_word(word: str, more: Mapping[str, str] | None) -> bool:
    if len(word) == 1 or any(map(str.isdecimal, word)):
        return True
    word = word.casefold()
    return word in _DIGITS or word in _TENS or word in _TIMES or word in _BETWEEN or word in (more or {})


def chains(text: str, more: Mapping[str, str] | None = None) -> Iterator[list[Symbol]]:
    """The unbroken runs of digits and letters in a text, as symbols."""
    chain: list[Symbol] = []
    times = 1
    pending_tens: tuple[str, int, int, int] | None = None
    for group, found in enumerate(_WORD.finditer(text)):
        word, start, end = found.group().casefold(), found.start(), found.end()
        unit = (more or {}).get(word) or _DIGITS.get(word)
        if pending_tens is not None:
            tens, tens_start, tens_end, tens_group = pending_tens
            pending_tens = None
            if unit is not None and len(unit) == 1 and unit != "0":
                chain += [Symbol(tens, tens_start, tens_end, group), Symbol(unit, start, end, group)]
                continue
            chain += [Symbol(char, tens_start, tens_end, tens_group) for char in tens + "0"]
        if word in _TIMES:
            times = _TIMES[word]
        elif word in _TENS:
            pending_tens = (_TENS[word], start, end, group)
            times = 1
        elif unit is not None:
            chain += [Symbol(char, start, end, group) for char in unit * (times if len(unit) == 1 else 1)]
            times = 1
        elif word == "plus":
            chain.append(Symbol("+", start, end, group))
        elif word in _BETWEEN:
            times = 1
        elif len(word) == 1 or any(char.isdecimal() for char in word):
            chain += [_symbol(char, start + at, group) for at, char in enumerate(found.group())] * times
            times = 1
        else:
            if chain:
                yield chain
            chain, times = [], 1
    if pending_tens is not None:
        tens, tens_start, tens_end, tens_group = pending_tens
        chain += [Symbol(char, tens_start, tens_end, tens_group) for char in tens + "0"]
    if chain:
        yield chain


def _symbol(char: str, at: int, group: int) -> Symbol:
    digit = unicodedata.decimal(char, None)
    return Symbol(char.upper() if digit is None else str(digit), at, at + 1, group)


def windows(chain: list[Symbol], shortest: int, longest: int) -> Iterator[tuple[int, int]]:
    """The parts [start, end) of a chain that begin and end with a token; from left to right, longest first."""
    ends = [at + 1 for at in range(len(chain)) if at + 1 == len(chain) or chain[at + 1].group != chain[at].group]
    starts = [at for at in range(len(chain)) if at == 0 or chain[at - 1].group != chain[at].group]
    for start in starts:
        fitting = ends[bisect_left(ends, start + shortest) : bisect_right(ends, start + longest)]
        for end in reversed(fitting):
            yield start, end


def characters(chain: list[Symbol], start: int = 0, end: int | None = None) -> str:
    """The symbols of a part as text."""
    return "".join(symbol.char for symbol in chain[start:end])
