"""How many threads one evaluation gets: more while the machine has nothing else to do, never so many that it hurts.

llama.cpp's threads spin while they wait for one another. Alone on two cores, two threads evaluate a prompt in about
half the time; with anything else on one of the cores they take several times as long as one thread. So it is decided
before every evaluation, from who else is at work and from what the last evaluations took.
"""

from __future__ import annotations

from collections.abc import Callable

_FORGET = 0.2
"""Weight of the newest measurement of few threads."""
_HURTS = 1.5
"""Many threads that take this many times as long as few do are left alone for a while."""
_FIRST_REST = 16
"""Evaluations for which they are left alone the first time; twice as many each time after, up to `_LONGEST_REST`."""
_LONGEST_REST = 1024


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
        self._few_s: dict[bool, float] = {}
        """Whether it was a single token -> recent seconds a token on few threads."""
        self._rest = 0
        self._next_rest = _FIRST_REST

    def choose(self) -> int:
        """Threads for the next evaluation."""
        if self.few == self.many or not self._few_s:
            return self.few  # nothing to compare with yet
        if self._rest:
            self._rest -= 1
            return self.few
        return self.many if self._alone is None or self._alone() else self.few

    def took(self, threads: int, tokens: int, seconds: float) -> None:
        """An evaluation of `tokens` tokens on `threads` threads took so long."""
        if self.few == self.many or tokens < 1:
            return
        single, now_s = tokens == 1, seconds / tokens
        few_s = self._few_s.get(single)
        if threads == self.few:
            self._few_s[single] = now_s if few_s is None else few_s + _FORGET * (now_s - few_s)
        elif few_s is not None and now_s > _HURTS * few_s:
            self._rest = self._next_rest
            self._next_rest = min(_LONGEST_REST, 2 * self._next_rest)
        else:
            self._next_rest = max(_FIRST_REST, self._next_rest - 1)
