"""The events that a client sends: the eleven of the protocol, each a frozen model.

:func:`parse_client_event` is the one way in. Types are strict, keys that are not known are ignored, and whatever comes
in, the only exception is :class:`~antiphon.server.realtime.protocol.errors.ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from antiphon.server.realtime.protocol.errors import ProtocolError
from antiphon.server.realtime.protocol.items import Id, Wire, WireItem, decoded
from antiphon.server.realtime.protocol.reading import MAX_EVENT_BYTES, MAX_ID_CHARS, id_of, in_words, read_object
from antiphon.server.realtime.protocol.response import ResponseFields
from antiphon.server.realtime.protocol.session_fields import SessionFields

MAX_AUDIO_MS = 24 * 3600 * 1000


class _Event(Wire):
    event_id: Annotated[str, Field(max_length=MAX_ID_CHARS)] | None = None
    """The client's name for it; an error about it repeats it."""


class SessionUpdate(_Event):
    type: Literal["session.update"]
    session: SessionFields


class InputAudioAppend(_Event):
    type: Literal["input_audio_buffer.append"]
    audio: str
    """Base64, in the session's input format."""

    def decoded(self) -> bytes:
        """:raises ProtocolError: it is no base64."""
        try:
            return decoded(self.audio, "audio")
        except ProtocolError as error:
            raise error.about(self.event_id) from None


class InputAudioCommit(_Event):
    type: Literal["input_audio_buffer.commit"]


class InputAudioClear(_Event):
    type: Literal["input_audio_buffer.clear"]


class OutputAudioClear(_Event):
    """Over WebRTC: stop what is being played."""

    type: Literal["output_audio_buffer.clear"]


class ItemCreate(_Event):
    type: Literal["conversation.item.create"]
    item: WireItem
    previous_item_id: Id | None = None
    """Behind this item; `root`: at the front; None: at the end."""


class ItemRetrieve(_Event):
    type: Literal["conversation.item.retrieve"]
    item_id: Id


class ItemTruncate(_Event):
    type: Literal["conversation.item.truncate"]
    item_id: Id
    content_index: int = Field(ge=0, le=255)
    audio_end_ms: int = Field(ge=0, le=MAX_AUDIO_MS)
    """How much of its sound the user has heard."""


class ItemDelete(_Event):
    type: Literal["conversation.item.delete"]
    item_id: Id


class ResponseCreate(_Event):
    type: Literal["response.create"]
    response: ResponseFields | None = None


class ResponseCancel(_Event):
    type: Literal["response.cancel"]
    response_id: Id | None = None


ClientEvent = (
    SessionUpdate
    | InputAudioAppend
    | InputAudioCommit
    | InputAudioClear
    | OutputAudioClear
    | ItemCreate
    | ItemRetrieve
    | ItemTruncate
    | ItemDelete
    | ResponseCreate
    | ResponseCancel
)
_EVENTS: dict[str, TypeAdapter[ClientEvent]] = {
    get_args(kind.model_fields["type"].annotation)[0]: TypeAdapter(kind) for kind in get_args(ClientEvent)
}
CLIENT_EVENT_TYPES = frozenset(_EVENTS)


def parse_client_event(data: str | bytes | Mapping[str, Any], *, max_bytes: int = MAX_EVENT_BYTES) -> ClientEvent:
    """One event of a client's.

    :param data: a text message, its UTF-8, or the object that was read from one.
    :param max_bytes: longer messages are refused unread.
    :raises ProtocolError: it is none; names the client's `event_id` wherever there is one.
    """
    event = read_object(data, max_bytes=max_bytes)
    event_id = id_of(event)
    kind = event.get("type")
    if not isinstance(kind, str):
        raise ProtocolError(
            "Missing required parameter: 'type'." if kind is None else "Invalid type for 'type': it is a string.",
            code="missing_required_parameter" if kind is None else "invalid_type",
            param="type",
            event_id=event_id,
        )
    adapter = _EVENTS.get(kind)
    if adapter is None:
        raise ProtocolError(
            f"Invalid value for 'type': '{kind[:100]}'. Supported values are: {', '.join(sorted(_EVENTS))}.",
            param="type",
            event_id=event_id,
        )
    try:
        return adapter.validate_python(event)
    except ValidationError as error:
        raise in_words(error).about(event_id) from None
    except RecursionError:
        raise ProtocolError("The event is nested too deeply.", code="event_too_deep", event_id=event_id) from None
