"""Work on a session's own memory, done where nobody waits for anything: see :class:`Upkeep`.

It begins when the session falls quiet (every answer was heard, no turn is open), and is broken off when the user begins
to speak: the next quiet moment begins it anew. A user who never leaves it the time lets it run beside the conversation
after a few tries, at the lowest priority: every request for an answer goes before its next step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

TRIES = 3
"""So often it lets itself be disturbed."""


class Upkeep(Protocol):
    """What is to be done, such as :class:`antiphon.pipeline.transcript.compaction.Compactor`."""

    def is_due(self) -> bool:
        """Whether there is something to do. Cheap: asked whenever the session falls quiet."""
        ...

    async def compact(self) -> bool:
        """Do it; returns whether it was done. Cancelled where the user begins to speak: then nothing has changed."""
        ...


class Housekeeping:
    """When a session's upkeep runs. Starts at most one task, in the group that it is given."""

    def __init__(self, upkeep: Upkeep | None, on_done: Callable[[], None]) -> None:
        """
        :param on_done: called when something was done: the next prompt begins otherwise than the last one.
        """
        self._upkeep = upkeep
        self._on_done = on_done
        self._disturbed = 0
        self.task: asyncio.Task[None] | None = None
        """Runs now; None: nothing does."""

    def quiet(self, group: asyncio.TaskGroup) -> None:
        """Nobody waits for anything."""
        if self._upkeep is not None and self.task is None and self._upkeep.is_due():
            self.task = group.create_task(self._run(self._upkeep), name="upkeep")
            self.task.add_done_callback(self._ended)

    def disturb(self) -> None:
        """The user begins to speak."""
        if self.task is not None and self._disturbed < TRIES:
            self._disturbed += 1
            self.task.cancel()

    def stop(self) -> None:
        """The session is over."""
        if self.task is not None:
            self.task.cancel()

    async def _run(self, upkeep: Upkeep) -> None:
        try:
            done = await upkeep.compact()
        except Exception:
            logger.exception("a session's upkeep broke")
            return
        if done:
            self._disturbed = 0
            self._on_done()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.task = None
