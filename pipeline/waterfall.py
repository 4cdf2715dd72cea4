"""A turn's waterfall: where the time between the user's last sample and the first audible one went. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STEPS: tuple[tuple[str, str], ...] = (
    ("vad_stop_s", "VAD stop"),
    ("commit_s", "commit"),
    ("stt_s", "STT"),
    ("first_token_s", "first token"),
    ("first_clause_s", "first clause"),
    ("first_audio_s", "first audio"),
    ("audible_s", "audible"),
)
"""Key in `Timings` and name, in the order of the chain."""


BESIDE_THE_BARS = 26
"""Columns that a line of :func:`render` has besides its bar."""


@dataclass(frozen=True, slots=True)
class Step:
    """One bar."""

    name: str
    done_ms: float
    """When it was done, from the last speech sample."""
    part_ms: float
    """What it adds to the whole: the time that nothing before it in the chain had covered. 0 for hidden work."""

    @property
    def start_ms(self) -> float:
        return self.done_ms - self.part_ms


def waterfall(timings: Mapping[str, float | None]) -> list[Step]:
    """The steps of one turn; their parts sum to the latest `done_ms`.

    :param timings: the `timings` of a `turn_ended` event.
    :returns: nothing where the end of speech is unknown.
    """
    zero_s = timings.get("speech_end_s")
    if zero_s is None:
        return []
    steps: list[Step] = []
    covered_ms = 0.0
    for key, name in STEPS:
        at_s = timings.get(key)
        if at_s is None:
            continue
        done_ms = (at_s - zero_s) * 1000
        part_ms = max(0.0, done_ms - covered_ms)
        covered_ms = max(covered_ms, done_ms)
        steps.append(Step(name, done_ms, part_ms))
    return steps


def total_ms(steps: list[Step]) -> float:
    """The whole: the sum of the parts."""
    return sum(step.part_ms for step in steps)


def render(steps: list[Step], width: int = 40) -> list[str]:
    """The waterfall as lines of text, `width` characters for the bars."""
    whole_ms = total_ms(steps)
    if not steps or whole_ms <= 0:
        return []
    lines = []
    shown_ms = 0
    for step in steps:
        begin = round(width * min(max(step.start_ms, 0.0), whole_ms) / whole_ms)
        length = max(1, round(width * step.part_ms / whole_ms)) if step.part_ms > 0 else 0
        begin = min(begin, width - length)
        mark = "█" * length if length else "·"
        bar = (" " * begin + mark).ljust(width)[:width] if length else (" " * max(0, begin - 1) + mark).ljust(width)
        # Rounded at the edges, not part by part: so the printed parts sum to the printed whole.
        printed_ms = round(step.done_ms) - shown_ms if step.part_ms > 0 else 0
        shown_ms += printed_ms
        part = f"{printed_ms:6d} ms" if step.part_ms > 0 else "   hidden"
        lines.append(f"  {step.name:<13}{bar} {part}")
    since = "since the last speech sample"
    since = since if len(since) <= width else ""
    lines.append(f"  {'sum':<13}{since:<{width}} {whole_ms:6.0f} ms")
    return lines
