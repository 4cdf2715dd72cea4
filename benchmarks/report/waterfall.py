"""What happened in each turn, from the end of speech: one row a turn, what came before it at negative times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from antiphon.benchmarks.records import StageTimes, TurnRecord
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import REACH_PX, Axis, axis, grid, hue, picture, scale, swatch, title
from antiphon.benchmarks.report.figures import spoken_turns
from antiphon.benchmarks.report.markup import Child, Html, join, number, percent, tag
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

ROW_PX = 25
EDGE_PX = 30.0
"""The shade of what came before the end of speech goes on to the edge of the cell."""
EARLIEST_MS = -1500.0
"""How far before the end of speech the picture reaches at most; what lies earlier is an arrow at the edge."""

STAGES = (
    ("vad_stop_ms", "VAD stop"),
    ("commit_ms", "commit"),
    ("stt_ms", "transcript"),
    ("first_token_ms", "first token"),
    ("first_clause_ms", "first clause"),
    ("first_audio_ms", "first audio"),
    ("audible_ms", "audible"),
)
WORK = (
    ("stt_ms", "stt", "until the transcript (STT)"),
    ("first_token_ms", "llm", "until the first token (LLM)"),
    ("first_clause_ms", "clause", "until the first clause (LLM)"),
    ("first_audio_ms", "tts", "until the first audio (TTS)"),
)
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
    ours = _axis_of([turn for entry in entries if not entry.is_peer for turn in entry.records])
    theirs = _axis_of([turn for entry in entries if entry.is_peer for turn in entry.records])
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
            _key(),
            _medians(report),
            tag("h3", "Every turn"),
            _controls(entries),
            runs,
        ),
    )


# ---------------------------------------------------------------------------------------- the bars


def _axis_of(turns: Iterable[TurnRecord]) -> Axis:
    """All of what led to the answers, and a quarter of the width at most for what was cut off early.

    A few stragglers do not squeeze all the others: what lies beyond the axis is an arrow at its edge.
    """
    turns = list(turns)
    answers = _times_of(turn.stages for turn in turns if turn.outcome == "answered")
    known = answers or _times_of(turn.stages for turn in turns)
    if not known:
        return axis([0.0, 1000.0])
    most = float(np.percentile(known, 99))
    high = max(known) if max(known) <= 1.6 * max(most, 1.0) else most
    high = max(high, 200.0)
    early = max(min(_times_of(turn.stages for turn in turns), default=0.0), -0.3 * high, EARLIEST_MS)
    return axis(
        [max(min(early, *known), EARLIEST_MS), min(-0.06 * high, 0.0), high], least=200, count=7, exact_low=True
    )


def _times_of(stages: Iterable[StageTimes]) -> list[float]:
    return [value for times in stages for name, _ in STAGES if (value := getattr(times, name)) is not None]


def bars(times: StageTimes, x: Axis, outcome: str = "answered") -> Html:
    """The marks of one turn."""
    zero = x.at(0.0)
    parts: list[Child] = []
    if x.low < 0:
        tall = ROW_PX + 2 * REACH_PX
        for left, width in ((-EDGE_PX, number(EDGE_PX)), (0.0, percent(zero))):
            parts.append(tag("rect", x=left, y=-REACH_PX, width=width, height=tall, class_="speech"))
    parts.append(grid(x, ROW_PX, reach=REACH_PX))
    parts.append(_wait(times, x, outcome))
    parts.append(_work(times, x))
    if times.vad_stop_ms is not None and x.holds(times.vad_stop_ms):
        spot = percent(x.at(times.vad_stop_ms))
        parts.append(tag("line", x1=spot, x2=spot, y1="1", y2="11", class_="t-vad"))
    outside = [value for value in (times.commit_ms, times.audible_ms) if value is not None and not x.holds(value)]
    if outside:
        parts.append(_beyond(x, max(outside, key=abs)))
    if times.commit_ms is not None and x.holds(times.commit_ms):
        parts.append(tag("circle", cx=percent(x.at(times.commit_ms)), cy="6", r="3.4", class_="t-commit"))
    if times.audible_ms is not None and x.holds(times.audible_ms):
        spot = percent(x.at(times.audible_ms))
        parts.append(tag("line", x1=spot, x2=spot, y1="1", y2="23", class_="t-audible"))
    return join(*parts)


def _wait(times: StageTimes, x: Axis, outcome: str) -> Html | None:
    """The upper bar: what the user waits for."""
    commit, audible = times.commit_ms, times.audible_ms
    if outcome == "answered" and audible is not None:
        if commit is None:
            return _box(x, 0.0, audible, 3, 6, "s-whole")
        return join(_box(x, 0.0, commit, 3, 6, "s-wait"), _box(x, commit, audible, 3, 6, "s-compute"))
    early = min((value for value in (commit, audible) if value is not None), default=0.0)
    return _box(x, early, 0.0, 3, 6, "s-early") if early < 0 else None


def _work(times: StageTimes, x: Axis) -> Html:
    """The lower bar: each step from the one before it; a step that had none, or was done earlier, is a tick."""
    parts: list[Html | None] = []
    before = times.vad_stop_ms
    for name, class_, _ in WORK:
        value: float | None = getattr(times, name)
        if value is None:
            continue
        if before is not None and value > before:
            parts.append(_box(x, before, value, 14, 7, f"s-{class_}"))
        elif x.holds(value):
            parts.append(tag("circle", cx=percent(x.at(value)), cy="17.5", r="3", class_=f"t-{class_}"))
        before = value
    if times.first_audio_ms is not None and times.audible_ms is not None:
        parts.append(_box(x, times.first_audio_ms, times.audible_ms, 15, 5, "s-held"))
    return join(parts)


def _box(x: Axis, start: float, end: float, y: float, height: float, class_: str) -> Html | None:
    left, right = x.at(start), x.at(end)
    if right <= left:
        return None
    return tag("rect", x=percent(left), y=y, width=percent(right - left), height=height, class_=class_)


def _beyond(x: Axis, value: float) -> Html:
    """An arrow at the edge with the time that lies beyond it."""
    early = value < x.low
    return tag(
        "text",
        f"◂ {texts.plain(value)}" if early else f"{texts.plain(value)} ▸",
        x="0" if early else "100%",
        y="22",
        text_anchor="start" if early else "end",
        class_="off-edge",
    )


def _says(times: StageTimes) -> str:
    known = [(name, getattr(times, field)) for field, name in STAGES]
    known = sorted(((name, value) for name, value in known if value is not None), key=lambda pair: pair[1])
    return "\n".join(f"{name} {texts.signed_ms(value)}" for name, value in known) or "no stage was reached"


def _key() -> Html:
    def boxed(class_: str, y: float = 4, height: float = 8) -> Html:
        return tag("rect", x=0, y=y, width=16, height=height, class_=class_)

    marks = [
        ("commit delay", boxed("s-wait")),
        ("compute not hidden", boxed("s-compute")),
        ("cut in too early", boxed("s-early")),
        *((text, boxed(f"s-{class_}")) for _, class_, text in WORK),
        ("held until commit, then to the sink", boxed("s-held", 5, 6)),
        ("VAD stop", tag("line", x1=8, x2=8, y1=3, y2=13, class_="t-vad")),
        ("commit", tag("circle", cx=8, cy=8, r=3.4, class_="t-commit")),
        ("audible", tag("line", x1=8, x2=8, y1=0, y2=16, class_="t-audible")),
        ("done before the step that it follows", tag("circle", cx=8, cy=8, r=3, class_="t-stt")),
    ]
    items = (tag("li", tag("svg", mark, width=16, height=16, aria_hidden="true"), text) for text, mark in marks)
    return tag("ul", items, class_="key")


# ----------------------------------------------------------------------------------------- medians


def _medians(report: Report) -> Html | None:
    entries = [entry for entry in (*report.configs, *report.peers) if _reached(entry.result.stages_p50_ms)]
    if not entries:
        return None
    x = axis(_times_of(entry.result.stages_p50_ms for entry in entries), least=200, count=7, exact_low=True)
    rows = [
        tag(
            "tr",
            name_cell(entry),
            chart_cell(
                ROW_PX,
                title(_says(entry.result.stages_p50_ms)),
                bars(entry.result.stages_p50_ms, x),
                label=f"{entry.label}: {_says(entry.result.stages_p50_ms)}".replace("\n", ", "),
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
    name = join(turn.clip, ((" ", one) for one in tags if one is not None))
    texts_of_turn = _said(turn)
    header = (
        tag("th", name, scope="row")
        if bad
        else tag("th", tag("details", tag("summary", name), texts_of_turn), scope="row")
    )
    said = _says(turn.stages)
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
        ("times", _says(turn.stages).replace("\n", " · ")),
        ("work", " · ".join(text for text in work if text)),
    ]
    return tag("dl", (join(tag("dt", name), tag("dd", text)) for name, text in rows if text))


def _shown(outcome: str) -> str:
    return outcome.replace("_", " ")
