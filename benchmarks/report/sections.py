"""What every section of the report shares: its frame, the company that a TTFA keeps, rows with a chart in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.benchmarks.records import BenchResult, ConfigResult, Summary
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import Axis, picture, scale, swatch
from antiphon.benchmarks.report.markup import NBSP, Child, Html, breakable, join, tag
from antiphon.benchmarks.report.reading import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the sections are made from."""

    result: BenchResult
    configs: Sequence[Entry]
    peers: Sequence[Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the page."""

    id: str
    title: str
    short: str
    """Its name in the navigation."""
    body: Html


def framed(part: Section) -> Html:
    return tag(
        "section",
        tag("h2", part.title, id=f"{part.id}-title"),
        part.body,
        id=part.id,
        aria_labelledby=f"{part.id}-title",
    )


def note(*children: Child) -> Html:
    return tag("p", *children, class_="note")


def company(result: ConfigResult) -> str:
    """What must stand beside every TTFA: false cutoffs, word errors and misses of the same run."""
    return (
        f"false{NBSP}cutoffs{NBSP}{texts.rate(result.false_cutoff_rate)} · WER{NBSP}{texts.rate(result.wer)} · "
        f"missed{NBSP}{texts.rate(result.missed_rate)}"
    )


def with_line(text: str) -> Html:
    return tag("span", text, class_="with")


def ci(text: str) -> Html | None:
    """A second line under a number: its interval."""
    return tag("span", text, class_="ci") if text else None


def percentile(summary: Summary, name: str) -> Html:
    """A percentile with its interval beneath."""
    value: float | None = getattr(summary, name)
    bounds: tuple[float, float] | None = getattr(summary, f"{name}_interval", None)
    return join(texts.ms(value), ci(texts.interval(bounds)) if value is not None else None)


def who(entry: Entry, *, marked: bool = True) -> Html:
    """The swatch and the name, kept together; `marked`: a peer is called one."""
    mark = tag("span", "peer", class_="tag") if entry.is_peer and marked else None
    return tag("span", swatch(entry.color), breakable(entry.label), mark, class_="who")


def name_cell(entry: Entry, *more: Child) -> Html:
    """The first cell of a row: who it is, and below it what its TTFA was bought with."""
    return tag(
        "th",
        who(entry),
        with_line(company(entry.result)),
        *more,
        scope="row",
        role="rowheader",
    )


def figure_table(
    caption: str,
    first: str,
    x: Axis,
    x_title: str,
    numbers: Sequence[str],
    rows: Sequence[Html],
    *,
    over: Child = None,
    text: Callable[[float], str] = texts.plain,
) -> Html:
    """A table in which one column is a chart: all rows share its axis, which stands in the head.

    Each row is a `tr` with a header cell, a cell of class "chart", and one cell for each of `numbers`. Roles are
    written out, for a phone shows the rows as a grid, and would take them for no table otherwise.
    """
    axis_cell = tag(
        "th",
        tag("span", x_title),
        picture(32 if over else 18, over, scale(x, y=28 if over else 13, text=text)),
        class_="chart left",
        scope="col",
        role="columnheader",
    )
    head = tag(
        "tr",
        tag("th", first, scope="col", role="columnheader"),
        axis_cell,
        (tag("th", heading, scope="col", role="columnheader") for heading in numbers),
        role="row",
    )
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", head, role="rowgroup"),
        tag("tbody", rows, role="rowgroup"),
        class_="fig",
        role="table",
    )


def chart_cell(height: float, *marks: Child, label: str) -> Html:
    return tag("td", picture(height, *marks, label=label), class_="chart", role="cell")


def number_cell(heading: str, *children: Child) -> Html:
    """A number of a row; on a phone its heading is written before it."""
    return tag("td", *children, class_="n", data_h=heading, role="cell")


def plain_table(caption: str, head: Sequence[Child], rows: Sequence[Html], *, left: int = 1) -> Html:
    """A table of numbers that scrolls sideways where it must; the first `left` columns are text."""
    cells = (tag("th", heading, scope="col", class_="left" if at < left else None) for at, heading in enumerate(head))
    table = tag("table", tag("caption", caption), tag("thead", tag("tr", cells)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
