"""The items of a conversation on the wire, and what they are here.

What an item looks like to a client depends on more than its words: a message of the user's may have been spoken or
typed, one of the assistant's may have been meant to be heard or read. :class:`Shape` says which; it is kept beside the
:class:`~antiphon.pipeline.conversation.Item`.

Nothing optional is ever sent as null, except the `transcript` of spoken words that are not known yet: schemas of real
clients ask for both.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from antiphon.pipeline.conversation import Item, new_id
from antiphon.server.realtime.protocol.errors import ProtocolError
from antiphon.server.realtime.protocol.reading import MAX_ID_CHARS, member

ItemStatus = Literal["in_progress", "completed", "incomplete"]
MAX_TEXT_CHARS = 200_000
"""The longest text of an item; some 50,000 tokens, which is more than most models here can read at all."""
MAX_PARTS = 256

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


class Wire(BaseModel):
    """What a client sends: types are strict, keys that are not known are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Part(Wire):
    """A piece of a message. Which types go with which role is checked when it becomes an item."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio", "text", "audio"]
    text: Text | None = None
    transcript: Text | None = None
    audio: str | None = None
    """Base64, in the session's input format."""


class MessageItem(Wire):
    type: Literal["message"] = "message"
    id: Id | None = None
    role: Literal["system", "user", "assistant"]
    content: list[Part] = Field(max_length=MAX_PARTS)


class FunctionCallItem(Wire):
    type: Literal["function_call"]
    id: Id | None = None
    call_id: Id | None = None
    name: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
    arguments: Text = "{}"


class FunctionCallOutputItem(Wire):
    type: Literal["function_call_output"]
    id: Id | None = None
    call_id: Id
    output: Text


class ItemReference(Wire):
    """In the `input` of a response: an item of the conversation."""

    type: Literal["item_reference"]
    id: Id


class ApprovalResponseItem(Wire):
    """The client's yes or no to a call of an MCP tool."""

    type: Literal["mcp_approval_response"]
    id: Id | None = None
    approval_request_id: Id
    approve: bool
    reason: Annotated[str, Field(max_length=10_000)] | None = None


class ForeignItem(Wire):
    """Items of MCP tools that the server alone makes."""

    type: Literal["mcp_approval_request", "mcp_list_tools", "mcp_call"]
    id: Id | None = None


_KINDS = ("message", "function_call", "function_call_output", "item_reference", "mcp_approval_response")


def _kind(item: Any) -> str | None:
    """Messages are the one kind that clients send without `type`."""
    kind = item.get("type", "message" if "role" in item else None) if isinstance(item, dict) else None
    if kind is None:
        return None
    return member(kind if kind in _KINDS else "foreign")


WireItem = Annotated[
    Annotated[MessageItem, Tag(member("message"))]
    | Annotated[FunctionCallItem, Tag(member("function_call"))]
    | Annotated[FunctionCallOutputItem, Tag(member("function_call_output"))]
    | Annotated[ApprovalResponseItem, Tag(member("mcp_approval_response"))]
    | Annotated[ForeignItem, Tag(member("foreign"))],
    Discriminator(_kind),
]
WireInput = Annotated[
    Annotated[MessageItem, Tag(member("message"))]
    | Annotated[FunctionCallItem, Tag(member("function_call"))]
    | Annotated[FunctionCallOutputItem, Tag(member("function_call_output"))]
    | Annotated[ItemReference, Tag(member("item_reference"))]
    | Annotated[ApprovalResponseItem, Tag(member("mcp_approval_response"))]
    | Annotated[ForeignItem, Tag(member("foreign"))],
    Discriminator(_kind),
]
NewItem = MessageItem | FunctionCallItem | FunctionCallOutputItem | ApprovalResponseItem | ForeignItem


@dataclass(frozen=True, slots=True)
class Shape:
    """What an item looks like on the wire, besides its words."""

    spoken: bool = False
    """Words of the user that came as sound, words of the assistant that went as sound."""
    transcript_known: bool = True
    """For spoken words of the user: they have been transcribed."""
    status: ItemStatus = "completed"


@dataclass(frozen=True, slots=True, eq=False)
class ClientItem:
    """An item that a client sent."""

    item: Item
    shape: Shape
    audio: bytes = b""
    """Sound of the user's with no transcript, in the session's input format: to be transcribed."""


def from_wire(wire: NewItem, *, turn: int = 0) -> ClientItem:
    """An item that a client sent; ids that it did not give are made.

    :raises ProtocolError: a kind or a content that this server cannot mean.
    """
    match wire:
        case MessageItem():
            return _message(wire, turn)
        case FunctionCallItem():
            call_id = wire.call_id or new_id("call")
            return ClientItem(
                Item(
                    id=wire.id or new_id(), kind="function_call", role="assistant", call_id=call_id, name=wire.name,
                    arguments=wire.arguments, turn=turn,
                ),
                Shape(),
            )  # fmt: skip
        case FunctionCallOutputItem():
            item = Item(
                id=wire.id or new_id(), kind="function_call_output", call_id=wire.call_id, text=wire.output, turn=turn
            )
            return ClientItem(item, Shape())
        case ForeignItem() | ApprovalResponseItem():
            raise ProtocolError(
                f"Items of the type '{wire.type}' are made by the server"
                + (
                    "."
                    if wire.type != "mcp_approval_response"
                    else ", or answer a question of its in the conversation."
                ),
                code="unsupported_item",
                param="item.type",
            )


_ALLOWED = {
    "system": ("input_text", "text"),
    "user": ("input_text", "input_audio", "text"),
    "assistant": ("output_text", "output_audio", "text", "audio"),
}


def _message(wire: MessageItem, turn: int) -> ClientItem:
    texts, sounds, spoken, transcribed = [], [], False, False
    for index, part in enumerate(wire.content):
        place = f"item.content[{index}]"
        if part.type not in _ALLOWED[wire.role]:
            raise _wrong_part(part, wire.role, place)
        if part.type in ("input_audio", "output_audio", "audio"):
            spoken = True
            if part.transcript is not None:
                texts.append(part.transcript)
                transcribed = True
            elif part.audio is not None and wire.role == "user":
                sounds.append(decoded(part.audio, f"{place}.audio"))
        elif part.text is None:
            raise ProtocolError(
                f"Missing required parameter: '{place}.text'.", code="missing_required_parameter", param=f"{place}.text"
            )
        else:
            texts.append(part.text)
    if sum(map(len, texts)) > MAX_TEXT_CHARS:
        raise ProtocolError(
            f"A message may have {MAX_TEXT_CHARS} characters in all.",
            code="string_above_max_length",
            param="item.content",
        )
    item = Item(id=wire.id or new_id(), role=wire.role, text="\n".join(texts), turn=turn)
    known = wire.role != "user" or not spoken or transcribed
    return ClientItem(item, Shape(spoken=spoken, transcript_known=known), b"".join(sounds))


def _wrong_part(part: Part, role: str, place: str) -> ProtocolError:
    if part.type == "input_image":
        return ProtocolError(
            "Images are not supported: this server speaks and reads text.", code="unsupported_content", param=place
        )
    allowed = ", ".join(_ALLOWED[role][:2] if role == "assistant" else _ALLOWED[role][:-1])
    return ProtocolError(
        f"Invalid value for '{place}.type': a message of the {role} has content of the types {allowed}.",
        code="invalid_value",
        param=f"{place}.type",
    )


def decoded(audio: str, param: str) -> bytes:
    """The bytes of base64 text.

    :raises ProtocolError: it is none.
    """
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError(
            f"Invalid value for '{param}': it is no base64.", code="invalid_audio", param=param
        ) from None


def to_wire(item: Item, shape: Shape | None = None, *, audio: str | None = None) -> dict[str, Any]:
    """An item as clients are told of it.

    :param shape: what it looks like; by default typed words, complete.
    :param audio: base64, where the sound of a spoken message is asked for (`conversation.item.retrieve`).
    """
    shape = shape or Shape()
    wire: dict[str, Any] = {"id": item.id, "object": "realtime.item", "type": item.kind, "status": shape.status}
    match item.kind:
        case "message":
            wire["role"] = item.role
            wire["content"] = _content(item, shape, audio)
        case "function_call":
            wire |= {"name": item.name, "call_id": item.call_id, "arguments": item.arguments}
        case "function_call_output":
            wire |= {"call_id": item.call_id, "output": item.text}
    return wire


def _content(item: Item, shape: Shape, audio: str | None) -> list[dict[str, Any]]:
    if item.role == "assistant" and shape.status == "in_progress" and not item.text:
        return []
    if not shape.spoken:
        return [{"type": "output_text" if item.role == "assistant" else "input_text", "text": item.text}]
    part: dict[str, Any] = {"type": "output_audio" if item.role == "assistant" else "input_audio"}
    part["transcript"] = item.text if shape.transcript_known else None
    if audio is not None:
        part["audio"] = audio
    return [part]
