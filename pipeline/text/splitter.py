"""Cuts an answer, as it comes, into pieces to speak: the first clause early, then whole sentences. Pure.

Every cut depends on the text alone, never on how it was chunked: a place is judged in text order, once, when what
decides it is known (at most a few dozen characters of look-ahead), and later text cannot change it. Only
:meth:`ClauseSplitter.stall` depends on time.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from antiphon.pipeline.text.abbreviations import ORDINAL_DOT, STARTERS, Stop, meaning_of_stop

_CJK_MARKS = "。．！？｡、，；："
_CLAUSE_MARKS = ",;:、，；：،؛"
_MARKS = ".,;:?!…؟۔।॥،؛" + _CJK_MARKS
_CLOSERS = "\"'”’»›)\\]}）」』】》*_`~"

_CANDIDATE = re.compile(rf"\s|[{re.escape(_MARKS)}]|[-–—―]|[\[\])]")
_SPACE = re.compile(r"\s{1,32}")
_MARK_RUN = re.compile(rf"([{re.escape(_MARKS)}]{{1,16}})[{_CLOSERS}]{{0,16}}")
_DASH_RUN = re.compile(r"[-–—―]{1,4}")
_NEXT = re.compile(r"\s{1,32}[\"'“‘«‹(\[*_`¿¡]{0,4}")
_WORD = re.compile(r"[^\W\d_]{1,24}")
_LINE_MARK = re.compile(r"\s*(?:#{1,6}\s|[|>•]|[-*+]\s|\d{1,3}[.)]\s|```|~~~)")
_WRAPPING = "\"'“‘«‹([{*_`¿¡"

_CONJUNCTIONS = frozenset(
    "and but or nor so yet because although though while whereas which who where when if unless until since "
    "und oder aber denn weil dass wenn et mais ou donc car parce y pero porque aunque e ma perché mas en maar omdat".split()
)

_FIRST_WORDS = 2
_FIRST_WIDTH = 8
_CONJUNCTION_WORDS = 6
_SHORT = 20
"""From the third piece on, a sentence narrower than this waits for the next: short ones sound chopped."""
_WORTH_CUTTING = 40
_SOFT = (0, 100, 200)
"""Wider than this, a piece is cut at its last clause mark; by rank of the piece: what plays first is short."""
_HARD = (120, 240, 240)
"""Wider than this, at a word."""
_LONGEST = 1000
"""Characters without any place to cut: cut anyway, so that memory and delay stay bounded."""
_LINK_TEXT = 120
_LINK_TARGET = 500


@dataclass(slots=True)
class _Scan:
    """How far the piece in the making was judged. Positions count from the start of the piece."""

    at: int = 0
    word: int = 0
    """Start of the word that `at` is in."""
    words: int = 0
    width: int = 0
    """Columns up to `at`; an East Asian wide character counts two."""
    content: bool = False
    """Whether a letter or digit was seen."""
    line: int = 0
    clause: int = 0
    """The last place after a clause or sentence mark that was not cut; 0: none."""
    sentence: int = 0
    gap: int = 0
    """The last place between two words where a cut would do; 0: none."""
    closing: str = ""
    """"]" or ")" while inside a markdown link's text or target."""
    opened: int = 0


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
        self._scan = _Scan()

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

    # ------------------------------------------------------------------------ the loop

    def _cut(self, final: bool) -> list[str]:
        pieces = []
        while (end := self._find_end(final)) is not None:
            pieces.append(self._text[self._start : self._start + end])
            self._next_piece(end)
        self._drop_released()
        return pieces

    def _next_piece(self, length: int) -> None:
        self._start += length
        self._rank += 1
        self._scan = _Scan()

    def _drop_released(self) -> None:
        self._text = self._text[self._start :]
        self._start = 0

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
            self._advance(here)
            if scan.closing and (here - scan.opened > (_LINK_TEXT if scan.closing == "]" else _LINK_TARGET)):
                scan.closing = ""
            char = found.group()
            if char.isspace():
                verdict = self._at_space(here, final)
            elif char in "[])":
                verdict = self._at_bracket(here, char, final)
            elif char in _MARKS:
                verdict = self._at_mark(here, final)
            else:
                verdict = self._at_dash(here, final)
            if verdict is None:
                return None
            if verdict > 0:
                return verdict

    def _advance(self, here: int) -> None:
        scan = self._scan
        passed = self._text[self._start + scan.at : self._start + here]
        scan.width += width_of(passed)
        scan.content = scan.content or _has_content(passed)
        scan.at = here

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
        run = _SPACE.match(text, self._start + here)
        assert run is not None
        after = run.end()
        if after == len(text) and len(run.group()) < 32 and not final:
            return None
        word = text[self._start + scan.word : self._start + here]
        words = scan.words + _has_content(word)
        free = scan.content and not scan.closing
        if "\n" in run.group():
            if scan.content and self._line_ends(run, here):
                return here
            scan.closing = ""
            scan.line = after - self._start
        if free and words >= _CONJUNCTION_WORDS and self._rank == 0 and self._first_clause:
            verdict = self._conjunction(after, final)
            if verdict is None:
                return None
            if verdict:
                return here
        limited = self._over_limit() if free else 0
        if limited:
            return limited
        if free and not self._holds_on(word):
            scan.gap = here
        if scan.width > self._hard and scan.gap:
            return scan.gap
        scan.words = words
        self._step(after - self._start)
        scan.word = scan.at
        return 0

    def _step(self, to: int) -> None:
        """Move on to `to`, counting what is passed."""
        self._advance(to)

    def _line_ends(self, run: re.Match[str], here: int) -> bool:
        """Whether a line break is more than the wrapping of a long line."""
        if run.group().count("\n") > 1 or run.end() == len(self._text):
            return True
        if _LINE_MARK.match(self._text, self._start + self._scan.line):
            return True
        following = self._text[run.end()]
        return not (following.islower() or following in ".,;:?!)]}")

    def _conjunction(self, at: int, final: bool) -> bool | None:
        found = _WORD.match(self._text, at)
        if found is None:
            return False
        word = found.group().casefold()
        if found.end() == len(self._text) and not final:
            return None if any(known.startswith(word) for known in _CONJUNCTIONS) else False
        return word in _CONJUNCTIONS and (self._english or word not in ("e", "en", "so", "if", "or"))

    def _holds_on(self, word: str) -> bool:
        """Whether a word must not be parted from the next: "Dr.", "No.", a list number."""
        if not word.endswith("."):
            return False
        bare = word[:-1].strip(_WRAPPING)
        return bare.isdigit() or meaning_of_stop(bare, self._english, self._language) is not Stop.END

    @property
    def _hard(self) -> int:
        return _HARD[min(self._rank, 2)] if self._first_clause else _HARD[2]

    def _over_limit(self) -> int:
        scan = self._scan
        soft = _SOFT[min(self._rank, 2)] if self._first_clause else _SOFT[2]
        return scan.clause if scan.width > soft and scan.clause >= _WORTH_CUTTING else 0

    # ------------------------------------------------------------------------ marks

    def _at_mark(self, here: int, final: bool) -> int | None:
        scan, text = self._scan, self._text
        run = _MARK_RUN.match(text, self._start + here)
        assert run is not None
        marks = run.group(1)
        if run.end() == len(text) and not final:
            return None
        strong: bool | None = not all(mark in _CLAUSE_MARKS for mark in marks)
        if scan.closing or not self._stands_before(run, marks):
            strong = False
            boundary = False
        else:
            boundary = True
            if marks == ".":
                strong = self._sentence_ends(run, here, final)
                boundary = strong is not False
            elif strong and ("…" in marks or ".." in marks):
                strong = self._ellipsis_ends(run, final)
            if strong is None:
                return None
        end = run.end() - self._start
        if boundary:
            verdict = self._boundary(end, strong)
            if verdict:
                return verdict
        self._step(run.end(1) - self._start)
        return 0

    def _stands_before(self, run: re.Match[str], marks: str) -> bool:
        """Whether what follows a mark lets it be one: white space, the end, or anything after a CJK mark."""
        if run.end() == len(self._text):
            return True
        following = self._text[run.end()]
        return following.isspace() or following in "¿¡" or any(mark in _CJK_MARKS for mark in marks)

    def _ellipsis_ends(self, run: re.Match[str], final: bool) -> bool | None:
        found = _NEXT.match(self._text, run.end())
        at = found.end() if found else run.end()
        if at == len(self._text):
            return True if final else None
        return not self._text[at].islower()

    def _sentence_ends(self, run: re.Match[str], here: int, final: bool) -> bool | None:
        """Whether a single full stop ends a sentence; None: what follows must be known."""
        word = self._text[max(self._start + self._scan.word, self._start + here - 24) : self._start + here]
        bare = word.strip(_WRAPPING)
        if not bare:
            return False
        if bare.isdecimal():
            return not self._is_list_number(bare)
        stop = meaning_of_stop(bare, self._english, self._language)
        if stop in (Stop.END, Stop.NEVER):
            return stop is Stop.END
        found = _NEXT.match(self._text, run.end())
        at = found.end() if found else run.end()
        if at == len(self._text):
            return True if final else None
        following = self._text[at]
        if stop is Stop.UNLESS_DIGIT:
            return not following.isdigit()
        if not following.isalpha():
            return not following.isdigit()
        if following.islower():
            return False
        after = _WORD.match(self._text, at)
        if after is None or (after.end() == len(self._text) and len(after.group()) < 24 and not final):
            return None if after else True
        if stop is Stop.IF_TITLE_CASE:
            return not (len(after.group()) > 1 and after.group().isupper())
        return after.group().casefold() in STARTERS

    def _is_list_number(self, digits: str) -> bool:
        """ "2." that begins a line or a piece, or counts on from the last one, belongs to what follows."""
        if len(digits) > 3:
            return False
        scan = self._scan
        begins = scan.words == 0 or not _has_content(self._text[self._start + scan.line : self._start + scan.word])
        if begins or int(digits) == self._number + 1:
            self._number = int(digits)
            return True
        return self._language in ORDINAL_DOT and len(digits) < 3

    def _boundary(self, end: int, strong: bool) -> int:
        """A clause (or, if `strong`, a sentence) ends at `end`: the length of the piece, or 0."""
        scan = self._scan
        width = scan.width + width_of(self._text[self._start + scan.at : self._start + end])
        words = scan.words + _has_content(self._text[self._start + scan.word : self._start + end])
        content = scan.content or words > scan.words
        if not content:
            return 0
        if self._rank == 0 and self._first_clause:
            if words >= _FIRST_WORDS or width >= _FIRST_WIDTH:
                return end
        elif strong and (self._rank < 2 or width >= _SHORT):
            return end
        over = self._over_limit()
        scan.clause = end
        if strong:
            scan.sentence = end
        return over or self._over_limit()

    # ------------------------------------------------------------------------ dashes and brackets

    def _at_dash(self, here: int, final: bool) -> int | None:
        text, start = self._text, self._start + here
        run = _DASH_RUN.match(text, start)
        assert run is not None
        end = run.end()
        spaced_before = here > 0 and text[start - 1].isspace()
        if not self._scan.content or self._scan.closing or not (spaced_before or "—" in run.group()):
            self._step(end - self._start)
            return 0
        following = _SPACE.match(text, end)
        after = following.end() if following else end
        if after == len(text) and not final:
            return None
        before = text[max(start - 2, self._start) : start].strip()[-1:]
        numbers = before.isdigit() and text[after : after + 1].isdigit()
        if not numbers and (following or "—" in run.group()):
            verdict = self._boundary(end - self._start, strong=False)
            if verdict:
                return verdict
        self._step(end - self._start)
        return 0

    def _at_bracket(self, here: int, char: str, final: bool) -> int | None:
        scan = self._scan
        if char == "[":
            if not scan.closing:
                scan.closing, scan.opened = "]", here
        elif char == "]" and scan.closing == "]":
            if self._start + here + 1 == len(self._text) and not final:
                return None
            if self._text[self._start + here + 1 : self._start + here + 2] == "(":
                scan.closing, scan.opened = ")", here
            else:
                scan.closing = ""
        elif char == scan.closing:
            scan.closing = ""
        self._step(here + 1)
        return 0

    # ------------------------------------------------------------------------ a pause

    def _waiting_end(self) -> int:
        """How much of the kept text may be spoken when nothing more comes for now; 0: none."""
        scan, text = self._scan, self._text
        body = text.rstrip()
        run = None
        for run in _MARK_RUN.finditer(body, max(0, len(body) - 32)):
            pass
        first = self._rank == 0
        if run is not None and run.end() == len(body) and self._may_stop(body[: run.end(1)]):
            strong = not all(mark in _CLAUSE_MARKS for mark in run.group(1))
            if strong or self._first_clause:
                return len(body) if not first or not self._first_clause or _can_stand(body) else 0
        waiting = scan.clause if self._first_clause else scan.sentence
        if waiting or not first or not self._first_clause or scan.closing:
            return waiting
        end = scan.gap
        if len(body) < len(text) and not self._holds_on(body[scan.word :]):
            end = len(body)
        return end if _can_stand(text[:end]) else 0

    def _may_stop(self, text: str) -> bool:
        """Whether a mark at the very end is one: "3." may become 3.5, and "Dr." goes on."""
        if self._scan.closing or not _has_content(text):
            return False
        word = text[self._scan.word :] if self._scan.word < len(text) else text
        marks = word[-1]
        if marks in ".,:" and word[-2:-1].isdigit():
            return False
        return marks != "." or word.endswith("..") or not self._holds_on(word)


def _can_stand(text: str) -> bool:
    words = sum(map(_has_content, text.split()))
    return words >= _FIRST_WORDS or (words > 0 and width_of(text.strip()) >= _FIRST_WIDTH)


def _has_content(text: str) -> bool:
    return any(map(str.isalnum, text))


def width_of(text: str) -> int:
    """Columns that a text takes: East Asian wide characters count two."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def language_code(language: str | None) -> str | None:
    """The bare language: "en-US" and "EN_us" are "en"; "" is None."""
    code = (language or "").strip().casefold().replace("_", "-").partition("-")[0]
    return code or None


def make_splitter(language: str | None = None, *, first_clause: bool = True) -> ClauseSplitter:
    """Make the splitter of one reply.

    :param language: of the text ("en", "de-AT"); None: not known, English abbreviations count.
    :param first_clause: cut the first piece at its first clause; else whole sentences from the start.
    """
    return ClauseSplitter(language, first_clause=first_clause)
