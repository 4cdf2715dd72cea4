"""What each lever is worth: all on, then each off in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import REACH_PX, Axis, axis, grid, picture, title
from antiphon.benchmarks.report.figures import Estimate, difference
from antiphon.benchmarks.report.markup import Child, Html, join, percent, tag
from antiphon.benchmarks.report.sections import (
    Report,
    Section,
    chart_cell,
    ci,
    company,
    figure_table,
    number_cell,
    percentile,
    plain_table,
    with_line,
)

ROW_PX = 34


def levers(report: Report) -> Section | None:
    rows = (report.result.ablation or {}).get("levers") or ()
    if not rows:
        return None
    runs = [(_name(row, at), report.result.configs[row["result"]]) for at, row in enumerate(rows)]
    base = runs[0][1]
    changes = [None if at == 0 else difference(base, run) for at, (_, run) in enumerate(runs)]
    return Section(
        id="levers",
        title="What each lever is worth",
        short="Levers",
        body=join(
            tag(
                "p",
                "One run with all levers on, then one with each of them off. To the right: answers came later without "
                "the lever, so it earns its place. An interval that crosses zero shows no effect.",
            ),
            _forest(runs, changes),
            _table(runs, changes),
        ),
    )


def _name(row: Mapping[str, Any], at: int) -> str:
    name = str(row.get("lever") or "").strip()
    if at == 0:
        return name.replace("_", " ") if name else "all on"
    return f"without {name.replace('_', ' ')}" if name else f"lever {at}"


def _forest(runs: Sequence[tuple[str, ConfigResult]], changes: Sequence[Estimate | None]) -> Html | None:
    """The change of the median TTFA for each lever, with its interval."""
    known = [change for change in changes if change is not None]
    if not known:
        return None
    ends = [end for change in known for end in (change.value, *(change.interval or ()))]
    x = axis(ends, least=50)
    rows = [
        tag(
            "tr",
            tag("th", name, with_line(company(run)), scope="row", role="rowheader"),
            _change(name, change, x),
            number_cell("change", _shown(change)),
            number_cell("TTFA p50", percentile(run.ttfa_ms, "p50")),
            role="row",
            class_="base" if at == 0 else None,
        )
        for at, ((name, run), change) in enumerate(zip(runs, changes, strict=True))
    ]
    return figure_table(
        "Change of TTFA when a lever is off: the median over clips, in pairs, with its 95 % interval.",
        "",
        x,
        "ms later without it",
        ("change", "TTFA p50"),
        rows,
        text=lambda value: f"{'+' if value > 0 else ''}{texts.plain(value)}",
    )


def _change(name: str, change: Estimate | None, x: Axis) -> Html:
    middle = ROW_PX / 2
    if change is None:
        return chart_cell(ROW_PX, grid(x, ROW_PX, reach=REACH_PX), label=f"{name}: nothing to compare")
    spot = percent(x.at(change.value))
    marks: list[Child] = [grid(x, ROW_PX, reach=REACH_PX)]
    if change.interval is not None:
        low, high = (percent(x.at(value)) for value in change.interval)
        marks.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_="mid"))
        for end in (low, high):
            marks.append(tag("line", x1=end, x2=end, y1=middle - 4, y2=middle + 4, class_="mid"))
    said = f"{name}: {texts.signed_ms(change.value)}, n = {change.n} clips"
    marks.append(tag("circle", title(said), cx=spot, cy=middle, r=5.5, class_="point"))
    clear = has_effect(change)
    return tag(
        "td",
        tag("div", picture(ROW_PX, *marks, label=said), class_="hue0" if clear else "peer"),
        class_="chart",
        role="cell",
    )


def has_effect(change: Estimate) -> bool:
    """Whether the interval leaves zero out."""
    return change.interval is not None and not change.interval[0] <= 0 <= change.interval[1]


def _shown(change: Estimate | None) -> Child:
    if change is None:
        return texts.NONE
    return join(texts.signed_ms(change.value), ci(texts.interval(change.interval)))


def _table(runs: Sequence[tuple[str, ConfigResult]], changes: Sequence[Estimate | None]) -> Html:
    head = (
        "",
        "TTFA p50 / p95",
        "false cutoffs",
        "WER",
        "missed",
        "n",
        "compute not hidden p50 / p95",
        "commit delay p50",
        "CPU a turn",
        "wasted a turn",
        "hit rate",
    )
    rows = []
    for at, ((name, run), change) in enumerate(zip(runs, changes, strict=True)):
        label = None
        if change is not None and change.interval is not None and not has_effect(change):
            label = tag("span", "no effect shown", class_="tag", style="margin-left:8px")
        cells = (
            texts.p50_p95(run.ttfa_ms),
            texts.rate(run.false_cutoff_rate),
            texts.rate(run.wer),
            texts.rate(run.missed_rate),
            str(run.ttfa_ms.n),
            texts.p50_p95(run.compute_after_commit_ms),
            texts.ms(run.commit_delay_ms.p50),
            texts.seconds(run.cpu_s_per_turn),
            texts.seconds(run.wasted_s_per_turn),
            texts.rate(run.speculation_hit_rate),
        )
        rows.append(
            tag(
                "tr",
                tag("th", name, label, scope="row"),
                (tag("td", cell) for cell in cells),
                class_="base" if at == 0 else None,
            )
        )
    return plain_table("All numbers of the same runs", head, rows)
