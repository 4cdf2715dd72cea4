"""How patient a probability-driven detector is: three presets, and each number of them by itself.

A silence ends a turn when it is as long as the table says: a column for how sure the detector is, a row for what the
words said so far look like. The presets were chosen on one half of the pause set and are reported on the other
(docs/latency.md).
"""

from __future__ import annotations

from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.protocols import EndpointPolicy, WordCue

Preset = Literal["fast", "balanced", "careful"]

Silences = tuple[float, float, float, float]
"""At the highest probability, at a high one, at a middling one, below it; ms."""
Probabilities = tuple[float, float, float]


class Thresholds(NamedTuple):
    """The numbers of one preset; silences in ms from the estimated last speech sample."""

    probabilities: Probabilities
    handover_ms: Silences
    statement_ms: Silences
    unknown_ms: Silences
    doubtful_ms: Silences
    open_ms: Silences
    fallback_silence_ms: float
    max_silence_ms: float
    check_at_ms: tuple[float, ...]


PRESETS: dict[Preset, Thresholds] = {
    "fast": Thresholds(
        (0.98, 0.9, 0.5),
        handover_ms=(160, 160, 300, 500),
        statement_ms=(160, 300, 400, 500),
        unknown_ms=(160, 300, 400, 700),
        doubtful_ms=(160, 600, 700, 700),
        open_ms=(900, 900, 900, 900),
        fallback_silence_ms=500,
        max_silence_ms=1000,
        check_at_ms=(80, 160, 240),
    ),
    "balanced": Thresholds(
        (0.985, 0.9, 0.5),
        handover_ms=(180, 200, 500, 600),
        statement_ms=(200, 600, 600, 600),
        unknown_ms=(200, 650, 650, 950),
        doubtful_ms=(450, 850, 850, 950),
        open_ms=(1300, 1300, 1300, 1300),
        fallback_silence_ms=700,
        max_silence_ms=1800,
        check_at_ms=(100, 200, 300),
    ),
    "careful": Thresholds(
        (0.987, 0.93, 0.6),
        handover_ms=(300, 500, 700, 900),
        statement_ms=(500, 950, 950, 950),
        unknown_ms=(500, 950, 950, 1300),
        doubtful_ms=(700, 1200, 1200, 1400),
        open_ms=(1600, 1600, 1600, 1600),
        fallback_silence_ms=1000,
        max_silence_ms=2500,
        check_at_ms=(100, 200, 350, 600),
    ),
}

_ROWS: tuple[WordCue, ...] = ("handover", "statement", "unknown", "doubtful", "open")
_Silence = Annotated[float, Field(gt=0)]
_Row = tuple[_Silence, _Silence, _Silence, _Silence]


def _row(words: str) -> Any:
    return option(
        None,
        f"Silences that end a turn {words}: at the highest of `probabilities`, at the second, at the third, below it; "
        "default: the preset's.",
        unit="ms",
    )


class PatienceOptions(EngineOptions):
    """A preset, and its numbers one by one: one that is set replaces the preset's."""

    preset: Preset = option(
        "balanced", "How soon a turn ends: `fast` answers sooner, `careful` cuts fewer people off in a pause."
    )
    probabilities: tuple[float, float, float] | None = option(
        None, "End probabilities, falling, from which on the detector counts as sure, fairly sure, undecided; default: "
        "the preset's.",
    )  # fmt: skip
    handover_ms: _Row | None = _row("whose words are a question, a command or a short answer")
    statement_ms: _Row | None = _row("whose words are a whole sentence, to which people often add")
    unknown_ms: _Row | None = _row("whose words tell nothing of its end (also while nothing is transcribed)")
    doubtful_ms: _Row | None = _row(
        "whose words can hardly be all: a list, a number too short, a clause before another"
    )
    open_ms: _Row | None = _row('whose words ask for more ("and", "to the", "um")')
    fallback_silence_ms: float | None = option(
        None, "Silence that ends a turn when the detector failed or is late; default: the preset's.", unit="ms", gt=0
    )
    max_silence_ms: float | None = option(
        None, "The hard cap: silence that ends a turn whatever else is known; default: the preset's.", unit="ms", gt=0
    )
    adapt: bool = option(
        True,
        "Wait longer for a speaker who makes longer pauses (the first silence of each row excepted, and never above "
        "`max_silence_ms`).",
    )
    adapt_up_to: float = option(1.6, "How many times as long at most.", ge=1, le=10)
    check_at_ms: tuple[float, ...] | None = option(
        None, "Silences, rising, after which the detector is asked; default: the preset's.", unit="ms", min_length=1
    )

    def thresholds(self) -> Thresholds:
        """The preset's numbers, with those that are set in their place."""
        preset = PRESETS[self.preset]
        set_here = {name: getattr(self, name) for name in Thresholds._fields if getattr(self, name) is not None}
        return preset._replace(**set_here)

    def policy(self) -> EndpointPolicy:
        """The thresholds as the turn machine takes them."""
        chosen = self.thresholds()
        rows = {words: getattr(chosen, f"{words}_ms") for words in _ROWS}
        return EndpointPolicy(
            silence_ms=chosen.fallback_silence_ms,
            steps=tuple(zip(chosen.probabilities, chosen.unknown_ms[:-1], strict=True)),
            check_at_ms=chosen.check_at_ms,
            low_silence_ms=chosen.unknown_ms[-1],
            by_words=MappingProxyType(rows),
            max_silence_ms=chosen.max_silence_ms,
            adapts_up_to=self.adapt_up_to if self.adapt else 1.0,
        )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        chosen = self.thresholds()
        likely = chosen.probabilities
        if not 1 >= likely[0] >= likely[1] >= likely[2] >= 0:
            raise ValueError(f"probabilities must fall from at most 1 to at least 0, not {list(likely)}")
        where = f"from preset '{self.preset}' where you did not set it"
        for name in (f"{words}_ms" for words in _ROWS):
            row = getattr(chosen, name)
            if any(longer < shorter for shorter, longer in pairwise(row)):
                raise ValueError(f"{name} must not fall: the less sure, the longer the silence; not {list(row)}")
            if row[-1] > chosen.max_silence_ms:
                raise ValueError(
                    f"{name} goes up to {row[-1]:g}, above max_silence_ms ({chosen.max_silence_ms:g}; {where})"
                )
        if chosen.fallback_silence_ms > chosen.max_silence_ms:
            raise ValueError(
                f"fallback_silence_ms ({chosen.fallback_silence_ms:g}) must not be above max_silence_ms "
                f"({chosen.max_silence_ms:g}; {where})"
            )
        checks = chosen.check_at_ms
        if checks[0] <= 0 or any(later <= earlier for earlier, later in pairwise(checks)):
            raise ValueError(f"check_at_ms must be positive and rising, not {list(checks)}")
        if checks[-1] >= chosen.max_silence_ms:
            raise ValueError(
                f"check_at_ms goes up to {checks[-1]:g}, but max_silence_ms ({chosen.max_silence_ms:g}) has ended the "
                "turn by then"
            )
        return self
