"""Makes pieces of written text speakable: markdown, URLs, emoji, numbers and signs, the user's lexicon. Pure.

Order: characters, markdown, URLs (protected), emphasis, lexicon (protected), words, numbers, signs, pauses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from antiphon.pipeline.text.boundaries import language_code
from antiphon.pipeline.text.clean import LEXICON_MARK, PAUSE, URL_MARK, clean, tidy
from antiphon.pipeline.text.english_numbers import Rule, number_rules
from antiphon.pipeline.text.english_words import SIGN_RULES, WORD_RULES
from antiphon.pipeline.text.languages import neutral_rules, words_of
from antiphon.pipeline.text.lexicon import Lexicon
from antiphon.pipeline.text.markdown import Markdown, strip_emphasis
from antiphon.pipeline.text.urls import check_style, protect_urls

_OPTIONAL_PLURAL = re.compile(r"(?<=[^\W\d_])\((s|es)\)")
_CALL = re.compile(r"(?<=\w)\(\)")
_PARENTHESIS = re.compile(r" ?[()] ?")
_BRACES = re.compile(r"[{}]")
_ARROW = re.compile(r" ?(?:<?(?:-{1,2}|={1,2})>|<-{1,2}(?![\d.])|<==) ?")
_DASH = re.compile(
    r" ?— ?(?!\d)|(?<!\d) ?— ?| (?:-{1,3}|–) |(?<=[^\W\d_])--(?=[^\W\d_])|(?:^|(?<=\n)) ?[-–]{1,3} | [-–]{1,3}$"
)
_LOOSE = re.compile(rf"(?<![\w{URL_MARK}{LEXICON_MARK}])[#^<>~](?!\w)|[\\|]|(?<!\d)(?<!\d )\$(?!\d)")
"""Signs that belong to nothing."""


class Speakable:
    """One reply's way from text to words: call it with each piece, in order.

    It remembers, from piece to piece, whether it is inside a code block or a link. Any text is taken; none raises.
    """

    def __init__(
        self, language: str | None, *, lexicon: Mapping[str, str] | Lexicon | None = None, urls: str = "domain"
    ) -> None:
        code = language_code(language)
        self._english = code == "en"
        self._urls = check_style(urls)
        self._lexicon = lexicon if isinstance(lexicon, Lexicon) else Lexicon(lexicon or {})
        self._markdown = Markdown(words_of(code).code_note)
        self._rules: list[Rule] = neutral_rules(code)
        if self._english:
            day_first = (language or "").strip().casefold().replace("_", "-") not in ("en", "en-us", "en-ph")
            self._rules = [*WORD_RULES, *_rules_of(day_first), *SIGN_RULES]

    def __call__(self, piece: str) -> str:
        """What is to be said of one piece; "" for nothing."""
        text = self._markdown.strip(clean(piece))
        if not text.strip():
            return ""
        links: list[str] = []
        words: list[str] = []
        text = protect_urls(text, self._urls, self._english, _keeper(links, URL_MARK))
        text = strip_emphasis(text)
        text = self._lexicon.replace(text, _keeper(words, LEXICON_MARK))
        text = tidy(self._signs(text))
        text = _restore(_restore(text, URL_MARK, links), LEXICON_MARK, words)
        text = text.strip()
        return text if any(map(str.isalnum, text)) else ""

    def _signs(self, text: str) -> str:
        text = _ARROW.sub(PAUSE, text)
        for pattern, spoken in self._rules:
            text = pattern.sub(spoken, text)
        text = _OPTIONAL_PLURAL.sub(r"\1", text)
        text = _PARENTHESIS.sub(f"{PAUSE} ", _CALL.sub("", text))
        text = _DASH.sub(f"{PAUSE} ", text)
        return _LOOSE.sub("", _BRACES.sub("", text))


_RULES: dict[bool, list[Rule]] = {}


def _rules_of(day_first: bool) -> list[Rule]:
    """Compiled once: a speakable is made for every reply."""
    if day_first not in _RULES:
        _RULES[day_first] = number_rules(day_first)
    return _RULES[day_first]


def _keeper(kept: list[str], mark: str) -> Callable[[str], str]:
    """A function that keeps a text aside and gives the mark that stands for it; marks stay in order."""

    def protect(text: str) -> str:
        kept.append(text)
        return mark

    return protect


def _restore(text: str, mark: str, kept: list[str]) -> str:
    if not kept:
        return text
    pieces = text.split(mark)
    return "".join(part for pair in zip(pieces, [*kept, ""], strict=True) for part in pair)


def make_speakable(
    language: str | None = None, *, lexicon: Mapping[str, str] | Lexicon | None = None, urls: str = "domain"
) -> Speakable:
    """Make the speakable of one reply.

    :param language: of the text; English has the full rules, others few and safe ones, None (unknown) the fewest.
        "en" and "en-US" read 3/4/2026 as the fourth of March; other English as the third of April.
    :param lexicon: written form to spoken form: whole words, any case. What it gives is spoken as it stands. A
        :class:`Lexicon` can be made once and shared.
    :param urls: "domain" (example.com), "full", or "skip".
    :raises ValueError: `urls` is none of these.
    """
    return Speakable(language, lexicon=lexicon, urls=urls)
