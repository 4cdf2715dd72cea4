"""Policy: what may be heard, done and said, and who has to say yes first. `docs/policy.md` has the rules.

transcript -> [transcript] -> agent -> [tool_call] -> tool
                               agent -> [speech] -> voice ... [turn]
"""

from antiphon.pipeline.policy.approval import Approval
from antiphon.pipeline.policy.asking import SessionApprovals
from antiphon.pipeline.policy.checks import BoundCheck, Check, as_check
from antiphon.pipeline.policy.desk import ApprovalDesk
from antiphon.pipeline.policy.guard import TurnGuard, told_to_agent
from antiphon.pipeline.policy.policy import Asker, Policy
from antiphon.pipeline.policy.verdicts import (
    Allow,
    ApprovalRequest,
    Ask,
    Block,
    Decision,
    Outcome,
    PolicyDecision,
    Rewrite,
    Subject,
    Verdict,
)

__all__ = [
    "Allow",
    "Approval",
    "ApprovalDesk",
    "ApprovalRequest",
    "Ask",
    "Asker",
    "Block",
    "BoundCheck",
    "Check",
    "Decision",
    "Outcome",
    "Policy",
    "PolicyDecision",
    "Rewrite",
    "SessionApprovals",
    "Subject",
    "TurnGuard",
    "Verdict",
    "as_check",
    "told_to_agent",
]
