"""What a spoken answer to "shall I go ahead?" means. Pure.

Rules for English; other languages by a function of the user's (:data:`READERS`). In doubt it is unclear: the question
is asked again, and an action that nobody wanted is worse than that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import Literal

SpokenAnswer = Literal["yes", "no", "unclear"]

Reader = Callable[[str], SpokenAnswer]

_YES_WORDS = frozenset(
    "yes yeah yep yup yea aye sure okay ok absolutely definitely certainly affirmative correct confirmed confirm "
    "approved approve granted agreed indeed surely right proceed".split()
)
_NO_WORDS = frozenset(
    "no nope nah never negative refuse refused reject rejected deny denied cancel abort stop not forget".split()
)
_YES_PHRASES = (
    "go ahead", "go on", "go for it", "do it", "do that", "do so", "please do", "of course", "by all means",
    "that is right", "that is correct", "that is fine", "that is okay", "that is ok", "sounds good", "sounds right",
    "fine by me", "fine with me", "uh huh", "mm hmm", "why not", "you may", "you can", "make it so", "i agree",
    "i approve", "i confirm", "all right", "alright", "i do", "i would", "carry on", "yes please", "please proceed",
)  # fmt: skip
_NO_PHRASES = (
    "do not", "not now", "not yet", "no way", "leave it", "hold on", "hold off", "never mind", "nevermind",
    "absolutely not", "definitely not", "certainly not", "of course not", "rather not", "changed my mind",
    "cannot", "should not", "must not", "would not", "will not", "better not", "drop it", "uh uh", "no thanks",
    "no thank you",
)  # fmt: skip
_HARMLESS_NOS = ("no problem", "no worries", "no objection", "no objections", "why not", "no doubt", "not a problem")
"""A yes, or nothing, in the form of a no."""
_DOUBT_PHRASES = ("not sure", "do not know", "i mean", "say that again", "not understand", "not hear")
_FILLERS = frozenset(  # beside a yes they change nothing; any other word may
    "please thanks thank you that it is the a an i we want to do you to me my with just now then so well oh um uh er "
    "ah hm very much really go ahead on for and would like would could can may this is fine good great perfect happy "
    "let us send make transfer pay book order with that one am will be all of them both dear sir madam mate man "
    "straight away immediately today quickly his her their your our at once".split()
)
_CONTRACTIONS = (
    (re.compile(r"\bcan ?n[o']t\b|\bcan't\b"), "cannot"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\b(\w+)n't\b"), r"\1 not"),
    (re.compile(r"\bdont\b"), "do not"),
    (re.compile(r"\b(that|it|what)'s\b"), r"\1 is"),
    (re.compile(r"\bi'd\b"), "i would"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\blet's\b"), "let us"),
)
_MOST_WORDS = 14
"""A longer answer says more than yes or no."""


def read_english(text: str) -> SpokenAnswer:
    """Whether it is a yes or a no, and nothing else."""
    words = _normal(text)
    if not words or len(words.split()) > _MOST_WORDS:
        return "unclear"
    for phrase in _HARMLESS_NOS:
        words = _without(words, phrase, "yes" if phrase == "why not" else "")
    if any(_has(words, phrase) for phrase in _DOUBT_PHRASES):
        return "unclear"
    if any(_has(words, phrase) for phrase in _NO_PHRASES) or not _NO_WORDS.isdisjoint(words.split()):
        # "No, wait" is still a no; "no, yes" and "yes, but not now" may be either.
        return "unclear" if _yes_beside_no(words) else "no"
    return "unclear" if text.rstrip().endswith("?") else _yes_alone(words)


def _yes_alone(words: str) -> SpokenAnswer:
    """A yes that says nothing else: "yes, two hundred" may want another amount than the one that was asked about."""
    rest = words
    for phrase in sorted(_YES_PHRASES, key=len, reverse=True):
        rest = _without(rest, phrase, "")
    other = set(rest.split()) - _YES_WORDS
    is_yes = rest != words or len(other) < len(set(words.split()))
    return "yes" if is_yes and other <= _FILLERS else "unclear"


READERS: MutableMapping[str, Reader] = {"en": read_english}
"""By language (ISO 639-1). Add your own."""


def read_answer(text: str, language: str | None = None, readers: MutableMapping[str, Reader] = READERS) -> SpokenAnswer:
    """What a spoken answer means; "unclear" in a language that has no rules. None: English is tried."""
    code = (language or "en").partition("-")[0].casefold()
    reader = readers.get(code)
    return "unclear" if reader is None else reader(text)


def _normal(text: str) -> str:
    text = text.casefold().replace("’", "'")
    for pattern, full in _CONTRACTIONS:
        text = pattern.sub(full, text)
    return " ".join(re.findall(r"[a-z0-9']+", text))


def _has(words: str, phrase: str) -> bool:
    return f" {phrase} " in f" {words} "


def _without(words: str, phrase: str, instead: str) -> str:
    return " ".join(f" {words} ".replace(f" {phrase} ", f" {instead} ").split())


def _yes_beside_no(words: str) -> bool:
    """Whether a yes stands beside the no, and is no part of it: "do it" in "do not do it"."""
    for phrase in sorted(_NO_PHRASES, key=len, reverse=True):
        if _has(words, phrase):
            before, _, _ = f" {words} ".partition(f" {phrase} ")
            return not _YES_WORDS.isdisjoint(before.split())
    first_no = next(index for index, word in enumerate(words.split()) if word in _NO_WORDS)
    plain = words.split()
    if plain[first_no] == "not":
        return not _YES_WORDS.isdisjoint(plain[:first_no])
    return not _YES_WORDS.isdisjoint(plain)
