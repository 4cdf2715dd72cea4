"""How late an event loop is: a task that wants to wake up every few milliseconds, and writes down when it did."""

from __future__ import annotations

import asyncio
from types import TracebackType

import numpy as np

PERIOD_S = 0.004
_QUANTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


class Ticker:
    """Measures while it is entered. Up to 1 ms of lag is the resolution of the system's own timer.

    The schedule is absolute: a loop that is held up for long is late for every tick of that time, not for one.
    """

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._late_s: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Ticker:
        self._task = asyncio.create_task(self._ticking(), name="bench-ticker")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    def lag_ms(self) -> dict[str, float | int | None]:
        """Percentiles in ms, the largest, and of how many ticks; None: there was no tick."""
        late = np.array(self._late_s) * 1000
        if not len(late):
            return {"n": 0, **dict.fromkeys((*_QUANTILES, "max"))}
        values = np.percentile(late, list(_QUANTILES.values()))
        found = {name: round(float(value), 3) for name, value in zip(_QUANTILES, values, strict=True)}
        return {"n": len(late), **found, "max": round(float(late.max()), 3)}

    async def _ticking(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self._period_s
        while True:
            await asyncio.sleep(due_s - loop.time())
            now_s = loop.time()
            while due_s <= now_s:
                self._late_s.append(now_s - due_s)
                due_s += self._period_s
