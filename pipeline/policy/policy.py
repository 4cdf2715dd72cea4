"""A policy: four gates, each a list of checks, and how the verdicts of a list become one outcome."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from antiphon.engines.protocols import LLM
from antiphon.pipeline.policy.checks import BoundCheck, LocalCheck
from antiphon.pipeline.policy.verdicts import (
    Allow,
    ApprovalRequest,
    Ask,
    Block,
    Decision,
    DecisionKind,
    Gate,
    Outcome,
    PolicyDecision,
    Rewrite,
    Subject,
)

logger = logging.getLogger(__name__)

SpeechMode = Literal["sentence", "full"]

OnDecision = Callable[[PolicyDecision], None]

NO_DESK = "nobody can be asked: this session has no approvals"


class Asker(Protocol):
    """Gets questions decided."""

    async def ask(self, request: ApprovalRequest) -> Decision:
        """Wait for the decision; the time that the request names bounds it."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """What may be heard, done and said. One object serves any number of sessions."""

    transcript: tuple[BoundCheck, ...] = ()
    tool_call: tuple[BoundCheck, ...] = ()
    speech: tuple[BoundCheck, ...] = ()
    turn: tuple[BoundCheck, ...] = ()
    hold: SpeechMode = "sentence"
    """How much of an answer is judged at once: see :mod:`antiphon.pipeline.policy.speech`."""
    blocked_line: str = "I'm sorry, I can't talk about that."
    """Said where a check blocks and names no line of its own, at the gates "transcript" and "speech"."""

    def gate(self, gate: Gate) -> tuple[BoundCheck, ...]:
        checks: tuple[BoundCheck, ...] = getattr(self, gate)
        return checks

    def all_checks(self) -> Iterator[BoundCheck]:
        yield from (*self.transcript, *self.tool_call, *self.speech, *self.turn)

    def bind_llm(self, llm: LLM | None) -> None:
        """Give the session's LLM to the checks that ask for one."""
        for bound in self.all_checks():
            bind = getattr(bound.check, "bind_llm", None)
            if bind is not None:
                bind(llm)

    @property
    def uses_llm(self) -> bool:
        return any(getattr(bound.check, "bind_llm", None) is not None for bound in self.all_checks())

    @property
    def streams_words(self) -> bool:
        """Whether answers flow word by word: every check of the gate "speech" does without whole sentences."""
        return self.hold == "sentence" and all(isinstance(bound.check, LocalCheck) for bound in self.speech)

    def __bool__(self) -> bool:
        return any(True for _ in self.all_checks())

    async def judge(self, subject: Subject, *, asker: Asker | None, on_decision: OnDecision) -> Outcome:
        """Run a gate's checks in order: a rewrite feeds the next one, a block or a no ends it.

        Raises nothing but a cancellation.
        """
        for bound in self.gate(subject.gate):
            recorder = _Recorder(on_decision, subject, bound.name)
            verdict, kind = await bound.judge(subject)
            if isinstance(verdict, Rewrite) and subject.gate == "tool_call" and not _is_object(verdict.text):
                reason = "rewrote arguments to something that is no JSON object"
                verdict, kind = bound.failure(reason, subject.gate, ValueError(reason))
            recorder.record(kind, verdict.reason)
            if isinstance(verdict, Allow):
                continue
            if isinstance(verdict, Rewrite):
                subject = replace(subject, text=verdict.text)
            elif isinstance(verdict, Block):
                return Outcome(False, subject.text, self._line(verdict.line, subject.gate), bound.name, verdict.reason)
            else:
                decision = await _ask(verdict, subject, asker)
                recorder.record("granted" if decision.granted else "refused", decision.by, decision.approval_id)
                if not decision.granted:
                    reason = decision.note or f"not approved ({decision.by})"
                    return Outcome(False, subject.text, self._line(verdict.line, subject.gate), bound.name, reason)
        return Outcome(True, subject.text)

    def _line(self, line: str, gate: Gate) -> str:
        return line or (self.blocked_line if gate in ("transcript", "speech") else "")


async def _ask(ask: Ask, subject: Subject, asker: Asker | None) -> Decision:
    if asker is None:
        return Decision(False, "nobody", NO_DESK)
    request = ApprovalRequest(
        session=subject.session,
        turn=subject.turn,
        question=ask.question,
        kind=subject.gate,
        tool=subject.tool,
        call_id=subject.call_id,
        arguments=subject.text if subject.gate == "tool_call" else "",
        by=ask.by,
        timeout_s=ask.timeout_s,
        on_timeout=ask.on_timeout,
    )
    try:
        return await asker.ask(request)
    except Exception as error:  # a store that cannot be written: what nobody could decide is not approved
        logger.warning("an approval could not be asked for", extra={"code": type(error).__name__})
        logger.debug("cause of the failed approval", exc_info=error)
        return Decision(False, "failure", "approvals failed")


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


@dataclass(slots=True)
class _Recorder:
    """Tells what one check decided, with the time since it was told last."""

    tell: OnDecision
    subject: Subject
    check: str
    began_s: float = field(default_factory=time.monotonic)

    def record(self, kind: DecisionKind, reason: str, approval_id: str = "") -> None:
        now_s = time.monotonic()
        took_ms = round((now_s - self.began_s) * 1000, 1)
        self.began_s = now_s
        subject = self.subject
        self.tell(
            PolicyDecision(
                gate=subject.gate,
                check=self.check,
                verdict=kind,
                reason=reason,
                session=subject.session,
                turn=subject.turn,
                tool=subject.tool,
                took_ms=took_ms,
                approval_id=approval_id,
            )
        )
