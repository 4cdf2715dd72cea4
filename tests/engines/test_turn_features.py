"""The log-mel front end, against faster-whisper's (the mel part) and golden values of WhisperFeatureExtractor (all).

The golden values came from `WhisperFeatureExtractor(chunk_length=8)` of transformers, with `do_normalize=True`, on the
signals below: a grid of bands and frames of each, which a wrong window, scale, centre, norm or floor would move.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.audio import Samples
from antiphon.engines.turn.features import FRAMES, MELS, SAMPLES, last_seconds, log_mel, normalised

TIME_S = np.arange(SAMPLES) / 16000


def white_noise() -> Samples:
    return np.random.default_rng(7).normal(0, 0.1, SAMPLES).astype(np.float32)


def chirp() -> Samples:
    return (0.5 * np.sin(2 * np.pi * (80 * TIME_S + 400 * TIME_S**2))).astype(np.float32)


def tone_on_direct_current() -> Samples:
    return (0.2 + 0.3 * np.sin(2 * np.pi * 440 * TIME_S)).astype(np.float32)


def three_seconds() -> Samples:
    swell = np.sin(2 * np.pi * 3 * TIME_S[:48000])
    return (np.random.default_rng(8).normal(0, 0.05, 48000) * swell).astype(np.float32)


def silence() -> Samples:
    return np.zeros(SAMPLES, dtype=np.float32)


SIGNALS: dict[str, Callable[[], Samples]] = {
    function.__name__: function for function in (white_noise, chirp, tone_on_direct_current, three_seconds, silence)
}
BANDS = (0, 11, 37, 79)
AT = (0, 1, 397, 501, 640, 799)

GOLDEN: dict[str, list[list[float]]] = {
    "white_noise": [
        [1.292660, 1.153949, 1.051523, 1.234389, 1.204223, 1.063569],
        [0.938713, 1.132010, 0.876988, 1.113467, 1.243430, 1.177205],
        [1.038349, 1.114447, 1.121342, 1.015216, 0.855091, 1.186794],
        [1.110919, 1.089147, 1.164232, 1.247071, 1.199359, 1.150955],
    ],
    "chirp": [
        [1.637685, 1.452765, -0.129212, -0.129182, -0.129351, 0.013042],
        [0.839814, 0.373340, -0.321900, -0.321900, -0.321900, -0.120964],
        [0.294693, -0.218695, -0.321900, -0.321900, -0.321900, -0.106813],
        [-0.226629, -0.321900, -0.321900, -0.321900, -0.321900, 0.399516],
    ],
    "tone_on_direct_current": [
        [1.209051, 0.697044, -0.336024, -0.336024, -0.336024, 0.703472],
        [1.337368, 1.661469, 1.663976, 1.663976, 1.663976, 1.661437],
        [0.682414, 0.172787, -0.336024, -0.336024, -0.336024, 0.181119],
        [0.144081, -0.336024, -0.336024, -0.336024, -0.336024, -0.336024],
    ],
    "three_seconds": [
        [-0.242481, -0.242481, -0.242481, 0.796435, 1.498187, 0.957857],
        [-0.460793, -0.460793, -0.460793, 0.994298, 1.243176, 1.082115],
        [-0.460793, -0.460793, -0.460793, 1.111316, 1.210470, 0.918937],
        [-0.460793, -0.460793, -0.460793, 0.956347, 1.335291, 0.993757],
    ],
    "silence": [
        [-1.500000, -1.500000, -1.500000, -1.500000, -1.500000, -1.500000],
        [-1.500000, -1.500000, -1.500000, -1.500000, -1.500000, -1.500000],
        [-1.500000, -1.500000, -1.500000, -1.500000, -1.500000, -1.500000],
        [-1.500000, -1.500000, -1.500000, -1.500000, -1.500000, -1.500000],
    ],
}


@pytest.mark.parametrize("name", SIGNALS)
def test_equals_the_reference_extractor(name: str) -> None:
    features = log_mel(normalised(last_seconds(SIGNALS[name]())))
    assert features.shape == (MELS, FRAMES)
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    np.testing.assert_allclose(features[np.ix_(BANDS, AT)], GOLDEN[name], atol=1e-4)


@pytest.mark.parametrize("name", SIGNALS)
def test_the_mel_part_equals_faster_whispers_everywhere(name: str) -> None:
    samples = normalised(last_seconds(SIGNALS[name]()))
    reference = FeatureExtractor(chunk_length=8)(samples, padding=0)[:, :FRAMES]
    np.testing.assert_allclose(log_mel(samples), reference, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), st.floats(-0.5, 0.5))
def test_loudness_and_offset_do_not_matter(seed: int, scale: float, offset: float) -> None:
    base = np.random.default_rng(seed).normal(0, 0.3, SAMPLES)
    first = log_mel(normalised(base.astype(np.float32)))
    second = log_mel(normalised((base * scale + offset).astype(np.float32)))
    np.testing.assert_allclose(first, second, atol=2e-3)


@given(st.integers(0, 3 * SAMPLES))
@settings(max_examples=30, deadline=None)
def test_the_last_eight_seconds_with_silence_in_front(count: int) -> None:
    samples = np.arange(1, count + 1, dtype=np.float32)
    tail = last_seconds(samples)
    kept = min(count, SAMPLES)
    assert tail.shape == (SAMPLES,)
    assert np.array_equal(tail[SAMPLES - kept :], samples[count - kept :])
    assert not tail[: SAMPLES - kept].any()


def test_normalised_has_mean_zero_and_variance_one() -> None:
    samples = normalised(tone_on_direct_current())
    assert samples.dtype == np.float32
    assert abs(float(samples.mean(dtype=np.float64))) < 1e-5
    assert float(samples.var(dtype=np.float64)) == pytest.approx(1.0, abs=1e-4)
    assert not normalised(silence()).any()
