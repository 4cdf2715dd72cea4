"""The one vocabulary of events: logger, CLI, transcripts, metrics, server and benchmark all read these.

Every event has `t_s` (monotonic clock of the session's event loop, in seconds), `audio_s` (stream clock: how much input
audio had been taken in, in seconds), `session`, `turn` (0 before the first turn) and `revision` (rises when the user
goes on after a pause within one turn).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from antiphon.pipeline.speculation import SpeculationReport
from antiphon.pipeline.usage import EngineUsage

TurnStatus = Literal[
    "completed", "no_speech", "text_only", "failed", "cancelled", "interrupted", "dismissed", "unanswered"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """When each step of a turn was done: seconds on the session's clock (`t_s`), None where it did not happen."""

    speech_end_s: float | None = None
    """The last speech sample, as the VAD estimates it (its own hangover taken off)."""
    vad_stop_s: float | None = None
    """The VAD was sure of silence."""
    commit_s: float | None = None
    """Silence and turn detector agreed that the turn is over."""
    stt_s: float | None = None
    """The final transcript was there."""
    first_token_s: float | None = None
    """The workflow gave its first text."""
    first_clause_s: float | None = None
    """The first piece of text went to TTS."""
    first_audio_s: float | None = None
    """TTS gave its first chunk."""
    audible_s: float | None = None
    """The first sample above 1 % of full scale was at the sink."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have."""

    type: ClassVar[str] = "event"

    t_s: float
    audio_s: float
    session: str
    turn: int = 0
    revision: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping, `type` first."""
        return {"type": self.type, **dataclasses.asdict(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted(Event):
    """The user began to speak; `at_s` is the estimated first speech sample on the stream clock."""

    type: ClassVar[str] = "speech_started"
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStopped(Event):
    """The VAD hears silence; `at_s` is the estimated last speech sample on the stream clock."""

    type: ClassVar[str] = "speech_stopped"
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptEvent(Event):
    """Text of one side.

    For the user: what was heard, not `final` while the turn may go on. For the assistant: the whole reply, at its end.
    """

    type: ClassVar[str] = "transcript"
    role: Literal["user", "assistant"]
    text: str
    final: bool
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculated(Event):
    """Work on an answer began before the turn was committed."""

    type: ClassVar[str] = "speculated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """The user's turn is over. `reason` is "silence", "end_of_input", "manual" or "max_turn"."""

    type: ClassVar[str] = "committed"
    reason: str
    end_probability: float | None = None
    """What the turn detector said last about this revision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Event):
    """A revision or a turn was given up.

    `reason`: "resumed" (the user went on), "reopened" (the user went on just after the commit: the final transcript and
    the answer of this revision are void, the turn goes on), "cleared", "cancelled", "refused" (there was no time for a
    guess; the turn itself is heard anew), "no_speech" or "backchannel" (said into another answer, which goes on).
    """

    type: ClassVar[str] = "dropped"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDeltaEvent(Event):
    """The workflow gave a piece of its answer."""

    type: ClassVar[str] = "text_delta"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken(Event):
    """A piece of the answer has been handed to the sink as audio; `text` is the part of the answer it speaks."""

    type: ClassVar[str] = "spoken"
    text: str
    filler: bool = False
    """It bridged a wait: no part of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallEvent(Event):
    """The workflow calls a tool. From workflows that yield it; `SingleAgentVoiceWorkflow` does not yet."""

    type: ClassVar[str] = "tool_call"
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResultEvent(Event):
    """A tool gave its result. From workflows that yield it; `SingleAgentVoiceWorkflow` does not yet."""

    type: ClassVar[str] = "tool_result"
    call_id: str
    name: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStarted(Event):
    """The first audible sample of the answer reached the sink (at `t_s`)."""

    type: ClassVar[str] = "audio_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackPaused(Event):
    """The user's voice was heard during the reply to `turn`: it stands still until it is known what that means."""

    type: ClassVar[str] = "playback_paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackResumed(Event):
    """It meant nothing: the reply goes on at the sample where it was paused.

    `reason`: "no_speech" (a cough, a noise), "backchannel" ("uh-huh"), "too_short" (fewer words than stop a reply).
    """

    type: ClassVar[str] = "playback_resumed"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted(Event):
    """The reply to `turn` was stopped: by the user's voice, or by :meth:`Session.cancel`.

    Sent again, `acknowledged`, when the client tells more exactly how much was heard.
    """

    type: ClassVar[str] = "interrupted"
    heard: str
    """What the user heard of it, to the word: all that history keeps."""
    unheard: str
    """What the assistant had written besides."""
    acknowledged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEvent(Event):
    """A check decided. Holds nothing of what it judged."""

    type: ClassVar[str] = "policy"
    gate: str
    """"transcript", "tool_call", "speech" or "turn"."""
    check: str
    decision: str
    """"allow", "rewrite", "block", "ask", "granted", "refused", or how the check failed."""
    reason: str = ""
    tool: str = ""
    took_ms: float = 0.0
    approval_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalEvent(Event):
    """A question that somebody has to decide was asked, or is settled."""

    type: ClassVar[str] = "approval"
    approval_id: str
    state: str
    """"pending", "granted", "refused" or "cancelled" (withdrawn, since the user interrupted the turn)."""
    question: str
    tool: str = ""
    call_id: str = ""
    arguments: str = ""
    by: str = ""
    """Who decided: "voice", "callback", "timeout" (nobody did), or the name that was given at the desk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded(Event):
    """Everything about this turn is done.

    `status`: "completed"; "no_speech" (nothing was said after all); "text_only" (no voice for the language);
    "failed" (an engine or the workflow broke; the apology was spoken); "interrupted" (the user spoke into the answer,
    or before it); "dismissed" (it was a back-channel into another answer, or a noise); "unanswered" (a client wants
    turns transcribed only); "cancelled".
    """

    type: ClassVar[str] = "turn_ended"
    status: TurnStatus
    text: str = ""
    """The assistant's whole text."""
    timings: Timings = field(default_factory=Timings)
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Of the input tokens: those found evaluated already."""
    usage: tuple[EngineUsage, ...] = ()
    """What each engine used for this turn, speculation that was dropped included. The tokens above are those that the
    workflow told of; here are all that its engines counted."""
    speculation: SpeculationReport = field(default_factory=SpeculationReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent(Event):
    """What engines used for something that belongs to no turn (a greeting, a summary of the history), or for a turn
    that was thrown away."""

    type: ClassVar[str] = "usage"
    usage: tuple[EngineUsage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPressed(Event):
    """The caller has pressed a key of the telephone (DTMF)."""

    type: ClassVar[str] = "key_pressed"
    key: str
    """One of `0` to `9`, `*`, `#`, `A` to `D`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent(Event):
    """Something that the user should know and that did not end the turn. `code` is stable, `message` is for people."""

    type: ClassVar[str] = "warning"
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEvent(Event):
    """A stage failed. The session goes on unless `fatal`."""

    type: ClassVar[str] = "error"
    stage: str
    code: str
    """The error's class name."""
    message: str
    fatal: bool = False


EVENT_TYPES: tuple[type[Event], ...] = (
    SpeechStarted,
    SpeechStopped,
    TranscriptEvent,
    Speculated,
    Committed,
    Dropped,
    TextDeltaEvent,
    Spoken,
    ToolCallEvent,
    ToolResultEvent,
    AudioStarted,
    PlaybackPaused,
    PlaybackResumed,
    Interrupted,
    PolicyEvent,
    ApprovalEvent,
    TurnEnded,
    UsageEvent,
    KeyPressed,
    WarningEvent,
    ErrorEvent,
)

EventSink = Callable[[Event], None]
"""Called on the event loop, in order; must not block."""
