"""What policy judges, and what it may say: the values that cross between gates, checks and the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.engines.protocols import Message

Gate = Literal["transcript", "tool_call", "speech", "turn"]
GATES: tuple[Gate, ...] = ("transcript", "tool_call", "speech", "turn")

WhoDecides = Literal["voice", "desk", "any"]
"""Who may answer a question: the user by voice; somebody by API, command line or callback; or whoever is first."""

Fallback = Literal["refuse", "grant"]
"""What holds when nobody decides in time."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a check looks at."""

    gate: Gate
    text: str
    """What the user said; the arguments of a tool call (a JSON object); a sentence or the whole of an answer."""
    session: str = ""
    turn: int = 0
    language: str | None = None
    """ISO 639-1, where it is known."""
    history: tuple[Message, ...] = ()
    """The conversation before this turn, oldest first."""
    user_text: str = ""
    """What the user said in this turn, as the agent saw it; gate "transcript": the same as `text`."""
    before: str = ""
    """Gate "speech": what of this answer was let through before `text`."""
    tool: str = ""
    """Gate "tool_call": the tool's name."""
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class Allow:
    """Nothing against it."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Go on with this text instead. For a tool call: other arguments, again a JSON object."""

    text: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """It must not go on; `line` is said instead ("": nothing is)."""

    line: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody has to say yes before it may go on."""

    question: str
    """For whoever decides; spoken, if the user may: "Shall I transfer 100 euros to Anna?"."""
    by: WhoDecides = "any"
    timeout_s: float | None = None
    """None: as configured under `approvals`."""
    on_timeout: Fallback | None = None
    """None: as configured under `approvals`."""
    line: str = ""
    """Said instead after a no; "": nothing is."""
    reason: str = ""


Verdict = Allow | Rewrite | Block | Ask

DecisionKind = Literal["allow", "rewrite", "block", "ask", "granted", "refused", "failed_open", "failed_closed"]


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """One decision of one check, for the record. Holds no text that was judged and no arguments of a tool."""

    gate: Gate
    check: str
    verdict: DecisionKind
    reason: str = ""
    session: str = ""
    turn: int = 0
    tool: str = ""
    took_ms: float = 0.0
    """How long the check took; for "granted" and "refused", how long the answer was waited for."""
    approval_id: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a gate's checks came to, together."""

    allowed: bool
    text: str
    """What to go on with, as the checks left it."""
    line: str = ""
    """If not allowed: what to say instead."""
    check: str = ""
    """If not allowed: the check that said so."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A question that somebody has to decide, as policy or a tool puts it."""

    session: str
    turn: int
    question: str
    kind: str = "tool_call"
    """The gate that asks."""
    tool: str = ""
    call_id: str = ""
    arguments: str = ""
    """What the tool would be called with, for whoever decides."""
    by: WhoDecides = "any"
    timeout_s: float | None = None
    on_timeout: Fallback | None = None
    run_state: str = ""
    """What is needed to go on after a restart, as text (the run state of `openai-agents`, for one)."""


@dataclass(frozen=True, slots=True)
class Decision:
    """How a question was decided. There is exactly one for each, and it never changes."""

    granted: bool
    by: str = ""
    """Who: "voice", "timeout", "callback", or the name that somebody gave at the desk."""
    note: str = ""
    approval_id: str = ""
    ours: bool = True
    """False: the question was withdrawn, or somebody else acts on its decision. Then nothing is to be done or said."""
