"""How much of something somebody may do in a time: token buckets."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_BUCKETS = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a bucket said."""

    allowed: bool
    limit: int
    """How much fits in."""
    remaining: int
    retry_s: float
    """Until one more is there; 0: it is there."""
    reset_s: float
    """Until the bucket is full again."""


class TokenBucket:
    """A bucket that fills evenly; each request takes one token out of it.

    :param limit: tokens of a full bucket: so many requests may come at once.
    :param period_s: in which an empty bucket fills.
    """

    def __init__(self, limit: int, period_s: float, now_s: float) -> None:
        self.limit = limit
        self.period_s = period_s
        self._tokens = float(limit)
        self._at_s = now_s

    def take(self, now_s: float, tokens: int = 1) -> Allowance:
        """Take a token, if there is one; 0: only look. A clock that goes back fills nothing."""
        rate = self.limit / self.period_s
        elapsed_s = max(0.0, now_s - self._at_s)
        self._at_s = max(self._at_s, now_s)
        self._tokens = min(float(self.limit), self._tokens + elapsed_s * rate)
        allowed = self._tokens >= 1 - 1e-9  # rounding must not cost a token that is due
        if allowed:
            self._tokens = max(0.0, self._tokens - tokens)
        return Allowance(
            allowed,
            self.limit,
            math.floor(self._tokens + 1e-9),
            max(0.0, (1 - self._tokens) / rate),
            (self.limit - self._tokens) / rate,
        )


class Rates:
    """A bucket each for any number of names; at most :data:`MAX_BUCKETS` are kept, those used last.

    :param clock: seconds, of any beginning.
    """

    def __init__(self, limit: int, period_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._period_s = period_s
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def look(self, name: str) -> Allowance:
        """What :meth:`take` would say; nothing is taken."""
        return self._take(name, 0)

    def take(self, name: str) -> Allowance:
        return self._take(name, 1)

    def _take(self, name: str, tokens: int) -> Allowance:
        now_s = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = TokenBucket(self._limit, self._period_s, now_s)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return bucket.take(now_s, tokens=tokens)

    def set_limit(self, limit: int) -> None:
        """From now on; buckets begin full."""
        if limit != self._limit:
            self._limit = limit
            self._buckets.clear()


def headers_of(allowance: Allowance) -> dict[str, str]:
    """As clients of OpenAI's API know them."""
    return {
        "x-ratelimit-limit-requests": str(allowance.limit),
        "x-ratelimit-remaining-requests": str(allowance.remaining),
        "x-ratelimit-reset-requests": span(allowance.reset_s),
    }


def span(seconds: float) -> str:
    """ "250ms", "1.5s", "2m5s"."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{math.ceil(seconds * 10) / 10:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s"
