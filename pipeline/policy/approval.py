"""One approval, as it is kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon.pipeline.policy.verdicts import Decision, Fallback, WhoDecides

State = Literal["pending", "granted", "refused", "cancelled"]
STATES: tuple[State, ...] = ("pending", "granted", "refused", "cancelled")

Channel = Literal["voice", "desk"]
"""The way an answer comes: by the user's voice; or by API, command line or callback."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A question and what became of it. Times are seconds since 1970."""

    id: str
    session: str
    turn: int
    kind: str
    """The gate that asked."""
    question: str
    tool: str
    call_id: str
    arguments: str = field(repr=False)
    decides: WhoDecides
    on_timeout: Fallback
    run_state: str = field(repr=False)
    """What is needed to go on after a restart; "" if nothing is."""
    asked_s: float
    expires_s: float
    state: State
    decided_s: float | None = None
    decided_by: str = ""
    """A name given at the desk, "voice", "callback", "timeout", or why it was cancelled."""
    note: str = ""
    claimed_s: float | None = None
    """When somebody began to act on the decision; None: whoever asked may not know of it."""

    @property
    def decision(self) -> Decision | None:
        """None while the question is open."""
        if self.state == "pending":
            return None
        return Decision(self.state == "granted", self.decided_by, self.note, self.id)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the run state."""
        data = dataclasses.asdict(self)
        del data["run_state"]
        return data
