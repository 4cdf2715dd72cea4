"""How one session gets its questions decided: at the desk, or by the user's next words.

    session.speak <- question          user's next turn -> hear() -> yes | no | ask once more

The turn that asks waits in :meth:`SessionApprovals.ask`; the session gives what the user says meanwhile to
:meth:`SessionApprovals.hear` first.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from antiphon.pipeline.errors import ApprovalError
from antiphon.pipeline.policy.approval import Approval
from antiphon.pipeline.policy.desk import ApprovalDesk, OnChange
from antiphon.pipeline.policy.spoken_answer import SpokenAnswer, read_answer
from antiphon.pipeline.policy.verdicts import ApprovalRequest, Decision

logger = logging.getLogger(__name__)

Speak = Callable[[str], Awaitable[None]]
"""Says a sentence as part of the turn that is being answered; returns when it was said."""

ReadAnswer = Callable[[str, str | None], SpokenAnswer]
"""(text, language) -> what it means"""

QUESTION = "Shall I go ahead with {tool}?"
"""Asked for a tool that wants a yes and words no question of its own."""


class ToolCallToApprove(Protocol):
    """A tool call that needs a yes, as :class:`antiphon.pipeline.agent.contracts.ApprovalNeeded` tells it."""

    @property
    def call_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def arguments(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def turn(self) -> int: ...
    @property
    def state(self) -> Callable[[], Mapping[str, Any]]: ...


@dataclass(slots=True)
class _Spoken:
    """The question that the user was asked."""

    approval: Approval
    asked_again: bool = False


class SessionApprovals:
    """One for a session. An :class:`~antiphon.pipeline.policy.policy.Asker`, and the approver of an agent's tools."""

    def __init__(
        self,
        desk: ApprovalDesk,
        *,
        speak: Speak | None = None,
        unclear_line: str = "Sorry, was that a yes or a no?",
        waiting_line: str = "One moment please, I have to ask for approval.",
        question: str = QUESTION,
        read: ReadAnswer = read_answer,
        on_change: OnChange = lambda approval: None,
    ) -> None:
        """
        :param speak: None: this session has no voice, so only the desk can decide; what only the user's voice may is
            refused.
        :param waiting_line: said when only the desk can decide; "": nothing is.
        :param question: for an agent's tools that word none; {tool} is the tool's name.
        :param on_change: told of every question when it is asked and when it is settled; on the event loop.
        """
        self._desk = desk
        self._speak = speak
        self._unclear_line = unclear_line
        self._waiting_line = waiting_line
        self._question = question
        self._read = read
        self._on_change = on_change
        self._spoken: _Spoken | None = None
        self._saying: dict[asyncio.Future[None], str] = {}
        """What is being said just now, with the id of the question that it belongs to."""
        self._aloud = asyncio.Lock()
        """One spoken question at a time: a yes must not be taken for another."""
        self._vouched: list[Approval] = []
        """Yeses that were taken before a restart, for a call that is gone on with now."""

    def bind(self, speak: Speak | None, on_change: OnChange) -> None:
        """Give it the session's voice, and who is told of its questions."""
        self._speak, self._on_change = speak, on_change

    @property
    def awaits_voice(self) -> bool:
        """Whether the user's next words may be an answer: they interrupt nothing then."""
        return self._spoken is not None

    @property
    def has_asked(self) -> bool:
        """Whether a question was said, all of it, and the user's answer is waited for."""
        return self._spoken is not None and not self._saying

    async def no_more_voice(self) -> None:
        """The user will say nothing more: what only the user could decide is refused."""
        spoken = self._spoken
        if spoken is not None and spoken.approval.decides == "voice":
            await self._decide(spoken.approval, False, "the user has gone")

    # ------------------------------------------------------------------------ asking

    async def ask(self, request: ApprovalRequest) -> Decision:
        """Put a question and wait for its decision; after a yes, the yes is taken: act on it now.

        :raises ApprovalError: the desk's file cannot be used.
        """
        for before in self._vouched:
            if request.call_id and _is_the_same(before, request):
                self._vouched.remove(before)
                return Decision(True, before.decided_by, before.note, before.id)
        approval = await self._desk.open(request)
        self._on_change(approval)
        return await self._settle(approval)

    def vouch(self, approvals: Sequence[Approval]) -> None:
        """These questions have their yes already, and it was taken: a call that is gone on with need not ask again.

        Each yes holds once. Give none when the call is done: another one with the same words is another call.
        """
        self._vouched = [one for one in approvals if one.state == "granted" and one.claimed_s is not None]

    async def resume(self, approval_id: str) -> Decision:
        """Go on waiting for a question that was asked before a restart, or take the yes that came meanwhile.

        :raises ApprovalError: there is none of that id, or the desk's file cannot be used.
        """
        return await self._settle(await self._desk.get(approval_id))

    async def approve(self, call: ToolCallToApprove) -> bool:
        """Whether an agent's tool call may run. The run's state is stored with the question.

        :raises ApprovalError: the desk's file cannot be used.
        """
        request = ApprovalRequest(
            session=call.session,
            turn=call.turn,
            question=self._question.replace("{tool}", call.name.replace("_", " ")),
            tool=call.name,
            call_id=call.call_id,
            arguments=call.arguments,
            run_state=_run_state(call),
        )
        return (await self.ask(request)).granted

    async def _settle(self, approval: Approval) -> Decision:
        by_voice = self._speak is not None and approval.decides in ("voice", "any") and approval.state == "pending"
        if self._speak is None and approval.decides == "voice" and approval.state == "pending":
            await self._decide(approval, False, "there is no voice to say yes with")
        try:
            decision = await (self._aloud_settled(approval) if by_voice else self._at_desk(approval))
        finally:
            for saying, asked in tuple(self._saying.items()):  # an answer that was broken off says no more
                if asked == approval.id:
                    saying.cancel()
        self._on_change(await self._desk.get(approval.id))
        return decision

    async def _at_desk(self, approval: Approval) -> Decision:
        if self._speak is not None and self._waiting_line and approval.state == "pending":
            self._say(self._waiting_line, approval)
        return await self._desk.settled(approval.id)

    async def _aloud_settled(self, approval: Approval) -> Decision:
        assert self._speak is not None
        async with self._aloud:
            self._spoken = _Spoken(approval)
            self._say(approval.question, approval)
            try:
                return await self._desk.settled(approval.id)
            finally:
                self._spoken = None

    def _say(self, text: str, about: Approval) -> None:
        """Say something while the decision is waited for: it may come before all of that was said."""
        assert self._speak is not None
        task = asyncio.ensure_future(self._speak(text))
        self._saying[task] = about.id
        task.add_done_callback(self._saying.pop)

    # ------------------------------------------------------------------------ the user's answer

    async def hear(self, text: str, language: str | None = None) -> bool:
        """Take what the user said, if it answers a question that was asked aloud. For turns that are committed.

        :returns: whether it was taken: a yes, a no, or the first answer that is neither (the question is asked again
            then). Otherwise it is a turn like any other; a question that only the user can answer is refused then.
        """
        spoken = self._spoken
        if spoken is None or not text.strip():
            return False
        answer = self._read(text, language)
        if answer != "unclear":
            return await self._decide(spoken.approval, answer == "yes", "")
        if not spoken.asked_again and self._speak is not None:
            spoken.asked_again = True
            self._say(self._unclear_line, spoken.approval)
            return True
        if spoken.approval.decides == "voice":
            await self._decide(spoken.approval, False, "the answer was unclear")
        return False

    async def _decide(self, approval: Approval, granted: bool, note: str) -> bool:
        try:
            await self._desk.decide(approval.id, granted, by="voice", channel="voice", note=note)
        except ApprovalError as error:  # somebody at the desk, or the time, was first
            logger.info("a spoken answer came too late", extra={"code": type(error).__name__})
        return True

    def forget(self, turn: int) -> None:
        """The turn was given up: what the user says now is no answer to its question."""
        if self._spoken is not None and self._spoken.approval.turn == turn:
            self._spoken = None

    async def interrupted(self, turn: int, session: str, *, by: str = "barge_in") -> None:
        """A turn was given up: withdraw what it asked. A yes that was taken before stays one.

        A session that merely ends does not call this: its questions stay open for :meth:`ApprovalDesk.unfinished`.
        """
        asked = [approval for approval in await self._desk.unfinished(session) if approval.turn == turn]
        await self._desk.cancel_turn(session, turn, by=by)
        for approval in asked:
            if (now := await self._desk.get(approval.id)).state == "cancelled":
                self._on_change(now)


def _is_the_same(approval: Approval, request: ApprovalRequest) -> bool:
    same = (approval.call_id, approval.tool, approval.question) == (request.call_id, request.tool, request.question)
    return same and approval.arguments == request.arguments


def _run_state(call: ToolCallToApprove) -> str:
    """The state as text; "" if it cannot be stored, and then the run cannot be gone on with after a restart."""
    try:
        return json.dumps(call.state(), ensure_ascii=False)
    except Exception as error:  # the SDK's, of the application's own context object
        logger.warning("a run's state cannot be stored", extra={"tool": call.name, "code": type(error).__name__})
        return ""
