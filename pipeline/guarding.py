"""What stands around a session's answers: a record that is written before anything is done, and a policy.

A session without either pays nothing for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.policy import Policy, SessionApprovals
from antiphon.pipeline.upkeep import Upkeep
from antiphon.pipeline.workflow import TurnContext, WorkflowEvent


class Journal(Protocol):
    """The record of a session, such as :class:`antiphon.pipeline.transcript.recorder.Recorder`."""

    def note_speaking(self, text: str, *, turn: int, filler: bool = False) -> None:
        """This text is about to be played; `filler`: it is no part of the answer."""
        ...

    async def settled(self) -> None:
        """Wait until all that was noted is safe.

        :raises AntiphonError: it cannot be made so, and nothing may be done that is not on record.
        """
        ...

    def overdue(self, error: AntiphonError) -> None:
        """Nobody waits for :meth:`settled` any longer.

        :raises AntiphonError: `error`, where nothing may be done that is not on record.
        """
        ...


class Unfinished(Protocol):
    """Such as :class:`antiphon.pipeline.unfinished.Unfinished`."""

    def pieces(self, context: Callable[[], TurnContext]) -> AsyncIterator[str | WorkflowEvent]:
        """An answer to what was left, as a workflow gives it; nothing if nothing was."""
        ...

    async def withdraw(self) -> None:
        """The user has interrupted it."""
        ...


@dataclass(frozen=True, slots=True)
class Guarding:
    """Everything optional around answers."""

    journal: Journal | None = None
    policy: Policy = field(default_factory=Policy)
    approvals: SessionApprovals | None = None
    """None: what somebody would have to decide is refused."""
    unfinished: Unfinished | None = None
    """What earlier sessions have left waiting for a yes; None: this session goes on with none."""
    upkeep: Upkeep | None = None
    """Done where nobody waits for anything; None: nothing is."""
