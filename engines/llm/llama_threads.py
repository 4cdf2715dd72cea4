"""How many threads one evaluation gets: more while the machine has nothing else to do, never so many that it hurts.

llama.cpp's threads spin while they wait for one another. Alone on two cores, two threads evaluate a prompt in about
half the time; with anything else on one of the cores they take several times as long as one thread. So it is decided
before every evaluation, from who else is at work and from what the last evaluations took.
"""

from __future__ import annotations

from collections.abc import Callable

_FORGET = 0.3
"""Weight of the newest measurement."""
_HURTS = 1.25
"""More threads that take this many times as long as few do are left alone for a while."""
_REST = 40
"""Evaluations for which they are left alone; then they are tried again."""


class ThreadGovernor:
    """Chooses between few threads, which are always safe, and many.

    :param few: threads while others are at work; :param many: threads while nobody is, at least `few`.
    :param alone: whether no other engine is at work now; None: nobody knows, so measuring alone decides.
    """

    def __init__(self, few: int, many: int, alone: Callable[[], bool] | None = None) -> None:
        if not 1 <= few <= many:
            raise ValueError(f"few ({few}) and many ({many}) threads: 1 <= few <= many")
        self.few, self.many = few, many
        self._alone = alone
        self._seconds: dict[tuple[int, bool], float] = {}
        """(threads, single token) -> recent seconds a token."""
        self._rest = 0

    def choose(self) -> int:
        """Threads for the next evaluation."""
        if self.few == self.many:
            return self.few
        if self._rest:
            self._rest -= 1
            return self.few
        return self.many if self._alone is None or self._alone() else self.few

    def took(self, threads: int, tokens: int, seconds: float) -> None:
        """An evaluation of `tokens` tokens on `threads` threads took so long."""
        if self.few == self.many or tokens < 1:
            return
        key = (threads, tokens == 1)
        now = seconds / tokens
        before = self._seconds.get(key, now)
        self._seconds[key] = recent = before + _FORGET * (now - before)
        fewer = self._seconds.get((self.few, tokens == 1))
        if threads == self.many and fewer is not None and recent > _HURTS * fewer:
            self._rest = _REST
            del self._seconds[key]  # a fresh start after the rest
