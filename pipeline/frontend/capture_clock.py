"""Where the input's stream clock lies on the clock of the sink."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 3.0
"""Arrivals are late by chance, never early: the earliest of so long a time tells the truth."""
_QUIET_STEP_S = 0.003
"""While nothing sounds, an error above this is put right."""
_LOUD_STEP_S = 0.05
"""While a reply sounds, a step costs the echo canceller what it has learnt: only an error above this is worth it."""


class CaptureClock:
    """Fed with arrivals; says by how much the sink's clock is ahead of the stream clock."""

    def __init__(self) -> None:
        self.offset_s: float | None = None
        """Sink's clock minus stream clock; None before the first arrival."""
        self._earliest: deque[tuple[float, float]] = deque()
        """(arrival, offset), rising in both: the first is the smallest offset of the window."""

    def arrived(self, end_s: float, at_s: float, *, quiet: bool) -> None:
        """A frame that ends at `end_s` of the stream came at `at_s` of the sink's clock.

        :param quiet: nothing sounds just now, so a correction does no harm.
        """
        offset_s = at_s - end_s
        while self._earliest and self._earliest[-1][1] >= offset_s:
            self._earliest.pop()
        self._earliest.append((at_s, offset_s))
        while self._earliest[0][0] < at_s - _WINDOW_S:
            self._earliest.popleft()
        best_s = self._earliest[0][1]
        step_s = _QUIET_STEP_S if quiet else _LOUD_STEP_S
        if self.offset_s is None or abs(best_s - self.offset_s) > step_s:
            self.offset_s = best_s
