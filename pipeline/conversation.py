"""The conversation: ordered items with ids, from which prompts are made.

A *response* is not a *turn*: items can be added, deleted and cut by id at any time, by the session or by a client.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import Message, ToolCall

INTERRUPTED_MARK = " ..."
"""Behind what was heard of an interrupted message."""

ItemKind = Literal["message", "function_call", "function_call_output"]


class ItemError(AntiphonError):
    """Raised when an item id is unknown or already taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One entry of the conversation."""

    id: str
    kind: ItemKind = "message"
    role: Literal["system", "user", "assistant"] = "user"
    """For kind "message"."""
    text: str = ""
    """For messages what was said; for an assistant's message only what the user heard; for an output its value."""
    unheard: str = ""
    """What the assistant meant to say after `text` and the user did not hear."""
    interrupted: bool = False
    """The user spoke into this message of the assistant: prompts show a mark where it broke off."""
    call_id: str = ""
    name: str = ""
    """For function calls and their outputs: the tool's name."""
    arguments: str = ""
    turn: int = 0


def new_id(prefix: str = "item") -> str:
    return f"{prefix}_{uuid.uuid4().hex[:20]}"


def estimated_tokens(text: str) -> int:
    """About how many tokens a text is: one for four bytes of UTF-8, which fits English and is careful elsewhere."""
    return -(-len(text.encode()) // 4)


class Conversation:
    """An ordered list of items, unique by id."""

    def __init__(self, items: Sequence[Item] = ()) -> None:
        self._items: list[Item] = []
        for item in items:
            self.add(item)

    def __iter__(self) -> Iterator[Item]:
        return iter(tuple(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: object) -> bool:
        return any(item.id == item_id for item in self._items)

    def get(self, item_id: str) -> Item:
        """:raises ItemError: there is no such item."""
        return self._items[self._index(item_id)]

    def add(self, item: Item, *, after: str | None = None, before: str | None = None, first: bool = False) -> None:
        """Insert behind the item `after`, in front of the item `before`, at the very front, or (by default) at the end.

        :raises ItemError: the id is taken, or `after` or `before` is unknown.
        """
        if item.id in self:
            raise ItemError(f"an item with the id '{item.id}' already exists", hint="give each item an id of its own")
        if first:
            self._items.insert(0, item)
        elif before is not None:
            self._items.insert(self._index(before), item)
        elif after is None:
            self._items.append(item)
        else:
            self._items.insert(self._index(after) + 1, item)

    def put(self, item: Item) -> None:
        """In the place of the item of the same id, or at the end if there is none."""
        for index, one in enumerate(self._items):
            if one.id == item.id:
                self._items[index] = item
                return
        self._items.append(item)

    def delete(self, item_id: str) -> None:
        """:raises ItemError: there is no such item."""
        del self._items[self._index(item_id)]

    def truncate(self, item_id: str, heard_chars: int) -> Item:
        """Cut an assistant's message to its first `heard_chars` characters; the rest is kept as `unheard`.

        :raises ItemError: there is no such item, or it is no message of the assistant.
        """
        index = self._index(item_id)
        item = self._items[index]
        if item.kind != "message" or item.role != "assistant":
            raise ItemError(f"item '{item_id}' is no message of the assistant; only those can be cut")
        whole = item.text + item.unheard
        cut = max(0, min(heard_chars, len(whole)))
        rest = whole[cut:]
        self._items[index] = replace(item, text=whole[:cut], unheard=rest, interrupted=bool(rest.strip()))
        return self._items[index]

    def without(self, item_id: str) -> Conversation:
        """A copy that lacks this item; the same where there is none."""
        copy = Conversation()
        copy._items = [item for item in self._items if item.id != item_id]
        return copy

    def messages(self, *, max_turns: int | None = None, max_tokens: int | None = None) -> tuple[Message, ...]:
        """The items as prompt messages, oldest first.

        What is too old is left out in blocks of a quarter of `max_turns`, so that the prompt's beginning (and with it
        what the model has cached of it) changes rarely.

        :param max_turns: at most so many turns of the user, with what belongs to them; 0: nothing.
        :param max_tokens: at most about so many tokens (:func:`estimated_tokens`).
        """
        items = self._items
        starts = [index for index, item in enumerate(items) if item.kind == "message" and item.role == "user"]
        surplus = 0 if max_turns is None else max(0, len(starts) - max_turns)
        if max_tokens is not None:
            while surplus < len(starts) and _tokens_of(items[starts[surplus] if surplus else 0 :]) > max_tokens:
                surplus += 1
        if not starts or (surplus >= len(starts) and max_turns == 0):
            return () if max_turns == 0 else tuple(_to_messages(items))
        kept = len(starts) - surplus
        if surplus and kept:
            # Never so big a block that nothing is left of what fits.
            block = max(1, min(max_turns or kept, kept) // 4)
            surplus = min(-(-surplus // block) * block, len(starts) - 1)
        if surplus >= len(starts):
            return ()
        return tuple(_to_messages(items[starts[surplus] if surplus else 0 :]))

    def _index(self, item_id: str) -> int:
        for index, item in enumerate(self._items):
            if item.id == item_id:
                return index
        raise ItemError(f"there is no item '{item_id}' in this conversation")


def _tokens_of(items: Sequence[Item]) -> int:
    return sum(estimated_tokens(item.text + item.arguments) for item in items)


def _to_messages(items: Sequence[Item]) -> Iterator[Message]:
    """Consecutive function calls become one assistant message, as chat templates want them."""
    calls: list[ToolCall] = []
    for item in items:
        if item.kind == "function_call":
            calls.append(ToolCall(item.call_id, item.name, item.arguments))
            continue
        if calls:
            yield Message("assistant", tool_calls=tuple(calls))
            calls = []
        if item.kind == "function_call_output":
            yield Message("tool", item.text, tool_call_id=item.call_id, name=item.name or None)
        elif item.text.strip():
            yield Message(item.role, f"{item.text.rstrip()}{INTERRUPTED_MARK}" if item.interrupted else item.text)
    if calls:
        yield Message("assistant", tool_calls=tuple(calls))
