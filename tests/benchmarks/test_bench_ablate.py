"""Levers: how each is switched off, which a configuration does not have, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.benchmarks.ablate import ALL_ON, LEVERS, Effect, ablation_block, choose, effect, plan
from antiphon.benchmarks.metrics import summarise
from antiphon.benchmarks.paired import Estimate
from antiphon.benchmarks.records import ConfigResult, TurnRecord
from antiphon.benchmarks.variants import Variant
from antiphon.pipeline.config import InvalidConfig, config_data
from antiphon.pipeline.errors import ConfigError

NAMES = [lever.name for lever in LEVERS]


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def changed(base: Variant, other: Variant) -> dict[str, Any]:
    """What differs between two configurations, by key path."""

    def flat(value: Any, path: str = "") -> dict[str, Any]:
        if isinstance(value, dict):
            return {k: v for key, item in value.items() for k, v in flat(item, f"{path}.{key}".strip(".")).items()}
        return {path: value}

    ours, theirs = flat(config_data(base.config)), flat(config_data(other.config))
    return {key: theirs.get(key) for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)}


def test_each_lever_of_tiny_is_switched_off_by_itself() -> None:
    made = plan("tiny.yaml", "tiny.yaml")
    assert made.left_out == ()
    assert [lever.name for lever in made.levers] == NAMES
    base, *others = made.variants
    assert base.settings == {}
    assert [changed(base, other) for other in others] == [
        {"speculation.enabled": False},
        {"speculation.rerun_ms": 0.0},
        {"speculation.prefill": False},
        {"stt.window_floor_s": 30.0},
        {"tts.slice_frames": [4000]},
        {"text.first_clause": False},
        {"llm.threads": 1},
        {"turn.adapt": False},
    ]
    assert [list(other.settings) for other in others] == [[lever.key] for lever in LEVERS]


def test_levers_of_engines_that_are_not_there_are_left_out_by_name() -> None:
    overrides = [
        "turn.engine=silence",
        "turn.silence_ms=400",
        "session.offline=false",
        "tts.engine=openai",
        "tts.voice=x",
    ]
    made = plan("tiny.yaml", "tiny.yaml", overrides=overrides)
    assert dict(made.left_out) == {
        "slices": "tts is openai, which has no 'slice_frames'",
        "adaptation": "turn is silence, which has no 'adapt'",
    }
    assert [lever.name for lever in made.levers] == [name for name in NAMES if name not in ("slices", "adaptation")]


def test_a_lever_that_is_off_already_and_those_that_need_it_are_left_out() -> None:
    made = plan("tiny.yaml", "tiny.yaml", overrides=["speculation.enabled=false", "llm.threads=1"])
    assert dict(made.left_out) == {
        "speculation": "speculation.enabled is false already",
        "hearing_ahead": "speculation is off",
        "prefill": "speculation is off",
        "llm_threads": "llm.threads is 1 already",
    }


def test_in_a_chain_every_engine_that_has_the_lever_loses_it(tmp_path: Path) -> None:
    chain = "extends: tiny.yaml\n"
    chain += "llm: [{engine: llama_cpp}, {engine: openai, base_url: 'http://localhost:1/v1', model: m}]\n"
    chain += "tts: [{engine: piper}, {engine: piper, speed: 1.2}]\n"
    made = plan("mine.yaml", written(tmp_path, chain), choose(["slices", "llm_threads"]))
    assert [variant.settings for variant in made.variants] == [
        {},
        {"tts.0.slice_frames": "[4000]", "tts.1.slice_frames": "[4000]"},
        {"llm.0.threads": "1"},
    ]
    assert all(block.options.slice_frames == (4000,) for block in made.variants[1].config.tts)  # type: ignore[attr-defined]


def test_levers_are_chosen_by_name_and_measured_in_their_own_order() -> None:
    assert [lever.name for lever in choose(["prefill", "speculation"])] == ["speculation", "prefill"]
    assert [lever.name for lever in choose([])] == NAMES
    with pytest.raises(ConfigError, match="no lever 'magic'") as caught:
        choose(["prefill", "magic"])
    assert all(name in caught.value.hint for name in NAMES)


def test_without_any_lever_there_is_nothing_to_measure() -> None:
    with pytest.raises(ConfigError, match=r"none of the levers.*first_clause is false already"):
        plan("tiny.yaml", "tiny.yaml", choose(["first_clause"]), ["text.first_clause=false"])


def test_a_configuration_that_is_not_valid_is_told_first() -> None:
    with pytest.raises(InvalidConfig, match="nonsense"):
        plan("tiny.yaml", "tiny.yaml", overrides=["turn.nonsense=1"])


# ------------------------------------------------------------------------------------------- the worth


def measured(later_ms: dict[int, float], turns: int = 20) -> ConfigResult:
    """Turns of 300 ms, those of some clips later."""
    records = [
        TurnRecord(
            clip=f"{n}.wav", kind="", lang="en", run=0, outcome="answered", ttfa_ms=300 + n % 3 + later_ms.get(n, 0)
        )
        for n in range(turns)
    ]
    return summarise("x.yaml", records)


def every(later_ms: float) -> dict[int, float]:
    return {n: later_ms + n % 5 for n in range(20)}


@pytest.mark.parametrize(
    ("later", "verdict"),
    [
        ({}, "no effect shown"),
        (every(80), "earns its place"),
        (every(-80), "harms"),
        ({n: 400 for n in range(6)}, "earns its place"),  # only the slow turns: the median does not move
        ({0: 400}, "no effect shown"),  # one turn in twenty may be chance
        ({n: (-1) ** n * 30 for n in range(20)}, "no effect shown"),
    ],
)
def test_the_verdict_looks_at_the_median_and_at_the_mean(later: dict[int, float], verdict: str) -> None:
    lost = effect(measured({}), measured(later))
    assert lost.median is not None
    assert lost.mean is not None
    assert lost.verdict == verdict


def test_a_lever_that_helps_most_turns_and_ruins_some_is_not_praised() -> None:
    lost = Effect(Estimate(20, (10, 30), 20, 20), Estimate(-50, (-90, -10), 20, 20))
    assert lost.verdict == "no effect shown"


def test_few_clips_give_no_verdict() -> None:
    lost = effect(measured({}, turns=3), measured(every(80), turns=3))
    assert lost.median is not None
    assert (lost.median.value, lost.verdict) == (81.0, "too few clips to tell")
    assert effect(measured({}), summarise("x.yaml", [])) == Effect(None, None)


def test_the_block_has_all_on_first_and_skips_what_was_not_measured() -> None:
    made = plan("tiny.yaml", "tiny.yaml", choose(["speculation", "prefill"]), ["turn.adapt=false"])
    block = ablation_block("tiny.yaml", made, {0: (0, measured({})), 2: (1, measured(every(80)))}, "in turn")
    assert block is not None
    first, second = block["levers"]
    assert first == {"lever": ALL_ON, "result": 0}
    assert (second["lever"], second["result"], second["verdict"]) == ("prefill", 1, "earns its place")
    assert second["off"] == {"speculation.prefill": "false"}
    assert second["ttfa_later_ms"]["median"]["value"] == 82.0
    assert (block["config"], block["order"], block["left_out"]) == ("tiny.yaml", "in turn", [])
    assert ablation_block("tiny.yaml", made, {1: (0, measured({}))}, "in turn") is None
