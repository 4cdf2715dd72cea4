"""The `silence` engine, and the presets that probability-driven engines share."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.turn.presets import PRESETS, PatienceOptions, Preset
from antiphon.engines.turn.silence import SilenceDetector, SilenceOptions


def make(**options: Any) -> SilenceDetector:
    spec = find("turn", "silence")
    detector = spec.create(SilenceOptions(**options), EngineContext(EngineHost(), ModelStore()))
    assert isinstance(detector, SilenceDetector)
    return detector


@pytest.mark.parametrize(("options", "silence_ms"), [({}, 600.0), ({"silence_ms": 250}, 250.0)])
def test_the_policy_is_a_silence_and_no_question(options: dict[str, Any], silence_ms: float) -> None:
    policy = make(**options).policy
    assert (policy.silence_ms, policy.max_silence_ms) == (silence_ms, silence_ms)
    assert (policy.steps, policy.check_at_ms) == ((), ())


def test_being_asked_is_an_error() -> None:
    async def run() -> None:
        detector = make()
        for _ in range(2):
            async with detector as same:
                assert same is detector
                with pytest.raises(EngineRequestInvalid, match="has no probability"):
                    await detector.end_probability(AudioFrame(np.zeros(16000, dtype=np.float32), 16000), "hello")

    asyncio.run(run())


@pytest.mark.parametrize("bad", [{"silence_ms": 0}, {"silence_ms": -1}, {"silence_ms": 1e9}, {"silence": 600}])
def test_bad_silences_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        SilenceOptions(**bad)


# -------------------------------------------------------------------------------------------- presets


ROWS = ("handover_ms", "statement_ms", "unknown_ms", "doubtful_ms", "open_ms")


def test_the_default_is_balanced() -> None:
    assert PatienceOptions().policy() == PatienceOptions(preset="balanced").policy()
    assert PatienceOptions().policy().adapts_up_to == 1.6
    assert PatienceOptions(adapt_up_to=2).policy().adapts_up_to == 2


@pytest.mark.parametrize("preset", PRESETS)
def test_the_policy_has_the_presets_numbers(preset: Preset) -> None:
    policy, chosen = PatienceOptions(preset=preset).policy(), PRESETS[preset]
    assert [probability for probability, _ in policy.steps] == list(chosen.probabilities)
    assert (*(silence for _, silence in policy.steps), policy.low_silence_ms) == chosen.unknown_ms
    assert {words: tuple(row) for words, row in policy.by_words.items()} == {
        name.removesuffix("_ms"): getattr(chosen, name) for name in ROWS
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_can_be_asked_in_time(preset: Preset) -> None:
    chosen = PRESETS[preset]
    soonest = min(min(getattr(chosen, name)) for name in ROWS)
    assert any(soonest - check >= 60 for check in chosen.check_at_ms), "an answer takes some 45 ms"


def test_presets_grow_in_patience() -> None:
    fast, balanced, careful = (PRESETS[name] for name in ("fast", "balanced", "careful"))
    for name in (*ROWS, "probabilities"):
        rows = [getattr(preset, name) for preset in (fast, balanced, careful)]
        assert all(one <= two <= three for one, two, three in zip(*rows, strict=True)), name
        assert rows[0] < rows[1] < rows[2]
    assert fast.max_silence_ms < balanced.max_silence_ms < careful.max_silence_ms


@given(st.sampled_from(sorted(PRESETS)), st.lists(st.floats(1, 900), min_size=4, max_size=4), st.floats(2501, 9000))
def test_what_is_set_replaces_the_presets_number(preset: Preset, row: list[float], max_ms: float) -> None:
    row.sort()
    policy = PatienceOptions(preset=preset, statement_ms=row, max_silence_ms=max_ms, adapt=False).policy()
    kept = PRESETS[preset]
    assert policy.by_words["statement"] == tuple(row)
    assert policy.by_words["open"] == kept.open_ms
    assert (policy.silence_ms, policy.max_silence_ms) == (kept.fallback_silence_ms, max_ms)
    assert policy.check_at_ms == kept.check_at_ms
    assert policy.adapts_up_to == 1.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"preset": "hasty"}, "fast.*balanced.*careful"),
        ({"probabilities": [0.3, 0.5, 0.1]}, r"probabilities must fall .* not \[0.3, 0.5, 0.1\]"),
        ({"probabilities": [1.1, 0.5, 0.1]}, "at most 1"),
        ({"probabilities": [0.9, 0.5]}, "probabilities"),
        ({"handover_ms": [300, 200, 400, 500]}, r"handover_ms must not fall.*\[300.0, 200.0, 400.0, 500.0\]"),
        ({"handover_ms": [0, 200, 400, 500]}, "greater than 0"),
        ({"open_ms": [900, 900, 900, 1900]}, r"open_ms goes up to 1900, above max_silence_ms \(1800; from preset"),
        ({"fallback_silence_ms": 1900}, r"fallback_silence_ms \(1900\) must not be above max_silence_ms"),
        ({"check_at_ms": []}, "check_at_ms"),
        ({"check_at_ms": [200, 100]}, r"positive and rising, not \[200.0, 100.0\]"),
        ({"check_at_ms": [0, 100]}, "positive and rising"),
        ({"check_at_ms": [100, 100]}, "positive and rising"),
        ({"check_at_ms": [100, 1800]}, r"goes up to 1800, but max_silence_ms \(1800\)"),
        ({"max_silence_ms": 0}, "max_silence_ms"),
        ({"high_silence_ms": 200}, "high_silence_ms"),
    ],
)
def test_contradictions_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PatienceOptions(**bad)
