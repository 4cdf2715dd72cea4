"""The sections about turns: when sound is speech, what is begun ahead, and what speech into a reply does."""

from __future__ import annotations

from pydantic import model_validator

from antiphon.engines.config import option
from antiphon.pipeline.config.section import Section
from antiphon.pipeline.interruption import BACKCHANNELS


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
