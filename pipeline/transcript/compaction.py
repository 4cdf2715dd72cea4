"""Keeps a long conversation short enough for its model, in the background, with a prompt prefix that rarely changes.

When the history grows past a mark, its oldest turns are summarised and the summary takes their place, in one step. From
then until the next time the conversation only grows at its end, so what the model has evaluated of it stays good. The
store keeps every word: only the live conversation gets shorter.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from antiphon.engines.errors import AntiphonError, EngineError
from antiphon.engines.host import Meter, Priority, Ticket, current_ticket
from antiphon.engines.protocols import LLM, LLMOptions, Message, TextDelta
from antiphon.pipeline.conversation import Conversation, Item, estimated_tokens, new_id
from antiphon.pipeline.transcript.reading import COMPACTED, summary_item

if TYPE_CHECKING:
    from antiphon.pipeline.transcript.recorder import Recorder

logger = logging.getLogger(__name__)

Summarise = Callable[[Sequence[Message]], Awaitable[str]]
"""The oldest part of a conversation (an earlier summary first, if there is one) to a summary of it."""

_INSTRUCTIONS = (
    "Summarise the conversation below for the assistant, who will go on with it. Keep names, numbers, dates, "
    "decisions, what was promised, what tools did, and what is still open. At most 150 words, plain text."
)


class Compactor:
    """One for a session. After each turn: `if compactor.is_due(): spawn(compactor.compact())`."""

    def __init__(
        self,
        conversation: Conversation,
        summarise: Summarise,
        *,
        max_turns: int,
        max_tokens: int,
        begin_at: float = 0.75,
        keep: float = 0.4,
        recorder: Recorder | None = None,
    ) -> None:
        """
        :param max_turns: `max_tokens`: what a prompt may have of the history, as in
            :meth:`~antiphon.pipeline.conversation.Conversation.messages`; 0 or less: no compaction.
        :param begin_at: the part of them at which to begin, so that nothing has to be left out meanwhile.
        :param keep: the part of them that stays word for word.
        """
        if not 0 < keep < begin_at < 1:
            raise ValueError("0 < keep < begin_at < 1 does not hold")
        self._conversation = conversation
        self._summarise = summarise
        self._max_turns, self._max_tokens = max_turns, max_tokens
        self._begin_at, self._keep = begin_at, keep
        self._recorder = recorder
        self._busy = False
        self._not_before = 0
        """After a failure: with so many items it is tried again."""

    def is_due(self) -> bool:
        items = list(self._conversation)
        if self._busy or min(self._max_turns, self._max_tokens) <= 0 or len(items) < self._not_before:
            return False
        return self._is_over(items, self._begin_at) and self._cut(items) > 0

    async def compact(self) -> bool:
        """Summarise the oldest turns and let the summary take their place. Returns whether it did.

        A failure costs nothing but the attempt: the conversation stays as it is, and is shortened by leaving out.
        """
        items = list(self._conversation)
        cut = self._cut(items)
        if self._busy or not cut:
            return False
        self._busy = True
        old = items[:cut]
        try:
            summary = " ".join((await self._summarise(Conversation(old).messages())).split())
            if not summary:
                raise EngineError("the summary is empty", stage="llm")
        except AntiphonError as error:
            self._not_before = len(self._conversation) + 4
            logger.warning("the history could not be summarised", extra={"reason": type(error).__name__})
            return False
        finally:
            self._busy = False
        self._replace(old, summary)
        return True

    def _replace(self, old: Sequence[Item], summary: str) -> None:
        """No waiting in here: whoever makes a prompt sees the old history or the new one."""
        for item in old:
            if item.id in self._conversation:  # a client may have deleted it meanwhile
                self._conversation.delete(item.id)
        self._conversation.add(summary_item(summary, new_id("summary")), first=True)
        if self._recorder is not None:
            through = max(item.turn for item in old)
            self._recorder.note(COMPACTED, turn=0, text=summary, through_turn=through, items=len(old))
        logger.info("history summarised", extra={"items": len(old)})

    def _is_over(self, items: Sequence[Item], part: float) -> bool:
        turns = sum(1 for item in items if item.kind == "message" and item.role == "user")
        tokens = sum(estimated_tokens(item.text + item.arguments) for item in items)
        return turns > self._max_turns * part or tokens > self._max_tokens * part

    def _cut(self, items: Sequence[Item]) -> int:
        """How many of the oldest items to summarise: whole turns, and never the last one."""
        starts = [index for index, item in enumerate(items) if item.kind == "message" and item.role == "user"]
        cut = 0
        for start in starts:
            if start and not (items[start].turn == 0 and items[start - 1].turn == 0):
                cut = start
                if not self._is_over(items[start:], self._keep):
                    break
        # What came from earlier sessions is one block: a reader of the store cannot tell its parts.
        return cut if cut > 1 else 0


def llm_summariser(
    llm: LLM, session: str, *, max_tokens: int = 300, on_used: Callable[[Meter], None] = lambda meter: None
) -> Summarise:
    """Summaries by an LLM engine, behind everything that a user waits for.

    It has a session key of its own, so that the conversation's evaluated prompt is not lost to it.

    :param on_used: told of what a summary cost, also of one that was broken off.
    """

    async def summarise(messages: Sequence[Message]) -> str:
        meter = Meter()
        current_ticket.set(Ticket(f"{session}/summary", 0, 0, Priority.PREFILL, meter=meter))
        try:
            return await _summary(messages)
        finally:
            on_used(meter)

    async def _summary(messages: Sequence[Message]) -> str:
        said = "\n".join(line for message in messages if (line := _line(message)))
        prompt = [Message("system", _INSTRUCTIONS), Message("user", said)]
        text: list[str] = []
        options = LLMOptions(temperature=0.0, max_tokens=max_tokens)
        async for event in llm.stream(prompt, (), options, f"{session}/summary"):
            if isinstance(event, TextDelta):
                text.append(event.text)
        return "".join(text)

    return summarise


def _line(message: Message) -> str:
    if message.tool_calls:
        return "\n".join(f"Assistant calls {call.name}({call.arguments})" for call in message.tool_calls)
    who = {"user": "User", "assistant": "Assistant", "tool": f"Result of {message.name or 'the tool'}"}
    return f"{who.get(message.role, 'Note')}: {message.content}" if message.content.strip() else ""
