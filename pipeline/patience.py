"""Waiting for code that may not keep its word: engines and workflows that hang, even where they are told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

GRACE_S = 0.5
"""Between two cancellations of a task that does not end."""

_TRIES = 3

_left_behind: set[asyncio.Task[Any]] = set()
"""Tasks that no cancellation ends: held here, so that the loop does not lose them before they do."""


async def within(timeout_s: float, work: Coroutine[Any, Any, T]) -> T:
    """Await something for so long.

    Unlike with `asyncio.timeout`, the caller goes on even if `work` does not end when it is cancelled.

    :raises TimeoutError: it was not done in time.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=timeout_s)
    finally:
        in_time = task.done()
        if not in_time:
            await end_tasks([task])
    if not in_time or task.cancelled():
        raise TimeoutError
    return task.result()


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their end. One that hangs on its way out is cancelled again, and in the end left.

    Whoever waits here may be cancelled: the tasks are ended all the same.
    """
    pending = {task for task in tasks if not task.done()}
    if not pending:
        return
    loop = asyncio.get_running_loop()
    for task in pending:
        _left_behind.add(task)
        task.add_done_callback(_forget)
        task.cancel()
        for again in range(1, _TRIES):
            loop.call_later(again * GRACE_S, _cancel_again, task)
    _, pending = await asyncio.wait(pending, timeout=_TRIES * GRACE_S)
    for task in pending:
        logger.error("a task does not end", extra={"task": task.get_name()})


def _cancel_again(task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled() and task.exception() is not None:
        logger.warning("a task failed while it was stopped", extra={"code": type(task.exception()).__name__})
