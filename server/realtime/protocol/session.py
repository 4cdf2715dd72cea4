"""The configuration of a Realtime session: what is effective, how an update changes it, how clients are told.

:class:`SessionConfig` is a value: :meth:`SessionConfig.merged` gives another one, or refuses the whole update. Accepted
and ignored, since a chained pipeline has no such thing, or the server's operator decides it: `tracing`, `prompt`,
`reasoning`, `include`, `truncation`, `parallel_tool_calls`, `audio.input.noise_reduction`, `transcription.delay`, and,
in a transcription session, everything but `audio.input`. Names of models and voices are kept as the client said them;
what they mean here is the business of `server.aliases`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from antiphon.engines.protocols import ToolSpec
from antiphon.server.realtime.protocol.errors import ProtocolError
from antiphon.server.realtime.protocol.mcp import McpChoice, McpServer, McpToolFields, server_of
from antiphon.server.realtime.protocol.session_fields import (
    AnyTool,
    FormatFields,
    InputFields,
    MaxTokens,
    McpChoiceFields,
    OutputFields,
    SessionFields,
    ToolChoiceFields,
    ToolFields,
    TranscriptionFields,
    TurnDetectionFields,
)
from antiphon.server.realtime.protocol.session_fields import ToolChoice as WireToolChoice

Kind = Literal["realtime", "transcription"]
Modality = Literal["audio", "text"]
Encoding = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
Eagerness = Literal["low", "medium", "high", "auto"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """PCM16, little-endian, at 24 kHz; or G.711 at 8 kHz (mu-law: pcmu, A-law: pcma). Mono."""

    type: Encoding = "audio/pcm"

    @property
    def rate_hz(self) -> int:
        return 24000 if self.type == "audio/pcm" else 8000

    @property
    def sample_bytes(self) -> int:
        return 2 if self.type == "audio/pcm" else 1

    def to_wire(self) -> dict[str, Any]:
        return {"type": self.type, "rate": 24000} if self.type == "audio/pcm" else {"type": self.type}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerVad:
    """A turn ends after so much silence."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    idle_timeout_ms: int | None = None
    create_response: bool = True
    interrupt_response: bool = True

    def to_wire(self) -> dict[str, Any]:
        return {
            "type": "server_vad",
            "threshold": self.threshold,
            "prefix_padding_ms": self.prefix_padding_ms,
            "silence_duration_ms": self.silence_duration_ms,
            "idle_timeout_ms": self.idle_timeout_ms,
            "create_response": self.create_response,
            "interrupt_response": self.interrupt_response,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticVad:
    """A turn ends when what was said sounds complete."""

    eagerness: Eagerness = "auto"
    create_response: bool = True
    interrupt_response: bool = True

    def to_wire(self) -> dict[str, Any]:
        return {
            "type": "semantic_vad",
            "eagerness": self.eagerness,
            "create_response": self.create_response,
            "interrupt_response": self.interrupt_response,
        }


TurnDetection = ServerVad | SemanticVad


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcription:
    """Whether and how clients are told what the user said; it is heard in any case."""

    model: str = "default"
    language: str | None = None
    languages: tuple[str, ...] = ()
    prompt: str = ""
    keywords: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"model": self.model, "language": self.language, "prompt": self.prompt}
        wire |= {"languages": list(self.languages), "keywords": list(self.keywords)}
        return {key: value for key, value in wire.items() if value}


@dataclass(frozen=True, slots=True)
class NamedTool:
    """This tool must be called."""

    name: str


ToolChoice = Literal["none", "auto", "required"] | NamedTool | McpChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What is effective. Make the first one with what the server is configured for; it is also what `null` restores."""

    id: str
    type: Kind = "realtime"
    model: str = "default"
    instructions: str = ""
    modality: Modality = "audio"
    max_output_tokens: int | None = None
    """None: no limit of the client's (`inf`)."""
    tools: tuple[ToolSpec, ...] = ()
    """Functions of the client's."""
    mcp: tuple[McpServer, ...] = ()
    """Whose tools there are besides."""
    tool_choice: ToolChoice = "auto"
    input_format: AudioFormat = AudioFormat()
    transcription: Transcription | None = Transcription()
    turn_detection: TurnDetection | None = ServerVad()
    """None: the client commits its turns itself."""
    output_format: AudioFormat = AudioFormat()
    voice: str = "default"
    speed: float = 1.0
    expires_at: int | None = None
    """When the session ends at the latest, in seconds since the epoch."""
    defaults: SessionConfig | None = field(default=None, repr=False, compare=False)
    """The first configuration; None: this one."""

    def merged(self, update: SessionFields, *, audio_sent: bool = False) -> SessionConfig:
        """This configuration, changed by an update; whatever the update does not mention stays.

        :param audio_sent: the assistant has been heard: its voice stays.
        :raises ProtocolError: the update as a whole is refused.
        """
        if update.type is not None and update.type != self.type:
            raise ProtocolError(
                f"A session of the type '{self.type}' cannot become one of the type '{update.type}'; connect again.",
                param="session.type",
            )
        audio = update.audio
        changes = self._input(audio.input) if audio is not None and audio.input is not None else {}
        if self.type == "realtime":
            changes |= self._top(update)
            if audio is not None and audio.output is not None:
                changes |= self._output(audio.output, audio_sent)
        return replace(self, defaults=self._first, **changes)

    @property
    def _first(self) -> SessionConfig:
        return self.defaults or self

    def _top(self, update: SessionFields) -> dict[str, Any]:
        first, given = self._first, update.model_fields_set
        changes: dict[str, Any] = {}
        for name in ("model", "instructions"):
            if name in given:
                changes[name] = _or(getattr(update, name), getattr(first, name))
        if "output_modalities" in given:
            changes["modality"] = modality_of(update.output_modalities) or first.modality
        if "max_output_tokens" in given:
            changes["max_output_tokens"] = max_tokens_of(update.max_output_tokens, first.max_output_tokens)
        if "tools" in given:
            changes["tools"] = first.tools if update.tools is None else tools_of(update.tools)
            changes["mcp"] = first.mcp if update.tools is None else servers_of(update.tools, self.mcp)
        tools, mcp = changes.get("tools", self.tools), changes.get("mcp", self.mcp)
        if "tool_choice" in given:
            changes["tool_choice"] = tool_choice_of(update.tool_choice) or first.tool_choice
            check_choice(changes["tool_choice"], tools, mcp, "session")
        elif not is_there(self.tool_choice, tools, mcp):  # it went away with the tools it was among
            changes["tool_choice"] = "auto"
        return changes

    def _input(self, update: InputFields) -> dict[str, Any]:
        first, given = self._first, update.model_fields_set
        changes: dict[str, Any] = {}
        if "format" in given:
            changes["input_format"] = _format(update.format, first.input_format)
        if "transcription" in given:
            changes["transcription"] = _transcription(
                self.transcription or first.transcription or Transcription(), update.transcription
            )
        if "turn_detection" in given:
            changes["turn_detection"] = _turn_detection(
                self.turn_detection, update.turn_detection, first.turn_detection
            )
        return changes

    def _output(self, update: OutputFields, audio_sent: bool) -> dict[str, Any]:
        first, given = self._first, update.model_fields_set
        changes: dict[str, Any] = {}
        if "format" in given:
            changes["output_format"] = _format(update.format, first.output_format)
        if "speed" in given:
            changes["speed"] = _or(update.speed, first.speed)
        if "voice" in given:
            changes["voice"] = voice = _or(update.voice, first.voice)
            if audio_sent and voice != self.voice:
                raise ProtocolError(
                    f"The voice stays '{self.voice}' once the assistant has spoken; connect again for another.",
                    code="cannot_update_voice",
                    param="session.audio.output.voice",
                )
        return changes

    # ------------------------------------------------------------------------ to the client

    def to_wire(self) -> dict[str, Any]:
        """The effective configuration, as `session.created` and `session.updated` tell it."""
        audio: dict[str, Any] = {
            "input": {
                "format": self.input_format.to_wire(),
                "noise_reduction": None,
                "transcription": None if self.transcription is None else self.transcription.to_wire(),
                "turn_detection": None if self.turn_detection is None else self.turn_detection.to_wire(),
            }
        }
        wire: dict[str, Any] = {"type": self.type, "id": self.id, "audio": audio}
        if self.expires_at is not None:
            wire["expires_at"] = self.expires_at
        if self.type == "transcription":
            return wire | {"object": "realtime.transcription_session"}
        audio["output"] = {"format": self.output_format.to_wire(), "voice": self.voice, "speed": self.speed}
        return wire | {
            "object": "realtime.session",
            "model": self.model,
            "instructions": self.instructions,
            "output_modalities": [self.modality],
            "max_output_tokens": self.max_output_tokens or "inf",
            "tools": [*map(_tool_to_wire, self.tools), *(server.to_wire() for server in self.mcp)],
            "tool_choice": tool_choice_to_wire(self.tool_choice),
        }


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def modality_of(modalities: list[Literal["text", "audio"]] | None) -> Modality | None:
    """Speech comes with its words in any case."""
    if modalities is None:
        return None
    return "audio" if "audio" in modalities else "text"


def max_tokens_of(value: MaxTokens | None, default: int | None) -> int | None:
    """:return: None: no limit."""
    return default if value is None else None if value == "inf" else value


def tools_of(tools: list[AnyTool]) -> tuple[ToolSpec, ...]:
    """The functions among them."""
    return tuple(
        ToolSpec(tool.name or "", tool.description or "", tool.parameters or {"type": "object", "properties": {}})
        for tool in tools
        if isinstance(tool, ToolFields)
    )


def servers_of(tools: list[AnyTool], known: tuple[McpServer, ...]) -> tuple[McpServer, ...]:
    """The MCP servers among them.

    :param known: those that the session has: one that is named by its label alone is reached as it was before.
    """
    by_label = {server.label: server for server in known}
    named = (server_of(tool) for tool in tools if isinstance(tool, McpToolFields))
    return tuple(server.reached_as(by_label.get(server.label)) for server in named)


def tool_choice_of(choice: WireToolChoice | None) -> ToolChoice | None:
    if isinstance(choice, McpChoiceFields):
        return McpChoice(choice.server_label, choice.name)
    return NamedTool(choice.name) if isinstance(choice, ToolChoiceFields) else choice


def is_there(choice: ToolChoice, tools: tuple[ToolSpec, ...], mcp: tuple[McpServer, ...]) -> bool:
    """Which tools a server has may not be known yet."""
    if isinstance(choice, McpChoice):
        return any(server.label == choice.label for server in mcp)
    return not isinstance(choice, NamedTool) or any(tool.name == choice.name for tool in tools)


def check_choice(choice: ToolChoice, tools: tuple[ToolSpec, ...], mcp: tuple[McpServer, ...], place: str) -> None:
    """:raises ProtocolError: a tool that is not there must be called."""
    if is_there(choice, tools, mcp):
        return
    what = f"MCP server '{choice.label}'" if isinstance(choice, McpChoice) else f"tool '{choice.name}'"  # type: ignore[union-attr]
    raise ProtocolError(f"There is no {what} to be called.", param=f"{place}.tool_choice")


def tool_choice_to_wire(choice: ToolChoice) -> str | dict[str, Any]:
    if isinstance(choice, McpChoice):
        return choice.to_wire()
    return {"type": "function", "name": choice.name} if isinstance(choice, NamedTool) else choice


def _tool_to_wire(tool: ToolSpec) -> dict[str, Any]:
    parameters: Mapping[str, Any] = tool.parameters
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": dict(parameters)}


def _format(update: FormatFields | None, default: AudioFormat) -> AudioFormat:
    return default if update is None else AudioFormat(update.type)


def _transcription(base: Transcription, update: TranscriptionFields | None) -> Transcription | None:
    if update is None:
        return None
    changes: dict[str, Any] = {}
    for name in update.model_fields_set - {"delay"}:
        value = getattr(update, name)
        changes[name] = tuple(value) if isinstance(value, list) else value
    for name, empty in (("model", "default"), ("prompt", ""), ("languages", ()), ("keywords", ())):
        if name in changes and changes[name] is None:
            changes[name] = empty
    return replace(base, **changes)


def _turn_detection(
    current: TurnDetection | None, update: TurnDetectionFields | None, first: TurnDetection | None
) -> TurnDetection | None:
    """Keys of the other kind are ignored: clients send them together with the type."""
    if update is None:
        return None
    kind = update.type or ("semantic_vad" if isinstance(current or first, SemanticVad) else "server_vad")
    plain: TurnDetection = SemanticVad() if kind == "semantic_vad" else ServerVad()
    default = first if type(first) is type(plain) else plain
    base = current if type(current) is type(plain) else default
    assert base is not None and default is not None
    changes: dict[str, Any] = {}
    for name in update.model_fields_set - {"type"}:
        if hasattr(plain, name):
            value = getattr(update, name)
            changes[name] = getattr(default, name) if value is None else value
    if "idle_timeout_ms" in changes:  # the one whose null is a value
        changes["idle_timeout_ms"] = update.idle_timeout_ms
    return replace(base, **changes)
