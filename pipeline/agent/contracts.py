"""What others may give an agent, and what it gives them. Needs no other package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ApprovalNeeded:
    """A tool call that waits for a yes."""

    call_id: str
    name: str
    """The tool's."""
    arguments: str
    """A JSON object as text."""
    agent: str
    session: str
    turn: int
    state: Callable[[], Mapping[str, Any]] = field(repr=False, compare=False)
    """The interrupted run as JSON data (the SDK's `RunState`), with which it can be gone on with elsewhere or later."""


class Approver(Protocol):
    """Decides on tool calls that need a yes."""

    async def approve(self, call: ApprovalNeeded) -> bool:
        """Whether the call may run. Asked after the turn is sure; cancelled if the turn is interrupted."""
        ...


class Announcer(Protocol):
    """Says something that answers no turn: what a session may offer for results that come late."""

    def __call__(self, text: str) -> object:
        """Speak `text` as soon as nobody is speaking. Returns at once."""
        ...


class NobodyApproves:
    """The approver where none was given: nothing that needs a yes is done."""

    async def approve(self, call: ApprovalNeeded) -> bool:
        return False


NOT_APPROVED = "This was not approved, so it was not done. Tell the user so."
"""What the model is told of a call that was refused."""

NOT_IN_TIME = "Nobody approved this in time, so it was not done. Tell the user so."
"""What the model is told of a call that nobody decided on."""
