"""Runs blocking inference off the event loop: one worker a model, a priority queue in front of it.

A *runtime* is a plain synchronous object that holds a loaded model. The host makes it inside its worker (a thread, or a
process of its own), calls its methods there, one at a time, and shares it between all who ask with the same key.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

from antiphon.engines.errors import EngineFailed, EngineTimeout, StaleRequest


class Priority(IntEnum):
    """Who goes first when several ask one model."""

    COMMITTED = 0
    SPECULATION = 1
    RERUN = 2
    PREFILL = 3


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asks, how urgently, and until when. Travels beside the call in :data:`current_ticket`."""

    session: str = ""
    turn: int = 0
    revision: int = 0
    priority: Priority = Priority.COMMITTED
    timeout_s: float | None = None
    """From the moment of asking, waiting in the queue included."""


current_ticket: contextvars.ContextVar[Ticket] = contextvars.ContextVar("antiphon_ticket", default=Ticket())  # noqa: B039

Isolation = Literal["thread", "process"]

Runtime = Any
"""A plain synchronous object with an optional `close()`."""

_DONE = object()


class _Job:
    """One call or one stream that waits for, or runs on, a worker."""

    __slots__ = ("abandoned", "args", "deliver", "method", "stream", "ticket")

    def __init__(
        self,
        method: str,
        args: tuple[Any, ...],
        ticket: Ticket,
        stream: bool,
        deliver: Callable[[str, Any], None],
    ) -> None:
        self.method = method
        self.args = args
        self.ticket = ticket
        self.stream = stream
        self.deliver = deliver
        """Called on the worker's thread with ("item" | "result" | "error", value)."""
        self.abandoned = threading.Event()


class Worker:
    """One loaded runtime on one thread. Made by :meth:`EngineHost.acquire`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.users = 0
        self._jobs: list[tuple[int, int, _Job]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._stopping = False
        self._running: _Job | None = None
        self._thread: threading.Thread | None = None

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._jobs)

    async def start(self, factory: Callable[[], Runtime]) -> None:
        """Make the runtime on the worker's thread. Raises what the factory raises; then no thread is left."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._main, args=(factory, loop, ready), name=self.name, daemon=True)
        self._thread.start()
        await asyncio.shield(ready)

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the runtime and wait for its result.

        :raises StaleRequest: dropped before it began.
        :raises EngineTimeout: not done within the ticket's `timeout_s`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(kind: str, value: Any) -> None:
            if future.done():
                return
            if kind == "error":
                future.set_exception(value)
            else:
                future.set_result(value)

        job = self._submit(loop, method, args, False, settle)
        try:
            return await _within(future, job.ticket, self.name)
        finally:
            job.abandoned.set()

    async def stream(self, method: str, *args: Any) -> AsyncIterator[Any]:
        """Iterate over what a generator method of the runtime yields; `aclose()` stops it after the current item.

        :raises StaleRequest: dropped before it began.
        :raises EngineTimeout: the *first* item did not come within the ticket's `timeout_s`.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        job = self._submit(loop, method, args, True, lambda kind, value: items.put_nowait((kind, value)))
        first = True
        try:
            while True:
                kind, value = await (_within(items.get(), job.ticket, self.name) if first else items.get())
                first = False
                if kind == "error":
                    raise value
                if value is _DONE:
                    return
                yield value
        finally:
            job.abandoned.set()

    def drop(self, session: str, turn: int, below_revision: int) -> int:
        """Give up queued work of older revisions of a turn. Work that has begun goes on. Returns how many."""
        with self._wake:
            stale = [
                entry
                for entry in self._jobs
                if (ticket := entry[2].ticket).session == session
                and ticket.turn == turn
                and ticket.revision < below_revision
            ]
            self._jobs = [entry for entry in self._jobs if entry not in stale]
            heapq.heapify(self._jobs)
        for _, _, job in stale:
            job.deliver("error", StaleRequest(f"revision {job.ticket.revision} of turn {turn} was replaced"))
        return len(stale)

    async def stop(self) -> None:
        """Finish the running job's current item, refuse the waiting ones, close the runtime, end the thread."""
        with self._wake:
            self._stopping = True
            waiting, self._jobs = self._jobs, []
            if self._running is not None:
                self._running.abandoned.set()
            self._wake.notify()
        for _, _, job in waiting:
            job.deliver("error", EngineFailed(f"'{self.name}' was closed", retryable=False))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # ---------------------------------------------------------------------------- inside

    def _submit(
        self,
        loop: asyncio.AbstractEventLoop,
        method: str,
        args: tuple[Any, ...],
        stream: bool,
        receive: Callable[[str, Any], None],
    ) -> _Job:
        def deliver(kind: str, value: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed before the worker finished: nobody listens
                loop.call_soon_threadsafe(receive, kind, value)

        ticket = current_ticket.get()
        job = _Job(method, args, ticket, stream, deliver)
        with self._wake:
            if self._stopping:
                raise EngineFailed(f"'{self.name}' was closed", retryable=False)
            heapq.heappush(self._jobs, (int(ticket.priority), next(self._order), job))
            self._wake.notify()
        return job

    def _main(
        self, factory: Callable[[], Runtime], loop: asyncio.AbstractEventLoop, ready: asyncio.Future[None]
    ) -> None:
        def report(error: BaseException | None) -> None:
            if ready.done():
                return
            if error is None:
                ready.set_result(None)
            else:
                ready.set_exception(error)

        try:
            runtime = factory()
        except BaseException as error:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(report, error)
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(report, None)
        try:
            while (job := self._next()) is not None:
                self._run(runtime, job)
                self._running = None
                del job
        finally:
            close = getattr(runtime, "close", None)
            if close is not None:
                close()

    def _next(self) -> _Job | None:
        with self._wake:
            while True:
                while self._jobs:
                    job = heapq.heappop(self._jobs)[2]
                    if not job.abandoned.is_set():
                        self._running = job
                        return job
                if self._stopping:
                    return None
                self._wake.wait()

    @staticmethod
    def _run(runtime: Runtime, job: _Job) -> None:
        try:
            result = getattr(runtime, job.method)(*job.args)
            if not job.stream:
                job.deliver("result", result)
                return
            iterator: Iterator[Any] = iter(result)
            try:
                for item in iterator:
                    if job.abandoned.is_set():
                        return
                    job.deliver("item", item)
                    if job.abandoned.is_set():
                        return
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()
            job.deliver("item", _DONE)
        except BaseException as error:
            job.deliver("error", error)


async def _within(awaitable: Any, ticket: Ticket, name: str) -> Any:
    if ticket.timeout_s is None:
        return await awaitable
    try:
        async with asyncio.timeout(ticket.timeout_s):
            return await awaitable
    except TimeoutError:
        raise EngineTimeout(f"'{name}' gave no answer within {ticket.timeout_s:g} s") from None


class EngineHost:
    """Owns the workers: one a key, shared by all who acquire it, ended when the last has released it."""

    def __init__(self) -> None:
        self._workers: dict[Hashable, Worker] = {}
        self._starting: dict[Hashable, asyncio.Lock] = {}

    async def acquire(
        self, key: Hashable, factory: Callable[[], Runtime], *, name: str = "", isolation: Isolation = "thread"
    ) -> Worker:
        """The worker for `key`, made by `factory` (on the worker) if there is none yet.

        :param key: what makes two runtimes the same: engine, model path, threads, compute type, ...
        :param factory: picklable where `isolation` is "process".
        """
        lock = self._starting.setdefault(key, asyncio.Lock())
        async with lock:
            worker = self._workers.get(key)
            if worker is None:
                worker = Worker(name or str(key))
                await worker.start(factory)
                self._workers[key] = worker
            worker.users += 1
            return worker

    async def release(self, worker: Worker) -> None:
        """Give a worker back; the last one to do so ends it."""
        worker.users -= 1
        if worker.users > 0:
            return
        self._workers = {key: other for key, other in self._workers.items() if other is not worker}
        await worker.stop()

    def drop(self, session: str, turn: int, below_revision: int) -> int:
        """Give up queued work of older revisions of a turn, on every worker. Returns how many requests."""
        return sum(worker.drop(session, turn, below_revision) for worker in list(self._workers.values()))

    async def close(self) -> None:
        """End every worker, whoever still holds it."""
        workers, self._workers = list(self._workers.values()), {}
        for worker in workers:
            await worker.stop()
