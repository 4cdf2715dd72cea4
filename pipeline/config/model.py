"""What a configuration holds once it is valid. Every field documents itself, for the schema and the reference page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, InstanceOf, field_validator

from antiphon.engines.config import option
from antiphon.pipeline.config.access import AccessKeys
from antiphon.pipeline.config.blocks import EngineBlock
from antiphon.pipeline.config.errors import nearest
from antiphon.pipeline.config.frontend import FrontEndKeys
from antiphon.pipeline.config.policy import ApprovalKeys, PolicyKeys
from antiphon.pipeline.config.section import Section
from antiphon.pipeline.config.serving import ServerKeys
from antiphon.pipeline.config.tools import AgentKeys
from antiphon.pipeline.config.transcript import TranscriptKeys
from antiphon.pipeline.config.turns import GateConfig, InterruptionConfig, SpeculationConfig
from antiphon.pipeline.config.wake import WakeWordKeys

WORKFLOW_KINDS: tuple[str, ...] = ("chat", "agent")
"""The built-in workflows; anything else is a dotted path."""

DOTTED_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*|\.[A-Za-z_]\w*)")


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


class TranscriptConfig(Section, TranscriptKeys):
    """What is kept of conversations."""


class ServerConfig(Section, AccessKeys, ServerKeys):
    """Where `antiphon serve` listens, who may do what, and its limits."""


class PolicyConfig(PolicyKeys, Section):
    """What may be heard, done and said: four gates, each a list of checks."""


class ApprovalsConfig(ApprovalKeys, Section):
    """How questions are decided that policy or a tool asks."""


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
