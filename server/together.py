"""Tasks that make up one connection: when one of them ends, so do the others."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from antiphon.pipeline.patience import end_tasks


async def first_over(tasks: Collection[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Wait until one has ended; those that have.

    :raises Exception: what it raised. Where several failed at once, the first of `tasks` speaks for all.
    """
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    errors = [error for task in tasks if task in done and (error := _error(task)) is not None]
    if errors:
        raise errors[0]
    return done


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel what goes on, and wait for it. What any of them raised has been told by then, or is no news."""
    await end_tasks(tasks)
    for task in tasks:
        if task.done():
            _error(task)


def _error(task: asyncio.Task[Any]) -> BaseException | None:
    """What it raised; looked at, so that nobody complains that it never was."""
    return None if task.cancelled() else task.exception()
