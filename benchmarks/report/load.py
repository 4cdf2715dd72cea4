"""TTFA against load: percentiles by the number of sessions, the event loop's lag, and where it breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from antiphon.benchmarks.records import ConfigResult
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import Axis, axis, curve, hue, plot, title
from antiphon.benchmarks.report.markup import NBSP, Child, Html, join, percent, tag
from antiphon.benchmarks.report.sections import Report, Section, company, percentile, plain_table

HEIGHT_PX = 220


@dataclass(frozen=True, slots=True)
class Step:
    """One number of sessions."""

    sessions: int
    result: ConfigResult
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lag_ms(self) -> float | None:
        """The event loop's lag, p99.9."""
        lag = self.more.get("loop_lag_ms")
        inside = lag if isinstance(lag, Mapping) else {}
        found = (self.more.get("loop_lag_p999_ms"), inside.get("p999"), inside.get("p99_9"))
        return next((float(value) for value in found if isinstance(value, int | float)), None)

    @property
    def broke(self) -> str:
        """Why it counts as broken; empty: it held."""
        said = self.more.get("broken") or self.more.get("breaks")
        return "" if not said else said if isinstance(said, str) else "broken"


@dataclass(frozen=True, slots=True)
class Series:
    """One configuration under rising load."""

    label: str
    color: int
    steps: list[Step]
    breaks_at: int | None
    """Sessions from which on it counts as broken."""


def load(report: Report) -> Section | None:
    found = _series(report)
    if not found:
        return None
    counts = sorted({step.sessions for series in found for step in series.steps})
    low, high = counts[0], counts[-1]
    x = Axis(float(low), float(high) if high > low else low + 1.0, tuple(float(count) for count in counts))
    panels = [_times(found, x), _rates(found, x), _lag(found, x)]
    return Section(
        id="load",
        title="Time to first audio against load",
        short="Load",
        body=join(
            tag("p", "Sessions speak at the same time, each with its own clips. ", _limits(found)),
            _key(found),
            tag("div", panels, class_="panels three"),
            (_table(series) for series in found),
        ),
    )


def _series(report: Report) -> list[Series]:
    """From `load`; else from configurations that were run at more than one concurrency."""
    result = report.result
    steps = (result.load or {}).get("steps") or ()
    if steps:
        made = [
            Step(_sessions(step, result.configs[step["result"]]), result.configs[step["result"]], step)
            for step in steps
        ]
        made.sort(key=lambda step: step.sessions)
        said = (result.load or {}).get("breaks_at")
        first = next((step.sessions for step in made if step.broke), None)
        label = str((result.load or {}).get("config") or made[0].result.config)
        return [Series(label, 0, made, said if isinstance(said, int) else first)]
    by_config: dict[str, list[Step]] = {}
    for entry in report.configs:
        name = entry.label.rpartition(" · ")[0] or entry.label
        by_config.setdefault(name, []).append(Step(entry.result.concurrency, entry.result))
    rising = [(name, steps) for name, steps in by_config.items() if len({step.sessions for step in steps}) > 1]
    return [
        Series(name, at, sorted(steps, key=lambda step: step.sessions), None) for at, (name, steps) in enumerate(rising)
    ]


def _sessions(step: Mapping[str, Any], result: ConfigResult) -> int:
    said = step.get("sessions")
    return said if isinstance(said, int) and said > 0 else result.concurrency


def _limits(found: Sequence[Series]) -> str:
    said = []
    for series in found:
        if series.breaks_at is None:
            continue
        why = next((step.broke for step in series.steps if step.sessions == series.breaks_at), "")
        said.append(
            f"{series.label} breaks at {texts.count(series.breaks_at, 'session')}"
            + (f": {why}." if why and why != "broken" else ".")
        )
    return " ".join(said)


# --------------------------------------------------------------------------------------- the charts


def _times(found: Sequence[Series], x: Axis) -> Html | None:
    known = [value for series in found for step in series.steps for value in _both(step) if value is not None]
    if not known:
        return None
    y = axis(known, least=100, count=5)
    lines = [
        _line(series, x, y, [(step.sessions, getattr(step.result.ttfa_ms, which)) for step in series.steps], which)
        for series in found
        for which in ("p50", "p95")
    ]
    return _panel("Time to first audio", x, y, found, lines, "TTFA p50 and p95, ms")


def _both(step: Step) -> tuple[float | None, float | None]:
    return step.result.ttfa_ms.p50, step.result.ttfa_ms.p95


def _rates(found: Sequence[Series], x: Axis) -> Html | None:
    """False cutoffs (full) and misses (dashed): a load that is borne by not answering is not borne."""
    series_of = [
        (series, name, [(step.sessions, getattr(step.result, name)) for step in series.steps])
        for series in found
        for name in ("false_cutoff_rate", "missed_rate")
    ]
    known = [value for _, _, points in series_of for _, value in points if value is not None]
    if not known:
        return None
    y = axis(known, least=0.05, count=4)
    lines = [_line(series, x, y, points, name) for series, name, points in series_of]
    return _panel(
        "False cutoffs and misses",
        x,
        y,
        found,
        lines,
        "of turns: cut off (full), missed (dashed)",
        text_is_rate=True,
    )


def _lag(found: Sequence[Series], x: Axis) -> Html | None:
    known = [step.lag_ms for series in found for step in series.steps if step.lag_ms is not None]
    if not known:
        return None
    y = axis(known, least=5, count=4)
    lines = [_line(series, x, y, [(step.sessions, step.lag_ms) for step in series.steps], "lag") for series in found]
    return _panel("Lag of the event loop", x, y, found, lines, "p99.9, ms")


def _panel(
    name: str,
    x: Axis,
    y: Axis,
    found: Sequence[Series],
    lines: Sequence[Html],
    y_title: str,
    *,
    text_is_rate: bool = False,
) -> Html:
    chart = plot(
        x,
        y,
        HEIGHT_PX,
        [_break(series.breaks_at, x) for series in found if series.breaks_at is not None],
        lines,
        label=f"{name} by the number of sessions; the table below has the numbers",
        x_title="sessions at the same time",
        y_title=y_title,
        y_text=(lambda value: f"{100 * value:g} %") if text_is_rate else texts.plain,
    )
    return tag("div", tag("h3", name), chart)


def _break(sessions: int, x: Axis) -> Html:
    spot = x.at(sessions)
    turned = spot > 70
    return join(
        tag("rect", x=percent(spot), y=0, width=percent(max(100 - spot, 0.0)), height=HEIGHT_PX, class_="fade"),
        tag("line", x1=percent(spot), x2=percent(spot), y1=0, y2=HEIGHT_PX, class_="limit"),
        tag(
            "text",
            f"breaks at {sessions}",
            x=percent(spot),
            dx=-6 if turned else 6,
            y=12,
            text_anchor="end" if turned else "start",
            class_="limittext",
        ),
    )


def _line(series: Series, x: Axis, y: Axis, points: Sequence[tuple[int, float | None]], name: str) -> Html:
    known = [(sessions, value) for sessions, value in points if value is not None]
    spots = [(x.at(sessions), y.down(value, HEIGHT_PX)) for sessions, value in known]
    second = name in ("p95", "missed_rate")
    shown = texts.rate if name.endswith("rate") else texts.ms
    by_sessions = {step.sessions: step for step in series.steps}
    dots = [
        tag(
            "circle",
            title(
                f"{series.label}, {texts.count(sessions, 'session')}\n{name.replace('_', ' ')} {shown(value)}\n"
                f"{company(by_sessions[sessions].result)}"
            ),
            cx=percent(spot[0]),
            cy=spot[1],
            r=4.5,
            class_="point",
        )
        for (sessions, value), spot in zip(known, spots, strict=True)
    ]
    line = curve(spots, HEIGHT_PX, "curve second" if second else "curve")
    return tag("g", line, dots, class_=hue(series.color))


def _key(found: Sequence[Series]) -> Html:
    items = []
    for series in found:
        for text, class_ in (("p50", "curve"), ("p95", "curve second")):
            line = tag("svg", tag("path", d="M0 8H26", class_=class_), width=26, height=16, aria_hidden="true")
            items.append(tag("li", line, f"{series.label} {text}", class_=hue(series.color)))
    return tag("ul", items, class_="key")


def _table(series: Series) -> Html:
    head = (
        "sessions",
        "TTFA p50",
        "TTFA p95",
        "n",
        "false cutoffs",
        "WER",
        "missed",
        "failed",
        "loop lag p99.9",
        "CPU a turn",
        "underruns",
        "",
    )
    rows = []
    for step in series.steps:
        result = step.result
        cells: tuple[Child, ...] = (
            percentile(result.ttfa_ms, "p50"),
            percentile(result.ttfa_ms, "p95"),
            str(result.ttfa_ms.n),
            texts.rate(result.false_cutoff_rate),
            texts.rate(result.wer),
            texts.rate(result.missed_rate),
            str(result.failed),
            texts.NONE if step.lag_ms is None else f"{texts.plain(step.lag_ms, 1)}{NBSP}ms",
            texts.seconds(result.cpu_s_per_turn),
            str(result.underruns),
            tag("span", step.broke, class_="tag bad") if step.broke else "",
        )
        rows.append(tag("tr", tag("th", str(step.sessions), scope="row"), (tag("td", cell) for cell in cells)))
    return plain_table(f"{series.label}: by the number of sessions", head, rows)
