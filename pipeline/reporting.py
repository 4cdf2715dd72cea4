"""What is told of runs: nothing of a guess before its turn is sure, and how each turn ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from antiphon.engines.protocols import ToolCall, Usage
from antiphon.pipeline.errors import StageError
from antiphon.pipeline.events import (
    ErrorEvent,
    Event,
    ToolCallEvent,
    ToolResultEvent,
    TurnEnded,
    TurnStatus,
    UsageEvent,
)
from antiphon.pipeline.front import Front
from antiphon.pipeline.reply import Emit, Reply
from antiphon.pipeline.run import Run
from antiphon.pipeline.telling import Teller

logger = logging.getLogger(__name__)


class Reporting:
    """One per session. Fills and empties the outboxes of runs; a run that becomes a new revision takes its own along.

    :param front: shown the calls of tools where they have their place.
    :param seal: told of a turn of which something was told that cannot be taken back.
    """

    def __init__(self, session: str, teller: Teller, *, front: Front, seal: Callable[[int], None]) -> None:
        self._session = session
        self._teller = teller
        self._front = front
        self._seal = seal

    def emitter(self, run: Run, *, quiet: bool = False) -> Emit:
        """An emit function for one run: holds its events back until the turn is committed."""

        def emit(kind: type[Event], **fields: Any) -> None:
            if quiet or run.void:
                return
            event = self._teller.event(kind, turn=run.turn, revision=run.revision, **fields)
            if isinstance(event, ToolCallEvent):
                if event.call_id in run.calls:  # told when it was about to run
                    self._front.called(run.turn, ToolCall(event.call_id, event.name, event.arguments))
                    return
                run.calls.add(event.call_id)
            if not run.committed.is_set():
                run.outbox.append(event)
                return
            self._teller.send(event)
            if kind in (ToolCallEvent, ToolResultEvent):
                self._seal(run.turn)

        return emit

    def release(self, run: Run) -> None:
        """The turn is committed: tell what was held back."""
        for event in run.outbox:
            self._teller.send(event)
        if any(isinstance(event, ToolCallEvent | ToolResultEvent) for event in run.outbox):
            self._seal(run.turn)
        run.outbox.clear()

    @staticmethod
    def failed(error: StageError, emit: Emit) -> None:
        """A stage has broken."""
        emit(ErrorEvent, stage=error.stage, code=error.code, message=error.message)

    @staticmethod
    def used(run: Run, emit: Emit) -> None:
        """What engines used for something that is no turn."""
        if usage := run.usage():
            emit(UsageEvent, usage=usage)

    def ended(self, run: Run, emit: Emit, status: TurnStatus, reply: Reply | None) -> None:
        """A turn is over, with this answer."""
        usage = reply.usage if reply is not None else Usage()
        if reply is not None:
            logger.info(
                "turn answered",
                extra={
                    "session": self._session,
                    "turn": run.turn,
                    "prompt_tokens": usage.input_tokens,
                    "cached_tokens": usage.cached_tokens,
                    "answer_tokens": usage.output_tokens,
                },
            )
        emit(
            TurnEnded,
            status=status,
            text=reply.text if reply is not None else "",
            timings=run.timings(reply.times if reply is not None else None),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            usage=run.usage(),
            speculation=run.report(),
        )


def as_stage_error(error: Exception) -> StageError:
    """What ends a turn, and never the session: also what nobody foresaw."""
    if isinstance(error, StageError):
        return error
    logger.error("a turn failed unexpectedly", extra={"code": type(error).__name__}, exc_info=error)
    return StageError(getattr(error, "stage", "") or "session", error)
