"""Where a text may be cut: the questions that depend on the text around one place alone. Pure functions.

Those that look ahead take `final` (nothing follows the text) and answer None while what decides is still to come.
"""

from __future__ import annotations

import re
import unicodedata

from antiphon.pipeline.text.abbreviations import STARTERS, Stop, meaning_of_stop

CJK_MARKS = "。．！？｡、，；："
CLAUSE_MARKS = ",;:、，；：،؛"
MARKS = ".,;:?!…؟۔।॥،؛" + CJK_MARKS
_CLOSERS = "\"'”’»›)\\]}）」』】》*_`~"
_WRAPPING = "\"'“‘«‹([{*_`¿¡"

SPACE = re.compile(r"\s{1,32}")
MARK_RUN = re.compile(rf"([{re.escape(MARKS)}]{{1,16}})[{_CLOSERS}]{{0,16}}")
MARKED_END = re.compile(MARK_RUN.pattern + r"\Z")
DASH_RUN = re.compile(r"[-–—―]{1,4}")
LINE_MARK = re.compile(r"\s*(?:#{1,6}\s|[|>•]|[-*+]\s|\d{1,3}[.)]\s|```|~~~)")
"""What makes a line a heading, a list item, a table row, a quote or a fence."""
_NEXT = re.compile(r"\s{1,32}[\"'“‘«‹(\[*_`¿¡]{0,4}")
_WORD = re.compile(r"[^\W\d_]{1,24}")

_CONJUNCTIONS = frozenset(
    "and but or nor so yet because although though while whereas which who where when if unless until since".split()
)
_OTHER_CONJUNCTIONS = frozenset(
    "und oder aber denn weil dass wenn et mais ou donc car parce y pero porque aunque e ma perché mas en maar "
    "omdat".split()
)


def width_of(text: str) -> int:
    """Columns that a text takes: East Asian wide characters count two."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def has_content(text: str) -> bool:
    """Whether there is a letter or a digit."""
    return any(map(str.isalnum, text))


def language_code(language: str | None) -> str | None:
    """The bare language: "en-US" and "EN_us" are "en"; "" is None."""
    code = (language or "").strip().casefold().replace("_", "-").partition("-")[0]
    return code or None


def bare_word(word: str) -> str:
    """A word without the quotes, brackets and emphasis around it."""
    return word.strip(_WRAPPING)


def stands_before_gap(text: str, end: int, marks: str) -> bool:
    """Whether what follows marks lets them be one: white space, the end, or anything after a CJK mark."""
    if end == len(text):
        return True
    return text[end].isspace() or text[end] in "¿¡" or any(mark in CJK_MARKS for mark in marks)


def conjunction_at(text: str, at: int, *, final: bool, english: bool) -> bool | None:
    """Whether the word at `at` is a conjunction."""
    known = _CONJUNCTIONS if english else _OTHER_CONJUNCTIONS
    found = _WORD.match(text, at)
    if found is None:
        return None if at == len(text) and not final else False
    word = found.group().casefold()
    if found.end() == len(text) and not final:
        return None if any(other.startswith(word) for other in known) else False
    return word in known


def line_wraps(text: str, after: int) -> bool:
    """Whether a single line break is only the wrapping of a long line, by what stands after it."""
    return after < len(text) and (text[after].islower() or text[after] in ".,;:?!)]}")


def ellipsis_ends(text: str, end: int, *, final: bool) -> bool | None:
    """Whether an ellipsis that stops at `end` ends a sentence: not before a small letter."""
    found = _NEXT.match(text, end)
    at = found.end() if found else end
    if at == len(text):
        return True if final else None
    return not text[at].islower()


def stop_ends(stop: Stop, text: str, end: int, *, final: bool) -> bool | None:
    """Whether a full stop of this meaning, which stops at `end`, ends a sentence here."""
    if stop in (Stop.END, Stop.NEVER):
        return stop is Stop.END
    found = _NEXT.match(text, end)
    at = found.end() if found else end
    if at == len(text):
        return True if final else None
    following = text[at]
    if stop is Stop.UNLESS_DIGIT or not following.isalpha():
        return not following.isdigit()
    if following.islower():
        return False
    word = _WORD.match(text, at)
    if word is None:
        return True
    if word.end() == len(text) and len(word.group()) < 24 and not final:
        return None
    if stop is Stop.IF_TITLE_CASE:
        return len(word.group()) == 1 or not word.group().isupper()
    return word.group().casefold() in STARTERS


def holds_on(word: str, *, english: bool, language: str | None) -> bool:
    """Whether a word must not be parted from the next: "Dr.", "No.", a list number."""
    if not word.endswith("."):
        return False
    bare = bare_word(word[:-1])
    return bare.isdecimal() or meaning_of_stop(bare, english, language) is not Stop.END
