"""A steady beat on the event loop's clock."""

from __future__ import annotations

import asyncio

MAX_LATE_S = 0.06
"""A beat that comes later is not made up for: a burst would only lengthen the listener's buffer."""


class Beat:
    """Beats every `period_s`, without drift: times are counted from the first one, not from one to the next."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._due_s: float | None = None

    async def wait(self) -> tuple[float, int]:
        """Wait for the next beat; the first one is now.

        :returns: when it was due, on the event loop's clock, and how many were left out before it.
        """
        now_s = asyncio.get_running_loop().time()
        self._due_s = now_s if self._due_s is None else self._due_s + self._period_s
        left_out = 0
        if now_s - self._due_s > MAX_LATE_S:
            left_out = int((now_s - self._due_s) / self._period_s)
            self._due_s += left_out * self._period_s
        await asyncio.sleep(max(0.0, self._due_s - now_s))
        return self._due_s, left_out
