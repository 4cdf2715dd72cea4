"""What a session is made of: its engines, its settings, its text machinery."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from antiphon.engines.protocols import STT, TTS, VAD, EndpointPolicy, STTOptions, TTSOptions, TurnDetector, WordCue
from antiphon.pipeline.gate import GateSettings
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.reply import ReplySettings, Speakable, Splitter


@dataclass(frozen=True, slots=True)
class Engines:
    """The entered engines that a session uses; shared between sessions."""

    vad: VAD
    stt: STT
    tts: TTS
    detector: TurnDetector | None = None
    """None: silence alone, by `policy`."""
    policy: EndpointPolicy = field(default_factory=lambda: EndpointPolicy(silence_ms=600))
    voices: Mapping[str, str] | None = None
    """Voice by language (ISO 639-1); None: the engine's own voice speaks everything."""
    stt_local: bool = True
    """False: audio leaves this machine."""
    answer_local: bool = True
    """False: text leaves this machine, to the LLM or the TTS."""
    cores_free: Callable[[], bool] = lambda: True
    """Whether a core has nothing to do for any session."""


@dataclass(frozen=True, slots=True)
class IdleSettings:
    """What is said to a user who says nothing."""

    after_s: float = math.inf
    """Silence of both sides after which the user is spoken to."""
    prompts: tuple[str, ...] = ()
    """Said one after the other, each after such a silence."""
    goodbye: str = ""
    """Said after the last of them went unanswered; then the session ends. "": it ends without a word."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What a user waits for who came when there was no room: until it is free, nothing is heard and nobody greeted."""

    free: asyncio.Event
    notice: str = ""
    """Said at the beginning."""
    free_notice: str = ""
    """Said when it is free, before the greeting."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    output_hz: int = 24000
    gate: GateSettings = field(default_factory=GateSettings)
    max_turn_s: float = 60.0
    speculate: bool = True
    speculate_in_cloud: bool = False
    """Whether speculation may send requests off this machine."""
    speculation_budget: float = 1.0
    """Engine time that may be wasted, in seconds for each second that the user speaks."""
    speculation_start_ms: float = 32.0
    """Silence after which the turn so far is transcribed."""
    speculation_fading: float = 0.0
    """VAD probability below which speech may be dying away: the turn so far is transcribed, before there is silence."""
    speculation_rerun_ms: float = 0.0
    """New speech after which the growing turn is transcribed again; 0: only at silences."""
    prefill: bool = True
    """Let the workflow evaluate the beginning of its next prompt while the user speaks."""
    reopen_ms: float = 300.0
    """Speech within this time after a commit reopens the turn."""
    interruption: InterruptionSettings = field(default_factory=InterruptionSettings)
    manual_turns: bool = False
    """Silence never ends a turn; the end of input and :meth:`Session.commit` do."""
    on_error: str = "Sorry, something went wrong. Please say that again."
    """Spoken when a turn fails; "" for nothing."""
    on_overload: str = ""
    """Spoken instead when an engine had too much to do; "": `on_error` is."""
    max_errors: int | None = 5
    """So many failed turns in a row end the session; None: it goes on."""
    errors_goodbye: str = ""
    """Spoken when they do, or when the VAD has broken for good; "" for nothing."""
    greeting: str = ""
    idle: IdleSettings = field(default_factory=IdleSettings)
    history_turns: int = 20
    history_tokens: int = 1500
    stt: STTOptions = field(default_factory=STTOptions)
    tts: TTSOptions = field(default_factory=TTSOptions)
    reply: ReplySettings = field(default_factory=ReplySettings)
    stt_timeout_s: float = 10.0
    """A transcription that takes longer than this and its audio's own length has failed."""
    detector_timeout_s: float = 1.0
    record_timeout_s: float = 5.0
    """A record that is not safe by then has failed."""


@dataclass(frozen=True, slots=True)
class TextTools:
    """Makers of the per-reply text machinery."""

    splitter: Callable[[str | None], Splitter]
    """language -> splitter"""
    speakable: Callable[[str | None], Speakable]
    cue: Callable[[str, str | None], WordCue] = lambda text, language: "unknown"
    """(text of an open turn, language) -> whether the words sound finished"""
