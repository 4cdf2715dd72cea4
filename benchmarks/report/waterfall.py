"""What happened in each turn, from the end of speech: one row a turn, what came before it at negative times."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.benchmarks.records import StageTimes, TurnRecord
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import Axis, axis, hue, picture, scale, swatch, title
from antiphon.benchmarks.report.figures import spoken_turns
from antiphon.benchmarks.report.markup import Html, breakable, join, tag
from antiphon.benchmarks.report.reading import Entry
from antiphon.benchmarks.report.sections import (
    Report,
    Section,
    chart_cell,
    company,
    figure_table,
    name_cell,
    number_cell,
)
from antiphon.benchmarks.report.stages import ROW_PX, STAGES, axis_of, bars, key, says, times_of

OUTCOMES = {
    "answered": "",
    "cutoff": "bad",
    "missed": "bad",
    "failed": "bad",
    "quiet": "",
    "false_start": "bad",
}


def waterfall(report: Report) -> Section | None:
    entries = [entry for entry in (*report.configs, *report.peers) if entry.records]
    if not entries:
        return None
    ours = axis_of([turn for entry in entries if not entry.is_peer for turn in entry.records])
    theirs = axis_of([turn for entry in entries if entry.is_peer for turn in entry.records])
    runs = [_run(entry, theirs if entry.is_peer else ours, opened=at == 0) for at, entry in enumerate(entries)]
    scales = " Configurations share one scale, peers another." if any(entry.is_peer for entry in entries) else ""
    return Section(
        id="turns",
        title="The waterfall of each turn",
        short="Turns",
        body=join(
            tag(
                "p",
                "The upper bar is what the user waits for, the lower one the work behind it. Work to the left of the "
                "commit was hidden: it was done on speculation, before the turn had ended. The shaded part is before "
                f"the end of speech.{scales}",
            ),
            key(),
            _medians(report),
            tag("h3", "Every turn"),
            _controls(entries),
            runs,
        ),
    )


# ----------------------------------------------------------------------------------------- medians


def _medians(report: Report) -> Html | None:
    entries = [entry for entry in (*report.configs, *report.peers) if _reached(entry.result.stages_p50_ms)]
    if not entries:
        return None
    x = axis(times_of(entry.result.stages_p50_ms for entry in entries), least=200, count=7, exact_low=True)
    rows = [
        tag(
            "tr",
            name_cell(entry),
            chart_cell(
                ROW_PX,
                title(says(entry.result.stages_p50_ms)),
                bars(entry.result.stages_p50_ms, x),
                label=f"{entry.label}: {says(entry.result.stages_p50_ms)}".replace("\n", ", "),
            ),
            number_cell("commit", texts.ms(entry.result.stages_p50_ms.commit_ms)),
            number_cell("audible", texts.ms(entry.result.stages_p50_ms.audible_ms)),
            role="row",
        )
        for entry in entries
    ]
    return join(
        tag("h3", "The median turn"),
        figure_table(
            "The median of each step by itself, all on one scale.",
            "",
            x,
            "ms from the end of speech",
            ("commit", "audible"),
            rows,
        ),
    )


def _reached(times: StageTimes) -> bool:
    return any(getattr(times, name) is not None for name, _ in STAGES)


# ------------------------------------------------------------------------------------------- turns


def _controls(entries: Sequence[Entry]) -> Html:
    """Sorting and filtering: shown by the script, for nothing else could make them work."""
    outcomes = [name for name in OUTCOMES if any(turn.outcome == name for entry in entries for turn in entry.records)]
    orders = (
        ("i", "as played"),
        ("-ttfa", "slowest first"),
        ("ttfa", "fastest first"),
        ("-commit", "longest commit delay first"),
        ("-compute", "most compute not hidden first"),
        ("clip", "by clip"),
    )
    return tag(
        "div",
        _choice("config", "Show", [("", "all"), *((entry.key, entry.label) for entry in entries)]),
        _choice(
            "outcome",
            "Outcome",
            [("", "all"), ("!answered", "not answered"), *((name, _shown(name)) for name in outcomes)],
        ),
        _choice("order", "Order", orders),
        tag("label", "Find ", tag("input", type="search", id="f-find", placeholder="clip or words", size="14")),
        tag("output", id="f-count", aria_live="polite"),
        class_="controls js",
        hidden=True,
    )


def _choice(name: str, label: str, options: Sequence[tuple[str, str]]) -> Html:
    made = (tag("option", text, value=value) for value, text in options)
    return tag("label", f"{label} ", tag("select", made, id=f"f-{name}", style="max-width:9.5rem"))


def _run(entry: Entry, x: Axis, *, opened: bool) -> Html:
    """All turns of one configuration or peer."""
    several = len({turn.run for turn in entry.records}) > 1
    head = tag(
        "tr",
        tag("th", "clip", scope="col", class_="left"),
        tag("th", picture(17, scale(x, y=12)), class_="chart", scope="col", aria_label="ms from the end of speech"),
        tag("th", "TTFA", scope="col"),
        tag("th", "commit", scope="col"),
        tag("th", "compute", scope="col"),
    )
    columns = tag("colgroup", tag("col", class_="name"), tag("col"), (tag("col", class_="n") for _ in range(3)))
    turns = (_turn(turn, at, x, several) for at, turn in enumerate(entry.records))
    return tag(
        "details",
        tag(
            "summary",
            swatch(entry.color),
            entry.label,
            tag("span", f"{_counted(entry)} · {company(entry.result)}", class_="with"),
        ),
        tag(
            "table",
            tag("caption", "Times in ms from the end of speech. Open a clip for its texts and all times."),
            columns,
            tag("thead", head),
            turns,
            class_="falls",
        ),
        class_=f"run {hue(entry.color)}",
        data_config=entry.key,
        open=opened,
    )


def _counted(entry: Entry) -> str:
    """ "40 turns, 4 clips without speech"."""
    spoken = len(spoken_turns(entry.result))
    noise = len(entry.records) - spoken
    return texts.count(spoken, "turn") + (f", {texts.count(noise, 'clip')} without speech" if noise else "")


def _turn(turn: TurnRecord, at: int, x: Axis, several: bool) -> Html:
    bad = OUTCOMES[turn.outcome] == "bad"
    tags = [
        tag("span", _shown(turn.outcome), class_=f"tag {OUTCOMES[turn.outcome]}".strip())
        if turn.outcome != "answered"
        else None,
        tag("span", "cold", class_="tag warn") if turn.cold else None,
        tag("span", f"run {turn.run + 1}", class_="soft small") if several else None,
    ]
    name = join(breakable(turn.clip), ((" ", one) for one in tags if one is not None))
    texts_of_turn = _said(turn)
    header = (
        tag("th", name, scope="row")
        if bad
        else tag("th", tag("details", tag("summary", name), texts_of_turn), scope="row")
    )
    said = says(turn.stages)
    row = tag(
        "tr",
        header,
        tag(
            "td",
            tag(
                "svg",
                title(said),
                bars(turn.stages, x, turn.outcome),
                width="100%",
                height=ROW_PX,
                class_="pic",
                role="img",
            ),
            class_="chart",
        ),
        _time("TTFA", turn.ttfa_ms),
        _time("commit", turn.commit_delay_ms),
        _time("compute", turn.compute_after_commit_ms),
        class_="fall",
    )
    more = tag("tr", tag("td", texts_of_turn, colspan="5"), class_="said") if bad else None
    return tag(
        "tbody",
        row,
        more,
        class_="bad" if bad else None,
        data_i=at,
        data_o=turn.outcome,
        data_ttfa=turn.ttfa_ms,
        data_commit=turn.commit_delay_ms,
        data_compute=turn.compute_after_commit_ms,
    )


def _time(heading: str, value: float | None) -> Html:
    return tag("td", texts.plain(value), class_="n" if value is not None else "n none", data_h=heading)


def _said(turn: TurnRecord) -> Html:
    """Why, what was said, what was heard, what was answered, and every time."""
    work = [
        f"{texts.count(turn.speculations, 'speculation')}" if turn.speculations else "",
        "" if turn.speculation_hit is None else "hit" if turn.speculation_hit else "no hit",
        f"reopened {turn.reopened}×" if turn.reopened else "",
        f"wasted {texts.seconds(turn.wasted_s)}" if turn.wasted_s is not None else "",
        f"CPU {texts.seconds(turn.cpu_s)}" if turn.cpu_s is not None else "",
        f"{texts.count(turn.underruns, 'underrun')}" if turn.underruns else "",
        f"end probability {turn.end_probability:.2f}" if turn.end_probability is not None else "",
    ]
    errors = f" ({turn.word_errors} of {turn.words} words wrong)" if turn.words and turn.word_errors is not None else ""
    rows = [
        ("why", turn.why),
        ("reference", turn.reference),
        ("heard", f"{turn.heard}{errors}" if turn.heard or errors else ""),
        ("reply", turn.reply),
        ("times", says(turn.stages).replace("\n", " · ")),
        ("work", " · ".join(text for text in work if text)),
    ]
    return tag("dl", (join(tag("dt", name), tag("dd", text)) for name, text in rows if text))


def _shown(outcome: str) -> str:
    return outcome.replace("_", " ")
