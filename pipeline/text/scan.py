"""What is known of the piece in the making, and when it is long enough to be cut at a clause or a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.pipeline.text.boundaries import has_content, width_of

_STANDS_WORDS = 2
_STANDS_WIDTH = 8
_WORTH_CUTTING = 40


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a piece may be, in columns (:func:`~antiphon.pipeline.text.boundaries.width_of`)."""

    clause: bool
    """Cut at the first clause that can stand alone."""
    short: int
    """A sentence narrower than this waits for the next: short ones sound chopped."""
    soft: int
    """Wider than this, a piece is cut at its last clause mark."""
    hard: int
    """Wider than this, at a word."""


FIRST = Limits(clause=True, short=0, soft=0, hard=120)
SECOND = Limits(clause=False, short=0, soft=100, hard=240)
"""It plays after a few words only: nothing may hold it up."""
LATER = Limits(clause=False, short=20, soft=200, hard=240)
WHOLE = Limits(clause=False, short=0, soft=200, hard=240)
"""The first and second piece where whole sentences are asked for."""


@dataclass(slots=True)
class Scan:
    """How far a piece was judged. Its positions count from the start of the piece; arguments, from that of the text."""

    start: int
    """Where the piece begins in the text."""
    limits: Limits
    at: int = 0
    word: int = 0
    """Start of the word that `at` is in."""
    words: int = 0
    width: int = 0
    """Columns up to `at`; an East Asian wide character counts two."""
    content: bool = False
    """Whether a letter or digit was seen."""
    line: int = 0
    """Start of the line that `at` is in."""
    clause: int = 0
    """The last place after a clause or sentence mark that was not cut; 0: none."""
    sentence: int = 0
    gap: int = 0
    """The last place between two words where a cut would do; 0: none."""
    closing: str = ""
    """ "]" or ")" while inside a markdown link's text or target."""
    opened: int = 0

    def advance(self, text: str, to: int) -> None:
        """Move on to `to`, counting what is passed."""
        passed = text[self.start + self.at : to]
        self.width += width_of(passed)
        self.content = self.content or has_content(passed)
        self.at = to - self.start

    def boundary(self, text: str, end: int, *, strong: bool) -> int:
        """A clause (or, if `strong`, a sentence) ends at `end`: the length of the piece to cut, or 0."""
        width = self.width + width_of(text[self.start + self.at : end])
        words = self.words + has_content(text[self.start + self.word : end])
        if not self.content and words == self.words:
            return 0
        length = end - self.start
        if self.limits.clause:
            if words >= _STANDS_WORDS or width >= _STANDS_WIDTH:
                return length
        elif strong and width >= self.limits.short:
            return length
        over = self.over_limit()
        self.clause = length
        if strong:
            self.sentence = length
        return over or self.over_limit()

    def over_limit(self) -> int:
        """The length to cut at, if the piece has grown too long for a sentence; else 0."""
        return self.clause if self.width > self.limits.soft and self.clause >= _WORTH_CUTTING else 0


def can_stand(text: str) -> bool:
    """Whether a clause can be spoken alone: two words, or eight columns."""
    words = sum(map(has_content, text.split()))
    return words >= _STANDS_WORDS or (words > 0 and width_of(text.strip()) >= _STANDS_WIDTH)
