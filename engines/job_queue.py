"""The requests that wait for one model, and whose turn it is.

Streams take turns where the runtime can hold several at once (`streams_at_once`): one that has given its first items
goes on only when nobody waits for his own first ones, and a more urgent request goes first at the next item. So the
beginning of one answer does not wait for the end of another.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from antiphon.engines.errors import EngineError, EngineFailed, EngineOverloaded
from antiphon.engines.ports import Port
from antiphon.engines.tickets import Priority, Ticket

MAX_WAITING = 16
"""Requests that may wait for one worker: a queue that is longer only makes everybody late."""

DONE = object()
"""The last item of a stream."""

Deliver = Callable[[str, Any], None]
"""Called with ("item" | "result" | "error", value), on any thread: the worker's, or that of whoever asks or closes."""


class Job:
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


class JobQueue:
    """One per worker. Knows what waits and what runs, and keeps book of it. Any thread may use it; the worker's alone
    takes jobs out, and says how each went.

    :param name: of the worker, for errors.
    :param max_waiting: how many requests may wait; beyond that the least urgent one is refused.
    """

    def __init__(self, name: str, max_waiting: int) -> None:
        self._name = name
        self._max_waiting = max_waiting
        self._jobs: list[tuple[tuple[int, int, int], Job]] = []
        self._running: Job | None = None
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stats = WorkerStats()
        self.closed = False
        """Nothing more is let in, and nothing is begun."""

    def __len__(self) -> int:
        """How many wait."""
        return len(self._jobs)

    @property
    def busy(self) -> bool:
        """Whether one runs now."""
        return self._running is not None

    @property
    def stats(self) -> WorkerStats:
        """What became of the jobs so far."""
        with self._changed:
            return replace(self._stats, queued=len(self._jobs), running=self._running is not None)

    # ------------------------------------------------------------------------------ for those who ask

    def put(self, job: Job) -> None:
        """Let it wait for its turn. Somebody else who is refused for it is told.

        :raises EngineOverloaded: too many others wait that are as urgent or more.
        :raises EngineFailed: the worker was closed.
        """
        with self._changed:
            if self.closed:
                raise self.closed_error()
            job.order = next(self._order)
            refused = self._one_too_many(job)
            if refused is not job:
                heapq.heappush(self._jobs, (job.urgency(1), job))
                self._changed.notify()
        if refused is None:
            return
        error = EngineOverloaded(f"{self._max_waiting} requests wait for '{self._name}' already")
        if refused is job:
            raise error
        refused.deliver("error", error)

    def remove(self, which: Callable[[Job], bool]) -> list[Job]:
        """Take out jobs that have not begun."""
        with self._changed:
            removed = [job for _, job in self._jobs if job.items is None and which(job)]
            if removed:
                self._keep(lambda job: job not in removed)
                self._stats = replace(self._stats, dropped=self._stats.dropped + len(removed))
        return removed

    def abandon(self, job: Job) -> None:
        """Nobody waits for it any more: if it still waits here, it frees its place and its audio."""
        job.abandoned.set()
        self.remove(lambda other: other is job)
        with self._changed:
            self._changed.notify()  # it may have begun, and hold a place

    def close(self) -> None:
        """Let nothing more in. What waits fails at once; streams end after their current items."""
        with self._changed:
            self.closed = True
            waiting = [job for _, job in self._jobs if job.items is None]
            self._keep(lambda job: job.items is not None)  # their generators end on the worker's thread
            for _, job in self._jobs:
                job.abandoned.set()
            if self._running is not None and self._running.stream:
                self._running.abandoned.set()
            self._changed.notify()
        for job in waiting:
            job.deliver("error", self.closed_error())

    def closed_error(self) -> EngineError:
        """Why nothing is begun any more."""
        return EngineFailed(f"'{self._name}' was closed", retryable=False)

    # ------------------------------------------------------------------------------ for the worker's thread

    def take(self, port: Port) -> Job | None:
        """Wait for a request that can begin or go on; the most urgent one runs from now on. None: there will be none,
        the queue was closed."""
        with self._changed:
            while (job := self._most_urgent(port)) is None:
                if self.closed:
                    return None
                self._changed.wait()
            self._keep(lambda other: other is not job)
            self._running = job
            return job

    def others_first(self, job: Job, port: Port) -> bool:
        """Whether a waiting request is more urgent than the rest of the stream that runs, and can be served now."""
        if not self._jobs or port.streams_at_once <= 1:
            return False
        own = job.urgency(port.items_a_turn)
        with self._changed:
            return any(urgency < own and self._can_run(other, port) for urgency, other in self._jobs)

    def put_back(self, job: Job, port: Port, took_s: float) -> None:
        """The stream that ran lets others go first."""
        with self._changed:
            self._running = None
            self._stats = replace(self._stats, busy_s=self._stats.busy_s + took_s)
            heapq.heappush(self._jobs, (job.urgency(port.items_a_turn), job))

    def ended(self, took_s: float, *, failed: bool) -> None:
        """What ran has ended."""
        with self._changed:
            self._running = None
            stats = self._stats
            self._stats = replace(
                stats, done=stats.done + (not failed), failed=stats.failed + failed, busy_s=stats.busy_s + took_s
            )

    # ------------------------------------------------------------------------------ inside, the lock is held

    def _keep(self, which: Callable[[Job], bool]) -> None:
        self._jobs = [entry for entry in self._jobs if which(entry[1])]
        heapq.heapify(self._jobs)

    def _one_too_many(self, job: Job) -> Job | None:
        """Who has to go, where the queue is full: the newcomer, unless somebody waits for a guess of less worth."""
        waiting = [other for _, other in self._jobs if other.items is None]
        if len(waiting) < self._max_waiting:
            return None
        self._stats = replace(self._stats, refused=self._stats.refused + 1)
        least = max(waiting, key=lambda other: other.urgency(1), default=job)
        if least.ticket.priority <= job.ticket.priority:
            return job
        self._keep(lambda other: other is not least)
        return least

    def _most_urgent(self, port: Port) -> Job | None:
        """First of all streams that were given up on the way: they hold places."""
        for _, job in self._jobs:
            if job.items is not None and job.abandoned.is_set():
                return job
        for _, job in sorted(self._jobs, key=lambda entry: entry[0]):
            if self._can_run(job, port):
                return job
        return None

    def _can_run(self, job: Job, port: Port) -> bool:
        if not job.stream or job.items is not None:
            return True
        under_way = sum(other.items is not None for _, other in self._jobs)
        under_way += self._running is not None and self._running.items is not None
        return under_way < port.streams_at_once
