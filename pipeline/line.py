"""Who speaks next: runs stand in line for the floor, first come, first heard. Holds the tasks of one session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from antiphon.pipeline.run import Run

_LOOK_S = 0.02
"""So often it is looked whether an answer has begun to wait for the user."""


class Asker(Protocol):
    """Who may ask the user something within an answer."""

    @property
    def has_asked(self) -> bool:
        """The question was said, and the user's next words are waited for."""
        ...


class Line:
    """One per session.

    :param on_leave: told whenever a run has left the line.
    :param on_empty: told when nobody stands in it any more.
    """

    def __init__(self, on_leave: Callable[[], None], on_empty: Callable[[], None] = lambda: None) -> None:
        self._on_leave = on_leave
        self._on_empty = on_empty
        self._runs: list[Run] = []
        self._working: set[asyncio.Task[None]] = set()
        self._helpers: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None

    def __bool__(self) -> bool:
        """Whether anybody stands in it."""
        return bool(self._runs)

    def open(self, group: asyncio.TaskGroup) -> None:
        """From now on tasks are started, in this group."""
        self._group = group

    @property
    def group(self) -> asyncio.TaskGroup:
        """Of the session."""
        assert self._group is not None
        return self._group

    def join(self, run: Run, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a run's work behind those before it. It leaves the line however its task ends, even unstarted."""
        assert self._group is not None
        self._runs.append(run)
        self._advance()
        task = self._group.create_task(work, name=f"turn-{run.turn}.{run.revision}")
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        task.add_done_callback(lambda _: self._leave(run))
        return task

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a helping task."""
        assert self._group is not None
        task = self._group.create_task(work)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return task

    def beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start an answer that stands in no line. Whoever started it looks at how it ends: the group does not."""
        assert self._group is not None
        task = asyncio.create_task(work)
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        return task

    def committed(self) -> list[Run]:
        """What is being said, or will be."""
        return [run for run in self._runs if run.committed.is_set() and not run.void]

    def replies(self) -> list[Run]:
        """The same, without what was stopped."""
        return [run for run in self.committed() if not run.interrupted]

    async def settled(self, asker: Asker | None = None) -> None:
        """Wait until no run and no helping task is left.

        :param asker: while it waits for the user's next words, nobody waits for who has the floor, nor for those behind
            who have nothing more to do.
        """
        while pending := self._working | self._helpers:
            if asker is not None and asker.has_asked and not self._helpers:
                if all(run.dismissed for run in self._runs[1:]):
                    return
            timeout_s = None if asker is None else _LOOK_S
            await asyncio.wait(pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)

    def cancel(self) -> None:
        """Cancel every task."""
        for task in [*self._working, *self._helpers]:
            task.cancel()

    def pass_on(self, run: Run) -> None:
        """All of its answer has gone to the sink: who is next may hand over theirs behind it."""
        run.complete = True
        self._advance()

    def _leave(self, run: Run) -> None:
        self._on_leave()
        self._runs.remove(run)
        self._advance()
        if not self._runs:
            self._on_empty()

    def _advance(self) -> None:
        """Who is first in line has the floor; besides those whose answers are complete."""
        for run in self._runs:
            run.floor.set()
            if not run.complete:
                return
