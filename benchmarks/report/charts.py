"""The parts that charts are made of: axes, grids, swarms of dots, curves.

Pictures are as wide as their place on the page without a script: x positions are per cent of the width, y positions
pixels, and text keeps its size. A curve lies in an inner SVG that is stretched, with a stroke that is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from antiphon.benchmarks.report.markup import Child, Html, join, number, percent, tag
from antiphon.benchmarks.report.texts import plain

EDGE = 1.5
"""Per cent of the width left free at both ends, so that a mark at the edge is whole."""
REACH_PX = 60
"""How far the lines of a row go on above and below it; its cell hides what is too much."""
USUAL_WIDTH_PX = 620
"""A swarm is laid out for this width; where it is narrower, its dots overlap a little."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear scale with ticks at round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Position in per cent of the width; values outside the axis lie at its ends."""
        inside = min(max(value, self.low), self.high)
        return EDGE + (100 - 2 * EDGE) * (inside - self.low) / (self.high - self.low)

    def down(self, value: float, height: float) -> float:
        """Position in pixels from the top of a picture of this height: the axis stands upright."""
        inside = min(max(value, self.low), self.high)
        return height * (1 - (inside - self.low) / (self.high - self.low))

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


def axis(
    values: Iterable[float], *, zero: bool = True, count: int = 6, least: float = 1.0, exact_low: bool = False
) -> Axis:
    """An axis over all values with about `count` ticks.

    :param zero: it begins at zero or below.
    :param least: the shortest span that is drawn.
    :param exact_low: it begins at the least value, not at the tick below it.
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, least)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < least:
        high = low + least
    step = _round_step((high - low) / max(count, 1))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 10) for index in range(first, last + 1))
    if exact_low and ticks[0] < low:
        return Axis(low, ticks[-1], ticks[1:])
    return Axis(ticks[0], ticks[-1], ticks)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough - 1e-12)


def picture(height: float, *children: Child, label: str = "", class_: str = "") -> Html:
    """An SVG over the whole width of its place. Without a label it is left out of what a screen reader says."""
    named = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return tag("svg", *children, width="100%", height=height, class_=f"pic {class_}".strip(), **named)


def grid(x: Axis, height: float, *, reach: float = 0) -> Html:
    """Vertical lines at the ticks; the one at zero stands out.

    :param reach: pixels beyond the picture, above and below: in rows of a table the lines go on from row to row.
    """
    return join(
        tag(
            "line",
            x1=percent(x.at(tick)),
            x2=percent(x.at(tick)),
            y1=-reach,
            y2=height + reach,
            class_="g zero" if tick == 0 else "g",
        )
        for tick in x.ticks
    )


def scale(x: Axis, *, y: float = 12, text: Callable[[float], str] = plain) -> Html:
    """The numbers of a horizontal axis; where there are many, every other one goes on a phone."""
    kept = (x.ticks.index(0.0) if 0.0 in x.ticks else 0) % 2
    return join(
        tag(
            "text",
            text(tick),
            x=percent(x.at(tick)),
            y=y,
            class_="tick odd" if index % 2 != kept and len(x.ticks) > 4 else "tick",
            text_anchor="middle",
        )
        for index, tick in enumerate(x.ticks)
    )


def title(text: str) -> Html:
    """What is shown over a mark, and read out."""
    return tag("title", text)


def swarm(positions: Sequence[float], radius: float, most: float) -> list[float]:
    """For each x (per cent of the width) a distance from the middle line, pixels, so that dots do not overlap.

    Where there is no room within `most` pixels, dots do overlap.
    """
    placed: list[tuple[float, float]] = []
    found = [0.0] * len(positions)
    offsets = [0.0]
    for index in range(1, int(most / radius) + 1):
        offsets += [index * radius, -index * radius]
    for index in sorted(range(len(positions)), key=lambda index: positions[index]):
        x = positions[index] / 100 * USUAL_WIDTH_PX
        near = [(px, py) for px, py in placed if x - px < 2 * radius + 0.5]
        found[index] = next(
            (y for y in offsets if all(math.hypot(x - px, y - py) >= 2 * radius for px, py in near)),
            offsets[len(near) % len(offsets)],
        )
        placed.append((x, found[index]))
    return found


def curve(points: Sequence[tuple[float, float]], height: float, class_: str, *, steps: bool = False) -> Html:
    """A line through points (x in per cent, y in pixels), straight or in steps (flat, then up or down)."""
    if not points:
        return Html("")
    path = [f"M{number(10 * points[0][0])} {number(points[0][1])}"]
    for x, y in points[1:]:
        path.append(f"H{number(10 * x)}V{number(y)}" if steps else f"L{number(10 * x)} {number(y)}")
    return tag(
        "svg",
        tag("path", d="".join(path), class_=class_, vector_effect="non-scaling-stroke"),
        width="100%",
        height=height,
        viewBox=f"0 0 1000 {number(height)}",
        preserveAspectRatio="none",
        class_="stretch",
    )


def plot(
    x: Axis,
    y: Axis,
    height: float,
    *marks: Child,
    label: str,
    x_title: str,
    y_title: str,
    x_text: Callable[[float], str] = plain,
    y_text: Callable[[float], str] = plain,
    x_ticks: bool = True,
) -> Html:
    """A framed chart with both axes: their titles are set level, above and below, so that nobody tilts the head."""
    numbers = join(
        tag("text", y_text(tick), x="100%", y=y.down(tick, height) + 4, class_="tick", text_anchor="end")
        for tick in y.ticks
    )
    lines = join(
        tag(
            "line",
            x1="0",
            x2="100%",
            y1=y.down(tick, height),
            y2=y.down(tick, height),
            class_="g base" if tick == y.low else "g",
        )
        for tick in y.ticks
    )
    below = scale(x, y=height + 18, text=x_text) if x_ticks else None
    return tag(
        "div",
        tag("div", y_title, class_="ytitle"),
        tag("svg", numbers, width="44", height=height + 24, class_="pic yaxis", aria_hidden="true"),
        picture(height + 24, lines, *marks, below, label=label),
        tag("div", x_title, class_="xtitle"),
        class_="plot",
    )


def hue(color: int | None) -> str:
    """The class that gives a configuration's or a peer's colour to what is inside."""
    return "peer" if color is None else f"hue{color % 8}"


def swatch(color: int | None) -> Html:
    return tag("span", class_=f"swatch {hue(color)}", aria_hidden="true")
