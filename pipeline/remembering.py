"""What the conversation keeps of a turn: what was said as far as it was heard, and nothing that the policy forbids."""

from __future__ import annotations

import logging
from collections.abc import Callable

from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.conversation import Item, new_id
from antiphon.pipeline.events import Interrupted, TranscriptEvent
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.reply import Emit, Reply
from antiphon.pipeline.run import Run
from antiphon.pipeline.workflow import ToolResult

logger = logging.getLogger(__name__)


class Remembering:
    """One per session.

    :param seal: told of a turn that can no longer be taken back.
    :param pass_on: told of an answer that is remembered before it was heard: the next one may be begun.
    """

    def __init__(self, makings: Makings, *, seal: Callable[[int], None], pass_on: Callable[[Run], None]) -> None:
        self._front = makings.front
        """Says under which ids things are kept."""
        self._queues = makings.transport.capabilities.queues
        self._conversation = makings.conversation
        self._policy = makings.guarding.policy
        self._workflow = makings.workflow
        self._seal = seal
        self._pass_on = pass_on

    def turn(self, run: Run, reply: Reply, emit: Emit) -> None:
        """A turn that was answered. Of the answer: what was said; of one that was cut off, what was spoken of it; and
        of one that the user spoke into, what was heard."""
        self._seal(run.turn)
        self._exchange(run, reply, emit)

    def handed_over(self, run: Run, reply: Reply, emit: Emit) -> None:
        """All of an answer is on its way to the user. Where the transport queues, it is in the conversation from now
        on; its turn may still be reopened."""
        if not self._queues or (run.turn and self._policy.turn):
            return
        if run.turn:
            self._exchange(run, reply, emit)
        else:
            self.said(run, reply, emit)
        run.reply = reply
        self._pass_on(run)
        self._front.complete(run.turn, reply.usage)

    def words(self, run: Run) -> None:
        """What the user said."""
        run.remembered = True
        text = self._user_text(run)
        if not text.strip() or not run.prompted:
            return
        given = bool(run.user_id)
        run.user_id = run.user_id or self._front.user_item(run.turn) or ""
        if run.user_id and (not given or run.user_id in self._conversation):  # else somebody has deleted it since
            self._conversation.put(Item(id=run.user_id, role="user", text=text, turn=run.turn))

    def corrected(self, run: Run, reply: Reply, emit: Emit) -> None:
        """The user spoke into an answer that the conversation has as a whole."""
        heard = unheard = ""
        if run.item_id in self._conversation:  # else somebody has deleted it since
            item = self._conversation.truncate(run.item_id, reply.heard_chars())
            heard, unheard = item.text, item.unheard
        run.reply = reply
        emit(Interrupted, heard=heard, unheard=unheard)
        self._tell_workflow(heard, unheard)

    def forget(self, run: Run) -> None:
        """The turn was reopened: nothing of what was remembered of it counts."""
        for item in [item for item in self._conversation if item.id in (run.user_id, run.item_id)]:
            self._conversation.delete(item.id)

    def said(self, run: Run, reply: Reply, emit: Emit) -> None:
        """The assistant's side of it."""
        said = reply.spoken if reply.voiced else reply.text
        if run.interrupted:
            said = reply.text[: reply.heard_chars()]
        unheard = reply.text[len(said) :]
        broke_off = run.interrupted and bool(unheard.strip())
        shown = said
        if run.judged is not None:
            shown, unheard = (run.judged.text if run.judged.allowed else run.judged.line), ""
        elif run.turn and self._policy.turn and run.interrupted:
            shown, unheard = "", ""  # the session ends: the gate after the turn has not seen it
        run.item_id = (self._front.answer_item(run.turn) or "") if reply.text.strip() else ""
        if run.item_id:
            self._conversation.put(
                Item(
                    id=run.item_id,
                    role="assistant",
                    text=shown,
                    unheard=unheard,
                    interrupted=broke_off,
                    turn=run.turn,
                )
            )
        if reply.text.strip() and shown.strip():
            emit(TranscriptEvent, role="assistant", text=shown, final=True)
        if run.interrupted:
            # A client may tell later how much was heard; of a text that was judged, parts are not for history.
            run.reply = reply if run.judged is None else None
            emit(Interrupted, heard=shown, unheard=unheard)
            self._tell_workflow(shown, unheard)

    def unanswered(self, run: Run, emit: Emit) -> None:
        """A turn that was cut short before anything of its answer was heard: what was said first stays."""
        text = self._user_text(run)
        if text.strip() and not run.remembered:
            if not run.told:
                emit(TranscriptEvent, role="user", text=text, final=True)
            self.words(run)
        emit(Interrupted, heard="", unheard="")

    def _exchange(self, run: Run, reply: Reply, emit: Emit) -> None:
        """Both sides of a turn, and what was done in between."""
        self.words(run)
        for done in reply.did:
            self._keep_doing(done, run.turn)
        self.said(run, reply, emit)

    def _user_text(self, run: Run) -> str:
        """What the conversation may know of the user's words: never what the policy has not let through."""
        if run.said is not None:
            return run.said
        return "" if self._policy.transcript else run.text or ""

    def _keep_doing(self, done: ToolCall | ToolResult, turn: int) -> None:
        name = self._front.call_item(turn, done.id) if isinstance(done, ToolCall) else new_id()
        if name is None:
            return
        answer = self._front.answer_item(turn)  # what it says comes behind what it did, though it may be there already
        self._conversation.add(
            _item_of(done, turn, name), before=answer if answer is not None and answer in self._conversation else None
        )

    def _tell_workflow(self, heard: str, unheard: str) -> None:
        on_interrupted: Callable[[str, str], None] | None = getattr(self._workflow, "on_interrupted", None)
        if on_interrupted is not None:
            try:
                on_interrupted(heard, unheard)
            except Exception:
                logger.exception("the workflow broke when it was told of an interruption")


def _item_of(done: ToolCall | ToolResult, turn: int, item_id: str) -> Item:
    if isinstance(done, ToolCall):
        return Item(
            id=item_id,
            kind="function_call",
            role="assistant",
            call_id=done.id,
            name=done.name,
            arguments=done.arguments,
            turn=turn,
        )
    return Item(
        id=item_id, kind="function_call_output", call_id=done.call_id, name=done.name, text=done.output, turn=turn
    )
