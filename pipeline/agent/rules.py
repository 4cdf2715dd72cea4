"""How a tool runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OnInterrupt = Literal["cancel", "finish"]

FOREGROUND_TIMEOUT_S = 20.0
BACKGROUND_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class ToolRules:
    """The rules of one tool."""

    timeout_s: float | None = None
    """Longest run; None: 20 s, or 600 s in the background."""
    on_interrupt: OnInterrupt = "cancel"
    """What becomes of a call when the user interrupts the turn: it is cancelled, or goes on and its result comes later.
    """
    background: bool = False
    """The model is told at once that the tool has started; its result comes later."""
    announce: str = ""
    """Spoken when a late result comes, with `{result}` for what it is; empty: the next turn has to bring it up."""
    say: str = ""
    """Spoken while the tool runs, unless the agent has said something already."""
    needs_approval: bool = False
    """Whether somebody has to say yes first, in addition to what the tool itself asks for."""

    @property
    def limit_s(self) -> float:
        if self.timeout_s is not None:
            return self.timeout_s
        return BACKGROUND_TIMEOUT_S if self.background else FOREGROUND_TIMEOUT_S


PLAIN_RULES = ToolRules()
