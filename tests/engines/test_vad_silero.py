"""The `silero` engine: on a tiny generated graph with its interface, and on the real model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from antiphon.engines.audio import Samples
from antiphon.engines.errors import EngineFailed, EngineLoadFailed, EngineRequestInvalid, ModelError, UnknownModel
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.vad.silero import SileroOptions, SileroVAD


def save_leaky(path: Path, *, state_name: str = "state", probe_rows: int = 0) -> None:
    """A graph with Silero's interface: state' = state / 2 + mean(|input|); output = mean(state').

    With `probe_rows` it only takes inputs of that many rows, which no stream sends: it loads and cannot run.
    """
    nodes = [
        helper.make_node("Abs", ["input"], ["magnitude"]),
        helper.make_node("ReduceMean", ["magnitude"], ["level"], axes=[0, 1], keepdims=0),
        helper.make_node("Mul", [state_name, "half"], ["kept"]),
        helper.make_node("Add", ["kept", "level"], ["stateN"]),
        helper.make_node("ReduceMean", ["stateN"], ["mean"], axes=[0, 1, 2], keepdims=0),
        helper.make_node("Reshape", ["mean", "one_by_one"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "leaky",
        [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, [probe_rows or None, None]),
            helper.make_tensor_value_info(state_name, TensorProto.FLOAT, [2, None, 128]),
            helper.make_tensor_value_info("sr", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("stateN", TensorProto.FLOAT, [None, None, None]),
        ],
        initializer=[
            numpy_helper.from_array(np.array(0.5, dtype=np.float32), "half"),
            numpy_helper.from_array(np.array([1, 1], dtype=np.int64), "one_by_one"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def leaky_by_hand(windows: list[Samples], context: int) -> list[float]:
    state, tail, answers = 0.0, np.zeros(context), []
    for window in windows:
        row = np.concatenate([tail, window])
        state = state / 2 + float(np.abs(row).mean())
        tail = row[-context:]
        answers.append(state)
    return answers


def make(**options: Any) -> SileroVAD:
    vad = find("vad", "silero").create(SileroOptions(**options), EngineContext(EngineHost(), ModelStore()))
    assert isinstance(vad, SileroVAD)
    return vad


def entered(body: Callable[[SileroVAD], None], **options: Any) -> None:
    async def run() -> None:
        async with make(**options) as vad:
            body(vad)

    asyncio.run(run())


@pytest.fixture
def leaky(tmp_path: Path) -> str:
    path = tmp_path / "leaky.onnx"
    save_leaky(path)
    return str(path)


def noise(count: int, size: int, seed: int = 3, scale: float = 0.1) -> list[Samples]:
    rng = np.random.default_rng(seed)
    return [np.clip(rng.normal(0, scale, size), -1, 1).astype(np.float32) for _ in range(count)]


# ------------------------------------------------------------------------------------ generated graph


@pytest.mark.parametrize(("rate_hz", "size", "context"), [(16000, 512, 64), (8000, 256, 32)])
def test_context_and_state_go_from_window_to_window(leaky: str, rate_hz: int, size: int, context: int) -> None:
    def body(vad: SileroVAD) -> None:
        assert (vad.rate_hz, vad.window_samples) == (rate_hz, size)
        stream, windows = vad.stream(), noise(6, size)
        answers = [stream.probability(window) for window in windows]
        assert answers == pytest.approx(leaky_by_hand(windows, context), rel=1e-5)

    entered(body, model=leaky, rate_hz=rate_hz)


def test_two_streams_do_not_mix_and_reset_starts_anew(leaky: str) -> None:
    def body(vad: SileroVAD) -> None:
        first, second = noise(5, 512, seed=1), noise(5, 512, seed=2, scale=0.3)
        one, two = vad.stream(), vad.stream()
        pairs = [(one.probability(a), two.probability(b)) for a, b in zip(first, second, strict=True)]
        assert [a for a, _ in pairs] == pytest.approx(leaky_by_hand(first, 64), rel=1e-5)
        assert [b for _, b in pairs] == pytest.approx(leaky_by_hand(second, 64), rel=1e-5)
        two.reset()
        assert two.probability(first[0]) == pytest.approx(leaky_by_hand(first[:1], 64)[0], rel=1e-5)
        assert one.probability(first[0]) != pytest.approx(leaky_by_hand(first[:1], 64)[0], rel=1e-5)

    entered(body, model=leaky)


def test_a_refused_window_leaves_the_state_as_it_was(leaky: str) -> None:
    def body(vad: SileroVAD) -> None:
        stream, windows = vad.stream(), noise(3, 512)
        answers = []
        for window in windows:
            with pytest.raises(EngineRequestInvalid):
                stream.probability(window[:-1])
            answers.append(stream.probability(window))
        assert answers == pytest.approx(leaky_by_hand(windows, 64), rel=1e-5)

    entered(body, model=leaky)


def test_the_caller_may_reuse_its_buffer(leaky: str) -> None:
    def body(vad: SileroVAD) -> None:
        stream, windows = vad.stream(), noise(4, 512)
        buffer, answers = np.empty(512, dtype=np.float32), []
        for window in windows:
            buffer[:] = window
            answers.append(stream.probability(buffer))
            assert np.array_equal(buffer, window)
        assert answers == pytest.approx(leaky_by_hand(windows, 64), rel=1e-5)

    entered(body, model=leaky)


@pytest.mark.parametrize(
    "window",
    [
        np.zeros(0, dtype=np.float32),
        np.zeros(480, dtype=np.float32),
        np.zeros(1024, dtype=np.float32),
        np.zeros((1, 512), dtype=np.float32),
        np.zeros(512, dtype=np.float64),
        np.zeros(512, dtype=np.int16),
        None,
    ],
)
def test_another_window_is_refused(leaky: str, window: Any) -> None:
    def body(vad: SileroVAD) -> None:
        with pytest.raises(EngineRequestInvalid, match=r"float32 of shape \(512,\), 32 ms at 16000 Hz") as caught:
            vad.stream().probability(window)
        assert "window_samples" in caught.value.hint

    entered(body, model=leaky)


def test_enters_and_leaves_again(leaky: str) -> None:
    async def run() -> None:
        vad = make(model=leaky)
        for _ in range(2):
            with pytest.raises(EngineFailed, match="not entered"):
                vad.stream()
            async with vad as same:
                assert same is vad
                assert vad.stream().probability(np.zeros(512, dtype=np.float32)) == 0.0

    asyncio.run(run())


def test_options_give_the_thresholds() -> None:
    assert make(threshold=0.5).release_threshold == pytest.approx(0.35)
    assert make(threshold=0.1).release_threshold == pytest.approx(0.01)
    assert make(threshold=0.005).release_threshold == pytest.approx(0.005)
    assert make(threshold=0.6, release_threshold=0.6).release_threshold == 0.6
    assert make().hidden_hangover_ms == 32.0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"threshold": 0.4, "release_threshold": 0.5},
            r"release_threshold \(0.5\) must not be above threshold \(0.4\)",
        ),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"rate_hz": 48000}, "rate_hz"),
        ({"treshold": 0.5}, "treshold"),
    ],
)
def test_bad_options_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SileroOptions(**bad)


def load_failure(model: str) -> Exception:
    async def run() -> Exception:
        vad = make(model=model)
        with pytest.raises((EngineLoadFailed, ModelError)) as caught:
            await vad.__aenter__()
        with pytest.raises(EngineFailed, match="not entered"):
            vad.stream()
        return caught.value

    return asyncio.run(run())


def test_files_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    assert isinstance(load_failure(str(tmp_path / "absent.onnx")), UnknownModel)
    corrupt = tmp_path / "corrupt.onnx"
    corrupt.write_bytes(b"\x08\x07 this was a model once")
    assert "cannot load" in str(load_failure(str(corrupt)))
    other = tmp_path / "other.onnx"
    save_leaky(other, state_name="h")
    assert "its inputs are h, input, sr, not input, sr, state" in str(load_failure(str(other)))
    stuck = tmp_path / "stuck.onnx"
    save_leaky(stuck, probe_rows=3)
    assert "loads but cannot run a window" in str(load_failure(str(stuck)))


# ----------------------------------------------------------------------------------------- real model


@pytest.mark.real
@pytest.mark.parametrize("rate_hz", [8000, 16000])
def test_the_real_model_hears_nothing_in_what_is_no_speech(rate_hz: int) -> None:
    rng = np.random.default_rng(5)
    count = 4 * rate_hz
    time_s = np.arange(count) / rate_hz
    sounds = {
        "silence": np.zeros(count),
        "noise": rng.normal(0, 0.1, count),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time_s),
        "direct current": np.full(count, 0.8),
        "clipped square": np.sign(np.sin(2 * np.pi * 200 * time_s)),
        "not a number": np.full(count, np.nan),
        "infinite": np.where(np.arange(count) % 2, np.inf, -np.inf),
    }

    def body(vad: SileroVAD) -> None:
        for name, sound in sounds.items():
            stream, size = vad.stream(), vad.window_samples
            windows = sound.astype(np.float32)[: count // size * size].reshape(-1, size)
            assert max(stream.probability(window) for window in windows) < vad.threshold, name

    entered(body, rate_hz=rate_hz)


@pytest.mark.real
def test_one_bad_block_does_not_poison_the_real_models_state() -> None:
    def body(vad: SileroVAD) -> None:
        stream = vad.stream()
        for value in (np.nan, np.inf, 1e30, -1e30):
            assert 0.0 <= stream.probability(np.full(512, value, dtype=np.float32)) <= 1.0
            assert 0.0 <= stream.probability(np.zeros(512, dtype=np.float32)) <= 1.0

    entered(body)
