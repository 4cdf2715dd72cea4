"""The gate "speech": text on its way from the workflow to the splitter, let through piece by piece.

Three ways, by what the checks need:

words      every check only takes pieces out (:class:`~antiphon.pipeline.policy.checks.LocalCheck`): text waits for at
           most the word after it, longer only within a number or a listed name, and not at all at the end of a clause.
sentences  `hold: sentence` with any other check: text waits for the end of its sentence, then for the checks.
whole      `hold: full`: text waits for the end of the answer, then for the checks.

What comes out depends on the text alone, never on how the workflow cut it. Text that waits when the workflow fails, or
when a check blocks, never comes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol

from antiphon.pipeline.policy.checks import BoundCheck, LocalCheck, Redactor
from antiphon.pipeline.policy.pii import what_was_found
from antiphon.pipeline.policy.policy import OnDecision, Policy
from antiphon.pipeline.policy.sentences import SentenceCutter
from antiphon.pipeline.policy.verdicts import Block, DecisionKind, Outcome, PolicyDecision, Subject
from antiphon.pipeline.workflow import WorkflowEvent

SIGN_OF_LIFE_S = 5.0
"""While text is held back, an empty text comes this often: whoever waits for the answer sees that it is at work."""

Judge = Callable[[Subject], Awaitable[Outcome]]


class Flow(Protocol):
    """One answer's way through the gate."""

    ended: bool
    """A check blocked: nothing more comes out."""

    async def push(self, text: str) -> str: ...

    async def finish(self) -> str: ...


async def filter_speech(
    source: AsyncIterator[str | WorkflowEvent], policy: Policy, subject: Subject, judge: Judge, on_decision: OnDecision
) -> AsyncIterator[str | WorkflowEvent]:
    """An answer as its checks let it through; an async generator, that closes its source.

    Events, fillers and empty texts (signs of life) pass at once. After a block its line comes, and the workflow is
    stopped.

    :param subject: what is known of the turn; its `text` and `before` are filled in here.
    :param judge: runs the checks of the gate.
    """
    flow = make_flow(policy, subject, judge, on_decision)
    loop = asyncio.get_running_loop()
    told_s = loop.time()
    try:
        async for item in source:
            if type(item) is not str or not item:
                yield item
                continue
            async for text in _with_signs(flow.push(item)):
                if text or loop.time() - told_s > SIGN_OF_LIFE_S:
                    yield text
                    told_s = loop.time()
            if flow.ended:
                return
        async for text in _with_signs(flow.finish()):
            if text or loop.time() - told_s > SIGN_OF_LIFE_S:
                yield text
                told_s = loop.time()
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            await close()


async def _with_signs(judging: Coroutine[Any, Any, str]) -> AsyncIterator[str]:
    """What comes of it; and an empty text now and then before, while somebody is asked or a model thinks."""
    task = asyncio.ensure_future(judging)
    try:
        while not (await asyncio.wait((task,), timeout=SIGN_OF_LIFE_S))[0]:
            yield ""
        yield task.result()
    finally:
        task.cancel()


def make_flow(policy: Policy, subject: Subject, judge: Judge, on_decision: OnDecision) -> Flow:
    """The way for one answer."""
    if policy.streams_words:
        links = [_Link(bound, bound.check.redactor()) for bound in policy.speech if isinstance(bound.check, LocalCheck)]
        return WordFlow(links, subject, on_decision, policy.blocked_line)
    cutter = SentenceCutter(subject.language) if policy.hold == "sentence" else None
    return JudgedFlow(cutter, subject, judge)


class JudgedFlow:
    """Sentence by sentence, or, without a cutter, the whole."""

    def __init__(self, cutter: SentenceCutter | None, subject: Subject, judge: Judge) -> None:
        self.ended = False
        self._cutter = cutter
        self._subject = subject
        self._judge = judge
        self._held: list[str] = []
        self._passed = ""

    async def push(self, text: str) -> str:
        if self._cutter is None:
            self._held.append(text)
            return ""
        return await self._judged(self._cutter.push(text))

    async def finish(self) -> str:
        whole = "".join(self._held)
        return await self._judged(self._cutter.finish() if self._cutter is not None else [whole])

    async def _judged(self, pieces: list[str]) -> str:
        before = self._passed
        for piece in pieces:
            if self.ended:
                break
            if not piece.strip():
                self._passed += piece
                continue
            outcome = await self._judge(replace(self._subject, text=piece, before=self._passed))
            if outcome.allowed:
                self._passed += outcome.text
            else:
                self.ended = True
                self._passed += apart(self._passed, outcome.line)
        return self._passed[len(before) :]


@dataclass(slots=True)
class _Link:
    bound: BoundCheck
    redactor: Redactor | None
    """None: it failed open."""
    told: int = 0
    """How many pieces were reported."""


class WordFlow:
    """Redactors in a row, each fed with what comes out of the one before."""

    def __init__(self, links: list[_Link], subject: Subject, on_decision: OnDecision, blocked_line: str) -> None:
        self.ended = False
        self._links = links
        self._subject = subject
        self._tell = on_decision
        self._blocked_line = blocked_line
        self._passed_any = False

    async def push(self, text: str) -> str:
        return self._through(text, final=False)

    async def finish(self) -> str:
        text = self._through("", final=True)
        for link in self._links:
            if not link.told and link.redactor is not None:
                self._record(link, "allow", "")
        return text

    def _through(self, text: str, *, final: bool) -> str:
        for link in self._links:
            redactor = link.redactor
            if redactor is None:
                continue
            settled = ""
            try:
                settled = redactor.push(text)
                if final:
                    settled += redactor.finish()
            except Exception as error:
                verdict, kind = link.bound.failure(type(error).__name__, "speech", error)
                self._record(link, kind, verdict.reason)
                link.redactor = None
                if isinstance(verdict, Block):
                    self.ended = True
                    line = verdict.line or self._blocked_line
                    return f" {line}" if self._passed_any else line
                text = settled + redactor.held
                continue
            text = settled
            if sum(redactor.found.values()) > link.told:
                link.told = sum(redactor.found.values())
                self._record(link, "rewrite", what_was_found(redactor.found))
        self._passed_any = self._passed_any or bool(text.strip())
        return text

    def _record(self, link: _Link, kind: DecisionKind, reason: str) -> None:
        subject = self._subject
        self._tell(
            PolicyDecision(
                gate="speech",
                check=link.bound.name,
                verdict=kind,
                reason=reason,
                session=subject.session,
                turn=subject.turn,
            )
        )


def apart(before: str, line: str) -> str:
    """A line after what was said before: with a space between them."""
    return f" {line}" if line and before and not before[-1].isspace() else line
