"""What the conversation keeps of a turn: what was said as far as it was heard, and nothing that the policy forbids."""

from __future__ import annotations

import logging
from collections.abc import Callable

from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.events import Interrupted, TranscriptEvent
from antiphon.pipeline.policy import Policy
from antiphon.pipeline.reply import Emit, Reply
from antiphon.pipeline.run import Run
from antiphon.pipeline.workflow import ToolResult, Workflow

logger = logging.getLogger(__name__)


class Remembering:
    """One per session.

    :param seal: told of a turn that can no longer be taken back.
    """

    def __init__(
        self, conversation: Conversation, policy: Policy, workflow: Workflow, *, seal: Callable[[int], None]
    ) -> None:
        self._conversation = conversation
        self._policy = policy
        self._workflow = workflow
        self._seal = seal

    def turn(self, run: Run, reply: Reply, emit: Emit) -> None:
        """A turn that was answered. Of the answer: what was said; of one that was cut off, what was spoken of it; and
        of one that the user spoke into, what was heard."""
        self._seal(run.turn)
        run.remembered = True
        text = self._user_text(run)
        if text.strip():
            self._conversation.add(Item(id=new_id(), role="user", text=text, turn=run.turn))
        for done in reply.did:
            self._conversation.add(_item_of(done, run.turn))
        self.said(run, reply, emit)

    def said(self, run: Run, reply: Reply, emit: Emit) -> None:
        """The assistant's side of it."""
        said = reply.text if reply.tts is None else reply.spoken
        if run.interrupted:
            said = reply.text[: reply.heard_chars()]
        unheard = reply.text[len(said) :]
        broke_off = run.interrupted and bool(unheard.strip())
        shown = said
        if run.judged is not None:
            shown, unheard = (run.judged.text if run.judged.allowed else run.judged.line), ""
        elif run.turn and self._policy.turn and run.interrupted:
            shown, unheard = "", ""  # the session ends: the gate after the turn has not seen it
        if reply.text.strip():
            run.item_id = new_id()
            self._conversation.add(
                Item(
                    id=run.item_id,
                    role="assistant",
                    text=shown,
                    unheard=unheard,
                    interrupted=broke_off,
                    turn=run.turn,
                )
            )
            if shown.strip():
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
            self._conversation.add(Item(id=new_id(), role="user", text=text, turn=run.turn))
        emit(Interrupted, heard="", unheard="")

    def _user_text(self, run: Run) -> str:
        """What the conversation may know of the user's words: never what the policy has not let through."""
        if run.said is not None:
            return run.said
        return "" if self._policy.transcript else run.text or ""

    def _tell_workflow(self, heard: str, unheard: str) -> None:
        on_interrupted: Callable[[str, str], None] | None = getattr(self._workflow, "on_interrupted", None)
        if on_interrupted is not None:
            try:
                on_interrupted(heard, unheard)
            except Exception:
                logger.exception("the workflow broke when it was told of an interruption")


def _item_of(done: ToolCall | ToolResult, turn: int) -> Item:
    if isinstance(done, ToolCall):
        return Item(
            id=new_id(),
            kind="function_call",
            role="assistant",
            call_id=done.id,
            name=done.name,
            arguments=done.arguments,
            turn=turn,
        )
    return Item(
        id=new_id(), kind="function_call_output", call_id=done.call_id, name=done.name, text=done.output, turn=turn
    )
