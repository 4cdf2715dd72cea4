"""One loaded model, one thread, and the priority queue in front of it.

A *runtime* is a plain synchronous object that holds a loaded model. It is made on its worker's thread and all its
methods are called there, one at a time. A :class:`Port` is how the worker reaches it: directly, or in a process of its
own (:mod:`antiphon.engines.host_process`).

Streams take turns where the runtime can hold several at once (`streams_at_once`): one that has given its first items
goes on only when nobody waits for his own first ones, and a more urgent request goes first at the next item. So the
beginning of one answer does not wait for the end of another.

The worker never waits for a reader: what a stream yields is queued for its reader without bound. A reader that pauses
(playback is paused) must not keep other sessions from the model, and the length of one answer bounds the memory.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import heapq
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Protocol

from antiphon.engines.errors import (
    EngineCrashed,
    EngineError,
    EngineFailed,
    EngineOverloaded,
    EngineTimeout,
    StaleRequest,
)

logger = logging.getLogger(__name__)

STOP_S = 10.0
"""How long a worker that is told to stop may take for the call that it has begun."""


MAX_WAITING = 16
"""Requests that may wait for one worker: a queue that is longer only makes everybody late."""


class Priority(IntEnum):
    """Who goes first when several ask one model."""

    COMMITTED = 0
    SPECULATION = 1
    RERUN = 2
    PREFILL = 3


class Meter:
    """Adds up the time that engines work for somebody, and what they use. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._uses: dict[tuple[str, str, str], float] = {}

    def add(self, seconds: float) -> None:
        with self._lock:
            self._seconds += seconds

    @property
    def seconds(self) -> float:
        return self._seconds

    def use(self, stage: str, engine: str, unit: str, amount: float) -> None:
        """An engine has used so much: see :mod:`antiphon.engines.metering`."""
        key = (stage, engine, unit)
        with self._lock:
            self._uses[key] = self._uses.get(key, 0.0) + amount

    @property
    def uses(self) -> Mapping[tuple[str, str, str], float]:
        """By stage, engine and unit."""
        with self._lock:
            return dict(self._uses)


class Precedence:
    """Lets one request have the machine to itself until its first item: streams elsewhere pause between their items.

    :param enabled: False: there are cores for all, and nobody pauses.
    """

    _LONGEST_S = 0.3
    """Nobody pauses for longer, whatever happens."""

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._holders = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._changed:
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    def give_way(self) -> float:
        """Wait until nobody holds it; returns for how many seconds."""
        if not self._enabled or not self._holders:
            return 0.0
        began_s = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: not self._holders, self._LONGEST_S)
        return time.monotonic() - began_s


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asks, how urgently, and until when. Travels beside the call in :data:`current_ticket`."""

    session: str = ""
    turn: int = 0
    revision: int = 0
    priority: Priority = Priority.COMMITTED
    timeout_s: float | None = None
    """From the moment of asking, waiting in the queue included."""
    meter: Meter | None = field(default=None, compare=False, repr=False)
    """Who pays: the time that a worker spends on the request is added when it ends. None: nobody counts."""
    foremost: bool = False
    """Somebody waits for this stream's first item in silence: other streams give way until it is there."""


current_ticket: contextvars.ContextVar[Ticket] = contextvars.ContextVar("antiphon_ticket", default=Ticket())  # noqa: B039

Runtime = Any
"""A plain synchronous object with an optional `close()`. Where its generators may be resumed in any order it says how
many of them may be under way (`streams_at_once`), and after how many items others may go first (`items_a_turn`).
"""


class Port(Protocol):
    """How a worker reaches its runtime. Used on the worker's thread only, but for `abort`."""

    def call(self, method: str, args: tuple[Any, ...]) -> Any: ...

    def iterate(self, method: str, args: tuple[Any, ...]) -> Iterator[Any]: ...

    def recover(self) -> None:
        """Called after a crash, when the requests have their errors: may load the runtime again. Never raises."""
        ...

    def abort(self) -> bool:
        """Break off what is running, if that is possible; from any thread. Returns whether it was."""
        ...

    def close(self) -> None: ...

    @property
    def crashes(self) -> int:
        """How often the runtime's process has died."""
        ...

    @property
    def streams_at_once(self) -> int:
        """How many streams may be under way."""
        ...

    @property
    def items_a_turn(self) -> int:
        """Items after which a stream lets others go first, where several may be under way."""
        ...


class DirectPort:
    """The runtime lives on the worker's own thread."""

    crashes = 0

    def __init__(self, factory: Callable[[], Runtime]) -> None:
        self._runtime = factory()

    def call(self, method: str, args: tuple[Any, ...]) -> Any:
        return getattr(self._runtime, method)(*args)

    def iterate(self, method: str, args: tuple[Any, ...]) -> Iterator[Any]:
        iterator = iter(getattr(self._runtime, method)(*args))
        try:
            yield from iterator
        finally:
            close_quietly(iterator, method)

    def recover(self) -> None: ...

    def abort(self) -> bool:
        return False

    def close(self) -> None:
        close_quietly(self._runtime, "runtime")

    @property
    def streams_at_once(self) -> int:
        return int(getattr(self._runtime, "streams_at_once", 1))

    @property
    def items_a_turn(self) -> int:
        return int(getattr(self._runtime, "items_a_turn", 1))


def close_quietly(target: Any, what: str) -> None:
    """Call `close()` where there is one; a failure is logged: nobody waits for it."""
    close = getattr(target, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        logger.exception("close failed", extra={"target": what})


# ----------------------------------------------------------------------------------------- the request

_at_work = threading.local()


def abandoned() -> bool:
    """For runtimes: whether nobody waits any more for the request that runs on this thread.

    Long calls ask this between their steps (an abort callback of llama.cpp, say) and may then return anything.
    """
    flag = getattr(_at_work, "flag", None)
    return flag is not None and bool(flag.is_set())


@contextlib.contextmanager
def at_work(flag: threading.Event) -> Iterator[None]:
    """While inside, :func:`abandoned` on this thread is this flag."""
    _at_work.flag = flag
    try:
        yield
    finally:
        _at_work.flag = None


def as_error(error: BaseException, name: str) -> Exception:
    """An exception that can be raised on an event loop: there StopIteration, SystemExit and the like do harm."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    ours = EngineFailed(f"'{name}' raised {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours


_DONE = object()

Deliver = Callable[[str, Any], None]
"""Called on the worker's thread with ("item" | "result" | "error", value)."""


class _Job:
    """One call or one stream that waits for, or runs on, a worker."""

    __slots__ = ("abandoned", "args", "count", "deliver", "items", "method", "order", "stream", "ticket")

    def __init__(self, method: str, args: tuple[Any, ...], ticket: Ticket, stream: bool, deliver: Deliver) -> None:
        self.method = method
        self.args = args
        self.ticket = ticket
        self.stream = stream
        self.deliver = deliver
        self.abandoned = threading.Event()
        self.items: Iterator[Any] | None = None
        """Of a stream that is under way."""
        self.count = 0
        """Items that it has given."""
        self.order = 0

    def urgency(self, items_a_turn: int) -> tuple[int, int, int]:
        """The lowest goes first: by priority, one level less after the first items; then who has had the least."""
        turns = self.count // items_a_turn
        return (min(int(self.ticket.priority) + (turns > 0), int(Priority.PREFILL)), turns, self.order)


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What a worker did since it was loaded."""

    queued: int = 0
    """Requests that wait now."""
    running: bool = False
    done: int = 0
    """Requests that ended well, or whose reader left."""
    failed: int = 0
    dropped: int = 0
    """Requests that were given up before they began."""
    refused: int = 0
    """Requests that found too many others waiting."""
    busy_s: float = 0.0
    """Time spent on requests."""
    crashes: int = 0
    """Deaths of the runtime's process."""


class Worker:
    """One loaded runtime and its queue. Made by :meth:`antiphon.engines.host.EngineHost.acquire`.

    :param make: makes the port, and with it the runtime, on the worker's thread.
    :param after: a worker that must have ended first, so that a model is never in memory twice.
    :param precedence: what it shares with the other workers of its host.
    :param max_waiting: how many requests may wait; beyond that the least urgent one is refused.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Port],
        *,
        after: Worker | None = None,
        precedence: Precedence | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.name = name
        self._max_waiting = max_waiting
        self._precedence = precedence or Precedence(enabled=False)
        self.users = 0
        self.loaded: concurrent.futures.Future[None] = concurrent.futures.Future()
        """Done when the runtime is there; else has the exception that its factory raised."""
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        for future in (self.loaded, self._ended):
            future.set_running_or_notify_cancel()  # so that one who stops waiting does not cancel it for all
        self._make: Callable[[], Port] | None = make
        self._after = after
        self._port: Port | None = None
        self._jobs: list[tuple[tuple[int, int, int], _Job]] = []
        self._waited_s = 0.0
        """For how long the request that runs has given way."""
        self._under_way = 0
        """Streams that have begun and not ended, the running one included."""
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._stopping = False
        self._running: _Job | None = None
        self._stats = WorkerStats()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    # ------------------------------------------------------------------------------ for the host

    def start(self) -> None:
        """Begin to load. Waits for nothing: see `loaded`."""
        self._thread.start()

    def request_stop(self) -> None:
        """Stop as soon as may be: the running stream after its current item, the waiting requests at once."""
        with self._wake:
            self._stopping = True
            waiting = [job for _, job in self._jobs if job.items is None]
            begun = [entry for entry in self._jobs if entry[1].items is not None]
            self._jobs = begun  # their generators end on the worker's thread
            for _, job in begun:
                job.abandoned.set()
            if self._running is not None and self._running.stream:
                self._running.abandoned.set()
            self._wake.notify()
        for job in waiting:
            job.deliver("error", self._closed())

    async def stop(self) -> None:
        """Stop, and wait until the runtime is closed and the thread has ended.

        A call that has begun is given `STOP_S` to end. After that a process is killed; a thread cannot be, and is
        left behind with an error in the log.
        """
        self.request_stop()
        ended = asyncio.wrap_future(self._ended)
        for _ in range(2):
            await asyncio.wait([ended], timeout=STOP_S)
            if ended.done():
                self._thread.join()
                return
            if self._port is None or not self._port.abort():
                break
        logger.error("worker does not end", extra={"worker": self.name, "waited_s": STOP_S})

    def join(self) -> None:
        """Wait, on another thread, until this worker has ended."""
        self._thread.join()

    # ------------------------------------------------------------------------------ for the engines

    @property
    def stats(self) -> WorkerStats:
        with self._wake:
            crashes = self._port.crashes if self._port is not None else 0
            return replace(self._stats, queued=len(self._jobs), running=self._running is not None, crashes=crashes)

    @property
    def at_work(self) -> bool:
        """Whether a request runs now."""
        return self._running is not None

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._jobs)

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the runtime and wait for its result.

        :raises StaleRequest: dropped before it began.
        :raises EngineTimeout: not done within the ticket's `timeout_s`.
        :raises EngineOverloaded: too many others wait that are as urgent or more.
        :raises EngineCrashed: the runtime's process died.
        :raises EngineFailed: the worker was closed.
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
            return await self._within(future, job.ticket)
        finally:
            self._abandon(job)

    async def stream(self, method: str, *args: Any) -> AsyncIterator[Any]:
        """Iterate over what a generator method of the runtime yields; `aclose()` stops it after the current item.

        The generator is closed on the worker's thread.

        :raises StaleRequest: dropped before it began.
        :raises EngineTimeout: the *first* item did not come within the ticket's `timeout_s`.
        :raises EngineOverloaded: too many others wait that are as urgent or more.
        :raises EngineCrashed: the runtime's process died.
        :raises EngineFailed: the worker was closed.
        """
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        job = self._submit(loop, method, args, True, lambda kind, value: items.put_nowait((kind, value)))
        first = True
        try:
            while True:
                kind, value = await (self._within(items.get(), job.ticket) if first else items.get())
                first = False
                if kind == "error":
                    raise value
                if value is _DONE:
                    return
                yield value
        finally:
            self._abandon(job)

    def drop(self, session: str, turn: int, below_revision: int) -> int:
        """Give up queued work of older revisions of a turn. Work that has begun goes on. Returns how many."""

        def stale(job: _Job) -> bool:
            ticket = job.ticket
            return ticket.session == session and ticket.turn == turn and ticket.revision < below_revision

        dropped = self._remove(stale)
        for job in dropped:
            job.deliver("error", StaleRequest(f"revision {job.ticket.revision} of turn {turn} was replaced"))
        return len(dropped)

    # ------------------------------------------------------------------------------------ the queue

    def _submit(
        self,
        loop: asyncio.AbstractEventLoop,
        method: str,
        args: tuple[Any, ...],
        stream: bool,
        receive: Deliver,
    ) -> _Job:
        def deliver(kind: str, value: Any) -> None:
            try:
                loop.call_soon_threadsafe(receive, kind, value)
            except RuntimeError:  # the loop was closed: nobody listens any more
                job.abandoned.set()

        job = _Job(method, args, current_ticket.get(), stream, deliver)
        with self._wake:
            if self._stopping:
                raise self._closed()
            job.order = next(self._order)
            refused = self._one_too_many(job)
            if refused is not job:
                heapq.heappush(self._jobs, (job.urgency(1), job))
                self._wake.notify()
        if refused is not None:
            error = EngineOverloaded(f"{self._max_waiting} requests wait for '{self.name}' already")
            if refused is job:
                raise error
            refused.deliver("error", error)
        return job

    def _one_too_many(self, job: _Job) -> _Job | None:
        """Who has to go, where the queue is full: the newcomer, unless somebody waits for a guess of less worth."""
        waiting = [other for _, other in self._jobs if other.items is None]
        if len(waiting) < self._max_waiting:
            return None
        self._stats = replace(self._stats, refused=self._stats.refused + 1)
        least = max(waiting, key=lambda other: other.urgency(1), default=job)
        if least.ticket.priority <= job.ticket.priority:
            return job
        self._jobs = [entry for entry in self._jobs if entry[1] is not least]
        heapq.heapify(self._jobs)
        return least

    def _abandon(self, job: _Job) -> None:
        """Nobody waits for it any more: if it still waits in the queue, it frees its place and its audio."""
        job.abandoned.set()
        self._remove(lambda other: other is job)
        with self._wake:
            self._wake.notify()  # it may have begun, and hold a place

    def _remove(self, which: Callable[[_Job], bool]) -> list[_Job]:
        with self._wake:
            removed = [job for _, job in self._jobs if job.items is None and which(job)]
            if removed:
                self._jobs = [entry for entry in self._jobs if entry[1] not in removed]
                heapq.heapify(self._jobs)
                self._stats = replace(self._stats, dropped=self._stats.dropped + len(removed))
        return removed

    def _closed(self) -> EngineError:
        return EngineFailed(f"'{self.name}' was closed", retryable=False)

    async def _within(self, awaitable: Any, ticket: Ticket) -> Any:
        try:
            async with asyncio.timeout(ticket.timeout_s) as limit:
                return await awaitable
        except TimeoutError:
            if not limit.expired():
                raise
            raise EngineTimeout(f"'{self.name}' gave no answer within {ticket.timeout_s:g} s") from None

    # ----------------------------------------------------------------------------------- the thread

    def _main(self) -> None:
        try:
            port = self._load()
            if port is None:
                return
            try:
                while (job := self._next(port)) is not None:
                    crashed = self._run(port, job)
                    del job  # its audio must not stay until the next request
                    if crashed and not self._stopping:
                        port.recover()
            finally:
                close_quietly(port, self.name)
        finally:
            self._port = None  # whoever still holds this worker must not hold the model
            self._ended.set_result(None)

    def _load(self) -> Port | None:
        make, self._make, after, self._after = self._make, None, self._after, None
        assert make is not None
        try:
            if after is not None:
                after.join()
            if not self._stopping:
                self._port = make()
        except BaseException as error:
            self.request_stop()
            self.loaded.set_exception(as_error(error, self.name))
            return None
        if self._port is None:
            self.loaded.set_exception(self._closed())
            return None
        self.loaded.set_result(None)
        return self._port

    def _next(self, port: Port) -> _Job | None:
        """The most urgent request that can begin or go on."""
        with self._wake:
            while (job := self._most_urgent(port)) is None:
                if self._stopping:
                    return None
                self._wake.wait()
            self._jobs = [entry for entry in self._jobs if entry[1] is not job]
            heapq.heapify(self._jobs)
            self._running = job
            return job

    def _most_urgent(self, port: Port) -> _Job | None:
        """First of all streams that were given up on the way: they hold places."""
        for _, job in self._jobs:
            if job.items is not None and job.abandoned.is_set():
                return job
        for _, job in sorted(self._jobs, key=lambda entry: entry[0]):
            if self._can_run(port, job):
                return job
        return None

    def _can_run(self, port: Port, job: _Job) -> bool:
        return not job.stream or job.items is not None or self._under_way < port.streams_at_once

    def _run(self, port: Port, job: _Job) -> bool:
        """Run a job, or a stream until others should go first. Returns whether the runtime is gone.

        A failure goes to the one who asked.
        """
        began_s = time.monotonic()
        self._waited_s = 0.0
        failed = crashed = False
        last: tuple[str, Any] | None
        try:
            with at_work(job.abandoned):
                last = self._run_stream(port, job) if job.stream else self._run_call(port, job)
        except BaseException as error:
            failed = True
            if isinstance(error, EngineCrashed):
                crashed = True
                self._fail_waiting(error)  # before the asker hears of it, and maybe asks again
            last = ("error", as_error(error, self.name))
        took_s = max(0.0, time.monotonic() - began_s - self._waited_s)
        if job.ticket.meter is not None:
            job.ticket.meter.add(took_s)
        with self._wake:
            self._running = None
            stats = self._stats
            ended = last is not None
            self._stats = replace(
                stats,
                done=stats.done + (ended and not failed),
                failed=stats.failed + failed,
                busy_s=stats.busy_s + took_s,
            )
            if not ended:
                heapq.heappush(self._jobs, (job.urgency(port.items_a_turn), job))
        if last is not None:
            job.deliver(*last)
        del last  # an error's traceback holds this frame, and so the job's audio
        return crashed

    @staticmethod
    def _run_call(port: Port, job: _Job) -> tuple[str, Any]:
        return "result", None if job.abandoned.is_set() else port.call(job.method, job.args)

    def _run_stream(self, port: Port, job: _Job) -> tuple[str, Any] | None:
        """None: the stream is under way, and others go first."""
        if job.items is None:
            job.items = port.iterate(job.method, job.args)
            self._under_way += 1
        going_on = False
        try:
            while not job.abandoned.is_set():
                item = self._next_item(port, job)
                if item is _DONE:
                    break
                job.deliver("item", item)
                job.count += item is not None  # None: a sign of life, before the first item
                if self._others_first(port, job):
                    going_on = True
                    return None
        finally:
            if not going_on:
                self._under_way -= 1
                items, job.items = job.items, None
                items.close()  # type: ignore[attr-defined]  # a generator
        # Given up because the worker stops: its reader is still there, and must not take the part for the whole.
        return ("error", self._closed()) if job.abandoned.is_set() else ("item", _DONE)

    def _next_item(self, port: Port, job: _Job) -> Any:
        assert job.items is not None
        if job.ticket.foremost and not job.count:
            with self._precedence.held():
                return next(job.items, _DONE)
        if job.count and port.streams_at_once > 1 and not job.ticket.foremost:  # one whose items can wait
            self._waited_s += self._precedence.give_way()
        return next(job.items, _DONE)

    def _others_first(self, port: Port, job: _Job) -> bool:
        """Whether a waiting request is more urgent than the rest of this stream, and can be served now."""
        if not self._jobs or port.streams_at_once <= 1:
            return False
        own = job.urgency(port.items_a_turn)
        with self._wake:
            return any(urgency < own and self._can_run(port, other) for urgency, other in self._jobs)

    def _fail_waiting(self, crash: EngineCrashed) -> None:
        """What waited behind a request that killed the runtime fails too: a fallback may still be in time."""
        for job in self._remove(lambda _: True):
            job.deliver("error", EngineCrashed(crash.message, hint=crash.hint, signal_name=crash.signal_name))
