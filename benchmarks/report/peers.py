"""Other systems in the same run: same clips, same clock, same onset rule."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.distributions import strips
from antiphon.benchmarks.report.figures import ratio
from antiphon.benchmarks.report.markup import NBSP, Child, Html, join, tag
from antiphon.benchmarks.report.reading import Entry, setting
from antiphon.benchmarks.report.sections import Report, Section, ci, company, note, plain_table, who, with_line


def beside(report: Report) -> Section | None:
    if not report.peers:
        return None
    entries = [*report.configs, *report.peers]
    answered = [entry for entry in entries if any(turn.ttfa_ms is not None for turn in entry.records)]
    caption = "The same clips, clock and onset rule for all, on one scale."
    return Section(
        id="peers",
        title="Beside other systems",
        short="Peers",
        body=join(
            strips(answered, caption) if answered else None,
            _ratios(report.configs, report.peers),
            _costs(entries),
            _what_was_run(report.peers),
        ),
    )


def _ratios(configs: Sequence[Entry], peers: Sequence[Entry]) -> Html | None:
    """Each peer's median TTFA over each configuration's."""
    if not configs:
        return None
    head: list[Child] = ["", *(join(who(entry), with_line(company(entry.result))) for entry in configs)]
    rows = []
    for peer in peers:
        cells = (tag("td", _ratio(config, peer)) for config in configs)
        name = tag("th", who(peer), with_line(company(peer.result)), scope="row")
        rows.append(tag("tr", name, cells))
    return join(
        tag("h3", "How many times as long"),
        plain_table("The peer's TTFA p50 over the configuration's, with a 95 % interval", head, rows),
        note(
            "The interval resamples the clips that both answered, in pairs. A ratio of times says nothing about the "
            "cutoffs and word errors that stand beside it."
        ),
    )


def _ratio(config: Entry, peer: Entry) -> Html:
    ours, theirs = config.result.ttfa_ms.p50, peer.result.ttfa_ms.p50
    if ours is None or theirs is None or ours <= 0:
        return join(texts.NONE)
    estimate = ratio(config.result, peer.result)
    bounds = estimate.interval if estimate else None
    return join(tag("b", texts.times(theirs / ours)), ci(texts.interval(bounds, 1)))


def _costs(entries: Sequence[Entry]) -> Html:
    head = ("", "TTFA p50 / p95", "n", "false cutoffs", "WER", "missed", "CPU a turn", "peak memory", "underruns")
    rows = []
    for entry in entries:
        result = entry.result
        memory = texts.NONE if result.peak_rss_mb is None else f"{texts.plain(result.peak_rss_mb)}{NBSP}MB"
        cells = (
            texts.p50_p95(result.ttfa_ms),
            str(result.ttfa_ms.n),
            texts.rate(result.false_cutoff_rate),
            texts.rate(result.wer),
            texts.rate(result.missed_rate),
            texts.seconds(result.cpu_s_per_turn),
            memory,
            str(result.underruns),
        )
        rows.append(tag("tr", tag("th", who(entry), scope="row"), (tag("td", cell) for cell in cells)))
    return join(tag("h3", "Accuracy and cost"), plain_table("Of the same run", head, rows))


def _what_was_run(peers: Sequence[Entry]) -> Html | None:
    rows = [
        tag("tr", tag("th", who(entry), scope="row"), tag("td", key), tag("td", setting(value)))
        for entry in peers
        for key, value in entry.result.settings.items()
    ]
    return (
        join(
            tag("h3", "What was run"),
            plain_table("Each peer's parts and settings", ("", "part", "as it was run"), rows),
        )
        if rows
        else None
    )
