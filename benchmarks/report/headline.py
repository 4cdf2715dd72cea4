"""The top of the report: one sentence, one card a configuration or peer, and the table of everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.benchmarks.records import ConfigResult, Summary
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import hue
from antiphon.benchmarks.report.figures import wilson
from antiphon.benchmarks.report.markup import NBSP, Child, Html, join, tag
from antiphon.benchmarks.report.reading import Entry, only_sweep
from antiphon.benchmarks.report.sections import Report, Section, ci, company, note, percentile, who


def lead(report: Report) -> Html:
    """What a reader should take home: the first configuration that answered, next to the peers."""
    tried = only_sweep(report.result)
    if tried:
        return _of_sweep(report, tried)
    answered = [entry for entry in report.configs if entry.result.ttfa_ms.p50 is not None]
    if not answered:
        return tag("p", "No turn was answered: there is no time to first audio in this result.", class_="lead")
    best = answered[0]
    ours = best.result.ttfa_ms.p50 or 0.0
    said = join(
        tag("b", best.label),
        " answers ",
        tag("b", texts.ms(ours)),
        " after the last word (median, n = ",
        str(best.result.ttfa_ms.n),
        f"; {company(best.result)}).",
    )
    ratios = [
        f"{peer.label} {texts.times(peer.result.ttfa_ms.p50 / ours)}"
        for peer in report.peers
        if peer.result.ttfa_ms.p50 is not None and ours > 0
    ]
    more = f" Other systems in the same run, as many times as long: {', '.join(ratios)}." if ratios else None
    return tag("p", said, more, class_="lead")


def _of_sweep(report: Report, tried: int) -> Html:
    """Of a sweep alone: both ends of its front."""
    front = [entry for entry in report.configs if entry.result.ttfa_ms.p50 is not None]
    said = f"{texts.count(tried, 'setting')} tried."
    if front:
        ends = dict.fromkeys(
            f"{texts.ms(entry.result.ttfa_ms.p50)} ({company(entry.result)})" for entry in (front[0], front[-1])
        )
        said += f" The best of them answer, at the median, after {' to '.join(ends)}."
    return tag("p", said, class_="lead")


def cards(report: Report) -> Html:
    return tag("div", (_card(entry) for entry in (*report.configs, *report.peers)), class_="cards")


def _card(entry: Entry) -> Html:
    result, ttfa = entry.result, entry.result.ttfa_ms
    spread = texts.interval(ttfa.p50_interval)
    trio = (
        ("False cutoffs", texts.rate(result.false_cutoff_rate), texts.share(result.cutoffs, result.turns)),
        ("WER", texts.rate(result.wer), texts.count(result.words, "word") if result.words else "no reference"),
        ("Missed", texts.rate(result.missed_rate), texts.share(result.missed, result.turns)),
    )
    return tag(
        "article",
        tag("span", "peer", class_="tag") if entry.is_peer else None,
        tag("h3", entry.label),
        tag(
            "dl",
            _big("TTFA p50", ttfa.p50, spread),
            _big("TTFA p95", ttfa.p95, texts.interval(ttfa.p95_interval)),
            class_="pair",
        ),
        tag(
            "dl",
            (
                tag("div", tag("dt", name), tag("dd", value, class_="val"), tag("dd", sub, class_="sub"))
                for name, value, sub in trio
            ),
            class_="trio",
        ),
        tag(
            "p",
            f"n = {ttfa.n} warm turns answered of {result.turns}"
            + (f" · {texts.count(result.failed, 'failure')}" if result.failed else ""),
            class_="meta",
            style="margin-top:8px",
        ),
        class_=f"card {hue(entry.color)}",
    )


def _big(name: str, value: float | None, spread: str) -> Html:
    shown = texts.NONE if value is None else join(texts.plain(value), " ", tag("small", "ms"))
    return tag(
        "div",
        tag("dt", name),
        tag("dd", shown, class_="big"),
        tag("dd", f"95{NBSP}%: {spread}" if spread and value is not None else "", class_="sub"),
    )


# ----------------------------------------------------------------------------------- summary table


@dataclass(frozen=True, slots=True)
class Line:
    """One number of the summary: how it is named, shown, and what to say when nobody measured it."""

    name: str
    show: Callable[[ConfigResult], Child]
    absent: str = ""


def _of(name: str, what: str) -> Callable[[ConfigResult], Child]:
    """A percentile of one of the summaries, with its interval."""

    def show(result: ConfigResult) -> Child:
        summary: Summary | None = getattr(result, what)
        return texts.NONE if summary is None else percentile(summary, name)

    return show


def _rate(part: str, whole: str, value: str) -> Callable[[ConfigResult], Child]:
    """A rate with its Wilson interval and count."""

    def show(result: ConfigResult) -> Child:
        known: float | None = getattr(result, value)
        bounds = wilson(getattr(result, part), getattr(result, whole))
        if known is None or bounds is None:
            return texts.rate(known)
        spread = texts.interval((100 * bounds[0], 100 * bounds[1]), 1)
        return join(texts.rate(known), ci(f"{spread}{NBSP}%"))

    return show


def _rss(result: ConfigResult) -> Child:
    return texts.NONE if result.peak_rss_mb is None else f"{texts.plain(result.peak_rss_mb)}{NBSP}MB"


NO_BARGE_IN = "not measured: antiphon bench run --barge-in N plays clips into replies"
GROUPS: Sequence[tuple[str, Sequence[Line]]] = (
    (
        "Turns",
        (
            Line("turns with speech", lambda result: str(result.turns)),
            Line("answered", lambda result: str(result.answered)),
            Line("cut off", lambda result: str(result.cutoffs)),
            Line("missed", lambda result: str(result.missed)),
            Line("failed", lambda result: str(result.failed)),
        ),
    ),
    (
        "Time to first audio",
        (
            Line("TTFA p50", _of("p50", "ttfa_ms")),
            Line("TTFA p90", _of("p90", "ttfa_ms")),
            Line("TTFA p95", _of("p95", "ttfa_ms")),
            Line("TTFA max", _of("max", "ttfa_ms")),
            Line("n, warm turns", lambda result: str(result.ttfa_ms.n)),
            Line("TTFA cold, p50", _of("p50", "ttfa_cold_ms"), "no cold turn was answered"),
            Line("cold over warm", lambda result: texts.times(result.cold_over_warm)),
            Line("n, cold turns", lambda result: str(result.ttfa_cold_ms.n)),
            Line(
                "commit delay p50",
                _of("p50", "commit_delay_ms"),
                "no answered turn with a commit event; peers have none",
            ),
            Line("commit delay p95", _of("p95", "commit_delay_ms")),
            Line("compute not hidden p50", _of("p50", "compute_after_commit_ms")),
            Line("compute not hidden p95", _of("p95", "compute_after_commit_ms")),
        ),
    ),
    (
        "What it was bought with",
        (
            Line("false cutoffs", _rate("cutoffs", "turns", "false_cutoff_rate")),
            Line("missed turns", _rate("missed", "turns", "missed_rate")),
            Line("false starts on noise", lambda result: texts.rate(result.false_start_rate), "no clip without speech"),
            Line("clips without speech", lambda result: str(result.noise_clips)),
            Line("WER", lambda result: texts.rate(result.wer)),
            Line("CER", lambda result: texts.rate(result.cer)),
            Line("word errors of words", lambda result: texts.share(result.word_errors, result.words)),
        ),
    ),
    (
        "Cost",
        (
            Line("speculation hit rate", lambda result: texts.rate(result.speculation_hit_rate), "no speculation"),
            Line("wasted engine time a turn", lambda result: texts.seconds(result.wasted_s_per_turn)),
            Line("CPU time a turn", lambda result: texts.seconds(result.cpu_s_per_turn)),
            Line("peak memory", _rss),
            Line("underruns", lambda result: str(result.underruns)),
            Line("start to ready", lambda result: texts.seconds(result.ready_s, 1)),
        ),
    ),
    (
        "Barge-in",
        (
            Line("stop time p50", _of("p50", "barge_in_stop_ms"), NO_BARGE_IN),
            Line("stop time p95", _of("p95", "barge_in_stop_ms"), NO_BARGE_IN),
            Line("missed interruptions", lambda result: texts.rate(result.missed_interruption_rate), NO_BARGE_IN),
            Line("false interruptions", lambda result: texts.rate(result.false_interruption_rate), NO_BARGE_IN),
        ),
    ),
)


def summary(report: Report) -> Section | None:
    entries = (*report.configs, *report.peers)
    if not entries:
        return None
    notes: dict[str, list[str]] = {}
    body = [row for group, lines in GROUPS for row in _group(group, lines, entries, notes)]
    head = tag(
        "tr",
        tag("th", "", aria_label="number"),
        (tag("th", who(entry, marked=False), scope="col", class_=_edge(entry)) for entry in entries),
    )
    caption = "Percentiles of warm turns; the small line is a 95 % interval."
    columns = tag("colgroup", tag("col", style="width:210px"), (tag("col") for _ in entries))
    table = tag(
        "table",
        tag("caption", caption),
        columns,
        tag("thead", head),
        tag("tbody", body),
        class_="summary",
        style=f"min-width:{210 + 138 * len(entries)}px;max-width:{210 + 280 * len(entries)}px",
    )
    absent = "; ".join(f"{', '.join(names)} ({why})" for why, names in notes.items())
    return Section(
        id="summary",
        title="All numbers",
        short="Numbers",
        body=join(
            tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="All numbers"),
            note(f"{texts.NONE} means not measured" + (f": {absent}." if absent else ".")),
        ),
    )


def _group(group: str, lines: Sequence[Line], entries: Sequence[Entry], notes: dict[str, list[str]]) -> list[Html]:
    rows = [
        tag("tr", tag("th", group, scope="rowgroup", colspan=len(entries) + 1, class_="left"), class_="group"),
    ]
    for line in lines:
        shown = [line.show(entry.result) for entry in entries]
        if line.absent and texts.NONE in shown:
            notes.setdefault(line.absent, []).append(line.name)
        cells = (
            tag("td", value, class_=f"{_edge(entry) or ''} {'none' if value == texts.NONE else ''}".strip() or None)
            for value, entry in zip(shown, entries, strict=True)
        )
        rows.append(tag("tr", tag("th", line.name, scope="row"), cells))
    return rows


def _edge(entry: Entry) -> str | None:
    return "first-peer" if entry.key == "p0" else None
