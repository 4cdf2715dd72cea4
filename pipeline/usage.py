"""What the engines used for a turn: the part that an answer was made from, and the part that was in vain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.engines.host import Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUsage:
    """What one engine used."""

    stage: str
    """"stt", "llm" or "tts"."""
    engine: str
    """As the configuration names it, with its model or voice; of a fallback chain the one that worked."""
    unit: str
    """"audio_s" (seconds of audio), "input_tokens", "output_tokens", "cached_tokens" (of the input tokens: those found
    evaluated), "output_pieces" (of answers that were stopped before the model told its tokens), "characters"."""
    amount: float
    wasted: float = 0.0
    """The part of `amount` that no answer was made from: speculation that was dropped, words heard over again."""


def usage_of(used: Iterable[Meter | None], wasted: Iterable[Meter | None] = ()) -> tuple[EngineUsage, ...]:
    """What meters have noted, by stage, engine and unit.

    :param used: of work that became part of an answer; `wasted`: of work that did not.
    """
    totals: dict[tuple[str, str, str], list[float]] = {}
    for meters, is_wasted in ((used, False), (wasted, True)):
        for meter in meters:
            for key, amount in meter.uses.items() if meter is not None else ():
                total = totals.setdefault(key, [0.0, 0.0])
                total[0] += amount
                total[1] += amount * is_wasted
    return tuple(
        EngineUsage(stage=stage, engine=engine, unit=unit, amount=round(total[0], 3), wasted=round(total[1], 3))
        for (stage, engine, unit), total in sorted(totals.items(), key=_order)
    )


_STAGES = ("stt", "llm", "tts")


def _order(entry: tuple[tuple[str, str, str], list[float]]) -> tuple[int, str, str]:
    (stage, engine, unit), _ = entry
    return (_STAGES.index(stage) if stage in _STAGES else len(_STAGES), engine, unit)


def summed(usages: Iterable[EngineUsage]) -> tuple[EngineUsage, ...]:
    """Totals by stage, engine and unit."""
    totals: dict[tuple[str, str, str], list[float]] = {}
    for one in usages:
        total = totals.setdefault((one.stage, one.engine, one.unit), [0.0, 0.0])
        total[0] += one.amount
        total[1] += one.wasted
    return tuple(
        EngineUsage(stage=stage, engine=engine, unit=unit, amount=round(total[0], 3), wasted=round(total[1], 3))
        for (stage, engine, unit), total in sorted(totals.items(), key=_order)
    )
