"""A policy at work on one turn: what a session calls at each gate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from antiphon.engines.protocols import Message
from antiphon.pipeline.policy.policy import Asker, OnDecision, Policy
from antiphon.pipeline.policy.speech import filter_speech
from antiphon.pipeline.policy.verdicts import ApprovalRequest, Decision, Outcome, Subject
from antiphon.pipeline.workflow import WorkflowEvent


def told_to_agent(outcome: Outcome) -> str:
    """What an agent is told of a call that policy did not let through; names no check and no reason."""
    told = "This was not allowed, so it was not done. Tell the user so."
    return f'{told} Say: "{outcome.line}"' if outcome.line else told


async def _sure() -> None:
    """For turns that need no commit."""


@dataclass(slots=True)
class TurnGuard:
    """Make one for each turn. Its methods raise nothing but a cancellation."""

    policy: Policy
    session: str
    turn: int
    on_decision: OnDecision
    """Gets every decision, in order, on the event loop; must not block."""
    asker: Asker | None = None
    """None: what would have to be asked is refused."""
    committed: Callable[[], Awaitable[None]] = _sure
    """Awaited before anybody is asked: a question is a side effect."""
    language: str | None = None
    history: tuple[Message, ...] = ()
    user_text: str = field(default="", repr=False)
    """What the user said, as the gate "transcript" let it through."""

    async def transcript(self, text: str) -> Outcome:
        """What the user said, before the agent and the record see it."""
        outcome = await self._judge(Subject("transcript", text, user_text=text))
        self.user_text = outcome.text
        return outcome

    async def tool_call(self, name: str, arguments: str, call_id: str = "") -> Outcome:
        """A tool call, before it runs: `outcome.text` are the arguments to run it with.

        :param arguments: a JSON object as text.
        """
        return await self._judge(Subject("tool_call", arguments, tool=name, call_id=call_id))

    def speech(self, source: AsyncIterator[str | WorkflowEvent]) -> AsyncIterator[str | WorkflowEvent]:
        """An answer as it may be spoken: put it between the workflow and the splitter. The source is closed with it."""
        if not self.policy.speech:
            return source
        return filter_speech(source, self.policy, self._of_turn(Subject("speech", "")), self._judge, self.on_decision)

    async def finished(self, text: str) -> Outcome:
        """The whole answer, after it was given: `outcome.text` is what history is to keep; of one that is not allowed,
        only `outcome.line`. Nobody is asked: what was heard cannot be held back any more."""
        return await self.policy.judge(self._of_turn(Subject("turn", text)), asker=None, on_decision=self.on_decision)

    async def _judge(self, subject: Subject) -> Outcome:
        asker = None if self.asker is None else _OnceCommitted(self.asker, self.committed)
        return await self.policy.judge(self._of_turn(subject), asker=asker, on_decision=self.on_decision)

    def _of_turn(self, subject: Subject) -> Subject:
        return replace(
            subject,
            session=self.session,
            turn=self.turn,
            language=self.language,
            history=self.history,
            user_text=subject.user_text or self.user_text,
        )


@dataclass(frozen=True, slots=True)
class _OnceCommitted:
    asker: Asker
    committed: Callable[[], Awaitable[None]]

    async def ask(self, request: ApprovalRequest) -> Decision:
        await self.committed()
        return await self.asker.ask(request)
