"""The settings of a session as a client sends them: in `session.update`, with a call, or bound to an ephemeral key.

A key that is absent leaves a setting as it is; `null` switches off what can be off (`turn_detection`, `transcription`,
`noise_reduction`, `idle_timeout_ms`) and gives anything else its default again. Pydantic's `model_fields_set` keeps the
two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from antiphon.server.realtime.protocol.errors import ProtocolError
from antiphon.server.realtime.protocol.items import MAX_TEXT_CHARS, Wire
from antiphon.server.realtime.protocol.mcp import McpToolFields
from antiphon.server.realtime.protocol.reading import MOVED, in_words, member, read_object

MAX_TOOLS = 256
Name = Annotated[str, Field(min_length=1, max_length=256)]

BETA = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
}
"""Where settings of the protocol's beta are now."""


class FormatFields(Wire):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: int | None = None

    @model_validator(mode="after")
    def _one_rate_each(self) -> FormatFields:
        expected = 24000 if self.type == "audio/pcm" else 8000
        if self.rate not in (None, expected):
            raise ValueError(f"{self.type} has a rate of {expected} Hz")
        return self


class TranscriptionFields(Wire):
    model: Name | None = None
    language: Annotated[str, Field(max_length=64)] | None = None
    languages: list[Annotated[str, Field(max_length=64)]] | None = Field(default=None, max_length=64)
    prompt: Annotated[str, Field(max_length=10_000)] | None = None
    keywords: list[Annotated[str, Field(max_length=256)]] | None = Field(default=None, max_length=1000)
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class TurnDetectionFields(Wire):
    """Both kinds in one, so that a change of one key need not repeat the `type`."""

    type: Literal["server_vad", "semantic_vad"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=10_000)
    silence_duration_ms: int | None = Field(default=None, ge=0, le=60_000)
    idle_timeout_ms: int | None = Field(default=None, ge=1, le=3_600_000)
    eagerness: Literal["low", "medium", "high", "auto"] | None = None


class InputFields(Wire):
    format: FormatFields | None = None
    noise_reduction: dict[str, Any] | None = None
    transcription: TranscriptionFields | None = None
    turn_detection: TurnDetectionFields | None = None


def _voice_name(value: Any) -> Any:
    """A voice of one's own is an object with an id."""
    return value.get("id") if isinstance(value, dict) else value


Voice = Annotated[Name | None, BeforeValidator(_voice_name)]


class OutputFields(Wire):
    format: FormatFields | None = None
    voice: Voice = None
    speed: float | None = Field(default=None, ge=0.25, le=1.5)


class AudioFields(Wire):
    input: InputFields | None = None
    output: OutputFields | None = None


class ToolFields(Wire):
    """A function of the client's."""

    type: Literal["function"] = "function"
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")] | None = None
    description: Annotated[str, Field(max_length=20_000)] | None = None
    parameters: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_a_name(self) -> ToolFields:
        if self.name is None:
            raise ValueError("a function has a name")
        return self


def _tool_kind(tool: Any) -> str:
    """Functions are the kind that clients send without `type`."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    return member("mcp" if kind == "mcp" else "function")


AnyTool = Annotated[
    Annotated[ToolFields, Tag(member("function"))] | Annotated[McpToolFields, Tag(member("mcp"))],
    Discriminator(_tool_kind),
]


def _different_names(tools: list[AnyTool]) -> list[AnyTool]:
    for what, names in (
        ("tools have the name", [tool.name or "" for tool in tools if isinstance(tool, ToolFields)]),
        ("MCP servers have the label", [tool.server_label for tool in tools if isinstance(tool, McpToolFields)]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two {what} '{twice}'")
    return tools


Tools = Annotated[list[AnyTool], Field(max_length=MAX_TOOLS), AfterValidator(_different_names)]


class ToolChoiceFields(Wire):
    """One function, by name."""

    type: Literal["function"]
    name: Name


class McpChoiceFields(Wire):
    """A tool of an MCP server; with a name, that one."""

    type: Literal["mcp"]
    server_label: Name
    name: Name | None = None


ToolChoice = Literal["none", "auto", "required"] | ToolChoiceFields | McpChoiceFields
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)] | Literal["inf"]


def _one_modality(modalities: list[str]) -> list[str]:
    """Speech always comes with its words, so that both together are the same as speech."""
    if not modalities:
        raise ValueError("ask for ['audio'] or ['text']")
    return modalities


Modalities = Annotated[list[Literal["text", "audio"]], Field(max_length=2), AfterValidator(_one_modality)]


class SessionFields(Wire):
    """Every setting, all of them optional. Keys that are not here have no meaning in a chained pipeline."""

    type: Literal["realtime", "transcription"] | None = None
    model: Name | None = None
    instructions: Annotated[str, Field(max_length=MAX_TEXT_CHARS)] | None = None
    output_modalities: Modalities | None = None
    max_output_tokens: MaxTokens | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    audio: AudioFields | None = None

    @model_validator(mode="before")
    @classmethod
    def _no_beta(cls, value: Any) -> Any:
        for old, new in BETA.items():
            if isinstance(value, dict) and old in value:
                raise PydanticCustomError(
                    MOVED, "in this version of the protocol it is 'session.{new}'", {"old": old, "new": new}
                )
        return value


def parse_session(session: str | bytes | Mapping[str, Any]) -> SessionFields:
    """The `session` of a request: its JSON, or the object that was read from it.

    :raises ProtocolError: something of it cannot be used.
    """
    try:
        return SessionFields.model_validate(read_object(session))
    except ValidationError as error:
        raise in_words(error, "session") from None
    except RecursionError:
        raise ProtocolError("The session is nested too deeply.", code="event_too_deep", param="session") from None
