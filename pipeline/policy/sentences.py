"""Cuts a text as it comes into whole sentences to judge. Pure.

A sentence ends where :mod:`antiphon.pipeline.text` says so, but never between two groups of a number ("4111. 1111."),
and never for its length alone: what is judged in two parts could hide something between them. So the memory and the
delay are bounded by what the workflow writes without ending a sentence.
"""

from __future__ import annotations

import re

from antiphon.pipeline.policy.numerals import begins_numeric, ends_numeric
from antiphon.pipeline.text import make_splitter
from antiphon.pipeline.text.boundaries import CLAUSE_MARKS, MARKED_END

_FIRST_TOKEN = re.compile(r"\s*(\S+)(\s)?")


class SentenceCutter:
    """One text's cutter. The sentences join to exactly the text; how it was pushed makes no difference."""

    def __init__(self, language: str | None = None) -> None:
        self._splitter = make_splitter(language, first_clause=False)
        self._pieces: list[str] = []
        """Cut by the splitter, not given out."""
        self._waiting = ""
        """Pushed, not cut by the splitter yet."""

    def push(self, text: str) -> list[str]:
        """Take more text in; returns the sentences that have ended for sure."""
        self._waiting += text
        for piece in self._splitter.push(text):
            self._pieces.append(piece)
            self._waiting = self._waiting[len(piece) :]
        return self._sentences(final=False)

    def finish(self) -> list[str]:
        """The text is over: returns the rest."""
        self._pieces += self._splitter.finish()
        self._waiting = ""
        return self._sentences(final=True)

    def _sentences(self, *, final: bool) -> list[str]:
        sentences: list[str] = []
        current = ""
        kept = 0
        for index, piece in enumerate(self._pieces):
            current += piece
            following = "".join(self._pieces[index + 1 : index + 3]) + self._waiting
            ends = self._ends(current, following, final)
            if ends is None:
                break
            if ends:
                sentences.append(current)
                current = ""
                kept = index + 1
        self._pieces = self._pieces[kept:]
        if final and self._pieces:
            sentences.append("".join(self._pieces))
            self._pieces = []
        return sentences

    def _ends(self, text: str, following: str, final: bool) -> bool | None:
        """Whether a sentence ends between these two; None: not known yet."""
        marks = MARKED_END.search(text, max(0, len(text) - 32))
        is_sentence = marks is not None and not all(mark in CLAUSE_MARKS for mark in marks.group(1))
        if not is_sentence and not following.startswith("\n"):
            return False if following or final else None
        last = text.split()[-1:]
        if not last or not ends_numeric(last[0]):
            return True
        token = _FIRST_TOKEN.match(following)
        if token is None:
            return True if final else None
        if token.group(2) is None and not final:
            return None
        return not begins_numeric(token.group(1))
