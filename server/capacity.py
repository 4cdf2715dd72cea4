"""How many live conversations a machine carries. Pure: times and measurements in, a number out.

The start is what `antiphon bench load` measured, or no limit but `max_sessions`. Then what is seen decides: answers
that come too late, or an event loop that does, mean that there were too many; the number falls below what there are,
so that nobody new makes it worse for those that are there. When answers have come well in time for a while, it rises,
one by one. Falling is quicker than rising, and to rise takes more than not to fall: else it would swing. While nobody
is answered it rises more quickly: there is nobody whom it could harm.
"""

from __future__ import annotations

import json
import statistics
from collections import deque
from pathlib import Path
from typing import Any

WINDOW_S = 60.0
"""So old may an answer be that says something about now."""
LAG_WINDOW_S = 10.0
MOST_LAG_S = 0.1
"""A loop that is later than this holds up everybody's audio."""
LATE_SHARE = 0.05
"""More late answers than that: their p95 is too late."""
FEWEST_LATE = 3
"""So many must be late at least: one may have waited for a tool."""
WELL_IN_TIME = 0.7
"""To rise, answers must be there within this part of the limit for a fast engine,"""
WELL_ALONE = 1.25
"""or within so much of what they take a user who is alone: half of those take longer than their median."""
ALONE_FACTOR = 1.5
"""Answers that take so much longer than those to a user who is alone are late because of the others."""
FALL_EVERY_S = 20.0
"""After a fall it is looked what came of it before the next."""
RISE_EVERY_S = 60.0
RISE_UNHEARD_EVERY_S = 15.0
"""The same while one at most is there, and hears nothing."""

_KEPT = 512
_KEPT_ALONE = 20
_LAG_SHARE = 0.05


class Capacity:
    """What is known of it. Times are of any one clock, in seconds, and do not go back."""

    def __init__(self, ceiling: int, *, most_p95_s: float = 1.5) -> None:
        """
        :param ceiling: never more than that; at least 1.
        :param most_p95_s: a slower p95 of the time to the first audio means too many.
        """
        self.ceiling = max(1, ceiling)
        self.now = self.ceiling
        """Live conversations that it carries, as far as is known."""
        self._most_s = most_p95_s
        self._answers: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._lags: deque[tuple[float, float]] = deque(maxlen=_KEPT)
        self._alone: deque[float] = deque(maxlen=_KEPT_ALONE)
        self._changed_s: float | None = None

    def answered(self, now_s: float, ttfa_s: float, live: int) -> None:
        """An answer began to be heard.

        :param ttfa_s: after the user's last speech sample.
        :param live: conversations at that time.
        """
        self._answers.append((now_s, ttfa_s))
        if live <= 1:
            self._alone.append(ttfa_s)

    def lagged(self, now_s: float, lag_s: float) -> None:
        """The event loop was so late. Once for each time that it was: one long stall is not many."""
        self._lags.append((now_s, lag_s))

    def judge(self, now_s: float, live: int) -> int:
        """Look at what was measured; returns how many live conversations it carries now.

        :param live: that there are.
        """
        self._forget(now_s)
        since_s = float("inf") if self._changed_s is None else now_s - self._changed_s
        if self._too_many():
            if live > 1 and since_s >= FALL_EVERY_S:  # one alone is not too many
                self._set(now_s, min(self.now, live) - 1)
        elif self.now < self.ceiling and since_s >= self._rise_every_s(live) and self._well_in_time():
            self._set(now_s, self.now + 1)
        return self.now

    @property
    def late_s(self) -> float:
        """An answer that takes longer is late. An engine that is slow when nobody else is there is not too busy."""
        return max(self._most_s, ALONE_FACTOR * self._alone_s)

    @property
    def _alone_s(self) -> float:
        return statistics.median(self._alone) if len(self._alone) >= FEWEST_LATE else 0.0

    def _set(self, now_s: float, value: int) -> None:
        value = max(1, min(self.ceiling, value))
        if value != self.now:
            self.now = value
            self._changed_s = now_s
            self._answers.clear()  # they tell of before
            self._lags.clear()

    def _too_many(self) -> bool:
        answers = [seconds for _, seconds in self._answers]
        return _exceeds(answers, self.late_s, LATE_SHARE) or _exceeds(
            [lag_s for _, lag_s in self._lags], MOST_LAG_S, _LAG_SHARE
        )

    def _well_in_time(self) -> bool:
        limit_s = max(WELL_IN_TIME * self._most_s, WELL_ALONE * self._alone_s)
        late = sum(seconds > limit_s for _, seconds in self._answers)
        return late <= max(1, LATE_SHARE * len(self._answers))

    def _rise_every_s(self, live: int) -> float:
        return RISE_EVERY_S if self._answers or live > 1 else RISE_UNHEARD_EVERY_S

    def _forget(self, now_s: float) -> None:
        for entries, window_s in ((self._answers, WINDOW_S), (self._lags, LAG_WINDOW_S)):
            while entries and entries[0][0] < now_s - window_s:
                entries.popleft()


def _exceeds(values: list[float], limit: float, share: float) -> bool:
    late = sum(value > limit for value in values)
    return late >= FEWEST_LATE and late > share * len(values)


def measured_capacity(path: Path) -> int:
    """The most sessions of `antiphon bench load` at which it held.

    :param path: its `result.json`.
    :raises ValueError: it cannot be read, is no such result, or broke at the first step.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        steps = content["load"]["steps"]
        held = [int(step["sessions"]) for step in steps if not step.get("broken")]
        broken = [int(step["sessions"]) for step in steps if step.get("broken")]
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("is no result of `antiphon bench load`") from None
    held = [sessions for sessions in held if not broken or sessions < min(broken)]
    if not held:
        raise ValueError("says that not even its first step held")
    return max(held)
