"""Pure pieces for streamed text: whole characters out of bytes, stop strings across chunk borders."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


def held_suffix(text: str, markers: Sequence[str]) -> int:
    """Length of the longest end of `text` that may be the beginning of a marker (0: none).

    A streaming filter must hold back that much, because the next chunk may complete the marker.
    """
    longest = 0
    for marker in markers:
        for size in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:size]):
                longest = size
                break
    return longest


class Utf8Assembler:
    """Turns the bytes of token pieces into text; a character split over tokens comes out once, whole.

    Bytes that can never become a character come out as U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, piece: bytes) -> str:
        return self._decoder.decode(piece)

    def finish(self) -> str:
        """What is left. An unfinished character is dropped: the model was cut off inside it."""
        self._decoder.reset()
        return ""


class StopMatcher:
    """Ends a text at the stop string whose last character comes first. The stop string itself never comes out."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = tuple(dict.fromkeys(text for text in stop if text))
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """The part that is sure to stand before any stop string."""
        if self.stopped:
            return ""
        if not self._stop:
            return text
        text = self._held + text
        matches = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stop if stop in text]
        if matches:
            self.stopped, self._held = True, ""
            return text[: min(matches)[1]]
        keep = len(text) - held_suffix(text, self._stop)
        self._held = text[keep:]
        return text[:keep]

    def finish(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held


class LeadingSpace:
    """Drops white space before the first visible character: some vocabularies begin every answer with a space."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, text: str) -> str:
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        return text
