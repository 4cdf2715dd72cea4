"""How long answers took: every turn as a dot, the two parts of TTFA, and the share answered within a time."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.benchmarks.records import Summary, TurnRecord
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import (
    REACH_PX,
    Axis,
    axis,
    grid,
    hue,
    swarm,
    title,
)
from antiphon.benchmarks.report.markup import Html, join, percent, tag
from antiphon.benchmarks.report.reading import Entry
from antiphon.benchmarks.report.sections import (
    Report,
    Section,
    chart_cell,
    company,
    figure_table,
    name_cell,
    number_cell,
    percentile,
    with_line,
)
from antiphon.benchmarks.report.within import within

HUMAN_GAP_MS = 208
"""Mean gap between the turns of people, over ten languages (Stivers et al., PNAS 2009)."""
STRIP_PX = 58
PARTS_PX = 40


def distributions(report: Report) -> Section | None:
    entries = [entry for entry in report.configs if _times(entry)]
    if not entries:
        return None
    return Section(
        id="times",
        title="Time to first audio",
        short="Times",
        body=join(
            strips(entries, "Every answered turn is one dot; cold turns are hollow and not in the percentiles."),
            strip_key(),
            _parts(entries),
            within(entries),
        ),
    )


# ------------------------------------------------------------------------------------------ strips


def strips(entries: Sequence[Entry], caption: str) -> Html:
    """One row of dots for each configuration or peer, all on one axis."""
    x = axis([time for entry in entries for time in _times(entry)], least=100)
    gap = x.at(HUMAN_GAP_MS)
    over = join(
        tag("line", x1=percent(gap), x2=percent(gap), y1=2, y2=15, class_="ref"),
        tag("line", x1=percent(gap), x2=percent(gap), y1=31, y2=31 + REACH_PX, class_="ref"),
        tag("text", f"people: {HUMAN_GAP_MS} ms", x=percent(gap), dx=5, y=11, class_="reftext"),
    )
    rows = [
        tag(
            "tr",
            name_cell(entry, with_line(f"n = {entry.result.ttfa_ms.n} warm turns")),
            _strip(entry, x),
            number_cell("p50", percentile(entry.result.ttfa_ms, "p50")),
            number_cell("p95", percentile(entry.result.ttfa_ms, "p95")),
            role="row",
        )
        for entry in entries
    ]
    return figure_table(
        caption, "", x, "TTFA, ms from the end of speech", ("p50", "p95"), rows, over=over if x.holds(200) else None
    )


def strip_key() -> Html:
    marks = (
        ("one turn", tag("circle", cx=8, cy=8, r=4, class_="dot")),
        ("cold turn", tag("circle", cx=8, cy=8, r=3.6, class_="dot cold")),
        ("p50, with its 95 % interval", join(_mark("band"), tag("line", x1=8, x2=8, y1=0, y2=16, class_="mid"))),
        ("p95", tag("line", x1=8, x2=8, y1=0, y2=16, class_="late")),
        ("mean gap between people's turns", tag("line", x1=8, x2=8, y1=0, y2=16, class_="ref")),
    )
    return tag(
        "ul",
        (tag("li", tag("svg", mark, width=16, height=16, aria_hidden="true"), text) for text, mark in marks),
        class_="key peer",
    )


def _mark(class_: str) -> Html:
    return tag("rect", x=1, y=0, width=14, height=16, class_=class_)


def _strip(entry: Entry, x: Axis) -> Html:
    turns = [turn for turn in entry.records if turn.ttfa_ms is not None]
    spots = [x.at(turn.ttfa_ms or 0.0) for turn in turns]
    radius = 4.0 if len(turns) <= 60 else 3.0 if len(turns) <= 200 else 2.2
    offsets = swarm(spots, radius, STRIP_PX / 2 - radius - 2)
    dots = [
        tag(
            "circle",
            title(_says(turn)),
            cx=percent(spot),
            cy=STRIP_PX / 2 + offset,
            r=radius,
            class_="dot cold" if turn.cold else "dot",
        )
        for turn, spot, offset in zip(turns, spots, offsets, strict=True)
    ]
    ttfa = entry.result.ttfa_ms
    gap = percent(x.at(HUMAN_GAP_MS))
    return chart_cell(
        STRIP_PX,
        grid(x, STRIP_PX, reach=REACH_PX),
        tag("line", x1=gap, x2=gap, y1=-REACH_PX, y2=STRIP_PX + REACH_PX, class_="ref")
        if x.holds(HUMAN_GAP_MS)
        else None,
        tag(
            "g",
            _band(x, ttfa),
            dots,
            _upright(x, ttfa.p50, "mid"),
            _upright(x, ttfa.p95, "late"),
            class_=hue(entry.color),
        ),
        label=f"{entry.label}: TTFA of {len(turns)} turns, median {texts.ms(ttfa.p50)}, p95 {texts.ms(ttfa.p95)}; "
        f"{company(entry.result)}",
    )


def _band(x: Axis, ttfa: Summary) -> Html | None:
    if ttfa.p50_interval is None:
        return None
    low, high = (x.at(value) for value in ttfa.p50_interval)
    return tag("rect", x=percent(low), width=percent(max(high - low, 0)), y=2, height=STRIP_PX - 4, class_="band")


def _upright(x: Axis, value: float | None, class_: str) -> Html | None:
    if value is None:
        return None
    return tag("line", x1=percent(x.at(value)), x2=percent(x.at(value)), y1=2, y2=STRIP_PX - 2, class_=class_)


def _says(turn: TurnRecord) -> str:
    lines = [f"{turn.clip}{' (cold)' if turn.cold else ''}", f"TTFA {texts.ms(turn.ttfa_ms)}"]
    if turn.commit_delay_ms is not None:
        lines.append(
            f"commit delay {texts.ms(turn.commit_delay_ms)}, "
            f"compute not hidden {texts.signed_ms(turn.compute_after_commit_ms)}"
        )
    return "\n".join(lines)


def _times(entry: Entry) -> list[float]:
    return [turn.ttfa_ms for turn in entry.records if turn.ttfa_ms is not None]


# ------------------------------------------------------------------------------------------- parts


def _parts(entries: Sequence[Entry]) -> Html | None:
    """The commit delay and the compute that was not hidden, each as its own bar."""
    known = [entry for entry in entries if entry.result.commit_delay_ms.p50 is not None]
    if not known:
        return None
    both = [(entry.result.commit_delay_ms, entry.result.compute_after_commit_ms) for entry in known]
    x = axis([value or 0.0 for pair in both for part in pair for value in (part.p50, part.p95)], least=100)
    rows = [
        tag(
            "tr",
            name_cell(entry),
            chart_cell(
                PARTS_PX,
                grid(x, PARTS_PX, reach=REACH_PX),
                _bar(x, commit, 6, "wait", "commit delay"),
                _bar(x, compute, 23, "compute", "compute not hidden"),
                label=f"{entry.label}: commit delay {texts.p50_p95(commit)}, compute not hidden "
                f"{texts.p50_p95(compute)} (p50 / p95)",
            ),
            number_cell("commit", texts.p50_p95(commit)),
            number_cell("compute", texts.p50_p95(compute)),
            role="row",
        )
        for entry, (commit, compute) in zip(known, both, strict=True)
    ]
    return join(
        tag("h3", "What TTFA is made of"),
        figure_table(
            "Bars are medians, whiskers reach to p95. Medians of the parts need not add up to the median of TTFA.",
            "",
            x,
            "ms",
            ("commit delay p50 / p95", "compute not hidden p50 / p95"),
            rows,
        ),
        _bar_key(),
    )


def _bar_key() -> Html:
    parts = (("commit delay: waiting until the turn has surely ended", "wait"), ("compute not hidden", "compute"))
    return tag(
        "ul",
        (
            tag(
                "li",
                tag(
                    "svg",
                    tag("rect", y=3, width=16, height=10, class_=f"bar {class_}"),
                    width=16,
                    height=16,
                    aria_hidden="true",
                ),
                text,
            )
            for text, class_ in parts
        ),
        class_="key",
    )


def _bar(x: Axis, part: Summary, y: float, class_: str, name: str) -> Html | None:
    if part.p50 is None:
        return None
    left, right = sorted((x.at(0), x.at(part.p50)))
    late = x.at(part.p95 if part.p95 is not None else part.p50)
    return tag(
        "g",
        title(f"{name}: p50 {texts.ms(part.p50)}, p95 {texts.ms(part.p95)}, n = {part.n}"),
        tag("rect", x=percent(left), y=y, width=percent(max(right - left, 0.2)), height=11, class_=f"bar {class_}"),
        tag("line", x1=percent(right), x2=percent(late), y1=y + 5.5, y2=y + 5.5, class_=f"whisk {class_}"),
        tag("line", x1=percent(late), x2=percent(late), y1=y + 1.5, y2=y + 9.5, class_=f"whisk {class_}"),
    )
