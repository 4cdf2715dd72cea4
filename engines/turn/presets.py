"""How patient a probability-driven detector is: three presets, and each number of them by itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Self

from pydantic import model_validator

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.protocols import EndpointPolicy

Preset = Literal["fast", "balanced", "careful"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The numbers of one preset; silences in ms from the estimated last speech sample."""

    high_probability: float
    high_silence_ms: float
    mid_probability: float
    mid_silence_ms: float
    low_silence_ms: float
    complete_silence_ms: float
    open_silence_ms: float
    max_silence_ms: float
    fallback_silence_ms: float
    check_at_ms: tuple[float, ...]


PRESETS: dict[Preset, Thresholds] = {
    "fast": Thresholds(0.8, 160.0, 0.5, 300.0, 700.0, 400.0, 700.0, 1000.0, 500.0, (80.0, 240.0, 500.0)),
    "balanced": Thresholds(0.9, 200.0, 0.5, 400.0, 1000.0, 600.0, 1000.0, 1800.0, 700.0, (100.0, 300.0, 700.0)),
    "careful": Thresholds(0.95, 300.0, 0.6, 700.0, 1400.0, 900.0, 1400.0, 2500.0, 1000.0, (200.0, 500.0, 1000.0)),
}


class PatienceOptions(EngineOptions):
    """A preset, and the thresholds one by one: one that is set replaces the preset's."""

    preset: Preset = option(
        "balanced", "How soon a turn ends: `fast` answers sooner, `careful` cuts fewer people off in a pause."
    )
    high_probability: float | None = option(
        None, "From this end probability on, `high_silence_ms` of silence is enough; default: the preset's.", ge=0, le=1
    )
    high_silence_ms: float | None = option(
        None, "Silence that ends a turn at high probability; default: the preset's.", unit="ms", gt=0
    )
    mid_probability: float | None = option(
        None, "From this end probability on, `mid_silence_ms` of silence is enough; default: the preset's.", ge=0, le=1
    )
    mid_silence_ms: float | None = option(
        None, "Silence that ends a turn at middling probability; default: the preset's.", unit="ms", gt=0
    )
    low_silence_ms: float | None = option(
        None, "Silence that ends a turn at a probability below `mid_probability`; default: the preset's.", unit="ms",
        gt=0,
    )  # fmt: skip
    complete_silence_ms: float | None = option(
        None,
        "Enough where the words are a whole utterance, however low the probability; default: the preset's.",
        unit="ms",
        gt=0,
    )
    open_silence_ms: float | None = option(
        None,
        'At least this much where the words ask for more ("and", "um", half a number), however high the probability; '
        "default: the preset's.",
        unit="ms",
        ge=0,
    )
    adapt: bool = option(
        True, "Wait longer for a speaker who pauses longer, within bounds; see `antiphon.pipeline.pauses`."
    )
    max_silence_ms: float | None = option(
        None, "The hard cap: silence that ends a turn whatever else is known; default: the preset's.", unit="ms", gt=0
    )
    fallback_silence_ms: float | None = option(
        None, "Silence that ends a turn when the detector failed or is late; default: the preset's.", unit="ms", gt=0
    )
    check_at_ms: tuple[float, ...] | None = option(
        None, "Silences, rising, after which the detector is asked; default: the preset's.", unit="ms", min_length=1
    )

    def thresholds(self) -> Thresholds:
        """The preset's numbers, with those that are set in their place."""
        preset = PRESETS[self.preset]
        values = {name: getattr(self, name) for name in Thresholds.__slots__}
        return Thresholds(**{name: getattr(preset, name) if value is None else value for name, value in values.items()})

    def policy(self) -> EndpointPolicy:
        """The thresholds as the turn machine takes them."""
        chosen = self.thresholds()
        return EndpointPolicy(
            silence_ms=chosen.fallback_silence_ms,
            steps=(
                (chosen.high_probability, chosen.high_silence_ms),
                (chosen.mid_probability, chosen.mid_silence_ms),
            ),
            check_at_ms=chosen.check_at_ms,
            low_silence_ms=chosen.low_silence_ms,
            complete_silence_ms=chosen.complete_silence_ms,
            open_silence_ms=chosen.open_silence_ms,
            max_silence_ms=chosen.max_silence_ms,
            adapts=self.adapt,
        )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        chosen = self.thresholds()
        if chosen.high_probability < chosen.mid_probability:
            raise ValueError(
                f"high_probability ({chosen.high_probability:g}) must not be below "
                f"mid_probability ({chosen.mid_probability:g})"
            )
        silences = ("high_silence_ms", "mid_silence_ms", "low_silence_ms", "max_silence_ms")
        for shorter, longer in pairwise(silences):
            if getattr(chosen, shorter) > getattr(chosen, longer):
                raise ValueError(
                    f"{shorter} ({getattr(chosen, shorter):g}) must not be above {longer} "
                    f"({getattr(chosen, longer):g}; from preset '{self.preset}' where you did not set it)"
                )
        for name in ("fallback_silence_ms", "complete_silence_ms", "open_silence_ms"):
            if getattr(chosen, name) > chosen.max_silence_ms:
                raise ValueError(
                    f"{name} ({getattr(chosen, name):g}) must not be above max_silence_ms "
                    f"({chosen.max_silence_ms:g}; from preset '{self.preset}' where you did not set it)"
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
