"""One loaded model, and the thread that it lives on.

A *runtime* is a plain synchronous object that holds a loaded model. It is made on its worker's thread and all its
methods are called there, one at a time, in the order of the worker's queue (:mod:`antiphon.engines.job_queue`). A
:class:`~antiphon.engines.ports.Port` is how the worker reaches it: directly, or in a process of its own
(:mod:`antiphon.engines.host_process`).

The worker never waits for a reader: what a stream yields is queued for its reader without bound. A reader that pauses
(playback is paused) must not keep other sessions from the model, and the length of one answer bounds the memory.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from antiphon.engines.errors import EngineCrashed, EngineTimeout, StaleRequest
from antiphon.engines.job_queue import DONE, MAX_WAITING, Deliver, Job, JobQueue, WorkerStats
from antiphon.engines.ports import Port, as_error, at_work, close_quietly
from antiphon.engines.precedence import Precedence
from antiphon.engines.tickets import Ticket, current_ticket

logger = logging.getLogger(__name__)

STOP_S = 10.0
"""How long a worker that is told to stop may take for the call that it has begun."""


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
        self._queue = JobQueue(name, max_waiting)
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
        self._waited_s = 0.0
        """For how long the request that runs has given way."""
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    # ------------------------------------------------------------------------------ for the host

    def start(self) -> None:
        """Begin to load. Waits for nothing: see `loaded`."""
        self._thread.start()

    def request_stop(self) -> None:
        """Stop as soon as may be: the running stream after its current item, the waiting requests at once."""
        self._queue.close()

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
        """What it did so far."""
        port = self._port
        return replace(self._queue.stats, crashes=port.crashes if port is not None else 0)

    @property
    def at_work(self) -> bool:
        """Whether a request runs now."""
        return self._queue.busy

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._queue)

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
            self._queue.abandon(job)

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
                if value is DONE:
                    return
                yield value
        finally:
            self._queue.abandon(job)

    def drop(self, session: str, turn: int, below_revision: int) -> int:
        """Give up queued work of older revisions of a turn. Work that has begun goes on. Returns how many."""

        def stale(job: Job) -> bool:
            ticket = job.ticket
            return ticket.session == session and ticket.turn == turn and ticket.revision < below_revision

        dropped = self._queue.remove(stale)
        for job in dropped:
            job.deliver("error", StaleRequest(f"revision {job.ticket.revision} of turn {turn} was replaced"))
        return len(dropped)

    def _submit(
        self,
        loop: asyncio.AbstractEventLoop,
        method: str,
        args: tuple[Any, ...],
        stream: bool,
        receive: Deliver,
    ) -> Job:
        def deliver(kind: str, value: Any) -> None:
            try:
                loop.call_soon_threadsafe(receive, kind, value)
            except RuntimeError:  # the loop was closed: nobody listens any more
                job.abandoned.set()

        job = Job(method, args, current_ticket.get(), stream, deliver)
        self._queue.put(job)
        return job

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
                while (job := self._queue.take(port)) is not None:
                    crashed = self._run(port, job)
                    del job  # its audio must not stay until the next request
                    if crashed and not self._queue.closed:
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
            if not self._queue.closed:
                self._port = make()
        except BaseException as error:
            self.request_stop()
            self.loaded.set_exception(as_error(error, self.name))
            return None
        if self._port is None:
            self.loaded.set_exception(self._queue.closed_error())
            return None
        self.loaded.set_result(None)
        return self._port

    def _run(self, port: Port, job: Job) -> bool:
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
        if last is None:
            self._queue.put_back(job, port, took_s)
        else:
            self._queue.ended(took_s, failed=failed)
            job.deliver(*last)
        del last  # an error's traceback holds this frame, and so the job's audio
        return crashed

    @staticmethod
    def _run_call(port: Port, job: Job) -> tuple[str, Any]:
        return "result", None if job.abandoned.is_set() else port.call(job.method, job.args)

    def _run_stream(self, port: Port, job: Job) -> tuple[str, Any] | None:
        """None: the stream is under way, and others go first."""
        if job.items is None:
            job.items = port.iterate(job.method, job.args)
        going_on = False
        try:
            while not job.abandoned.is_set():
                item = self._next_item(port, job)
                if item is DONE:
                    break
                job.deliver("item", item)
                job.count += item is not None  # None: a sign of life, before the first item
                if self._queue.others_first(job, port):
                    going_on = True
                    return None
        finally:
            if not going_on:
                items, job.items = job.items, None
                items.close()  # type: ignore[attr-defined]  # a generator
        # Given up because the worker stops: its reader is still there, and must not take the part for the whole.
        return ("error", self._queue.closed_error()) if job.abandoned.is_set() else ("item", DONE)

    def _next_item(self, port: Port, job: Job) -> Any:
        assert job.items is not None
        if job.ticket.foremost and not job.count:
            with self._precedence.held():
                return next(job.items, DONE)
        if job.count and port.streams_at_once > 1 and not job.ticket.foremost:  # one whose items can wait
            self._waited_s += self._precedence.give_way()
        return next(job.items, DONE)

    def _fail_waiting(self, crash: EngineCrashed) -> None:
        """What waited behind a request that killed the runtime fails too: a fallback may still be in time."""
        for job in self._queue.remove(lambda _: True):
            job.deliver("error", EngineCrashed(crash.message, hint=crash.hint, signal_name=crash.signal_name))
