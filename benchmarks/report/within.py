"""The share of turns answered within a time: one curve a configuration."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import Axis, axis, curve, grid, hue, plot
from antiphon.benchmarks.report.figures import answered_within, warm_ttfa
from antiphon.benchmarks.report.markup import Html, join, tag
from antiphon.benchmarks.report.reading import Entry
from antiphon.benchmarks.report.sections import company, note, who, with_line


def within(entries: Sequence[Entry]) -> Html | None:
    """The empirical distribution, over all turns: a turn without an answer keeps the curve below 100 %."""
    entries = [entry for entry in entries if warm_ttfa(entry.result)]
    if not entries:
        return None
    x = axis([time for entry in entries for time in warm_ttfa(entry.result)], least=100)
    y = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
    height = 240
    curves = [
        tag("g", curve(_steps(entry, x, y, height), height, f"curve d{at % 4}", steps=True), class_=hue(entry.color))
        for at, entry in enumerate(entries)
    ]
    legend = tag(
        "ul",
        (
            tag(
                "li",
                _line_sample(at, entry),
                tag("span", tag("b", entry.label), f": {company(entry.result)}"),
            )
            for at, entry in enumerate(entries)
        ),
        class_="key wide",
    )
    drawn = plot(
        x,
        y,
        height,
        grid(x, height),
        *curves,
        label="Share of turns answered within a time, one curve a configuration; the table below has the numbers",
        x_title="ms from the end of speech",
        y_title="Share of all warm turns answered by then",
        y_text=lambda value: f"{100 * value:.0f} %",
    )
    return join(
        tag("h3", "Share answered within a time"),
        legend,
        drawn,
        note("Turns that were cut off, missed or failed are never answered: a curve ends below 100 % by their share."),
        _within_table(entries),
    )


def _steps(entry: Entry, x: Axis, y: Axis, height: float) -> list[tuple[float, float]]:
    points = [(x.at(x.low), y.down(0, height))]
    share = 0.0
    for time, share in answered_within(entry.result):
        points.append((x.at(time), y.down(share, height)))
    return [*points, (x.at(x.high), y.down(share, height))]


def _line_sample(at: int, entry: Entry) -> Html:
    line = tag("path", d="M0 8H26", class_=f"curve d{at % 4}")
    return tag("svg", line, width=26, height=16, class_=hue(entry.color), aria_hidden="true")


def _within_table(entries: Sequence[Entry]) -> Html:
    limits = (200, 300, 400, 600, 800, 1000, 1500, 2000)
    head = tag("tr", tag("th", ""), (tag("th", f"{limit:,} ms", scope="col") for limit in limits))
    rows = []
    for entry in entries:
        steps = answered_within(entry.result)
        shares = [max((share for time, share in steps if time <= limit), default=0.0) for limit in limits]
        cells = (tag("td", texts.rate(share)) for share in shares)
        rows.append(tag("tr", tag("th", who(entry), with_line(company(entry.result)), scope="row"), cells))
    table = tag(
        "table", tag("caption", "Share of all warm turns answered within"), tag("thead", head), tag("tbody", rows)
    )
    return tag(
        "details",
        tag("summary", "The same as a table"),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="Share answered within a time"),
    )
