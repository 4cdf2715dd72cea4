"""Grids: what is read from `--grid`, how many points it makes, and that a wrong one is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmarks.records import ConfigResult, Summary
from antiphon.benchmarks.sweep import (
    MOST_POINTS,
    GridAxis,
    grid_settings,
    parse_axis,
    rank,
    sweep_block,
    sweep_variants,
)
from antiphon.pipeline.config import InvalidConfig
from antiphon.pipeline.errors import ConfigError

plain = st.text("abcxyz019._-", min_size=1, max_size=6)
values = st.one_of(plain, st.lists(plain, min_size=1, max_size=3).map(lambda items: f"[{','.join(items)}]"))


@given(st.lists(values, min_size=1, max_size=6, unique=True))
def test_values_come_back_as_they_were_written(listed: list[str]) -> None:
    assert parse_axis(f"some.key={','.join(listed)}") == GridAxis("some.key", tuple(listed))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b=1", ("1",)),
        ("a.b= 1 , 2", ("1", "2")),
        ("a.b=[1,2],[3,[4,5]]", ("[1,2]", "[3,[4,5]]")),
        ("a.b={x: 1, y: 2},null", ("{x: 1, y: 2}", "null")),
        ("a.b='one, two',three", ("'one, two'", "three")),
        ('a.b="[",x', ('"["', "x")),
        ("a.b=it's,o'clock", ("it's", "o'clock")),
        ("a.b=x=1,y=2", ("x=1", "y=2")),
        ("a.b=''", ("''",)),
        ("a.b=['x, y', z],w", ("['x, y', z]", "w")),
    ],
)
def test_commas_inside_brackets_and_quotations_do_not_separate(text: str, found: tuple[str, ...]) -> None:
    assert parse_axis(text).values == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("turn.preset", "KEY=VALUE"),
        ("=fast", "KEY=VALUE"),
        ("turn.preset=", "empty value"),
        ("turn.preset=fast,,careful", "empty value"),
        ("turn.preset=fast,careful,fast", "the value fast twice"),
        ("turn.handover_ms=[1,2", "not closed"),
        ("turn.handover_ms=1]", "not closed"),
        ("workflow.instructions='oh,no", "not closed"),
    ],
)
def test_what_is_no_axis_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        parse_axis(text)
    assert caught.value.message.startswith("--grid: ")


def test_a_grid_is_every_combination_the_last_key_changing_fastest() -> None:
    axes = [GridAxis("a", ("1", "2")), GridAxis("b", ("x", "y"))]
    assert grid_settings(axes) == [
        {"a": "1", "b": "x"},
        {"a": "1", "b": "y"},
        {"a": "2", "b": "x"},
        {"a": "2", "b": "y"},
    ]


def test_a_grid_has_an_end() -> None:
    row = tuple(map(str, range(MOST_POINTS)))
    assert len(grid_settings([GridAxis("a", row)])) == MOST_POINTS
    with pytest.raises(ConfigError, match=f"{2 * MOST_POINTS} points; at most {MOST_POINTS}"):
        grid_settings([GridAxis("a", row), GridAxis("b", ("x", "y"))])
    with pytest.raises(ConfigError, match="twice"):
        grid_settings([GridAxis("a", ("1",)), GridAxis("a", ("2",))])
    with pytest.raises(ConfigError, match="missing"):
        grid_settings([])


def test_each_point_is_a_configuration_of_its_own() -> None:
    made = sweep_variants(
        "tiny.yaml", "tiny.yaml", [parse_axis("turn.adapt=true,false"), parse_axis("gate.stop_ms=64,96")]
    )
    assert [variant.settings for variant in made] == [
        {"turn.adapt": adapt, "gate.stop_ms": stop} for adapt in ("true", "false") for stop in ("64", "96")
    ]
    assert [variant.config.gate.stop_ms for variant in made] == [64, 96, 64, 96]
    assert [variant.config.turn.options.adapt for variant in made] == [True, True, False, False]  # type: ignore[attr-defined]
    assert {variant.config.tts[0].options.cache_mb for variant in made} == {0}, "no voice speaks from memory"  # type: ignore[attr-defined]


def test_overrides_hold_at_every_point_and_the_grid_goes_over_them() -> None:
    axes = [parse_axis("gate.stop_ms=64,96")]
    overrides = ["gate.stop_ms=200", "gate.pre_roll_ms=123", "tts.cache_mb=5"]
    made = sweep_variants("tiny.yaml", "tiny.yaml", axes, overrides)
    assert [(variant.config.gate.stop_ms, variant.config.gate.pre_roll_ms) for variant in made] == [
        (64, 123),
        (96, 123),
    ]
    assert made[0].fixed == {"gate.stop_ms": "200", "gate.pre_roll_ms": "123", "tts.cache_mb": "5"}
    assert made[0].config.tts[0].options.cache_mb == 5, "who asks for the cache gets it"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ("turn.presett=fast,careful", "turn.presett: unknown key; did you mean 'preset'"),
        ("turn.preset=fast,carefull", "turn.preset: found 'carefull'"),
        ("turn.handover_ms=[1,2],[3,4]", "turn.handover_ms"),
        ("llm.9.model=x,y", "llm.9"),
        ("extends=a,b", "extends"),
    ],
)
def test_a_point_that_is_not_valid_is_refused_in_the_words_of_the_configuration(grid: str, told: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        sweep_variants("tiny.yaml", "tiny.yaml", [parse_axis(grid)])
    assert told in caught.value.message
    assert caught.value.message.startswith("--grid: ")


def test_what_is_wrong_without_the_grid_is_told_at_its_own_place(tmp_path: Path) -> None:
    axes = [parse_axis("gate.stop_ms=64,96")]
    with pytest.raises(InvalidConfig) as caught:
        sweep_variants("tiny.yaml", "tiny.yaml", axes, ["gate.start=1"])
    assert caught.value.message.startswith("--set: gate.start")
    (tmp_path / "mine.yaml").write_text("extends: tiny.yaml\ngate: {stop: 3}\n")
    with pytest.raises(InvalidConfig, match=r"mine\.yaml:2"):
        sweep_variants("mine.yaml", str(tmp_path / "mine.yaml"), axes)


def test_points_stand_in_the_result_as_the_report_reads_them() -> None:
    block = sweep_block([GridAxis("a", ("1", "2"))], [({"a": "1"}, 0), ({"a": "2"}, 1)], "in turn")
    assert block == {
        "keys": ["a"],
        "points": [{"settings": {"a": "1"}, "result": 0}, {"settings": {"a": "2"}, "result": 1}],
        "order": "in turn",
    }


def test_points_are_ranked_by_cutoffs_then_by_time_and_unknown_ones_are_last() -> None:
    def point(rate: float | None, p50: float | None) -> ConfigResult:
        return ConfigResult(config="x", false_cutoff_rate=rate, ttfa_ms=Summary(n=1, p50=p50))

    ordered = [point(0.0, 900), point(0.1, 300), point(0.1, 400), point(0.1, None), point(None, None)]
    assert sorted(reversed(ordered), key=rank) == ordered
