"""Which sequence of the KV cache holds which conversation, and how much of a new prompt is already there. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Memory(Protocol):
    """The cache behind the slots; one sequence a slot."""

    def remove(self, sequence: int, start: int) -> bool:
        """Forget positions from `start` on; False: only whole sequences can be forgotten."""
        ...

    def copy(self, source: int, target: int, size: int) -> None:
        """Give `target` (empty) the first `size` positions of `source`."""
        ...

    def length(self, sequence: int) -> int: ...


@dataclass(slots=True)
class Slot:
    """One sequence of the cache."""

    sequence: int
    key: str | None = None
    """The session whose conversation it holds; None: free."""
    tokens: list[int] = field(default_factory=list)
    """Exactly what the cache holds for the sequence."""
    used: int = 0
    """Rises with each use of any slot: the lowest is the least recently used."""
    answers: int = 0
    """How many answers were begun in it for this session."""
    busy: bool = False
    """An answer is being written in it: nobody else may touch it."""


class SlotTable:
    """K slots in LRU order."""

    def __init__(self, memory: Memory, count: int) -> None:
        self._memory = memory
        self.slots = [Slot(sequence) for sequence in range(count)]
        self._clock = itertools.count(1)

    def find(self, key: str) -> Slot | None:
        """The slot of a session; if it has several (it asked twice at once), the one that was used last."""
        return max((slot for slot in self.slots if slot.key == key), key=lambda slot: slot.used, default=None)

    @property
    def free(self) -> bool:
        """Whether a slot can be prepared."""
        return not all(slot.busy for slot in self.slots)

    def prepare(self, key: str, prompt: Sequence[int], keep_at_most: int) -> Slot:
        """The session's slot, holding the longest prefix of `prompt` that any slot can give it, and nothing else.

        A session whose slot is busy gets another one. There must be one that is :attr:`free`.

        :param keep_at_most: evaluate at least what lies behind this many tokens, cached or not.
        """
        slot = self.find(key)
        if slot is None or slot.busy:
            slot = self._take_over(key, prompt)
        own = common(slot.tokens, prompt)
        donor = max(self.slots, key=lambda other: common(other.tokens, prompt))
        best = common(donor.tokens, prompt)
        if best > own:
            self.clear(slot)
            size = min(best, keep_at_most)
            self._memory.copy(donor.sequence, slot.sequence, size)
            slot.tokens = list(donor.tokens[:size])
        self.cut(slot, min(max(own, best), keep_at_most))
        slot.used = next(self._clock)
        return slot

    def cut(self, slot: Slot, size: int) -> None:
        """Keep the first `size` tokens, or none where the memory cannot cut or disagrees about its length."""
        if self._memory.remove(slot.sequence, size) and self._memory.length(slot.sequence) == size:
            del slot.tokens[size:]
        else:
            self.clear(slot)

    def clear(self, slot: Slot) -> None:
        """Empty a slot; it stays with its session."""
        self._memory.remove(slot.sequence, 0)
        slot.tokens = []

    def make_room(self, keep: Slot) -> bool:
        """Empty the least recently used slot but `keep` and the busy ones. False: there is none left to empty."""
        others = [slot for slot in self.slots if slot is not keep and not slot.busy and slot.tokens]
        if not others:
            return False
        oldest = min(others, key=lambda slot: slot.used)
        self.clear(oldest)
        oldest.key = None
        return True

    def _take_over(self, key: str, prompt: Sequence[int]) -> Slot:
        """A free slot or the least recently used one; of several free ones, that which holds most of the prompt."""
        idle = [slot for slot in self.slots if not slot.busy]
        free = [slot for slot in idle if slot.key is None]
        slot = max(free, key=lambda one: common(one.tokens, prompt)) if free else min(idle, key=lambda s: s.used)
        slot.key, slot.answers = key, 0
        return slot


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next(
        (index for index, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
