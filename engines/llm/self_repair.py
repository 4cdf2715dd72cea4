"""Speakers who correct themselves: "for Friday, no, for Saturday" becomes "for Saturday". Pure, English.

What is taken back is found as people hear it: the correction begins again with a word that was said just before ("to
support, no wait, to billing"), ends like what it replaces ("nine squared, no, eleven squared"), or puts one word in the
place of one of its kind ("forty, I mean fifty minutes"). Where none of these fits, the text stays as it is.
"""

from __future__ import annotations

import re

from antiphon.engines.llm.spoken_numbers import number

_MARK = re.compile(
    r"\s*[,.;!?–—-]+\s*(?:(?:uh|um|er|oh),? )?"
    r"(?:no|sorry|wait|actually|rather|i mean(?:t)?|scratch that|correction)\b"
    r"(?:[, ]+(?:no|sorry|wait|hang on|hold on|actually|rather|i mean(?:t)?|make (?:it|that)|scratch that))*[,.:]?\s+",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w'’%:.]*\w%?")
_LOOK_BACK = 6
"""Words before a correction among which its first word is looked for."""
_LONGEST_TAIL = 3


def repaired(said: str) -> str:
    """The text without what its speaker took back."""
    text = said
    for _ in range(4):
        changed = _repaired_once(text)
        if changed == text:
            break
        text = changed
    return text


def _repaired_once(text: str) -> str:
    for mark in _MARK.finditer(text):
        before = list(_WORD.finditer(text, 0, mark.start()))
        after = [match.group().casefold() for match in _WORD.finditer(text, mark.end())]
        if not before or not after:
            continue
        cut = _taken_back([match.group() for match in before], after, text[mark.end() :])
        if cut is not None:
            return text[: before[cut].start()] + text[mark.end() :]
    return text


def _taken_back(before: list[str], after: list[str], rest: str) -> int | None:
    """Index of the first word that the correction replaces; None: it replaces none."""
    folded = [word.casefold() for word in before]
    for at in range(len(folded) - 1, max(-1, len(folded) - 1 - _LOOK_BACK), -1):
        if folded[at] == after[0]:
            return at
    for tail in range(1, min(_LONGEST_TAIL, len(after) - 1, len(folded) - 1) + 1):
        if after[tail] == folded[-1]:
            return len(folded) - 1 - tail
    first = _WORD.match(rest)
    alone = first is not None and re.match(r"\W*$|\s*[,.;!?]", rest[first.end() :]) is not None
    return len(before) - 1 if alone or (first is not None and _alike(before[-1], first.group())) else None


def _alike(one: str, other: str) -> bool:
    """Both numbers, or both names."""
    if (number(one) is None) != (number(other) is None):
        return False
    return number(one) is not None or (one[:1].isupper() and other[:1].isupper())
