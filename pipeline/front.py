"""What a session tells whoever shows its conversation to a client while it is made, item by item.

Events (:mod:`antiphon.pipeline.events`) tell what happens; a front besides decides under which ids it is kept.
"""

from __future__ import annotations

from typing import Protocol

from antiphon.engines.protocols import ToolCall, Usage
from antiphon.pipeline.conversation import new_id


class Front(Protocol):
    """Everything is called on the event loop, in order. Nothing may wait or raise."""

    def user_item(self, turn: int) -> str | None:
        """Under which id the words of the user are kept; the item may be there. None: they are not kept."""
        ...

    def answer_item(self, turn: int) -> str | None:
        """Under which id an answer is kept; the item may be there. None: it is not kept. Asked more than once."""
        ...

    def call_item(self, turn: int, call_id: str) -> str | None:
        """Under which id a call of a tool is kept. None: it is kept already, or shall not be."""
        ...

    def called(self, turn: int, call: ToolCall) -> None:
        """A call that was allowed has its place in the answer here, behind the text that came before it."""
        ...

    def line(self, turn: int, text: str) -> None:
        """One of the session's own lines is about to be said (an apology): no part of the conversation."""
        ...

    def complete(self, turn: int, usage: Usage) -> None:
        """All of an answer has gone to the sink; it may not have been heard yet.

        :param usage: what the workflow told of it.
        """
        ...

    def stopping(self, turn: int) -> None:
        """What the user says in this turn stops what is being said. Told before it is stopped."""
        ...

    def going_on(self, turn: int) -> None:
        """What the user said in this turn, into what is being said, meant nothing: nothing becomes of the turn."""
        ...


class NoFront:
    """Nobody looks on: every item gets an id of its own."""

    def user_item(self, turn: int) -> str | None:
        return new_id()

    def answer_item(self, turn: int) -> str | None:
        return new_id()

    def call_item(self, turn: int, call_id: str) -> str | None:
        return new_id()

    def called(self, turn: int, call: ToolCall) -> None:
        """Nothing to show."""

    def line(self, turn: int, text: str) -> None:
        """Nothing to show."""

    def complete(self, turn: int, usage: Usage) -> None:
        """Nothing to show."""

    def stopping(self, turn: int) -> None:
        """Nothing to show."""

    def going_on(self, turn: int) -> None:
        """Nothing to show."""
