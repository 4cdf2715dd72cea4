"""The arithmetic and the drawing of the report: intervals, fronts, axes, swarms, texts, colours."""

from __future__ import annotations

import math
import re
from html import unescape

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from antiphon.benchmarks.records import ConfigResult, Summary, TurnRecord
from antiphon.benchmarks.report import texts
from antiphon.benchmarks.report.charts import EDGE, USUAL_WIDTH_PX, axis, curve, swarm
from antiphon.benchmarks.report.figures import answered_within, difference, pareto_front, ratio, wilson
from antiphon.benchmarks.report.levers import has_effect
from antiphon.benchmarks.report.markup import Html, breakable, join, number, tag
from antiphon.benchmarks.report.style import DARK, LIGHT, stylesheet

finite = st.floats(-1e5, 1e5)


def config(times: list[float | None], *, cold: int = 0) -> ConfigResult:
    """A turn for each time, on clips named by their place; None: it was missed. The first `cold` are cold."""
    records = tuple(
        TurnRecord(
            clip=f"{at}.wav",
            kind="turn",
            lang="en",
            run=0,
            cold=at < cold,
            outcome="missed" if time is None else "answered",
            ttfa_ms=time,
        )
        for at, time in enumerate(times)
    )
    return ConfigResult(config="a.yaml", turn_records=records)


# ------------------------------------------------------------------------------------- arithmetic


def test_wilson_is_the_textbook_interval() -> None:
    low, high = wilson(1, 20) or (0.0, 0.0)
    assert low == pytest.approx(0.00888, abs=1e-4) and high == pytest.approx(0.23613, abs=1e-4)
    assert wilson(0, 0) is None
    assert wilson(3, 2) is None


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_holds_the_rate(part: int, whole: int) -> None:
    assume(part <= whole)
    low, high = wilson(part, whole) or (math.nan, math.nan)
    assert 0 <= low <= part / whole + 1e-12 and part / whole - 1e-12 <= high <= 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_nothing_beats_the_front_and_the_front_beats_the_rest(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    kept = [points[index] for index in front]
    assert kept == sorted(kept) and len(set(kept)) == len(kept)
    for x, y in kept:
        assert not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
    for x, y in points:
        assert any(a <= x and b <= y for a, b in kept)


def test_a_difference_is_paired_by_clip() -> None:
    base = [100.0, 900.0, 200.0, 500.0, 300.0, 700.0, None]
    worse = [None if time is None else time + 50.0 for time in base]
    found = difference(config(base), config([*worse[:-1], 10.0]))
    assert found is not None
    assert found.value == pytest.approx(50.0) and found.n == 6
    assert found.interval == pytest.approx((50.0, 50.0))
    assert has_effect(found)


def test_cold_turns_are_in_no_difference() -> None:
    found = difference(config([100.0, 200.0], cold=1), config([900.0, 210.0], cold=1))
    assert found is not None and found.value == pytest.approx(10.0) and found.n == 1
    assert found.interval is None and not has_effect(found)


def test_no_clip_in_common_is_no_difference() -> None:
    assert difference(config([None, 1.0]), config([1.0, None])) is None
    assert ratio(config([]), config([1.0])) is None


def test_a_ratio_is_of_medians() -> None:
    found = ratio(config([100.0, 200.0, 300.0, 150.0, 250.0]), config([600.0, 1200.0, 1800.0, 900.0, 1500.0]))
    assert found is not None and found.value == pytest.approx(6.0)
    assert found.interval is not None and found.interval[0] <= 6.0 <= found.interval[1]


def test_the_same_turns_give_the_same_interval() -> None:
    one, two = config([float(at) for at in range(20)]), config([float(at * at % 37) for at in range(20)])
    assert difference(one, two) == difference(one, two)


def test_a_missed_turn_is_never_answered() -> None:
    assert answered_within(config([300.0, None, 100.0, None])) == [(100.0, 0.25), (300.0, 0.5)]
    assert answered_within(config([300.0], cold=1)) == []


# ------------------------------------------------------------------------------------------ drawing


@given(st.lists(finite, max_size=12), st.booleans(), st.booleans(), st.integers(2, 8))
def test_an_axis_holds_all_values_at_round_ticks(values: list[float], zero: bool, exact: bool, count: int) -> None:
    x = axis(values, zero=zero, exact_low=exact, count=count)
    assert x.low < x.high
    near = 1e-6 * (x.high - x.low)
    assert all(x.low - near <= value <= x.high + near for value in values)
    assert 1 <= len(x.ticks) <= 2 * count + 3
    assert all(x.low <= tick <= x.high for tick in x.ticks)
    spots = [x.at(tick) for tick in x.ticks]
    assert spots == sorted(spots) and EDGE - 1e-9 <= spots[0] and spots[-1] <= 100 - EDGE + 1e-9
    steps = [after - before for before, after in zip(x.ticks, x.ticks[1:], strict=False)]
    assert all(step == pytest.approx(steps[0], rel=1e-6) for step in steps)


def test_an_axis_begins_at_zero_unless_told() -> None:
    assert axis([320.0, 480.0]).ticks == (0.0, 100.0, 200.0, 300.0, 400.0, 500.0)
    assert axis([320.0, 480.0], zero=False).low == 300.0
    assert axis([-42.0, 480.0], exact_low=True).low == -42.0


@given(st.lists(st.floats(0, 100), max_size=30))
def test_dots_of_a_swarm_stay_in_their_row(spots: list[float]) -> None:
    offsets = swarm(spots, 4.0, 24.0)
    assert len(offsets) == len(spots)
    assert all(abs(offset) <= 24.0 for offset in offsets)


@given(st.lists(st.floats(0, 100), max_size=6))
def test_few_dots_do_not_overlap(spots: list[float]) -> None:
    offsets = swarm(spots, 4.0, 24.0)
    dots = [(x / 100 * USUAL_WIDTH_PX, y) for x, y in zip(spots, offsets, strict=True)]
    for at, one in enumerate(dots):
        assert all(math.dist(one, other) >= 8.0 - 1e-6 for other in dots[at + 1 :])


def test_a_curve_in_steps_goes_level_first() -> None:
    assert 'd="M0 100H500V50"' in curve([(0, 100), (50, 50)], 100, "c", steps=True)
    assert 'd="M0 100L500 50"' in curve([(0, 100), (50, 50)], 100, "c")
    assert curve([], 100, "c") == ""


# ------------------------------------------------------------------------------------------- markup


def test_only_markup_is_left_as_it_is() -> None:
    assert tag("p", "a < b", Html("<b>c</b>"), None, ["d", ("&",)]) == "<p>a &lt; b<b>c</b>d&amp;</p>"
    assert (
        tag("td", data_h='"x"', class_="n", hidden=False, open=True)
        == '<td data-h="&quot;x&quot;" class="n" open></td>'
    )
    assert tag("circle", cx=1.239, r=0) == '<circle cx="1.24" r="0"/>'
    assert tag("br") == "<br>"


@given(st.text())
def test_a_text_comes_back_as_it_was(text: str) -> None:
    written = join(text)
    assert "<" not in written and ">" not in written and '"' not in written
    assert unescape(written) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_cannot_be_drawn_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        number(value)
    with pytest.raises(ValueError, match="cannot be drawn"):
        tag("circle", cx=value)


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0, -0.001, 1.5, 1.0, 100, 1e-9)] == ["0", "0", "1.5", "1", "100", "0"]


# -------------------------------------------------------------------------------------------- texts


def test_texts_of_numbers() -> None:
    assert texts.plain(1571.4) == "1,571"
    assert texts.plain(-0.2) == "0"
    assert texts.plain(-12.0) == "−12"
    assert texts.ms(None) == "–"
    assert texts.signed_ms(12.4).replace("\u00a0", " ") == "+12 ms"
    assert texts.signed_ms(0.3).replace("\u00a0", " ") == "0 ms"
    assert texts.rate(0.025).replace("\u00a0", " ") == "2.5 %"
    assert (texts.times(6.46), texts.times(12.3)) == ("6.5×", "12×")
    assert texts.interval((-16.0, 71.0)).replace("\u00a0", " ") == "−16 to 71"
    assert texts.p50_p95(Summary()) == "–"
    assert texts.p50_p95(Summary(n=2, p50=243.0, p95=612.0)).replace("\u00a0", " ") == "243 / 612 ms"
    assert texts.count(1, "turn").replace("\u00a0", " ") == "1 turn"
    assert texts.when("2026-11-20T12:00:00+02:00") == "2026-11-20 10:00 UTC"
    assert texts.when("yesterday") == "yesterday"


# ------------------------------------------------------------------------------------------ colours


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_marks_can_be_told_from_what_is_behind_them(palette: dict[str, str]) -> None:
    for name in ("ink", "soft", "link", "bad", "good"):
        for behind in ("page", "card", "tint"):
            assert contrast(palette[name], palette[behind]) >= 4.5, (name, behind)
    for name, behind in (("bad", "bad-tint"), ("warn", "warn-tint")):
        assert contrast(palette[name], palette[behind]) >= 4.5, (name, behind)
    marks = [name for name in palette if name.startswith("hue")]
    for name in (*marks, "peer", "wait", "compute", "stt", "llm", "clause", "tts", "held", "axis"):
        assert contrast(palette[name], palette["card"]) >= 3, name


def test_every_colour_that_is_used_has_a_value_in_both_lights() -> None:
    used = set(re.findall(r"var\(--([\w-]+)\)", stylesheet())) - {"c"}
    assert used <= set(LIGHT)
    assert set(LIGHT) == set(DARK)


def test_long_names_may_go_on_in_the_next_line() -> None:
    assert breakable("a__b-c.wav") == "a__<wbr>b-<wbr>c.<wbr>wav"
    assert breakable("<b>_x") == "&lt;b&gt;_<wbr>x"
