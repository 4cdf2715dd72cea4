"""What a configuration holds once it is valid. Every field documents itself, for the schema and the reference page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, field_validator, model_validator

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.protocols import Stage
from antiphon.engines.registry import EngineSpec, find
from antiphon.pipeline.config.access import AccessKeys
from antiphon.pipeline.config.errors import nearest
from antiphon.pipeline.config.frontend import FrontEndKeys
from antiphon.pipeline.config.policy import ApprovalKeys, PolicyKeys
from antiphon.pipeline.config.serving import ServerKeys
from antiphon.pipeline.config.tools import AgentKeys
from antiphon.pipeline.config.transcript import TranscriptKeys
from antiphon.pipeline.config.wake import WakeWordKeys
from antiphon.pipeline.interruption import BACKCHANNELS

CHAIN_STAGES: tuple[Stage, ...] = ("stt", "llm", "tts")
"""Stages that may have a list of blocks, each the fallback of the one before it."""

WORKFLOW_KINDS: tuple[str, ...] = ("chat", "agent")
"""The built-in workflows; anything else is a dotted path."""

DOTTED_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*|\.[A-Za-z_]\w*)")

LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]


class Section(BaseModel):
    """Base of the sections: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


class BlockKeys(Section):
    """What a stage's block may have besides `engine` and that engine's own options."""

    deadline_s: float | None = option(
        None,
        "How long one request may take before the next block of a fallback chain gets it; null: as long as the session "
        "allows. For `stt` an equal share of the audio's length is added; for `llm` and `tts` it is the time to the "
        "first piece of the answer, and between two pieces.",
        unit="s",
        gt=0,
    )


class SpeechBlockKeys(BlockKeys):
    """The same for `tts`."""

    voices: dict[LanguageCode, Annotated[str, Field(min_length=1)]] = option(
        {},
        "Voice by language, as ISO 639-1 code to voice name, for replies to speech whose language was detected. "
        "Empty: the engine's `voice` speaks everything. With entries, a language that has none gets a warning and a "
        "text-only reply.",
    )


@dataclass(frozen=True, slots=True)
class EngineBlock:
    """One engine of one stage, with its validated options."""

    stage: Stage
    engine: str
    """The name in the registry, or a dotted path."""
    options: EngineOptions = field(repr=False)
    spec: EngineSpec = field(repr=False)
    deadline_s: float | None = None
    """How long one request may take before the next block of the chain gets it; None: as long as the session allows."""
    voices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """`tts` only: language code to voice name; empty: the engine's own voice speaks every language."""


def engine_block(
    stage: Stage,
    engine: str,
    options: Mapping[str, Any] | EngineOptions | None = None,
    *,
    deadline_s: float | None = None,
    voices: Mapping[str, str] | None = None,
) -> EngineBlock:
    """A block made in code instead of YAML.

    :raises UnknownEngine: the stage has no such engine.
    :raises pydantic.ValidationError: an option is wrong.
    """
    spec = find(stage, engine)
    if not isinstance(options, EngineOptions):
        options = spec.options_class().model_validate(dict(options or {}))
    return EngineBlock(stage, engine, options, spec, deadline_s, MappingProxyType(dict(voices or {})))


class AudioConfig(Section, FrontEndKeys):
    """Sample rates inside the session, and what is done to the input before it."""

    input_hz: int = option(
        16000,
        "Rate at which the session hears; input of any other rate is resampled once, at the door.",
        unit="Hz",
        ge=8000,
        le=48000,
    )
    output_hz: int = option(24000, "Rate at which the session speaks.", unit="Hz", ge=8000, le=48000)


class WorkflowKeys(Section):
    """What every kind of workflow has."""

    kind: str = option(
        "chat",
        "`chat` (the configured LLM with a history), `agent` (an agent of `openai-agents`, with tools, on that LLM), "
        "or a dotted path `module:Name` to a workflow class or coroutine of your own.",
        examples=["chat", "agent", "my_agent:Workflow"],
    )
    instructions: str = option(
        "You are a helpful voice assistant. Answer in one or two short spoken sentences.",
        "The system prompt.",
    )
    history_turns: int = option(
        20, "How many earlier turns the model sees at most; 0: none, every turn stands alone.", unit="turns", ge=0
    )
    max_history_tokens: int = option(
        1500,
        "Estimated length (four bytes a token) of the history that the model sees at most; the oldest turns are left "
        "out first.",
        unit="tokens",
        ge=0,
    )
    compaction: bool = option(
        True,
        "Summarise the oldest turns with the LLM, in the background while nobody speaks, when the history passes three "
        "quarters of `history_turns` or `max_history_tokens`; false: what is too old is left out.",
    )
    options: dict[str, Any] = option(
        {}, "Keyword arguments for the class that a dotted path in `kind` names; unused by `chat`."
    )

    @field_validator("kind")
    @classmethod
    def _known_or_dotted(cls, kind: str) -> str:
        if kind in WORKFLOW_KINDS or DOTTED_PATH.fullmatch(kind):
            return kind
        allowed = f"allowed: {', '.join(WORKFLOW_KINDS)}, or a path 'module:Name'"
        raise ValueError(f"no workflow of that name ({allowed}){nearest(kind, WORKFLOW_KINDS)}")


class WakeWordConfig(Section, WakeWordKeys):
    """A phrase that has to be said before the session listens."""


class WorkflowConfig(AgentKeys, WorkflowKeys):
    """The agent: what turns a transcript into the text of a reply."""


class SessionConfig(Section):
    """Rules that hold for a whole session."""

    offline: bool = option(True, "Forbids every connection that leaves this machine.")
    max_turn_s: float = option(60.0, "A turn that goes on for longer is ended and answered.", unit="s", gt=0, le=3600)
    on_error: str = option(
        "Sorry, something went wrong. Please say that again.",
        "Spoken when a turn fails; empty: nothing is said, and nothing of `on_overload` and `errors_goodbye` either.",
    )
    on_overload: str = option(
        "I am very busy right now. Please try again in a moment.",
        "Spoken instead of `on_error` when an engine had too much to do; empty: `on_error` is.",
    )
    max_errors: int | None = option(
        5, "So many failed turns in a row end the session; null: it goes on whatever happens.", ge=1
    )
    errors_goodbye: str = option(
        "Something is wrong here, and I cannot help you right now. Goodbye.",
        "Spoken when `max_errors` end the session, or when nothing can be heard any more; empty: nothing is said.",
    )
    max_waiting: int = option(
        16,
        "How many requests of all sessions may wait for one model; beyond that they are refused, guesses first, and "
        "the user hears `on_overload`.",
        ge=1,
    )
    greeting: str | None = option(None, "Spoken when the session begins; null: nothing is said.")
    idle_after_s: float | None = option(
        None,
        "Silence of both sides after which the user is spoken to (`idle_prompts`); null: never.",
        unit="s",
        gt=0,
        le=86_400,
    )
    idle_prompts: tuple[str, ...] = option(
        ("Are you still there?",), "Said one after the other, each after such a silence."
    )
    idle_goodbye: str = option(
        "I will end our talk here. Goodbye.",
        "Said when the last of the prompts went unanswered; then the session ends. Empty: it ends without a word.",
    )
    keys: Literal["tell", "ignore"] = option(
        "tell",
        "What the keys are that a caller presses: `tell`: a number that is complete (`#`, or a pause) is a turn of the "
        "caller's; `ignore`: events, no more.",
    )
    keys_text: str = option(
        "{keys}",
        "The words of that turn; `{keys}` stands for what was pressed.",
        min_length=1,
        examples=["I pressed {keys} on my telephone."],
    )
    keys_pause_s: float = option(2.0, "So long after the last key a number is complete.", unit="s", gt=0, le=60)
    filler: str = option("", 'Said while the answer keeps the user waiting ("Let me see."); empty: nothing.')
    filler_after_s: float = option(
        1.5, "So long after the end of the turn, with no word of the answer yet.", unit="s", gt=0, le=60
    )
    stt_deadline_s: float = option(
        10.0, "Longest wait for a transcript, besides the length of its audio; after it the turn fails.", unit="s", gt=0
    )
    turn_deadline_s: float = option(
        1.0, "Longest wait for the turn detector; after it silence alone decides.", unit="s", gt=0
    )
    answer_deadline_s: float = option(
        20.0, "Longest wait for the first text of an answer; after it the turn fails.", unit="s", gt=0
    )
    answer_gap_s: float = option(
        20.0,
        "Longest pause of an answer that has begun, if no tool is at work; after it, what there is of it was spoken, "
        "and the turn fails.",
        unit="s",
        gt=0,
    )
    tts_deadline_s: float = option(
        10.0,
        "Longest wait for the first audio of each piece of an answer, and for each further chunk of it; after it the "
        "turn fails.",
        unit="s",
        gt=0,
    )
    record_deadline_s: float = option(
        5.0,
        "Longest wait for the transcript store before something is done that it must know of; after it the turn fails.",
        unit="s",
        gt=0,
    )
    recovery_s: float = option(
        30.0,
        "How long an engine of a fallback chain that failed is left alone before it is tried again; one that a server "
        "is behind is first asked in the background whether it is there. An engine without a fallback is left alone "
        "once it has kept two requests waiting in vain, and for no longer than this.",
        unit="s",
        gt=0,
    )


class GateConfig(Section):
    """When sound counts as speech."""

    start_ms: float = option(
        96.0,
        "This much speech within `start_window_ms` opens the gate; shorter sounds are ignored.",
        unit="ms",
        ge=0,
        le=2000,
    )
    start_window_ms: float = option(
        320.0, "How far back `start_ms` is counted, so that a short dip does not matter.", unit="ms", ge=0, le=4000
    )
    pre_roll_ms: float = option(
        300.0,
        "Audio from before the opening that still belongs to the turn, so that its first phoneme is kept.",
        unit="ms",
        ge=0,
        le=5000,
    )
    stop_ms: float = option(
        64.0,
        "Unbroken silence that closes the gate: a candidate end of the turn, which `turn` then decides.",
        unit="ms",
        ge=0,
        le=2000,
    )

    @model_validator(mode="after")
    def _window_holds_start(self) -> GateConfig:
        if self.start_window_ms < self.start_ms:
            raise ValueError(
                f"start_window_ms ({self.start_window_ms:g}) is shorter than start_ms ({self.start_ms:g}): "
                "the gate could never open"
            )
        return self


class TextConfig(Section):
    """How the reply's text is cut into pieces and made speakable."""

    lexicon: dict[Annotated[str, Field(min_length=1)], str] = option(
        {},
        "How words are to be spoken, as written form to spoken form; whole words, any case.",
        examples=[{"SQL": "sequel"}],
    )
    first_clause: bool = option(
        True, "Speak from the first clause of a reply on; false: wait for the first whole sentence."
    )
    first_clause_ms: float = option(
        60.0,
        "If a model is too slow to end its first clause so long after its first word, the words that can stand alone "
        "are spoken already; 0: the clause is waited for. Nothing if `first_clause` is false.",
        unit="ms",
        ge=0,
        le=10_000,
    )
    speak_urls: Literal["domain", "full", "skip"] = option(
        "domain", "How URLs are read: their domain, in full, or not at all."
    )
    look_ahead_chunks: int = option(
        2, "How many pieces of text may be synthesised ahead of the one that plays.", unit="chunks", ge=1, le=32
    )


class ModelsConfig(Section):
    """Where models come from."""

    store: Path | None = option(
        None, "Folder of the model store; null: `$ANTIPHON_HOME/models`, or `~/.local/share/antiphon/models`."
    )
    catalogs: tuple[Path, ...] = option((), "Catalogs of your own (YAML), read after the built-in one.")


class SpeculationConfig(Section):
    """Work on a turn that may not have ended yet."""

    enabled: bool = option(
        True, "Begin the answer at the first silence and hold it until the turn has ended, where the engines allow it."
    )
    budget: float = option(
        1.0,
        "Engine time that may be wasted (re-runs, answers that are dropped), in seconds for each second that the user "
        "speaks; 0: nothing is begun before the turn has ended.",
        ge=0,
        le=10,
    )
    cloud: bool = option(False, "Whether requests to engines that leave this machine may be made before the turn ends.")
    start_ms: float = option(32.0, "Silence after which the turn so far is transcribed.", unit="ms", ge=0, le=2000)
    fading: float = option(
        0.8,
        "The turn so far is transcribed as soon as the VAD is less sure of speech than this, if a core is free: a "
        "voice that dies away sounds so before it is silent; 0: only at silence.",
        ge=0,
        le=1,
    )
    rerun_ms: float = option(
        600.0,
        "While the user speaks on: new speech after which the growing turn is transcribed again, if a core is free; 0: "
        "only at silences.",
        unit="ms",
        ge=0,
        le=60_000,
    )
    prefill: bool = option(
        True,
        "Evaluate the instructions, the history and the words that are likely so far into the LLM's cache while the "
        "user speaks.",
    )
    reopen_ms: float = option(
        300.0,
        "Speech within this time after the turn was ended by silence, and before a tool ran, belongs to the turn: the "
        "answer is taken back; 0: never.",
        unit="ms",
        ge=0,
        le=5000,
    )


class TranscriptConfig(Section, TranscriptKeys):
    """What is kept of conversations."""


class ServerConfig(Section, AccessKeys, ServerKeys):
    """Where `antiphon serve` listens, who may do what, and its limits."""


class PolicyConfig(PolicyKeys, Section):
    """What may be heard, done and said: four gates, each a list of checks."""


class ApprovalsConfig(ApprovalKeys, Section):
    """How questions are decided that policy or a tool asks."""


class InterruptionConfig(Section):
    """What happens when the user speaks into a reply. Playback pauses at the first sure sound of a voice; then:"""

    enabled: bool = option(
        True, "Whether the user's voice may stop a reply; if not, what is said meanwhile is answered after it."
    )
    min_speech_ms: float = option(
        600.0, "Speech into a reply that stops it whatever is said.", unit="ms", ge=0, le=10_000
    )
    min_words: int = option(
        1, "Words that stop it sooner; from 2 on, fewer words never stop it, however long they take.", ge=1, le=20
    )
    thinking_min_speech_ms: float = option(
        300.0,
        "Speech that stops a reply of which nothing was heard yet.",
        unit="ms",
        ge=0,
        le=10_000,
    )
    backchannels: tuple[str, ...] = option(
        BACKCHANNELS, "Said alone while a reply plays, these are no interruption: the reply goes on where it paused."
    )
    mute_ms: float = option(0.0, "So long after a reply becomes audible, nothing stops it.", unit="ms", ge=0, le=60_000)


class Config(Section):
    """A valid configuration. Made by :func:`~antiphon.pipeline.config.load_config`, or in code.

    In YAML `stt`, `llm` and `tts` are one block or a list of blocks (a fallback chain, first choice first).
    """

    model_config = ConfigDict(title="Antiphon configuration")

    audio: AudioConfig = AudioConfig()
    wake_word: WakeWordConfig = WakeWordConfig()
    vad: InstanceOf[EngineBlock]
    turn: InstanceOf[EngineBlock]
    stt: tuple[InstanceOf[EngineBlock], ...] = Field(min_length=1)
    llm: tuple[InstanceOf[EngineBlock], ...] = Field(min_length=1)
    tts: tuple[InstanceOf[EngineBlock], ...] = Field(min_length=1)
    workflow: WorkflowConfig = WorkflowConfig()
    session: SessionConfig = SessionConfig()
    gate: GateConfig = GateConfig()
    text: TextConfig = TextConfig()
    models: ModelsConfig = ModelsConfig()
    speculation: SpeculationConfig = SpeculationConfig()
    interruption: InterruptionConfig = InterruptionConfig()
    policy: PolicyConfig = PolicyConfig()
    approvals: ApprovalsConfig = ApprovalsConfig()
    transcript: TranscriptConfig = TranscriptConfig()
    server: ServerConfig = ServerConfig()

    def blocks(self) -> tuple[EngineBlock, ...]:
        """Every engine block, in the order in which audio passes."""
        return (self.vad, self.turn, *self.stt, *self.llm, *self.tts)


SECTIONS: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in Config.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}
"""The sections that are no stage, by key."""


def block_keys(stage: Stage) -> type[BlockKeys]:
    """The model of a stage's keys besides the engine's own options."""
    return SpeechBlockKeys if stage == "tts" else BlockKeys
