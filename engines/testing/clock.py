"""An asyncio event loop on a virtual clock: tests of timing without sleeping.

When nothing is ready to run, the loop does not wait: it sets its clock to the next timer and goes on. A turn of a
minute runs in milliseconds, in the same order each time. When nothing is ready and no timer is set, the test could
never end: then :class:`VirtualDeadlock` says which tasks wait, and where.

Code under test must take its time from `loop.time()`, as asyncio itself does, and never from :mod:`time`.

Threads: their work takes real time, of which the virtual clock knows nothing, so the loop waits for them (really)
before it moves its clock. It sees by itself the work of `run_in_executor` and `asyncio.to_thread`; for threads of your
own, and for sockets, wrap the waiting code in :meth:`VirtualClockLoop.hold`. Scripted engines use no threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import types
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

_ASYNCIO = os.path.dirname(asyncio.__file__)


class VirtualDeadlock(AssertionError):
    """Raised when nothing can ever run again: nothing is ready, no timer is set, no thread is at work."""


class VirtualTimeout(AssertionError):
    """Raised when a coroutine was not done within its virtual time."""


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` moves only when there is nothing else to do.

    :param start_s: what `time()` says at first.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s
        self._holds = 0
        self.limit_s: float | None = None
        """The clock does not move beyond this; None: no limit."""
        super().__init__(_VirtualSelector(self))
        # Timers are compared with `time() + resolution`: far below anything meant, far above float rounding.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds."""
        return self._now_s

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """While inside, the clock stands still and an idle loop really waits: for threads and sockets."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def run_in_executor(  # type: ignore[override]  # typeshed wants its private TypeVarTuple
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._holds += 1

        def released(_: object) -> None:
            self._holds -= 1

        future.add_done_callback(released)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # The base class joins the executor in a thread of its own and waits for a call from there.
        with self.hold():
            await super().shutdown_default_executor()

    def _idle(self, timeout: float | None) -> None:
        """Nothing is ready: move the clock to the next timer."""
        if timeout is None:
            raise VirtualDeadlock(f"at {self._now_s:g} s nothing can run any more; waiting:\n{describe_tasks(self)}")
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        # Exactly the timer's time, not now + timeout: the sum may fall one rounding step short of it.
        then_s = max(self._now_s, timers[0].when()) if timers else self._now_s + timeout
        if self.limit_s is not None and then_s > self.limit_s:
            limit_s, self.limit_s = self.limit_s, None  # so that the tasks can be cancelled in peace
            raise VirtualTimeout(f"not done at {limit_s:g} virtual s; waiting:\n{describe_tasks(self)}")
        self._now_s = then_s


class _VirtualSelector(selectors.BaseSelector):
    """Polls the real selector; where that has nothing, asks the loop to move its clock."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop._holds:
            return self._real.select(None)
        self._loop._idle(timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def run_virtual(coro: Coroutine[Any, Any, T], *, timeout_s: float = 3600.0, start_s: float = 0.0) -> T:
    """Run a coroutine on a fresh virtual loop, as `asyncio.run` does on a real one.

    :param timeout_s: virtual seconds after which the run is given up (a background timer that repeats for ever would
        keep the clock moving for ever).
    :raises VirtualTimeout: not done in time.
    :raises VirtualDeadlock: nothing could ever run again.
    """

    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(start_s)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualClockLoop)
        loop.limit_s = start_s + timeout_s
        return runner.run(coro)


def describe_tasks(loop: asyncio.AbstractEventLoop) -> str:
    """One line for each task that is not done: its name, what it awaits, and the line from which."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    return "\n".join(f"  {task.get_name()}: {_waits_at(task.get_coro())}" for task in tasks) or "  (no task)"


def _waits_at(awaited: Any) -> str:
    """Follow a chain of awaits to its innermost frame, and to the innermost one outside asyncio."""
    what = place = repr(awaited)
    while awaited is not None:
        frame: types.FrameType | None = _first(awaited, "cr_frame", "ag_frame", "gi_frame")
        if frame is not None:
            code = frame.f_code
            what = getattr(code, "co_qualname", code.co_name)
            if not code.co_filename.startswith(_ASYNCIO):
                place = f"{code.co_filename}:{frame.f_lineno}"
        awaited = _first(awaited, "cr_await", "ag_await", "gi_yieldfrom")
    return f"{what}, from {place}"


def _first(target: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(target, name, None)) is not None), None)
