"""A response: what a client asks for in `response.create`, what that means in a session, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from antiphon.engines.protocols import ToolSpec
from antiphon.server.realtime.protocol.errors import ProtocolError
from antiphon.server.realtime.protocol.items import MAX_TEXT_CHARS, Id, Wire, WireInput
from antiphon.server.realtime.protocol.mcp import HostedTool, McpServer
from antiphon.server.realtime.protocol.session import (
    AudioFormat,
    Modality,
    SessionConfig,
    ToolChoice,
    check_choice,
    is_there,
    max_tokens_of,
    modality_of,
    servers_of,
    tool_choice_of,
    tools_of,
)
from antiphon.server.realtime.protocol.session_fields import (
    FormatFields,
    MaxTokens,
    Modalities,
    Tools,
    Voice,
)
from antiphon.server.realtime.protocol.session_fields import ToolChoice as WireToolChoice

MAX_INPUT_ITEMS = 1000
Status = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]
Reason = Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]


class ResponseOutputFields(Wire):
    format: FormatFields | None = None
    voice: Voice = None


class ResponseAudioFields(Wire):
    output: ResponseOutputFields | None = None


class ResponseFields(Wire):
    """`response` of `response.create`; what is absent or null is as in the session."""

    conversation: Id | None = None
    """`auto` (the default) or an id: part of the conversation; `none`: out of band."""
    input: list[WireInput] | None = Field(default=None, max_length=MAX_INPUT_ITEMS)
    """What the model reads in place of the conversation; an empty list: nothing but the instructions."""
    instructions: Annotated[str, Field(max_length=MAX_TEXT_CHARS)] | None = None
    output_modalities: Modalities | None = None
    max_output_tokens: MaxTokens | None = None
    tools: Tools | None = None
    tool_choice: WireToolChoice | None = None
    audio: ResponseAudioFields | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseConfig:
    """What is effective for one response."""

    instructions: str
    modality: Modality
    max_output_tokens: int | None
    tools: tuple[ToolSpec, ...]
    tool_choice: ToolChoice
    output_format: AudioFormat
    voice: str
    metadata: dict[str, str] | None = None
    out_of_band: bool = False
    input: tuple[WireInput, ...] | None = None
    """In place of the conversation."""
    mcp: tuple[McpServer, ...] = ()
    """Whose tools are offered besides `tools`, as far as they are known when it is made."""
    hosted: Mapping[str, HostedTool] = field(default_factory=dict)
    """Those, by the name under which they are among `tools`: only in what a model is given."""


def response_config(session: SessionConfig, fields: ResponseFields | None = None) -> ResponseConfig:
    """What a response is made with.

    :param fields: what the client asked for; None: nothing in particular.
    :raises ProtocolError: a tool that is not there must be called; MCP beside the conversation.
    """
    fields = fields or ResponseFields()
    output = (fields.audio and fields.audio.output) or ResponseOutputFields()
    tools = session.tools if fields.tools is None else tools_of(fields.tools)
    mcp = session.mcp if fields.tools is None else servers_of(fields.tools, session.mcp)
    if fields.conversation == "none":
        if mcp and fields.tools is not None:
            raise ProtocolError(
                "Results of MCP tools go into the conversation: a response beside it has none.",
                code="unsupported_tool",
                param="response.tools",
            )
        mcp = ()
    choice = tool_choice_of(fields.tool_choice)
    if choice is not None:
        check_choice(choice, tools, mcp, "response")
    elif is_there(session.tool_choice, tools, mcp):
        choice = session.tool_choice
    else:
        choice = "auto"
    return ResponseConfig(
        instructions=session.instructions if fields.instructions is None else fields.instructions,
        modality=modality_of(fields.output_modalities) or session.modality,
        max_output_tokens=max_tokens_of(fields.max_output_tokens, session.max_output_tokens),
        tools=tools,
        mcp=mcp,
        tool_choice=choice,
        output_format=session.output_format if output.format is None else AudioFormat(output.format.type),
        voice=output.voice or session.voice,
        metadata=fields.metadata,
        out_of_band=fields.conversation == "none",
        input=None if fields.input is None else tuple(fields.input),
    )


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the language model; sound costs none."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Of the input, those that the model had read before."""

    def to_wire(self) -> dict[str, Any]:
        return {
            "total_tokens": self.input_tokens + self.output_tokens,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "input_token_details": {
                "text_tokens": self.input_tokens,
                "audio_tokens": 0,
                "image_tokens": 0,
                "cached_tokens": self.cached_tokens,
                "cached_tokens_details": {"text_tokens": self.cached_tokens, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": self.output_tokens, "audio_tokens": 0},
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a response failed."""

    message: str
    code: str = "server_error"
    type: str = "server_error"


def response_to_wire(
    id: str,
    config: ResponseConfig,
    *,
    status: Status = "in_progress",
    output: Sequence[dict[str, Any]] = (),
    reason: Reason | None = None,
    failure: Failure | None = None,
    usage: Usage | None = None,
    conversation_id: str | None = None,
) -> dict[str, Any]:
    """A response as `response.created` and `response.done` tell it.

    :param output: its items on the wire (:func:`~antiphon.server.realtime.protocol.items.to_wire`).
    :param reason: why it was cancelled, or is incomplete.
    :param failure: why it failed.
    :param conversation_id: None: out of band.
    """
    wire: dict[str, Any] = {
        "id": id,
        "object": "realtime.response",
        "status": status,
        "status_details": _details(status, reason, failure),
        "output": list(output),
        "conversation_id": None if config.out_of_band else conversation_id,
        "output_modalities": [config.modality],
        "max_output_tokens": config.max_output_tokens or "inf",
        "metadata": config.metadata,
        "usage": None if usage is None else usage.to_wire(),
    }
    if config.modality == "audio":
        wire["audio"] = {"output": {"format": config.output_format.to_wire(), "voice": config.voice}}
    return wire


def _details(status: Status, reason: Reason | None, failure: Failure | None) -> dict[str, Any] | None:
    if status == "in_progress" or (status == "completed" and reason is None):
        return None
    details: dict[str, Any] = {"type": status}
    if reason is not None:
        details["reason"] = reason
    if failure is not None:
        details["error"] = {"type": failure.type, "code": failure.code, "message": failure.message}
    return details
