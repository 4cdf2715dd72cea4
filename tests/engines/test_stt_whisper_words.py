"""Word times: from token alignments to words, and the mel filter bank in bands."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.protocols import Word
from antiphon.engines.stt.whisper_mel import BandMatrix
from antiphon.engines.stt.whisper_words import group_words, tighten, token_starts


def test_tokens_begin_where_the_path_enters_them() -> None:
    path = [(0, 0), (0, 1), (1, 2), (1, 3), (1, 4), (2, 5), (3, 9)]
    assert token_starts(path, 3) == pytest.approx([0.0, 0.04, 0.10, 0.18])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.integers(0, 40))
def test_starts_never_go_back(steps: list[tuple[int, int]], tokens: int) -> None:
    path, token, frame = [], 0, 0
    for token_step, frame_step in steps:
        token, frame = token + token_step, frame + frame_step
        path.append((token, frame))
    starts = token_starts(path, tokens)
    assert len(starts) == tokens + 1
    assert starts == sorted(starts)


def test_punctuation_joins_its_word() -> None:
    words = [" Hello", ",", " (", "big", ")", " world", "."]
    starts = [0.0, 0.4, 0.4, 0.5, 0.8, 0.8, 1.2, 1.2]
    found = group_words(words, [[1]] * 7, starts, [0.9, 1, 1, 0.5, 1, 0.7, 1], 1.3)
    assert [w.text for w in found] == ["Hello,", "(big)", "world."]
    assert found[2] == Word("world.", 0.8, 1.2, 0.7)


def test_a_word_of_several_tokens_has_their_mean_probability() -> None:
    (word,) = group_words([" Brooklyn"], [[1, 2]], [0.1, 0.3, 0.6], [0.4, 0.8], 2.0)
    assert word == Word("Brooklyn", 0.1, 0.6, pytest.approx(0.6))  # type: ignore[arg-type]


def test_no_word_ends_after_the_audio() -> None:
    (word,) = group_words([" late"], [[1]], [0.9, 5.0], [1.0], 1.0)
    assert word.end_s == 1.0


def test_pauses_are_taken_off_words() -> None:
    samples = np.zeros(32_000, np.float32)
    samples[8000:16_000] = 0.1 * np.sin(np.arange(8000) * 0.3)
    (word,) = tighten([Word("one", 0.0, 1.8)], samples)
    assert (word.start_s, word.end_s) == (pytest.approx(0.5), pytest.approx(1.0))


def test_a_word_without_any_loud_frame_stays_where_it_is() -> None:
    samples = np.zeros(32_000, np.float32)
    samples[:8000] = 0.1 * np.sin(np.arange(8000) * 0.3)
    quiet = Word("two", 1.0, 1.5)
    assert tighten([quiet], samples) == (quiet,)
    assert tighten([quiet], np.zeros(3, np.float32)) == (quiet,)


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(0.0, 2.0), min_size=2, max_size=12))
def test_tightened_words_stay_inside_their_times(seed: int, times: list[float]) -> None:
    samples = np.random.default_rng(seed).standard_normal(32_000).astype(np.float32)
    samples *= np.repeat(np.random.default_rng(seed).random(20).astype(np.float32) ** 4, 1600)
    times = sorted(times)
    words = [Word("w", a, b) for a, b in itertools.pairwise(times)]
    for before, after in zip(words, tighten(words, samples), strict=True):
        assert before.start_s <= after.start_s <= after.end_s <= before.end_s


@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_the_band_matrix_multiplies_like_the_dense_one(rows: int, columns: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = np.zeros((rows, columns), np.float32)
    for row in dense:
        first, last = sorted(rng.integers(0, columns + 1, 2))
        row[first:last] = rng.random(last - first)
    other = rng.standard_normal((columns, n)).astype(np.float32)
    assert BandMatrix(dense) @ other == pytest.approx(dense @ other, abs=1e-4)
