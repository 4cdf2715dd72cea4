"""The encoder window, the token cap, and where long audio is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.stt.whisper_window import (
    FULL_WINDOW_S,
    MAX_TOKENS,
    MEASURED,
    WindowPolicy,
    cut_quiet,
    policy_for,
    token_cap,
)

durations = st.floats(0.0, 28.7)
policies = st.builds(WindowPolicy, st.floats(1.0, 30.0), st.floats(0.0, 10.0))


@given(policies, durations)
def test_the_window_holds_the_audio_and_never_passes_30_s(policy: WindowPolicy, duration_s: float) -> None:
    window = policy.window_s(duration_s)
    assert policy.floor_s <= window <= FULL_WINDOW_S
    assert window >= min(duration_s + policy.margin_s, FULL_WINDOW_S)


@given(policies, durations)
def test_every_further_attempt_is_longer_and_the_last_is_the_full_window(
    policy: WindowPolicy, duration_s: float
) -> None:
    attempts = policy.attempts(duration_s)
    assert attempts[0] == policy.window_s(duration_s)
    assert list(attempts) == sorted(set(attempts))
    assert attempts[-1] == FULL_WINDOW_S


def test_retries_go_to_10_then_30_seconds() -> None:
    assert WindowPolicy(5.0, 1.28).attempts(1.2) == (5.0, 10.0, 30.0)
    assert WindowPolicy(8.0, 1.28).attempts(11.0) == (13.0, 30.0)
    assert WindowPolicy().attempts(2.0) == (30.0,)


@given(policies)
def test_a_piece_of_long_audio_fits_the_full_window_with_silence_behind_it(policy: WindowPolicy) -> None:
    assert policy.longest_piece_s <= FULL_WINDOW_S - policy.margin_s
    assert policy.longest_piece_s < FULL_WINDOW_S
    assert all(w <= FULL_WINDOW_S for w in policy.warm_windows)


def test_the_window_belongs_to_the_model() -> None:
    assert policy_for("whisper-tiny.en", {}) == MEASURED["tiny.en"]
    assert policy_for("/some/folder/faster-whisper-tiny.en/", {}) == MEASURED["tiny.en"]
    assert policy_for("hub:Systran/faster-whisper-base@abc", {}) == MEASURED["base"]


def test_an_unmeasured_model_gets_the_full_window() -> None:
    assert policy_for("whisper-large-v3", {}).floor_s == FULL_WINDOW_S


def test_the_catalog_comes_before_the_table_and_the_configuration_before_both() -> None:
    facts = {"encoder_window_s": 12, "encoder_margin_s": 2}
    assert policy_for("whisper-tiny.en", facts).window_s(1.0) == 12.0
    chosen = policy_for("whisper-tiny.en", facts, floor_s=6.0, margin_s=0.0)
    assert (chosen.floor_s, chosen.margin_s) == (6.0, 0.0)


@given(st.floats(0.0, 30.0), st.sampled_from(["en", "de", "ja", None]), st.none() | st.integers(1, 224))
def test_the_token_cap_stays_inside_the_decoder_and_the_callers_limit(
    duration_s: float, language: str | None, limit: int | None
) -> None:
    cap = token_cap(duration_s, language, limit)
    assert 1 <= cap <= MAX_TOKENS
    if limit is not None:
        assert cap <= limit


def test_longer_audio_may_have_more_tokens() -> None:
    caps = [token_cap(s, "en") for s in (0.5, 2.0, 10.0)]
    assert caps == sorted(set(caps))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40_000), st.floats(0.5, 5.0), st.integers(0, 2**32 - 1))
def test_pieces_join_without_gap_and_none_is_too_long(length: int, longest_s: float, seed: int) -> None:
    rate = 1000
    samples = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    pieces = cut_quiet(samples, longest_s, rate)
    assert [start for start, _ in pieces] == [0, *(end for _, end in pieces)][: len(pieces)]
    assert all(0 < end - start <= longest_s * rate for start, end in pieces)
    assert (pieces[-1][1] if pieces else 0) == length


def test_long_audio_is_cut_in_its_pauses() -> None:
    rate = 16_000
    samples = np.random.default_rng(3).standard_normal(70 * rate).astype(np.float32) * 0.1
    pauses = (21.0, 44.0)
    for at in pauses:
        samples[int(at * rate) : int((at + 0.5) * rate)] = 0.0
    cuts = [end / rate for _, end in cut_quiet(samples, 28.0)][:-1]
    assert len(cuts) == 2
    assert all(at <= cut <= at + 0.5 for at, cut in zip(pauses, cuts, strict=True))


def test_short_audio_is_one_piece_and_none_is_none() -> None:
    assert cut_quiet(np.zeros(16_000, np.float32), 28.0) == [(0, 16_000)]
    assert cut_quiet(np.zeros(0, np.float32), 28.0) == []


@pytest.mark.parametrize("duration_s", [28.1, 30.0, 40.0])
def test_audio_a_little_too_long_leaves_no_scrap(duration_s: float) -> None:
    samples = np.random.default_rng(4).standard_normal(int(duration_s * 16_000)).astype(np.float32)
    assert min(end - start for start, end in cut_quiet(samples, 28.0)) > 5 * 16_000
