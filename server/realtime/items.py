"""The items that a client knows, in its order; those of the conversation are in the pipeline's, too.

The pipeline's :class:`~antiphon.pipeline.conversation.Conversation` is what prompts are made of, and may hold a summary
where the client still sees the items. So each item is kept here as the client was told of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from antiphon.pipeline.conversation import Conversation, Item
from antiphon.server.realtime.protocol import ProtocolError, ServerEvent, Shape, server_events, to_wire
from antiphon.server.realtime.sounds import Sound, Sounds

FORGOTTEN = 32
"""Items that were taken back, of which a client may ask on its way to know."""


@dataclass(slots=True)
class Entry:
    """One item as the client knows it."""

    item: Item
    shape: Shape
    audio_ms: float = 0.0
    """For spoken messages of the assistant: how much was sent."""
    turn: int = 0
    """Of the answer that it belongs to; 0: none of the session's."""
    own: dict[str, Any] | None = None
    """How clients are told of it, where it is no item that prompts know: those of MCP tools."""
    reads: tuple[Item, ...] = ()
    """What prompts know in its place."""

    def wire(self, audio: str | None = None) -> dict[str, Any]:
        """
        :param audio: base64, of spoken words.
        """
        return to_wire(self.item, self.shape, audio=audio) if self.own is None else self.own

    @property
    def read(self) -> tuple[Item, ...]:
        """What prompts know of it."""
        return (self.item,) if self.own is None else self.reads


class ItemBook:
    """One per connection."""

    def __init__(
        self,
        conversation: Conversation,
        emit: Callable[[ServerEvent], None],
        *,
        max_items: int,
        max_chars: int,
        sounds: Sounds | None = None,
    ) -> None:
        """
        :param sounds: of its items; None: none are kept.
        """
        self.sounds = Sounds(max_s=0.0) if sounds is None else sounds
        self._conversation = conversation
        self._emit = emit
        self._max_items = max_items
        self._max_chars = max_chars
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._taken_back: OrderedDict[str, Entry] = OrderedDict()

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last_id(self) -> str | None:
        """Of the item at the end."""
        return next(reversed(self._entries), None)

    def find(self, item_id: str) -> Entry | None:
        return self._entries.get(item_id)

    def get(self, item_id: str) -> Entry:
        """:raises ProtocolError: there is no such item."""
        entry = self._entries.get(item_id) or self._taken_back.get(item_id)
        if entry is None:
            raise ProtocolError(f"There is no item '{item_id}'.", code="item_not_found", param="item_id")
        return entry

    def sound_of(self, item_id: str) -> Sound | None:
        """What was heard in an item; None: nothing, or it is not kept."""
        entry = self._entries.get(item_id)
        if entry is None or not entry.shape.spoken:
            return None
        return self.sounds.find(entry.turn if entry.item.role == "assistant" else item_id)

    def of_turn(self, turn: int) -> Iterator[Entry]:
        """What the assistant said in an answer."""
        return (one for one in self._entries.values() if one.turn == turn and one.item.kind == "message")

    def was_taken_back(self, item_id: str) -> bool:
        return item_id in self._taken_back

    # ------------------------------------------------------------------------ the conversation grows

    def check_room(self, item: Item | None = None) -> None:
        """
        :param item: to come.
        :raises ProtocolError: there are too many items, or too much text in them.
        """
        if len(self._entries) >= self._max_items:
            raise ProtocolError(
                f"This conversation has {len(self._entries)} items, and more are not allowed; delete some.",
                code="too_many_items",
            )
        if sum(_size(entry.item) for entry in self._entries.values()) + (_size(item) if item else 0) > self._max_chars:
            raise ProtocolError(
                f"The items of a conversation may have {self._max_chars} characters together; delete some.",
                code="conversation_too_long",
            )

    def insert(self, entry: Entry, previous: str | None, *, known: bool = True) -> None:
        """An item of the client's. Tells of it.

        :param previous: behind this one; "root": at the front; None: at the end.
        :param known: False: prompts know nothing of its words yet (:meth:`remember`).
        :raises ProtocolError: its id is taken, `previous` is unknown, or there are too many.
        """
        if entry.item.id in self._entries or entry.item.id in self._conversation:
            raise ProtocolError(
                f"There is an item '{entry.item.id}' already.", code="item_already_exists", param="item.id"
            )
        if previous is not None and previous != "root" and previous not in self._entries:
            raise ProtocolError(
                f"There is no item '{previous}' to be put behind.", code="item_not_found", param="previous_item_id"
            )
        self.check_room(entry.item)
        order = list(self._entries)
        place = len(order) if previous is None else 0 if previous == "root" else order.index(previous) + 1
        before = order[place - 1] if place else None
        self._entries[entry.item.id] = entry
        for item_id in order[place:]:
            self._entries.move_to_end(item_id)
        if entry.own is None:
            item = entry.item if known else replace(entry.item, text="")
            self._put_behind(item, order[:place], last=place == len(order))
        self._tell_added(entry, before)
        self._tell_done(entry, before)

    def append(self, entry: Entry) -> str | None:
        """An item that the session makes, at the end. Tells that it was added; returns the one before it."""
        before = self.last_id
        self._entries[entry.item.id] = entry
        if entry.own is None:
            self._conversation.put(entry.item)
        self._tell_added(entry, before)
        while len(self._entries) > self._max_items:  # the session's own: the client may have left too little room
            self.delete(next(iter(self._entries)))
        return before

    def done(self, item_id: str) -> None:
        """An item of the session's is complete. Tells so."""
        if (entry := self._entries.get(item_id)) is not None:
            order = list(self._entries)
            place = order.index(item_id)
            self._tell_done(entry, order[place - 1] if place else None)

    # ------------------------------------------------------------------------ items change

    def update(self, item_id: str, **changes: Any) -> None:
        """An item's words or looks are known better; `text` goes to prompts, too, where the item has none there yet."""
        entry = self._entries.get(item_id)
        if entry is None:
            return
        shape = {key: value for key, value in changes.items() if key in ("spoken", "transcript_known", "status")}
        entry.shape = replace(entry.shape, **shape)
        if "text" in changes:
            entry.item = replace(entry.item, text=changes["text"])

    def show(self, item_id: str, own: dict[str, Any], *, text: str) -> None:
        """An item of MCP looks like this from now on.

        :param text: what is in it, for the room that it takes.
        """
        if (entry := self._entries.get(item_id)) is not None:
            entry.own = own
            entry.item = replace(entry.item, text=text)

    def remember_call(self, call: Item, output: Item) -> None:
        """Prompts read a call, and what came of it, in the place of the item of the call's id."""
        entry = self._entries.get(call.id)
        if entry is None or call.id in self._conversation:
            return
        order = list(self._entries)
        place = order.index(call.id)
        self._put_behind(call, order[:place], last=place == len(order) - 1)
        self._conversation.add(output, after=call.id)
        entry.reads = (call, output)

    def remember(self, item_id: str, text: str) -> None:
        """Prompts read these words of an item."""
        if (entry := self._entries.get(item_id)) is not None and item_id in self._conversation:
            self._conversation.put(replace(entry.item, text=text))

    def delete(self, item_id: str, *, remembered: bool = False) -> None:
        """Tells of it.

        :param remembered: the session takes it back; a client on its way may still ask for it.
        :raises ProtocolError: there is no such item.
        """
        entry = self.get(item_id)
        self._entries.pop(item_id, None)
        for known in (item_id, *(item.id for item in entry.reads)):
            if known in self._conversation:
                self._conversation.delete(known)
        self.sounds.forget(item_id)
        if entry.turn and entry.shape.spoken:
            (self.sounds.forget if remembered else self.sounds.delete)(entry.turn)  # that turn may be answered anew
        if remembered:
            self._taken_back[item_id] = entry
            while len(self._taken_back) > FORGOTTEN:
                self._taken_back.popitem(last=False)
        else:
            self._taken_back.pop(item_id, None)
        self._emit(server_events.item_deleted(item_id))

    # ------------------------------------------------------------------------ inside

    def _put_behind(self, item: Item, before: list[str], *, last: bool) -> None:
        """Prompts may know fewer items (a summary stands for the oldest): behind the nearest one that they know."""
        if last:
            return self._conversation.add(item)
        nearest = next((one for one in reversed(before) if one in self._conversation), None)
        self._conversation.add(item, after=nearest, first=nearest is None)

    def _tell_added(self, entry: Entry, before: str | None) -> None:
        self._emit(server_events.item_added(entry.wire(), before))

    def _tell_done(self, entry: Entry, before: str | None) -> None:
        self._emit(server_events.item_done(entry.wire(), before))


def _size(item: Item) -> int:
    return len(item.text) + len(item.arguments) + len(item.name)
