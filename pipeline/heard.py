"""How much of a reply was heard: from seconds of its audio to words of its text.

Engines that know when each word is spoken (:attr:`SpeechChunk.words`) are believed; elsewhere the words of a chunk are
taken to last as long as they are. What is spoken is not always what is written ("Dr." is said "Doctor"): then words are
counted on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from antiphon.engines.protocols import SpeechChunk

_NEARLY_S = 0.05
"""A word that lacks no more than this has been heard."""

_WORD = re.compile(r"\S+")


@dataclass(slots=True)
class _Piece:
    text: str
    """As it is written."""
    spoken: str
    """As it is said."""
    begun: bool = False
    whole: bool = False
    """All of its audio is known."""
    end_s: float = 0.0
    ends: list[tuple[int, float]] = field(default_factory=list)
    """(place in `spoken`, when all before it has been said), rising."""

    def heard_chars(self, seconds: float) -> int:
        """How much of `text` has been heard, to the word."""
        if self.whole and seconds >= self.end_s - _NEARLY_S:
            return len(self.text)
        place = max((place for place, at_s in self.ends if at_s <= seconds + _NEARLY_S), default=0)
        said = len(_WORD.findall(self.spoken[:place]))
        written = [word.end() for word in _WORD.finditer(self.text)]
        spoken = len(_WORD.findall(self.spoken))
        count = said if spoken == len(written) else int(said * len(written) / max(1, spoken))
        return written[count - 1] if count else 0


class HeardText:
    """Keeps book of one reply: the pieces of its text, and when the words of each are said.

    Times are seconds of the reply's own audio, from its first sample.
    """

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []

    def piece(self, text: str, spoken: str) -> None:
        """The next piece begins; the one before is whole."""
        self.finish()
        self._pieces.append(_Piece(text, spoken))

    def chunk(self, chunk: SpeechChunk, at_s: float) -> None:
        """Audio of the piece at hand, whose first sample is at `at_s`."""
        if not self._pieces:
            return
        piece = self._pieces[-1]
        piece.begun = True
        piece.ends += _ends(chunk, piece.spoken, at_s)
        piece.end_s = at_s + chunk.frame.duration_s

    def finish(self) -> None:
        """No more audio comes for the piece at hand."""
        if self._pieces:
            self._pieces[-1].whole = True

    def chars(self, seconds: float) -> int:
        """How many characters of the pieces, joined, have been heard after so many seconds: whole words."""
        heard = 0
        for piece in self._pieces:
            if not piece.begun:  # nothing to hear (a dash, an emoji), or its audio was not handed over
                if not piece.whole or piece is self._pieces[-1]:
                    break
                heard += len(piece.text)
                continue
            part = piece.heard_chars(seconds)
            heard += part
            if part < len(piece.text):
                break
        return heard


def _ends(chunk: SpeechChunk, spoken: str, at_s: float) -> Iterator[tuple[int, float]]:
    if chunk.words is not None:
        place = chunk.char_start
        for word in chunk.words:
            found = spoken.find(word.text.strip(), place)
            place = (found if found >= 0 else place) + len(word.text.strip())
            yield min(place, len(spoken)), at_s + word.end_s - chunk.frame.start_s
        return
    length = max(1, chunk.char_end - chunk.char_start)
    for match in _WORD.finditer(spoken, chunk.char_start, chunk.char_end):
        yield match.end(), at_s + chunk.frame.duration_s * (match.end() - chunk.char_start) / length
