"""What flows from step to step of a reply, and how a step that fails ends the flow behind it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from antiphon.pipeline.errors import StageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """The start of one piece of text: its chunks follow."""

    text: str
    spoken: str = ""
    """What the voice is given for it."""
    filler: bool = False
    """It bridges a wait, and is no part of the answer."""
    said: asyncio.Event | None = field(default=None, compare=False)
    """Set when all of its audio has gone to the sink."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A step has failed: the last item of its output."""

    error: StageError


class End:
    """The answer is over: the last item otherwise."""


async def guarded(stage: str, work: Coroutine[Any, Any, None], out: asyncio.Queue[Any]) -> None:
    """Run a step; its failure becomes the last item of its output."""
    try:
        await work
    except Exception as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # nobody reads `out` any more: waiting for room would never end
            logger.warning("a stage failed while it was stopped", extra={"stage": stage, "code": type(error).__name__})
            raise asyncio.CancelledError from error
        await out.put(Failure(StageError(getattr(error, "stage", "") or stage, error)))
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled this step: somebody's own cancelled task came out of the caller's code or an engine.
        await out.put(Failure(StageError(stage, error)))


def put_if_room(out: asyncio.Queue[Any], item: Any) -> None:
    """Without room there is still something to be heard, and nobody waits in silence."""
    with contextlib.suppress(asyncio.QueueFull):
        out.put_nowait(item)
