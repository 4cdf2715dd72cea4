"""How much of the event loop's time one client may take."""

from __future__ import annotations

BURST_S = 1.0
"""Of the loop's time: so much may be taken at once, such as for a recording that is sent in one go."""


class Share:
    """A leaky bucket of time.

    :param share: of each second, what may be taken on and on.
    """

    def __init__(self, share: float, now_s: float) -> None:
        self._share = share
        self._taken_s = 0.0
        self._at_s = now_s

    def take(self, seconds: float, now_s: float) -> None:
        """So much was taken."""
        self._leak(now_s)
        self._taken_s += seconds

    def wait_s(self, now_s: float) -> float:
        """After which time more may be taken; 0: now."""
        self._leak(now_s)
        return max(0.0, (self._taken_s - BURST_S) / self._share)

    def _leak(self, now_s: float) -> None:
        elapsed_s = max(0.0, now_s - self._at_s)
        self._at_s = max(self._at_s, now_s)
        self._taken_s = max(0.0, self._taken_s - elapsed_s * self._share)
