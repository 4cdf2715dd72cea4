"""Cuts an answer, as it comes, into pieces to speak: the first clause early, then whole sentences. Pure.

Every cut depends on the text alone, never on how it was chunked: a place is judged in text order, once, when what
decides it is known (at most a few dozen characters of look-ahead), and later text cannot change it. Only
:meth:`ClauseSplitter.stall` depends on time.
"""

from __future__ import annotations

import re
import unicodedata

from antiphon.pipeline.text.abbreviations import ORDINAL_DOT, meaning_of_stop
from antiphon.pipeline.text.boundaries import (
    CLAUSE_MARKS,
    DASH_RUN,
    LINE_MARK,
    MARK_RUN,
    MARKED_END,
    MARKS,
    SPACE,
    bare_word,
    conjunction_at,
    ellipsis_ends,
    has_content,
    holds_on,
    language_code,
    line_wraps,
    stands_before_gap,
    stop_ends,
)
from antiphon.pipeline.text.completeness import judge
from antiphon.pipeline.text.scan import FIRST, LATER, SECOND, WHOLE, Scan, can_stand

_CANDIDATE = re.compile(rf"\s|[{re.escape(MARKS)}]|[-–—―]|[\[\])]")

_CONJUNCTION_WORDS = 6
_HURRIED_WORDS = 3
_TRIMMED_WORDS = 3
_WORTH_HURRYING = 12
"""Characters: shorter speech ends before the next piece is made."""
_LONGEST = 1000
"""Characters without any place to cut: cut anyway, so that memory and delay stay bounded."""
_LINK_LENGTH = {"]": 120, ")": 500}


class ClauseSplitter:
    """One reply's splitter. The pieces join to exactly the text pushed; none is empty."""

    def __init__(self, language: str | None = None, *, first_clause: bool = True) -> None:
        code = language_code(language)
        self._language = code
        self._english = code in (None, "en")
        self._first_clause = first_clause
        self._begin()

    def _begin(self) -> None:
        self._text = ""
        self._start = 0
        self._rank = 0
        self._number = 0
        """The last number of the list that is being written."""
        self._scan = self._new_scan()

    def push(self, delta: str) -> list[str]:
        """Take more text in; returns the pieces that are sure now."""
        self._text += delta
        return self._cut(final=False)

    def finish(self) -> list[str]:
        """The text is over: returns all that is left. The splitter is as new then."""
        pieces = self._cut(final=True)
        if self._text:
            pieces.append(self._text)
        self._begin()
        return pieces

    def stall(self) -> list[str]:
        """The text has paused: returns the waiting clauses; before the first piece, the words that can stand alone."""
        end = self._waiting_end()
        if not end:
            return []
        pieces = [self._text[:end]]
        self._next_piece(end)
        self._drop_released()
        return pieces

    def hurry(self) -> list[str]:
        """The first clause takes long: returns the words so far if they are enough and one can pause after them."""
        if self._rank or not self._first_clause or self._scan.closing:
            return []
        words = self._text[: self._scan.gap]
        for _ in range(_TRIMMED_WORDS):
            if len(words) < _WORTH_HURRYING or len(words.split()) < _HURRIED_WORDS:
                break
            if judge(words, self._language).kind != "open" and not _needs_next(words):
                self._next_piece(len(words))
                self._drop_released()
                return [words]
            words = words.rstrip().rpartition(" ")[0]
        return []

    # ------------------------------------------------------------------------ the loop

    def _cut(self, final: bool) -> list[str]:
        pieces = []
        while (end := self._find_end(final)) is not None:
            pieces.append(self._text[self._start : self._start + end])
            self._next_piece(end)
        self._drop_released()
        return pieces

    def _new_scan(self) -> Scan:
        if not self._first_clause:
            return Scan(self._start, WHOLE if self._rank < 2 else LATER)
        return Scan(self._start, (FIRST, SECOND, LATER)[min(self._rank, 2)])

    def _next_piece(self, length: int) -> None:
        self._start += length
        self._rank += 1
        self._scan = self._new_scan()

    def _drop_released(self) -> None:
        self._text = self._text[self._start :]
        self._start = self._scan.start = 0

    def _find_end(self, final: bool) -> int | None:
        """Where the current piece ends, from its start; None: not known yet."""
        scan = self._scan
        while True:
            found = _CANDIDATE.search(self._text, self._start + scan.at)
            here = (found.start() if found else len(self._text)) - self._start
            if here > _LONGEST:
                return self._whole_character(_LONGEST)
            if found is None:
                return None
            scan.advance(self._text, self._start + here)
            if scan.closing and (here - scan.opened > _LINK_LENGTH[scan.closing]):
                scan.closing = ""
            char = found.group()
            if char.isspace():
                verdict = self._at_space(here, final)
            elif char in "[])":
                verdict = self._at_bracket(here, char, final)
            elif char in MARKS:
                verdict = self._at_mark(here, final)
            else:
                verdict = self._at_dash(here, final)
            if verdict is None:
                return None
            if verdict > 0:
                return verdict

    def _whole_character(self, length: int) -> int:
        """The nearest length from `length` down that does not part a character from its combining marks."""
        for shorter in range(length, length - 16, -1):
            char = self._text[self._start + shorter]
            if not unicodedata.combining(char) and char not in "\u200d\ufe0f":
                return shorter
        return length

    # Each judge answers None (more text is needed), 0 (no cut: `at` has moved on) or the length of the piece.

    # ------------------------------------------------------------------------ white space

    def _at_space(self, here: int, final: bool) -> int | None:
        scan, text = self._scan, self._text
        run = SPACE.match(text, self._start + here)
        assert run is not None
        after = run.end()
        if after == len(text) and not final:
            return None
        word = text[self._start + scan.word : self._start + here]
        words = scan.words + has_content(word)
        free = scan.content and not scan.closing
        if "\n" in run.group():
            if scan.content and self._line_ends(run):
                return here
            scan.closing = ""
            scan.line = after - self._start
        if free and words >= _CONJUNCTION_WORDS and scan.limits.clause:
            verdict = conjunction_at(text, after, final=final, english=self._english)
            if verdict is None:
                return None
            if verdict:
                return here
        if free and (limited := scan.over_limit()):
            return limited
        if free and not self._holds_on(word):
            scan.gap = here
        if scan.width > scan.limits.hard and scan.gap:
            return scan.gap
        scan.words = words
        scan.advance(text, after)
        scan.word = scan.at
        return 0

    def _line_ends(self, run: re.Match[str]) -> bool:
        """Whether a line break is more than the wrapping of a long line."""
        if run.group().count("\n") > 1 or run.end() == len(self._text):
            return True
        if LINE_MARK.match(self._text, self._start + self._scan.line):
            return True
        return not line_wraps(self._text, run.end())

    def _holds_on(self, word: str) -> bool:
        return holds_on(word, english=self._english, language=self._language)

    # ------------------------------------------------------------------------ marks

    def _at_mark(self, here: int, final: bool) -> int | None:
        scan, text = self._scan, self._text
        run = MARK_RUN.match(text, self._start + here)
        assert run is not None
        marks = run.group(1)
        if run.end() == len(text) and not final:
            return None
        strong: bool | None = not all(mark in CLAUSE_MARKS for mark in marks)
        boundary: bool | None = not scan.closing and stands_before_gap(text, run.end(), marks)
        if boundary and marks == ".":
            strong = boundary = self._sentence_ends(run.end(), here, final)
        elif boundary and strong and ("…" in marks or ".." in marks):
            strong = ellipsis_ends(text, run.end(), final=final)
        if strong is None or boundary is None:
            return None
        if boundary and (length := scan.boundary(text, run.end(), strong=strong)):
            return length
        scan.advance(text, run.end(1))
        return 0

    def _sentence_ends(self, end: int, here: int, final: bool) -> bool | None:
        """Whether a single full stop ends a sentence."""
        bare = bare_word(self._text[self._start + max(self._scan.word, here - 24) : self._start + here])
        if not bare:
            return False
        if bare.isdecimal():
            return not self._is_list_number(bare)
        return stop_ends(meaning_of_stop(bare, self._english, self._language), self._text, end, final=final)

    def _is_list_number(self, digits: str) -> bool:
        """ "2." that begins a line or a piece, or counts on from the last one, belongs to what follows."""
        if len(digits) > 3:
            return False
        scan = self._scan
        begins = scan.words == 0 or not has_content(self._text[self._start + scan.line : self._start + scan.word])
        if begins or int(digits) == self._number + 1:
            self._number = int(digits)
            return True
        return self._language in ORDINAL_DOT and len(digits) < 3

    # ------------------------------------------------------------------------ dashes and brackets

    def _at_dash(self, here: int, final: bool) -> int | None:
        scan, text, start = self._scan, self._text, self._start + here
        run = DASH_RUN.match(text, start)
        assert run is not None
        end = run.end()
        if end == len(text) and not final:
            return None
        spaced_before = here > 0 and text[start - 1].isspace()
        if not scan.content or scan.closing or not (spaced_before or "—" in run.group()):
            scan.advance(text, end)
            return 0
        following = SPACE.match(text, end)
        after = following.end() if following else end
        if after == len(text) and not final:
            return None
        before = text[max(start - 2, self._start) : start].strip()[-1:]
        numbers = before.isdigit() and text[after : after + 1].isdigit()
        if not numbers and (following or "—" in run.group()) and (length := scan.boundary(text, end, strong=False)):
            return length
        scan.advance(text, end)
        return 0

    def _at_bracket(self, here: int, char: str, final: bool) -> int | None:
        scan, text, after = self._scan, self._text, self._start + here + 1
        if char == "[":
            if not scan.closing:
                scan.closing, scan.opened = "]", here
        elif char == "]" and scan.closing == "]":
            if after == len(text) and not final:
                return None
            scan.closing, scan.opened = (")", here) if text[after : after + 1] == "(" else ("", 0)
        elif char == scan.closing:
            scan.closing = ""
        scan.advance(text, after)
        return 0

    # ------------------------------------------------------------------------ a pause

    def _waiting_end(self) -> int:
        """How much of the kept text may be spoken when nothing more comes for now; 0: none."""
        scan, text = self._scan, self._text
        body = text.rstrip()
        first = self._rank == 0
        run = MARKED_END.search(body, max(0, len(body) - 32))
        if run is not None and self._may_stop(body[: run.end(1)]):
            if not all(mark in CLAUSE_MARKS for mark in run.group(1)):
                return len(body)
            if self._first_clause and (not first or can_stand(body)):
                return len(body)
        waiting = scan.clause if self._first_clause else scan.sentence
        if waiting or not first or not self._first_clause or scan.closing:
            return waiting
        end = scan.gap
        if len(body) < len(text) and not self._holds_on(body[scan.word :]):
            end = len(body)
        return end if can_stand(text[:end]) else 0

    def _may_stop(self, text: str) -> bool:
        """Whether a mark at the very end is one: "3." may become 3.5, and "Dr." goes on."""
        if self._scan.closing or not has_content(text):
            return False
        word = text[self._scan.word :] if self._scan.word < len(text) else text
        marks = word[-1]
        if marks in ".,:" and word[-2:-1].isdigit():
            return False
        return marks != "." or word.endswith("..") or not self._holds_on(word)


def _needs_next(words: str) -> bool:
    """Whether the last word may be spoken otherwise with the next: "$5" billion, 3:30 pm, 5 km, "some $" 5."""
    last = words.split()[-1]
    return not last.isalpha() and any(
        not char.isalpha() and char not in "'\N{RIGHT SINGLE QUOTATION MARK}-" for char in last
    )


def make_splitter(language: str | None = None, *, first_clause: bool = True) -> ClauseSplitter:
    """Make the splitter of one reply.

    :param language: of the text ("en", "de-AT"); None: not known, English abbreviations count.
    :param first_clause: cut the first piece at its first clause; else whole sentences from the start.
    """
    return ClauseSplitter(language, first_clause=first_clause)
