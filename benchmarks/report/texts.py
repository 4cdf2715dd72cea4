"""Numbers as a reader wants them: units, thousands, signs, and a dash for what was not measured."""

from __future__ import annotations

from datetime import UTC, datetime

from antiphon.benchmarks.records import Summary
from antiphon.benchmarks.report.markup import NBSP

NONE = "–"
MINUS = "−"


def plain(value: float | None, decimals: int = 0) -> str:
    """1571.4 -> "1,571"; None -> a dash."""
    if value is None:
        return NONE
    text = f"{abs(value):,.{decimals}f}"
    negative = value < 0 and any(digit in text for digit in "123456789")
    return (MINUS if negative else "") + text


def ms(value: float | None) -> str:
    return NONE if value is None else f"{plain(value)}{NBSP}ms"


def signed_ms(value: float | None) -> str:
    """With a plus sign where it is due: for differences and for times that may lie before zero."""
    return NONE if value is None else f"{'+' if round(value) > 0 else ''}{plain(value)}{NBSP}ms"


def seconds(value: float | None, decimals: int = 2) -> str:
    return NONE if value is None else f"{plain(value, decimals)}{NBSP}s"


def rate(value: float | None) -> str:
    """0.025 -> "2.5 %"."""
    return NONE if value is None else f"{plain(100 * value, 1)}{NBSP}%"


def times(value: float | None) -> str:
    """6.46 -> "6.5×"."""
    return NONE if value is None else f"{plain(value, 1 if value < 10 else 0)}×"


def interval(bounds: tuple[float, float] | None, decimals: int = 0) -> str:
    """ "231 to 262", or nothing. Words, for a dash between negative numbers is misread."""
    if bounds is None:
        return ""
    low, high = bounds
    return f"{plain(low, decimals)} to {plain(high, decimals)}".replace(" ", NBSP)


def share(part: int, whole: int) -> str:
    """ "1 of 40"."""
    return f"{part}{NBSP}of{NBSP}{whole}"


def count(number: int, noun: str) -> str:
    """ "1 turn", "2 turns"."""
    return f"{number:,}{NBSP}{noun}{'' if number == 1 else 's'}"


def when(created: str) -> str:
    """ "2026-11-20 10:00 UTC"; what is no time stands as it is."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def p50_p95(summary: Summary | None) -> str:
    """ "243 / 612 ms", or a dash."""
    if summary is None or summary.p50 is None:
        return NONE
    return f"{plain(summary.p50)} / {plain(summary.p95)}{NBSP}ms".replace(" ", NBSP)
