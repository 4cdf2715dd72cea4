"""The virtual clock for tests with sockets: a server and its clients in one event loop, without waiting.

On this machine's loopback what is sent can be read at once, so where nothing can be read and nothing is ready, nothing
will happen before the next timer: the clock is set to it. A conversation of seconds takes a fraction of one, and a
machine that stands still for a moment moves no clock: what was in time stays in time.

    run_networked(main())      # instead of asyncio.run(main())

Not for tests whose other side is a process or a thread of its own: for those real time passes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from antiphon.engines.testing import VirtualClockLoop

T = TypeVar("T")

HANG_S = 60.0
"""Real seconds after which a loop in which no timer is set has to be told that nothing comes any more."""
PATIENCE_S, SLICE_S, IDLE = 2.0, 0.1, 0.05
"""Real seconds for which the clock stands still for threads that seem idle: they may be waiting for this loop. It is
looked at so often; a process that works uses more of a slice than that share."""
LEAST_GRACE_S, MOST_GRACE_S, GRACE = 0.0002, 0.01, 0.01
"""Before the clock is moved, so much of the time that it is moved by is really waited for what is on its way."""


class NetworkClockLoop(VirtualClockLoop):
    """A virtual clock that looks for what is on its way before it moves."""

    def __init__(self) -> None:
        super().__init__()
        self.at_work: list[Callable[[], bool]] = []
        """Each says whether a thread that the loop did not begin has something to do: the clock stands still for it."""
        self._threads = 0
        self._patient_until_s = 0.0

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = asyncio.SelectorEventLoop.run_in_executor(self, executor, func, *args)
        self._threads += 1
        self._patient_until_s = time.monotonic() + PATIENCE_S

        def released(_: object) -> None:
            self._threads -= 1

        future.add_done_callback(released)
        return future

    def _idle(self, timeout: float | None) -> None:
        if timeout is None:  # nothing but the network, or a thread
            if not self._something(HANG_S):
                super()._idle(None)
        elif any(busy() for busy in self.at_work):
            self._something(LEAST_GRACE_S)
        elif self._threads:
            self._idle_beside_a_thread(timeout)
        elif not self._something(min(max(LEAST_GRACE_S, GRACE * timeout), MOST_GRACE_S)):
            super()._idle(timeout)

    def _idle_beside_a_thread(self, timeout: float) -> None:
        """The clock stands still for it; then it goes as clocks do, since the thread may wait for what a timer does."""
        while (began_s := time.monotonic()) < self._patient_until_s:
            used_s = time.process_time()
            if self._something(SLICE_S):
                return
            if time.process_time() - used_s > IDLE * SLICE_S:
                self._patient_until_s = time.monotonic() + PATIENCE_S
        if self._something(timeout):
            self._now_s += min(timeout, time.monotonic() - began_s)
        else:
            super()._idle(timeout)

    def _something(self, within_s: float) -> bool:
        """Whether there is something to read, or a thread is done. The loop itself looks again, and takes it."""
        real = self._selector._real  # type: ignore[attr-defined]
        if within_s >= 0.001:
            return bool(real.select(within_s))
        time.sleep(within_s)  # the selector counts in milliseconds
        return bool(real.select(0))


async def until(condition: Callable[[], Any], within_s: float = 60.0) -> None:
    """Wait until it holds, on whatever clock. For what threads and other processes do, and for what nobody tells of.

    :param within_s: real seconds after which something hangs: far more than it can take.
    :raises TimeoutError: it hangs.
    """
    until_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until_s:
            raise TimeoutError(f"not within {within_s:g} s")
        if isinstance(asyncio.get_running_loop(), VirtualClockLoop):
            time.sleep(0.001)  # noqa: ASYNC251 (its clock would run ahead of the threads)
        await asyncio.sleep(0.01)


def run_networked(coro: Coroutine[Any, Any, T], *, timeout_s: float = 3600.0) -> T:
    """Run a coroutine on a fresh loop with this clock, as `asyncio.run` does on a real one.

    :param timeout_s: virtual seconds after which the run is given up.
    """
    with asyncio.Runner(loop_factory=NetworkClockLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, NetworkClockLoop)
        loop.limit_s = timeout_s
        return runner.run(coro)
