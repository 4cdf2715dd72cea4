"""How many threads one evaluation gets: more while the machine has nothing else to do, never so many that it hurts.

llama.cpp's threads spin while they wait for one another, hundreds of times an evaluation. Alone on two cores, two
threads evaluate a prompt in about half the time; with anything else on one of the cores each of those waits may last
until the system lets the other thread run again, and the evaluation takes seconds (measured: 3 s for 18 tokens). So
many threads are for prompts only (a single token gains nothing: it waits for memory), only while no other engine is at
work, and not for longer than few threads would take: then the evaluation is broken off and done again on few.
"""

from __future__ import annotations

from collections.abc import Callable

FEWEST_TOKENS = 4
"""Shorter evaluations get few threads."""
_WATCHFUL_TOKENS = 5
_FORGET = 0.2
"""Weight of the newest measurement."""
_PATIENCE = 1.2
"""Many threads may take this many times as long as few would."""
_FIRST_REST = 4
"""Prompts for which many threads are left alone after they hurt; twice as many each time after, up to the longest."""
_LONGEST_REST = 256


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
        self._few_s: float | None = None
        """Recent seconds a token of a prompt on few threads."""
        self._rest = 0
        self._next_rest = _FIRST_REST

    def choose(self, tokens: int) -> tuple[int, float | None]:
        """Threads for an evaluation of `tokens` tokens, and the seconds after which to break it off (None: never)."""
        if self.few == self.many or tokens < FEWEST_TOKENS or self._few_s is None:
            return self.few, None
        if self._rest:
            self._rest -= 1
            return self.few, None
        if self._alone is not None and not self._alone():
            return self.few, None
        return self.many, _PATIENCE * tokens * self._few_s

    def step(self, limit: int) -> int:
        """How many tokens of a prompt to evaluate before choosing again.

        Few while somebody else is at work: a turn detector needs 40 ms, and then both cores are free.
        """
        waits = self.few < self.many and self._few_s is not None and not self._rest
        return min(limit, _WATCHFUL_TOKENS) if waits and self._alone is not None and not self._alone() else limit

    def took(self, threads: int, tokens: int, seconds: float, *, aborted: bool = False) -> None:
        """An evaluation of `tokens` tokens on `threads` threads took so long, or was broken off."""
        if self.few == self.many or tokens < FEWEST_TOKENS:
            return
        if aborted:
            self._rest = self._next_rest
            self._next_rest = min(_LONGEST_REST, 2 * self._next_rest)
        elif threads == self.few:
            now_s = seconds / tokens
            self._few_s = now_s if self._few_s is None else self._few_s + _FORGET * (now_s - self._few_s)
        else:
            self._next_rest = max(_FIRST_REST, self._next_rest - 1)
