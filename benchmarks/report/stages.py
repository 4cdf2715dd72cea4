"""The marks of one turn on the axis of the waterfall: what the user waits for, and the work behind it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from antiphon.benchmarks.records import StageTimes, TurnRecord
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import REACH_PX, Axis, axis, grid
from antiphon.benchmarks.report.markup import Child, Html, join, number, percent, tag

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


def axis_of(turns: Iterable[TurnRecord]) -> Axis:
    """All of what led to the answers, and a quarter of the width at most for what was cut off early.

    A few stragglers do not squeeze all the others: what lies beyond the axis is an arrow at its edge.
    """
    turns = list(turns)
    answers = times_of(turn.stages for turn in turns if turn.outcome == "answered")
    known = answers or times_of(turn.stages for turn in turns)
    if not known:
        return axis([0.0, 1000.0])
    most = float(np.percentile(known, 99))
    high = max(known) if max(known) <= 1.6 * max(most, 1.0) else most
    high = max(high, 200.0)
    early = max(min(times_of(turn.stages for turn in turns), default=0.0), -0.3 * high, EARLIEST_MS)
    return axis(
        [max(min(early, *known), EARLIEST_MS), min(-0.06 * high, 0.0), high], least=200, count=7, exact_low=True
    )


def times_of(stages: Iterable[StageTimes]) -> list[float]:
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


def says(times: StageTimes) -> str:
    known = [(name, getattr(times, field)) for field, name in STAGES]
    known = sorted(((name, value) for name, value in known if value is not None), key=lambda pair: pair[1])
    return "\n".join(f"{name} {texts.signed_ms(value)}" for name, value in known) or "no stage was reached"


def key() -> Html:
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
