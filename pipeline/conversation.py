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
    call_id: str = ""
    name: str = ""
    """For function calls and their outputs: the tool's name."""
    arguments: str = ""
    turn: int = 0


def new_id(prefix: str = "item") -> str:
    return f"{prefix}_{uuid.uuid4().hex[:20]}"


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

    def add(self, item: Item, *, after: str | None = None, first: bool = False) -> None:
        """Insert behind the item `after`, at the very front, or (by default) at the end.

        :raises ItemError: the id is taken, or `after` is unknown.
        """
        if item.id in self:
            raise ItemError(f"an item with the id '{item.id}' already exists", hint="give each item an id of its own")
        if first:
            self._items.insert(0, item)
        elif after is None:
            self._items.append(item)
        else:
            self._items.insert(self._index(after) + 1, item)

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
        self._items[index] = replace(item, text=whole[:cut], unheard=whole[cut:])
        return self._items[index]

    def messages(self, *, last_turns: int | None = None) -> tuple[Message, ...]:
        """The items as prompt messages, oldest first.

        :param last_turns: keep at least this many of the last user messages. Older ones are dropped in blocks of half
            that number, so that the prompt's beginning (and with it the model's cached prefix) changes rarely.
        """
        items = self._items
        if last_turns is not None:
            starts = [index for index, item in enumerate(items) if item.kind == "message" and item.role == "user"]
            block = max(1, last_turns // 2)
            surplus = max(0, len(starts) - last_turns) // block * block
            if surplus:
                items = items[starts[surplus] :]
        return tuple(_to_messages(items))

    def _index(self, item_id: str) -> int:
        for index, item in enumerate(self._items):
            if item.id == item_id:
                return index
        raise ItemError(f"there is no item '{item_id}' in this conversation")


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
        elif item.text:
            yield Message(item.role, item.text)
    if calls:
        yield Message("assistant", tool_calls=tuple(calls))
