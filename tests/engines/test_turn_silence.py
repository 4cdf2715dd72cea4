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


def test_the_default_preset_is_the_measured_one() -> None:
    policy = PatienceOptions().policy()
    assert policy == PatienceOptions(preset="balanced").policy()
    assert policy.steps == ((0.9, 200.0), (0.5, 400.0))
    assert (policy.silence_ms, policy.max_silence_ms) == (700.0, 1500.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_can_be_asked_in_time(preset: Preset) -> None:
    policy = PatienceOptions(preset=preset).policy()
    probabilities = [probability for probability, _ in policy.steps]
    silences = [silence for _, silence in policy.steps]
    assert probabilities == sorted(probabilities, reverse=True)
    assert silences == sorted(silences)
    for silence in silences:
        assert any(silence - check >= 60 for check in policy.check_at_ms), "an answer takes some 45 ms"


def test_presets_grow_in_patience() -> None:
    fast, balanced, careful = (PRESETS[name] for name in ("fast", "balanced", "careful"))
    for name in ("high_probability", "high_silence_ms", "mid_silence_ms", "max_silence_ms", "fallback_silence_ms"):
        assert getattr(fast, name) < getattr(balanced, name) < getattr(careful, name)


@given(st.sampled_from(sorted(PRESETS)), st.floats(0.9, 1.0), st.floats(401, 900), st.floats(2001, 9000))
def test_what_is_set_replaces_the_presets_number(preset: Preset, high: float, mid_ms: float, max_ms: float) -> None:
    options = PatienceOptions(preset=preset, high_probability=high, mid_silence_ms=mid_ms, max_silence_ms=max_ms)
    policy, kept = options.policy(), PRESETS[preset]
    assert policy.steps == ((high, kept.high_silence_ms), (kept.mid_probability, mid_ms))
    assert (policy.silence_ms, policy.max_silence_ms) == (kept.fallback_silence_ms, max_ms)
    assert policy.check_at_ms == kept.check_at_ms


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"preset": "hasty"}, "fast.*balanced.*careful"),
        ({"high_probability": 0.3}, r"high_probability \(0.3\) must not be below mid_probability \(0.5\)"),
        ({"high_silence_ms": 500}, r"high_silence_ms \(500\) must not be above mid_silence_ms \(400; from preset"),
        ({"mid_silence_ms": 1600}, r"mid_silence_ms \(1600\) must not be above max_silence_ms \(1500; from preset"),
        ({"fallback_silence_ms": 1600}, r"fallback_silence_ms \(1600\) must not be above max_silence_ms"),
        ({"check_at_ms": []}, "check_at_ms"),
        ({"check_at_ms": [200, 100]}, r"positive and rising, not \[200.0, 100.0\]"),
        ({"check_at_ms": [0, 100]}, "positive and rising"),
        ({"check_at_ms": [100, 100]}, "positive and rising"),
        ({"check_at_ms": [100, 1500]}, r"goes up to 1500, but max_silence_ms \(1500\)"),
        ({"mid_probability": 1.1}, "mid_probability"),
        ({"max_silence_ms": 0}, "max_silence_ms"),
    ],
)
def test_contradictions_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PatienceOptions(**bad)
