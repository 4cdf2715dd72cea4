"""The contracts between engines and the pipeline, and the values that cross them.

An engine is an async context manager: entering loads and warms it, leaving frees what it holds. One entered engine
serves any number of sessions at once. Attributes are read-only. Who asks (session, revision, priority, deadline)
travels beside the call in :data:`antiphon.engines.host.current_ticket`, not through every signature.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

from antiphon.engines.audio import AudioFrame, Samples

# --------------------------------------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its place in time."""

    text: str
    start_s: float
    """Seconds from the start of the audio that the word belongs to."""
    end_s: float
    probability: float | None = None
    """0-1, or None where the engine gives none."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What an STT engine heard. An empty `text` means: nobody said anything."""

    text: str
    final: bool = True
    stable_chars: int | None = None
    """How many leading characters will not change any more; None means all of them."""
    words: tuple[Word, ...] | None = None
    language: str | None = None
    """ISO 639-1 code."""
    language_probability: float | None = None
    no_speech_probability: float | None = None
    average_logprob: float | None = None
    rejected_text: str = ""
    """What the engine decoded and its filter threw away (a hallucination on noise or music)."""


@dataclass(frozen=True, slots=True, eq=False)
class SpeechChunk:
    """A piece of synthesised speech, in order, without gaps or overlap."""

    frame: AudioFrame
    """`frame.start_s` counts from the start of the text's audio."""
    char_start: int
    char_end: int
    """The part [char_start, char_end) of the text asked for which this chunk speaks (best estimate)."""
    words: tuple[Word, ...] | None = None
    """Times count from the start of the text's audio; None where the engine has no word times."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str
    """A JSON object as text, as the model wrote it."""


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    """Input tokens whose evaluation was reused from an earlier call."""


FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Finish:
    reason: FinishReason = "stop"


LLMEvent = TextDelta | ToolCall | Usage | Finish
"""A stream has any number of TextDelta and ToolCall, at most one Usage, and ends with exactly one Finish."""

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat prompt."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    """For role "assistant"."""
    tool_call_id: str | None = None
    """For role "tool": the call that this message answers."""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """A JSON Schema of type "object"."""


# -------------------------------------------------------------------------------------------- options


@dataclass(frozen=True, slots=True)
class STTOptions:
    """Per-request options; None means: as configured on the engine."""

    language: str | None = None
    prompt: str | None = None
    hotwords: str | None = None
    agreed_prefix: str | None = None
    """Text of the same utterance that earlier passes agreed on."""
    word_times: bool = False
    max_tokens: int | None = None
    translate: bool = False
    """Give what is said as English text, whatever the language. Only for engines whose capabilities say so."""
    draft: bool = False
    """The speech goes on, and more will be asked: one quick look is enough. Where the engine would look again, it gives
    what it has, not `final`."""


@dataclass(frozen=True, slots=True)
class LLMOptions:
    """Per-request options; None means: as configured on the engine."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tool_choice: str | None = None
    """"auto", "none", "required", or the name of the one tool that must be called."""
    json_schema: Mapping[str, Any] | None = None
    """The answer must be JSON of this schema."""
    model: str | None = None
    """Asks a multi-model server for another model; local engines ignore it."""


@dataclass(frozen=True, slots=True)
class TTSOptions:
    """Per-request options; None means: as configured on the engine."""

    voice: str | None = None
    speed: float | None = None
    """1.0 is the voice's own pace, 2.0 twice as fast."""
    language: str | None = None
    context_before: str = ""
    """What was spoken just before, for engines whose prosody depends on it."""


# --------------------------------------------------------------------------------------- capabilities


@dataclass(frozen=True, slots=True)
class STTCapabilities:
    streaming: bool = False
    word_times: bool = False
    languages: tuple[str, ...] | None = None
    """None: any."""
    local: bool = True
    """False: requests leave this machine."""
    translates: bool = False
    """Takes requests with `translate`."""


@dataclass(frozen=True, slots=True)
class LLMCapabilities:
    tools: bool = False
    json_schema: bool = False
    prefill: bool = False
    local: bool = True
    cancel_granularity_ms: float = 100.0
    """How long work may go on after `aclose()` of the stream."""


@dataclass(frozen=True, slots=True)
class TTSCapabilities:
    streaming: bool = False
    """Whether the first chunk comes before the whole text is synthesised."""
    word_times: bool = False
    languages: tuple[str, ...] | None = None
    voices: tuple[str, ...] = ()
    local: bool = True
    cancel_granularity_ms: float = 100.0


# ------------------------------------------------------------------------------------------ contracts


class VADStream(Protocol):
    """The VAD's state for one audio stream. Not shared between streams."""

    def probability(self, window: Samples) -> float:
        """Speech probability in [0, 1] of the next window, shape (window_samples,). Cheap: runs on the event loop."""
        ...

    def reset(self) -> None:
        """Forget all state, as if the stream had just begun."""
        ...


class VAD(AbstractAsyncContextManager["VAD"], Protocol):
    @property
    def rate_hz(self) -> int: ...

    @property
    def window_samples(self) -> int: ...

    @property
    def hidden_hangover_ms(self) -> float:
        """How long the engine itself goes on saying "speech" after speech has ended."""
        ...

    @property
    def threshold(self) -> float:
        """Speech begins at this probability."""
        ...

    @property
    def release_threshold(self) -> float:
        """Speech ends below this probability (hysteresis: not above `threshold`)."""
        ...

    def stream(self) -> VADStream: ...


WordCue = Literal["handover", "statement", "unknown", "doubtful", "open"]
"""What the words of an open turn say of its end.

handover   a question, a command, a short answer: it is the other's turn, whatever the melody.
statement  a whole sentence; people often add to one.
unknown    nobody can tell from the words.
doubtful   it can hardly be all: a clause that leads to another, a list, a number that is too short.
open       it cannot be all: "and", "to the", "um".
"""


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """When silence ends a turn. All times count from the estimated last speech sample."""

    silence_ms: float
    """Silence that ends a turn when no probability is known: no detector, it failed, or it has not answered yet."""
    steps: tuple[tuple[float, float], ...] = ()
    """(end probability at least, silence that is then enough in ms), highest probability first."""
    check_at_ms: tuple[float, ...] = ()
    """Silence lengths at which to ask the detector; empty: never ask."""
    low_silence_ms: float | None = None
    """Silence that is enough below the lowest step; None: `max_silence_ms`."""
    by_words: Mapping[WordCue, tuple[float, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """What the words said so far make of the steps: silences in ms, one a step and one for below the lowest."""
    max_silence_ms: float = 2000.0
    """The hard cap: this much silence ends the turn, whatever anybody says."""
    adapts_up_to: float = 1.0
    """How many times as long to wait at most for a speaker who makes long pauses; 1: as for anybody."""


class TurnDetector(AbstractAsyncContextManager["TurnDetector"], Protocol):
    @property
    def policy(self) -> EndpointPolicy: ...

    async def end_probability(self, audio: AudioFrame, text: str | None) -> float:
        """Probability in [0, 1] that the speaker has finished.

        `audio` is the turn so far at 16 kHz; `text` what was heard of it, if known.

        :raises EngineError: then silence alone decides.
        """
        ...


class STT(AbstractAsyncContextManager["STT"], Protocol):
    @property
    def rate_hz(self) -> int:
        """The rate that `transcribe` wants (others are resampled by the caller)."""
        ...

    @property
    def capabilities(self) -> STTCapabilities: ...

    async def transcribe(self, audio: AudioFrame, options: STTOptions = STTOptions()) -> Transcript:
        """Transcribe a finished piece of audio. Empty or silent audio gives an empty transcript.

        :raises EngineError: see :mod:`antiphon.engines.errors`.
        """
        ...


class STTStream(Protocol):
    """One live stream of a streaming STT engine."""

    async def push(self, frame: AudioFrame) -> None: ...

    def hypothesis(self) -> Transcript:
        """The current guess, not final."""
        ...

    async def flush(self) -> Transcript:
        """End the utterance and return it; the stream goes on with the next one."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class StreamingSTT(Protocol):
    """What a streaming STT engine has besides :class:`STT`."""

    async def open(self, options: STTOptions = STTOptions()) -> STTStream: ...


class LLM(AbstractAsyncContextManager["LLM"], Protocol):
    @property
    def capabilities(self) -> LLMCapabilities: ...

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = LLMOptions(),
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        """Generate an answer. An async generator: `aclose()` stops the work within `cancel_granularity_ms`.

        Text inside a model's thinking tags never comes out.

        :raises EngineError: see :mod:`antiphon.engines.errors`.
        """
        ...

    async def prefill(
        self, messages: Sequence[Message], session_key: str = "", tools: Sequence[ToolSpec] | None = None
    ) -> None:
        """Evaluate a prompt prefix ahead of time. A hint: engines without `capabilities.prefill` do nothing.

        :param tools: those of the prompt to come; None: the ones that the session's last answer had.
        """
        ...


class TTS(AbstractAsyncContextManager["TTS"], Protocol):
    @property
    def rate_hz(self) -> int: ...

    @property
    def capabilities(self) -> TTSCapabilities: ...

    def synthesize(self, text: str, options: TTSOptions = TTSOptions()) -> AsyncIterator[SpeechChunk]:
        """Speak `text`. An async generator: `aclose()` stops the work within `cancel_granularity_ms`.

        Text with nothing to speak (empty, punctuation only) yields nothing.

        :raises EngineError: see :mod:`antiphon.engines.errors`.
        """
        ...


Stage = Literal["vad", "turn", "stt", "llm", "tts"]
STAGES: tuple[Stage, ...] = ("vad", "turn", "stt", "llm", "tts")


@dataclass(frozen=True, slots=True)
class MachinePlan:
    """How many threads each stage may use on this machine (`threads: auto` resolves to these)."""

    stt: int = 1
    llm: int = 1
    llm_alone: int = 1
    """For the LLM while no other engine is at work."""
    tts: int = 1
    turn: int = 1

    @classmethod
    def for_cores(cls, cores: int) -> MachinePlan:
        """A plan by the number of cores.

        On two cores every stage has one thread: the LLM writes while the TTS speaks, and llama.cpp's threads spin while
        they wait for one another, so a second one that shares its core with anything else makes both several times
        slower (measured). Alone, it halves the time to the first token: see
        :mod:`antiphon.engines.llm.llama_threads`. More cores than two are a careful guess.
        """
        if cores <= 2:
            return cls(llm_alone=max(1, cores))
        return cls(stt=min(4, cores // 2), llm=min(8, cores - 2), llm_alone=min(8, cores), tts=1 if cores < 6 else 2)

    @classmethod
    def for_this_machine(cls) -> MachinePlan:
        """A plan by the cores that this process may use."""
        return cls.for_cores(usable_cores())


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model that is in the store."""

    name: str
    directory: str
    files: Mapping[str, str] = field(default_factory=dict)
    """File name (as in the catalog) to absolute path."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The catalog's free-form facts: language, licence, recommended encoder window, ..."""
