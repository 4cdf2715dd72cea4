"""Runs blocking inference off the event loop: one worker a model, shared by all who ask for the same one.

:mod:`antiphon.engines.worker` has the worker, :mod:`antiphon.engines.job_queue` its queue, and
:mod:`antiphon.engines.host_process` reaches models that live in a process of their own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from functools import partial
from typing import Literal

from antiphon.engines.job_queue import MAX_WAITING, WorkerStats
from antiphon.engines.net import network_forbidden
from antiphon.engines.ports import DirectPort, Runtime, abandoned
from antiphon.engines.precedence import Precedence
from antiphon.engines.protocols import usable_cores
from antiphon.engines.tickets import Meter, Priority, Ticket, current_ticket
from antiphon.engines.worker import Worker

__all__ = [
    "EngineHost",
    "Isolation",
    "Meter",
    "Priority",
    "Runtime",
    "Ticket",
    "Worker",
    "WorkerStats",
    "abandoned",
    "current_ticket",
]

Isolation = Literal["thread", "process"]

_Slot = tuple[Hashable, Isolation, bool]
"""The key; where it runs; whether the network is forbidden in its process (in a thread the whole process's rule holds).
"""


class EngineHost:
    """Owns the workers: one a key, shared by all who acquire it, ended when the last has released it.

    May be used from several event loops, one after the other or at once.
    """

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        """:param max_waiting: requests that may wait for one model; beyond that they are refused, guesses first."""
        self.max_waiting = max_waiting
        self._lock = threading.Lock()
        self._precedence = Precedence(enabled=usable_cores() <= 2)
        self._workers: dict[_Slot, Worker] = {}
        self._ending: dict[_Slot, Worker] = {}
        """Workers that nobody holds any more and that have not ended yet."""

    async def acquire(
        self, key: Hashable, factory: Callable[[], Runtime], *, name: str = "", isolation: Isolation = "thread"
    ) -> Worker:
        """The worker for `key`, made by `factory` (on the worker) if there is none yet.

        If everyone who waits for a load gives up, the runtime is closed as soon as it is there. Where the network is
        forbidden now (:func:`~antiphon.engines.net.forbid_network`), it is in the runtime's own process too, from
        before the factory is imported until the process ends.

        :param key: what makes two runtimes the same: engine, model path, threads, compute type, ...
        :param factory: picklable where `isolation` is "process": a function or class of an importable module, or a
            `functools.partial` of one.
        :raises Exception: what the factory raises; the next one to ask tries again.
        :raises EngineCrashed: the process died while loading.
        """
        offline = isolation == "process" and network_forbidden()
        slot = (key, isolation, offline)
        with self._lock:
            worker = self._workers.get(slot)
            if worker is None:
                label = name or str(key)
                if isolation == "process":
                    from antiphon.engines.host_process import ChildPort

                    make: Callable[[], DirectPort | ChildPort] = partial(ChildPort, factory, label, offline=offline)
                else:
                    make = partial(DirectPort, factory)
                worker = Worker(
                    label,
                    make,
                    after=self._ending.pop(slot, None),
                    precedence=self._precedence,
                    max_waiting=self.max_waiting,
                )
                self._workers[slot] = worker
                worker.start()
            worker.users += 1
        try:
            await asyncio.wrap_future(worker.loaded)
        except BaseException:
            if self._give_back(worker):
                worker.request_stop()
            if worker.loaded.done():
                await worker.stop()  # it failed: its thread is about to end
            raise
        return worker

    async def release(self, worker: Worker) -> None:
        """Give a worker back; the last one to do so ends it."""
        if self._give_back(worker):
            await worker.stop()
            with self._lock:
                self._ending = {slot: other for slot, other in self._ending.items() if other is not worker}

    def drop(self, session: str, turn: int, below_revision: int) -> int:
        """Give up queued work of older revisions of a turn, on every worker. Returns how many requests."""
        with self._lock:
            workers = list(self._workers.values())
        return sum(worker.drop(session, turn, below_revision) for worker in workers)

    def at_most_one_at_work(self) -> bool:
        """Whether the worker that asks is the only one at work."""
        with self._lock:
            workers = list(self._workers.values())
        return sum(worker.at_work for worker in workers) <= 1

    def cores_free(self) -> bool:
        """Whether fewer workers are at work than this process may use cores."""
        with self._lock:
            workers = list(self._workers.values())
        return sum(worker.at_work for worker in workers) < usable_cores()

    def stats(self) -> dict[str, WorkerStats]:
        """What each worker did so far, by its name."""
        with self._lock:
            return {worker.name: worker.stats for worker in self._workers.values()}

    async def close(self) -> None:
        """End every worker, whoever still holds it."""
        with self._lock:
            workers = [*self._workers.values(), *self._ending.values()]
            self._workers, self._ending = {}, {}
        await asyncio.gather(*(worker.stop() for worker in workers))

    def _give_back(self, worker: Worker) -> bool:
        """Whether that was the last one who held it."""
        with self._lock:
            worker.users -= 1
            failed = worker.loaded.done() and worker.loaded.exception() is not None
            if worker.users > 0 and not failed:
                return False
            for slot, other in list(self._workers.items()):
                if other is worker:
                    del self._workers[slot]
                    self._ending[slot] = worker
            return worker.users <= 0
