"""TTFA against false cutoffs: the settings of a sweep as points, and the front that no setting beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from antiphon.benchmarks.records import ConfigResult, TurnRecord
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import Axis, axis, curve, grid, plot, title
from antiphon.benchmarks.report.figures import pareto_front, spoken_turns, wilson
from antiphon.benchmarks.report.markup import NBSP, Child, Html, join, percent, tag
from antiphon.benchmarks.report.reading import setting
from antiphon.benchmarks.report.sections import Report, Section, ci, company, note, percentile, plain_table

HEIGHT_PX = 280
LAID_OUT_FOR_PX = 440
"""Labels are kept apart at this width."""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of the sweep."""

    number: int
    settings: dict[str, Any]
    result: ConfigResult

    @property
    def rate(self) -> float | None:
        return self.result.false_cutoff_rate

    def name(self, keys: Sequence[str]) -> str:
        return ", ".join(f"{key} {setting(self.settings[key])}" for key in keys if key in self.settings) or "as it is"


def endpointing(report: Report) -> Section | None:
    points = _points(report)
    if not points:
        return None
    keys = _keys(report, points)
    ours, late = _front(points, "p50"), _front(points, "p95")
    return Section(
        id="endpointing",
        title="Time to first audio against false cutoffs",
        short="Cutoffs",
        body=join(
            tag(
                "p",
                "Waiting longer cuts fewer people off and answers later. Each point is one setting; on the front no "
                "other setting is both faster and safer. Numbers are the rows of the table.",
            ),
            tag(
                "div",
                _panel(points, keys, ours, "p50", "Median"),
                _panel(points, keys, late, "p95", "95th percentile"),
                class_="panels",
            ),
            _key(),
            _table(points, keys, ours, late),
        ),
    )


def _points(report: Report) -> list[Point]:
    found = (report.result.sweep or {}).get("points") or ()
    return [
        Point(number, dict(point.get("settings") or {}), report.result.configs[point["result"]])
        for number, point in enumerate(found, 1)
    ]


def _keys(report: Report, points: Sequence[Point]) -> list[str]:
    """The settings that differ between points, in the order of the sweep."""
    keys = [str(key) for key in (report.result.sweep or {}).get("keys") or ()]
    keys += [key for point in points for key in point.settings if key not in keys]
    keys = list(dict.fromkeys(keys))
    varied = [key for key in keys if len({setting(point.settings.get(key)) for point in points}) > 1]
    return varied or keys


def _ttfa(point: Point, which: str) -> float | None:
    value: float | None = getattr(point.result.ttfa_ms, which)
    return value


def _front(points: Sequence[Point], which: str) -> list[Point]:
    drawn = [(point, point.rate, _ttfa(point, which)) for point in points]
    known = [(point, rate, ttfa) for point, rate, ttfa in drawn if rate is not None and ttfa is not None]
    return [known[index][0] for index in pareto_front([(rate, ttfa) for _, rate, ttfa in known])]


# ---------------------------------------------------------------------------------------- the chart


def _panel(points: Sequence[Point], keys: Sequence[str], front: Sequence[Point], which: str, name: str) -> Html | None:
    drawn = [point for point in points if point.rate is not None and _ttfa(point, which) is not None]
    if not drawn:
        return None
    x = axis([point.rate or 0.0 for point in drawn], least=0.02, count=5)
    y = axis([_ttfa(point, which) or 0.0 for point in drawn], least=100, count=5)
    spots = {point.number: (x.at(point.rate or 0.0), y.down(_ttfa(point, which) or 0.0, HEIGHT_PX)) for point in drawn}
    line = [spots[point.number] for point in front]
    if line:  # from the top of the picture down to the front, and on to the right: where nothing is better
        line = [(line[0][0], 0.0), *line, (x.at(x.high), line[-1][1])]
    on_front = {point.number for point in front}
    marks = [_mark(point, spots[point.number], keys, which, point.number in on_front, x, y) for point in drawn]
    labels = _labels(spots, on_front)
    chart = plot(
        x,
        y,
        HEIGHT_PX,
        grid(x, HEIGHT_PX),
        _spread(drawn, x, spots),
        curve(_stairs(line), HEIGHT_PX, "curve front"),
        marks,
        labels,
        label=f"{name} TTFA against the false-cutoff rate of {len(drawn)} settings; {len(front)} are on the front. "
        "The table below has the numbers.",
        x_title="false-cutoff rate",
        y_title=f"TTFA {which}, ms",
        x_text=lambda value: f"{100 * value:g} %",
    )
    return tag("div", tag("h3", f"{name} (TTFA {which})"), chart)


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Between two points of a front the worse of both is what can be had: first right, then down."""
    path = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        path += [(x, before), (x, y)]
    return path


def _spread(points: Sequence[Point], x: Axis, spots: dict[int, tuple[float, float]]) -> Html:
    """The interval of each false-cutoff rate."""
    lines = []
    for point in points:
        bounds = wilson(point.result.cutoffs, point.result.turns)
        if bounds is not None:
            y = spots[point.number][1]
            low, high = x.at(bounds[0]), x.at(bounds[1])
            lines.append(tag("line", x1=percent(low), x2=percent(high), y1=y, y2=y, class_="err"))
    return join(lines)


def _mark(point: Point, spot: tuple[float, float], keys: Sequence[str], which: str, on: bool, x: Axis, y: Axis) -> Html:
    said = f"{point.number}: {point.name(keys)}\nTTFA {which} {texts.ms(_ttfa(point, which))}\n{company(point.result)}"
    return tag(
        "circle",
        title(said),
        cx=percent(spot[0]),
        cy=spot[1],
        r=5.5 if on else 4.5,
        class_=f"point {'on' if on else 'off'}",
    )


def _labels(spots: dict[int, tuple[float, float]], on_front: set[int]) -> Html:
    """The number beside each point, where it covers neither a point nor a number; the front's come first."""
    taken = [(x / 100 * LAID_OUT_FOR_PX, y, 7.0) for x, y in spots.values()]
    found = []
    for number in sorted(spots, key=lambda number: (number not in on_front, number)):
        x, y = spots[number][0] / 100 * LAID_OUT_FOR_PX, spots[number][1]
        for dx, dy in ((10, -9), (-10, -9), (10, 10), (-10, 10), (0, -14), (0, 15), (16, 0), (-16, 0)):
            if all(abs(x + dx - tx) >= 6 + size or abs(y + dy - ty) >= 5 + size / 2 for tx, ty, size in taken):
                break
        else:
            if number not in on_front:
                continue
            dx, dy = 10, -9
        taken.append((x + dx, y + dy, 7.0))
        found.append(
            tag(
                "text",
                str(number),
                x=percent(spots[number][0]),
                dx=dx,
                y=y + dy + 4,
                text_anchor="middle",
                class_="mark" if number in on_front else "mark off",
            )
        )
    return join(found)


def _key() -> Html:
    items: tuple[tuple[str, Html], ...] = (
        ("on the front", tag("circle", cx=8, cy=8, r=5, class_="point on")),
        ("another setting beats it", tag("circle", cx=8, cy=8, r=4.5, class_="point off")),
        ("the front", tag("path", d="M0 8H16", class_="curve front")),
        ("95 % interval of the rate", tag("line", x1=0, x2=16, y1=8, y2=8, class_="err")),
    )
    return tag(
        "ul",
        (tag("li", tag("svg", mark, width=16, height=16, aria_hidden="true"), text) for text, mark in items),
        class_="key",
    )


# ---------------------------------------------------------------------------------------- the table


def _table(points: Sequence[Point], keys: Sequence[str], ours: Sequence[Point], late: Sequence[Point]) -> Html:
    halves = [split for split in ("tune", "held_out") if any(_of_split(point, split) for point in points)]
    head = [
        "#",
        *keys,
        "false cutoffs",
        *(f"{split.replace('_', ' ')} half" for split in halves),
        "missed",
        "TTFA p50",
        "TTFA p95",
        "WER",
        "commit delay p50",
    ]
    ordered = sorted(points, key=lambda point: (point.rate is None, point.rate or 0.0, point.number))
    rows = []
    for point in ordered:
        fronts = point in ours or point in late
        cells: list[Child] = [
            *(setting(point.settings[key]) if key in point.settings else texts.NONE for key in keys),
            _rate(point.rate, point.result.cutoffs, point.result.turns),
            *(_split_rate(point, split) for split in halves),
            texts.rate(point.result.missed_rate),
            percentile(point.result.ttfa_ms, "p50"),
            percentile(point.result.ttfa_ms, "p95"),
            texts.rate(point.result.wer),
            texts.ms(point.result.commit_delay_ms.p50),
        ]
        rows.append(
            tag(
                "tr",
                tag(
                    "th",
                    tag(
                        "span", str(point.number), tag("span", "front", class_="tag") if fronts else None, class_="rank"
                    ),
                    scope="row",
                ),
                (tag("td", cell, class_="left" if at < len(keys) else None) for at, cell in enumerate(cells)),
                class_="front" if fronts else None,
            )
        )
    more = (
        note("A setting is chosen on the half called tune; the other half was not looked at when choosing.")
        if halves
        else None
    )
    return join(plain_table("All settings, by false-cutoff rate", head, rows, left=len(keys) + 1), more)


def _rate(rate: float | None, part: int, whole: int) -> Html:
    bounds = wilson(part, whole) if rate is not None else None
    if bounds is None:
        return join(texts.rate(rate))
    return join(texts.rate(rate), ci(f"{texts.interval((100 * bounds[0], 100 * bounds[1]), 1)}{NBSP}%"))


def _of_split(point: Point, split: str) -> list[TurnRecord]:
    return [turn for turn in spoken_turns(point.result) if turn.split == split]


def _split_rate(point: Point, split: str) -> Html:
    turns = _of_split(point, split)
    cut = sum(turn.outcome == "cutoff" for turn in turns)
    return _rate(cut / len(turns) if turns else None, cut, len(turns))
