"""How much of the audio that was sent has been played, from the marks that come back. Pure: a clock in, seconds out.

A mark is sent behind each piece of audio, and comes back when that piece has been played. A `clear` drops what has not
been played, and brings back the marks of that all at once. So a mark that comes back much sooner than its audio could
have been played was dropped. How much of that audio had been played when the `clear` arrived follows from times that
took the same way: from the last mark that came back in its time to the first that did not; or, if none did, from the
moment of sending the audio to the moment of sending the `clear`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

TOLERANCE_S = 0.02
"""A mark that is early by less counts as played: the difference is not worth telling."""


@dataclass(slots=True)
class _Mark:
    name: str
    seconds: float
    """Of the audio before it, back to the mark before."""
    sent_s: float
    cleared_s: float | None = None
    """When a `clear` was sent that may have dropped it."""


class MarkClock:
    """One for a stream. Times are seconds on any clock that does not go back."""

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()
        self._count = 0
        self._played_s = 0.0
        """Of all audio since the beginning, up to the last mark that is settled."""
        self._since_s = 0.0
        """When the audio behind that mark began to be played."""
        self._by_return = False
        """`_since_s` is when a mark came back; else when something was sent."""
        self._way_s = 0.0
        """How long it takes there and back, as far as that is known."""
        self._lost = False
        """The rest of what the last `clear` met was dropped."""

    @property
    def waiting(self) -> int:
        """Marks that have not come back."""
        return len(self._marks)

    def sent(self, seconds: float, now_s: float) -> str:
        """So much audio is being sent; returns the name of the mark to send behind it."""
        if not self._marks:
            self._since_s, self._by_return = now_s, False
        self._count += 1
        self._marks.append(_Mark(f"a{self._count}", seconds, now_s))
        return self._marks[-1].name

    def cleared(self, now_s: float) -> bool:
        """A `clear` is being sent. Returns whether there may be something to drop."""
        for mark in self._marks:
            if mark.cleared_s is None:
                mark.cleared_s = now_s
        self._lost = False
        return bool(self._marks)

    def returned(self, name: str, now_s: float) -> bool:
        """A mark has come back; those before it have, too. Returns whether it was waited for."""
        if not any(mark.name == name for mark in self._marks):
            return False
        while True:
            mark = self._marks.popleft()
            self._settle(mark, now_s)
            if mark.name == name:
                return True

    def played_s(self, now_s: float) -> float:
        """Seconds of audio that have been played since the beginning; between two marks, an estimate."""
        if not self._marks or self._marks[0].cleared_s is not None:
            return self._played_s
        return self._played_s + min(max(0.0, now_s - self._since_s), self._marks[0].seconds)

    def _settle(self, mark: _Mark, now_s: float) -> None:
        until_s = now_s if mark.cleared_s is None or self._by_return else mark.cleared_s
        heard_s = 0.0 if self._lost and mark.cleared_s is not None else max(0.0, until_s - self._since_s)
        lost = mark.cleared_s is not None and heard_s < mark.seconds - TOLERANCE_S
        if not (lost or self._by_return):
            self._way_s = max(0.0, now_s - self._since_s - mark.seconds)
        self._lost |= lost
        self._played_s += heard_s if lost else mark.seconds
        # What comes behind it begins then, or when it arrives there.
        arrives_s = self._marks[0].sent_s + self._way_s if self._marks else now_s
        self._since_s, self._by_return = max(now_s, arrives_s), True
