"""How late the event loop is, all the time: a task that wants to wake up at fixed moments, and sees when it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

PERIOD_S = 0.05


async def watch_lag(on_lag: Callable[[Sequence[float]], None], period_s: float = PERIOD_S) -> None:
    """Tell of each wake-up how late it was, in seconds. For ever.

    The moments are fixed: a loop that is held up for long is late for every one of that time, not for one. They are
    told together, since it was held up once; that for which it is latest first.
    """
    loop = asyncio.get_running_loop()
    due_s = loop.time() + period_s
    while True:
        await asyncio.sleep(due_s - loop.time())
        now_s = loop.time()
        lags = []
        while due_s <= now_s:
            lags.append(now_s - due_s)
            due_s += period_s
        if lags:
            on_lag(lags)
