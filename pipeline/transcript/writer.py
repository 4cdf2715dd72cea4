"""The one thread that writes: takes rows in order, commits them in batches, and tells who waits.

Nothing here blocks the event loop, and nothing that was given is dropped in silence: a batch that fails stays first in
line and is tried again, and until it is written, everyone who waits is told why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.pipeline.transcript.errors import TranscriptError, TranscriptWriteFailed
from antiphon.pipeline.transcript.rows import Row

logger = logging.getLogger(__name__)

_BATCH = 500
"""Rows of one transaction at most."""
_RETRY_S = 0.5
"""Between two tries of a batch that failed."""


class Commit(Protocol):
    """Writes rows in one transaction."""

    def __call__(self, rows: Sequence[Row]) -> Mapping[str, TranscriptError]:
        """
        :returns: the sessions whose rows were refused for good, and why.
        :raises TranscriptWriteFailed: nothing was written; it may work later.
        """
        ...


@dataclass(slots=True)
class _Waiter:
    number: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[TranscriptError | None] = field(repr=False)


class Writer:
    """Begin with :meth:`start`; may serve many sessions, and several event loops."""

    def __init__(self, commit: Commit, *, max_waiting: int = 100_000, retry_s: float = _RETRY_S) -> None:
        """
        :param max_waiting: rows that may wait for a database that does not take them; past that, :meth:`put` refuses.
        """
        self._commit = commit
        self._max_waiting = max_waiting
        self._retry_s = retry_s
        self._condition = threading.Condition()
        self._rows: deque[Row] = deque()
        self._put = 0
        self._done = 0
        self._waiters: list[_Waiter] = []
        self._refused: dict[str, TranscriptError] = {}
        self._failure: TranscriptWriteFailed | None = None
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        # A daemon, so that a program which forgets to close can still end; close() waits for it.
        self._thread = threading.Thread(target=self._run, name="antiphon-transcript", daemon=True)
        self._thread.start()

    def put(self, rows: Sequence[Row]) -> int:
        """Hand rows over; they are committed in this order. Never waits.

        :returns: the number to wait for by :meth:`written`.
        :raises TranscriptWriteFailed: too many rows wait already (these are not taken), or the writer is closed.
        """
        with self._condition:
            if self._closing:
                raise TranscriptWriteFailed("the transcript store is closed")
            if len(self._rows) + len(rows) > self._max_waiting:
                raise TranscriptWriteFailed(
                    f"{len(self._rows)} records wait for the transcript store; no more are taken",
                    hint="see the earlier warnings for what is wrong with it",
                    waiting=len(self._rows),
                )
            self._rows.extend(rows)
            self._put += len(rows)
            self._condition.notify_all()
            return self._put

    def is_written(self, number: int) -> bool:
        return self._done >= number

    @property
    def failing(self) -> bool:
        """The last try to write failed; it is tried again all the time."""
        return self._failure is not None

    def refusal(self, session: str) -> TranscriptError | None:
        """Why a session's rows are not taken any more; None: they are."""
        return self._refused.get(session)

    async def written(self, number: int) -> None:
        """Wait until everything up to `number` is committed.

        :raises TranscriptWriteFailed: the try to do so has failed; the rows are kept and tried again.
        """
        if self.is_written(number):
            return
        loop = asyncio.get_running_loop()
        waiter = _Waiter(number, loop, loop.create_future())
        with self._condition:
            if self._done >= number:
                return
            self._waiters.append(waiter)
            self._condition.notify_all()  # after a failure: try again now
        # A virtual clock must not run on while a real thread works.
        with getattr(loop, "hold", contextlib.nullcontext)():
            error = await waiter.future
        if error is not None:
            raise error

    def close(self, timeout_s: float = 10.0) -> int:
        """Write what is left, try a failed batch once more, and end the thread.

        :returns: how many rows could not be written.
        """
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        return len(self._rows)

    # ------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            try:
                refused = self._commit(batch)
            except TranscriptWriteFailed as error:
                if not self._failed(error):
                    return
                continue
            except Exception as error:
                logger.exception("the transcript writer broke")
                if not self._failed(TranscriptWriteFailed(f"the writer broke: {type(error).__name__}: {error}")):
                    return
                continue
            self._succeeded(len(batch), refused)

    def _next(self) -> list[Row] | None:
        with self._condition:
            while not self._rows and not self._closing:
                self._condition.wait()
            if not self._rows:
                return None
            return [self._rows[index] for index in range(min(_BATCH, len(self._rows)))]

    def _succeeded(self, count: int, refused: Mapping[str, TranscriptError]) -> None:
        with self._condition:
            for _ in range(count):
                self._rows.popleft()
            self._done += count
            self._refused.update(refused)
            if self._failure is not None:
                logger.warning("transcripts are written again")
                self._failure = None
            ready = [waiter for waiter in self._waiters if waiter.number <= self._done]
            self._waiters = [waiter for waiter in self._waiters if waiter.number > self._done]
        _tell(ready, None)

    def _failed(self, error: TranscriptWriteFailed) -> bool:
        """Returns whether to go on trying."""
        with self._condition:
            error.waiting = len(self._rows)
            if self._failure is None:
                logger.warning("transcripts cannot be written", extra={"reason": error.message})
            self._failure = error
            waiters, self._waiters = self._waiters, []
            closing = self._closing
        _tell(waiters, error)
        if closing:
            return False
        with self._condition:
            if not self._waiters and not self._closing:
                self._condition.wait(self._retry_s)
        return True


def _tell(waiters: Sequence[_Waiter], error: TranscriptError | None) -> None:
    for waiter in waiters:
        with contextlib.suppress(RuntimeError):  # its loop was closed: nobody waits any more
            waiter.loop.call_soon_threadsafe(_resolve(waiter.future, error))


def _resolve(future: asyncio.Future[TranscriptError | None], error: TranscriptError | None) -> Callable[[], None]:
    def resolve() -> None:
        if not future.done():
            future.set_result(error)

    return resolve
