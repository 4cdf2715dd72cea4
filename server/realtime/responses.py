"""One response on its way to the client: its events in their order, from `response.created` to `response.done`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.server.realtime.audio import Encoder
from antiphon.server.realtime.items import Entry, ItemBook
from antiphon.server.realtime.protocol import (
    ContentPart,
    Failure,
    ItemStatus,
    Reason,
    ResponseConfig,
    ServerEvent,
    Shape,
    Status,
    Usage,
    response_to_wire,
    server_events,
    to_wire,
)

Emit = Callable[[ServerEvent], None]
Wire = dict[str, Any]


@dataclass(slots=True)
class _Message:
    """What is said or written in a response: one item with one part."""

    id: str
    index: int
    part: ContentPart
    encoder: Encoder
    text: str = ""
    audio_ms: float = 0.0


class Response:
    """Make it, :meth:`create` it, feed it, :meth:`finish` it: the client is told in pairs, whatever happens between."""

    def __init__(
        self,
        emit: Emit,
        config: ResponseConfig,
        *,
        conversation_id: str,
        book: ItemBook | None,
        turn: int = 0,
        sends_audio: bool = True,
    ) -> None:
        """
        :param book: the items of the conversation; None: it is no part of one.
        :param turn: the answer that it shows.
        :param sends_audio: False: its audio goes another way.
        """
        self.id = new_id("resp")
        self.config = config
        self.turn = turn
        self.done = False
        self.inputs: Conversation | None = None
        """What is read for it in place of the conversation."""
        self.reason: Reason | None = None
        """Why it will not be complete, as far as somebody has said so."""
        self.failure: Failure | None = None
        self.calls: set[str] = set()
        """Ids of the calls that were handed to the client."""
        self.limited = False
        """The model had more to say than it was allowed to."""
        self._emit = emit
        self._book = book
        self._conversation_id = conversation_id
        self._sends_audio = sends_audio
        self._message: _Message | None = None
        self._outputs: list[dict[str, Any]] = []
        self._open: set[int] = set()
        """Places of items that are not complete yet, besides its message: calls of MCP tools."""
        self.hosts = False
        """Tools of MCP servers were called in it."""

    @property
    def message_id(self) -> str | None:
        """Of its message, once there is one."""
        return None if self._message is None else self._message.id

    def create(self) -> None:
        self._emit(server_events.response_created(self._wire("in_progress")))

    def text(self, delta: str) -> None:
        """The next piece of the answer's words."""
        if self.done or not delta:
            return
        message = self._opened()
        message.text += delta
        spoken = self.config.modality == "audio"
        self._emit(message.part.transcript_delta(delta) if spoken else message.part.text_delta(delta))

    def audio(self, frame: AudioFrame) -> None:
        """The next piece of its sound."""
        if self.done:
            return
        message = self._opened()
        message.audio_ms += 1000 * frame.duration_s
        if self._book is not None and (entry := self._book.find(message.id)) is not None:
            entry.audio_ms = message.audio_ms
        if self._sends_audio:
            for piece in message.encoder.push(frame):
                self._emit(message.part.audio_delta(piece))

    def call(self, call: ToolCall) -> None:
        """A tool of the client's is called."""
        self.calls.add(call.id)
        if self.done:  # nobody is told of it, and no result will come: the conversation has no call
            return
        index = len(self._outputs)
        item = Item(
            id=new_id(), kind="function_call", role="assistant", call_id=call.id, name=call.name,
            arguments=call.arguments, turn=self.turn,
        )  # fmt: skip
        begun = to_wire(replace(item, arguments=""), Shape(status="in_progress"))
        self._emit(server_events.output_item_added(self.id, index, begun))
        before = None
        if self._book is not None:
            before = self._book.append(Entry(item, Shape(status="in_progress"), turn=self.turn))
        self._emit(server_events.arguments_delta(self.id, item.id, index, call.id, call.arguments))
        self._emit(server_events.arguments_done(self.id, item.id, index, call.id, call.name, call.arguments))
        wire = to_wire(item, Shape())
        self._outputs.append(wire)
        if self._book is not None:
            self._book.update(item.id, status="completed")
        self._emit(server_events.output_item_done(self.id, index, wire))
        if self._book is not None:
            self._emit(server_events.item_done(wire, before))

    def show(self, begun: Wire, whole: Wire) -> int:
        """An item of MCP begins in it.

        :param begun: as it is told of now.
        :param whole: as it is, should nothing more come of it while the response is under way.
        :returns: its place.
        """
        self.hosts = True
        index = len(self._outputs)
        self._outputs.append(whole)
        self._open.add(index)
        self._emit(server_events.output_item_added(self.id, index, begun))
        return index

    def shown(self, index: int, wire: Wire) -> None:
        """That item is complete, as far as the response is concerned. Once it is over, nothing is told any more."""
        if self.done or index not in self._open:
            return
        self._open.discard(index)
        self._outputs[index] = wire
        self._emit(server_events.output_item_done(self.id, index, wire))

    def finish(self, status: Status, usage: Usage | None = None) -> None:
        """It is over; anything later is ignored."""
        if self.done:
            return
        if status == "completed" and self.limited:
            status, self.reason = "incomplete", "max_output_tokens"
        reason = self.reason if status in ("cancelled", "incomplete") else None
        if status == "cancelled":
            reason = reason or "turn_detected"
        self._close("completed" if status == "completed" else "incomplete", whole=status in ("completed", "incomplete"))
        for index in sorted(self._open):
            self.shown(index, self._outputs[index])
        self.done = True
        failure = (self.failure or Failure("The answer could not be given.")) if status == "failed" else None
        wire = self._wire(status, reason=reason, failure=failure, usage=usage or Usage())
        self._emit(server_events.response_done(wire))

    # ------------------------------------------------------------------------ inside

    def _opened(self) -> _Message:
        if self._message is not None:
            return self._message
        index = len(self._outputs)
        spoken = self.config.modality == "audio"
        item = Item(id=new_id(), role="assistant", turn=self.turn)
        shape = Shape(spoken=spoken, status="in_progress")
        self._message = message = _Message(
            item.id, index, ContentPart(self.id, item.id, index), Encoder(self.config.output_format)
        )
        self._outputs.append(to_wire(item, shape))
        self._emit(server_events.output_item_added(self.id, index, self._outputs[index]))
        if self._book is not None:
            self._book.append(Entry(item, shape, turn=self.turn))
        self._emit(message.part.added(self.config.modality))
        return message

    def _close(self, status: ItemStatus, *, whole: bool) -> None:
        """The message is complete, as far as it goes.

        :param whole: False: nobody wants what is left of its sound.
        """
        message = self._message
        if message is None:
            return
        if self.config.modality == "audio":
            if self._sends_audio and whole:
                for piece in message.encoder.flush():
                    self._emit(message.part.audio_delta(piece))
            self._emit(message.part.audio_done())
            self._emit(message.part.transcript_done(message.text))
        else:
            self._emit(message.part.text_done(message.text))
        self._emit(message.part.done(self.config.modality, message.text))
        item = Item(id=message.id, role="assistant", text=message.text, turn=self.turn)
        wire = to_wire(item, Shape(spoken=self.config.modality == "audio", status=status))
        self._outputs[message.index] = wire
        self._emit(server_events.output_item_done(self.id, message.index, wire))
        if self._book is not None:
            self._book.update(message.id, text=message.text, status=status)
            self._book.done(message.id)

    def _wire(self, status: Status, **more: Any) -> dict[str, Any]:
        return response_to_wire(
            self.id,
            self.config,
            status=status,
            output=self._outputs if status != "in_progress" else (),
            conversation_id=self._conversation_id,
            **more,
        )
