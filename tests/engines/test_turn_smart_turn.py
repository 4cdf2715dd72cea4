"""The `smart_turn` engine: on a tiny generated graph with its interface, and on the real model."""

from __future__ import annotations

import asyncio
import csv
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper
from pydantic import ValidationError

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.errors import (
    EngineFailed,
    EngineLoadFailed,
    EngineRequestInvalid,
    EngineTimeout,
    ModelError,
    UnknownModel,
)
from antiphon.engines.host import EngineHost, Ticket, current_ticket
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import MachinePlan
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.turn import smart_turn
from antiphon.engines.turn.features import log_mel, normalised
from antiphon.engines.turn.smart_turn import SmartTurnDetector, SmartTurnOptions

CLIPS = Path(os.environ.get("ANTIPHON_CLIPS", Path(__file__).parents[2].parent / "shared" / "audio"))


def save_averager(path: Path, *, squash: str = "Sigmoid", mels: int = 80, fixed_batch: int | None = None) -> None:
    """A graph with Smart Turn's interface whose probability is sigmoid(mean of the features)."""
    nodes = [
        helper.make_node("ReduceMean", ["input_features"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node(squash, ["column"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "averager",
        [helper.make_tensor_value_info("input_features", TensorProto.FLOAT, [fixed_batch or "batch", mels, 800])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        initializer=[helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def averager(tmp_path: Path) -> str:
    path = tmp_path / "averager.onnx"
    save_averager(path)
    return str(path)


def averaged_by_hand(samples: Samples) -> float:
    eight = np.concatenate([np.zeros(128_000, dtype=np.float32), samples])[-128_000:]
    return float(1 / (1 + np.exp(-log_mel(normalised(eight)).mean(dtype=np.float64))))


def make(host: EngineHost | None = None, **options: Any) -> SmartTurnDetector:
    context = EngineContext(host or EngineHost(), ModelStore())
    detector = find("turn", "smart_turn").create(SmartTurnOptions(**options), context)
    assert isinstance(detector, SmartTurnDetector)
    return detector


def entered(body: Callable[[SmartTurnDetector], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with make(**options) as detector:
            await body(detector)

    asyncio.run(run())


def frame(samples: Samples, rate_hz: int = 16000) -> AudioFrame:
    return AudioFrame(samples, rate_hz)


def noise(seconds: float, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    swell = np.abs(np.sin(np.arange(round(seconds * 16000)) / (900 + 300 * seed)))
    return (rng.normal(0, 0.2, len(swell)) * swell).astype(np.float32)


def worker_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "smart_turn" in thread.name]


def join_worker_threads() -> None:
    """A worker that could not start reports so just before its thread ends."""
    for thread in threading.enumerate():
        if "smart_turn" in thread.name:
            thread.join(10)


# ------------------------------------------------------------------------------------ generated graph


@pytest.mark.parametrize("seconds", [0.0001, 0.5, 7.99, 8.0, 11.3])
def test_the_last_eight_seconds_go_through_the_network(averager: str, seconds: float) -> None:
    async def body(detector: SmartTurnDetector) -> None:
        samples = noise(seconds)
        answer = await detector.end_probability(frame(samples), "what was heard")
        assert answer == pytest.approx(averaged_by_hand(samples), abs=1e-5)

    entered(body, model=averager)


def test_sessions_that_ask_at_once_get_their_own_answers(averager: str) -> None:
    async def body(detector: SmartTurnDetector) -> None:
        turns = [noise(1 + seed, seed) for seed in range(5)]
        answers = await asyncio.gather(*(detector.end_probability(frame(turn), None) for turn in turns))
        assert answers == pytest.approx([averaged_by_hand(turn) for turn in turns], abs=1e-5)
        assert len(set(answers)) == len(answers)

    entered(body, model=averager)


def test_the_caller_may_go_on_filling_its_buffer(averager: str) -> None:
    async def body(detector: SmartTurnDetector) -> None:
        samples = noise(9)
        expected = averaged_by_hand(samples)
        asked = asyncio.create_task(detector.end_probability(frame(samples), None))
        await asyncio.sleep(0)
        samples[:] = 0.5
        assert await asked == pytest.approx(expected, abs=1e-5)

    entered(body, model=averager)


def test_extreme_audio_has_an_answer(averager: str) -> None:
    async def body(detector: SmartTurnDetector) -> None:
        for samples in (
            np.zeros(16000, dtype=np.float32),
            np.full(16000, 0.9, dtype=np.float32),
            np.where(np.arange(160000) % 2, 1, -1).astype(np.float32),
            np.full(200_000, 3e38, dtype=np.float32),
        ):
            try:
                assert 0.0 <= await detector.end_probability(frame(samples), None) <= 1.0
            except EngineFailed as error:
                assert "no probability" in error.message

    entered(body, model=averager)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (frame(np.zeros(0, dtype=np.float32)), "needs audio: this piece has no samples"),
        (frame(np.zeros(8000, dtype=np.float32), 8000), "needs audio at 16000 Hz, not at 8000 Hz"),
        (frame(np.zeros((2, 8000), dtype=np.float32)), r"float32 mono samples of shape \(n,\), not float32 of shape"),
        (frame(np.zeros(8000, dtype=np.int16)), "not int16 of shape"),  # type: ignore[arg-type]
        (frame(np.array([0.0, np.nan, np.inf], dtype=np.float32)), "2 samples that are no numbers"),
    ],
)
def test_audio_that_can_never_do_is_refused(averager: str, audio: AudioFrame, message: str) -> None:
    async def body(detector: SmartTurnDetector) -> None:
        with pytest.raises(EngineRequestInvalid, match=message) as caught:
            await detector.end_probability(audio, None)
        assert (caught.value.stage, caught.value.engine) == ("turn", "smart_turn")
        assert 0 <= await detector.end_probability(frame(noise(1)), None) <= 1, "the next request works"

    entered(body, model=averager)


def test_enters_and_leaves_again_and_leaves_no_thread(averager: str) -> None:
    async def run() -> None:
        detector = make(model=averager)
        for _ in range(2):
            with pytest.raises(EngineFailed, match="not entered"):
                await detector.end_probability(frame(noise(1)), None)
            async with detector as same:
                assert same is detector
                assert worker_threads() == ["turn smart_turn"]
                with pytest.raises(EngineFailed, match="entered already"):
                    await detector.__aenter__()
                assert await detector.end_probability(frame(noise(1)), None) > 0
            assert worker_threads() == []

    asyncio.run(run())


def test_engines_on_one_host_share_the_loaded_model(averager: str) -> None:
    async def run() -> None:
        host = EngineHost()
        async with make(host, model=averager) as first, make(host, model=averager, preset="careful") as second:
            assert len(worker_threads()) == 1
            assert first.policy != second.policy
            async with make(host, model=averager, threads=2):
                assert len(worker_threads()) == 2
        assert worker_threads() == []

    asyncio.run(run())


def test_auto_threads_are_the_plans(averager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    make_session = smart_turn.make_session

    def spy(path: str, *, threads: int, stage: str, engine: str) -> Any:
        asked.append(threads)
        return make_session(path, threads=threads, stage=stage, engine=engine)

    monkeypatch.setattr(smart_turn, "make_session", spy)

    async def run() -> None:
        context = EngineContext(EngineHost(), ModelStore(), MachinePlan(turn=3))
        for threads in ("auto", 2):
            options = SmartTurnOptions(model=averager, threads=threads)
            async with smart_turn.create(options, context):
                pass

    asyncio.run(run())
    assert asked == [3, 2]


def test_a_late_answer_is_a_timeout(averager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()
    extract = log_mel

    def slow(samples: Samples) -> Any:
        if samples.any():
            hold.wait(10)
        return extract(samples)

    monkeypatch.setattr("antiphon.engines.turn.features.log_mel", slow)

    async def body(detector: SmartTurnDetector) -> None:
        token = current_ticket.set(Ticket(timeout_s=0.05))
        try:
            with pytest.raises(EngineTimeout):
                await detector.end_probability(frame(noise(1)), None)
        finally:
            hold.set()
            current_ticket.reset(token)
        assert await detector.end_probability(frame(noise(1)), None) > 0

    entered(body, model=averager)


def load_failure(model: str) -> Exception:
    async def run() -> Exception:
        detector = make(model=model)
        with pytest.raises((EngineLoadFailed, ModelError)) as caught:
            await detector.__aenter__()
        join_worker_threads()
        assert worker_threads() == []
        return caught.value

    return asyncio.run(run())


def test_files_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    assert isinstance(load_failure(str(tmp_path / "absent.onnx")), UnknownModel)
    corrupt = tmp_path / "corrupt.onnx"
    corrupt.write_bytes(b"\x00 no protobuf \xff" * 50)
    assert "the turn engine 'smart_turn' cannot load" in str(load_failure(str(corrupt)))
    other = tmp_path / "other.onnx"
    save_averager(other, mels=128)
    assert "not input_features of shape (batch, 80, 800)" in str(load_failure(str(other)))
    stuck = tmp_path / "stuck.onnx"
    save_averager(stuck, fixed_batch=4)
    assert "loads but cannot run" in str(load_failure(str(stuck)))
    logits = tmp_path / "logits.onnx"
    save_averager(logits, squash="Identity")
    assert "gave -1.5, which is no probability" in str(load_failure(str(logits)))


@pytest.mark.parametrize("bad", [{"threads": 0}, {"threads": "many"}, {"preset": "slow"}, {"treshold": 1}])
def test_bad_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        SmartTurnOptions(**bad)


# ----------------------------------------------------------------------------------------- real model


@pytest.mark.real
def test_the_real_model_answers_for_extreme_audio() -> None:
    async def body(detector: SmartTurnDetector) -> None:
        for samples in (noise(0.001), np.zeros(16000, dtype=np.float32), np.ones(160_000, dtype=np.float32), noise(20)):
            assert 0.0 <= await detector.end_probability(frame(samples), None) <= 1.0

    entered(body)


@pytest.mark.real
@pytest.mark.clips
@pytest.mark.skipif(not (CLIPS / "index.tsv").is_file(), reason="needs the human clip set")
def test_the_real_model_tells_an_end_from_a_middle() -> None:
    with (CLIPS / "index.tsv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["lang"] == "en" and row["transcript"]]

    def cut(row: dict[str, str], share: float) -> AudioFrame:
        """Up to `share` of the speech, and 200 ms more."""
        samples, _ = soundfile.read(CLIPS / row["file"], dtype="float32")
        start_s, end_s = float(row["speech_start_s"]), float(row["speech_end_s"])
        spoken = samples[: round(16000 * (start_s + share * (end_s - start_s)))]
        after = samples[len(spoken) :][:3200] if share == 1.0 else np.zeros(0, dtype=np.float32)
        return frame(np.concatenate([spoken, after, np.zeros(3200 - len(after), dtype=np.float32)]))

    async def body(detector: SmartTurnDetector) -> None:
        at_end = np.array([await detector.end_probability(cut(row, 1.0), None) for row in rows])
        in_middle = np.array(
            [await detector.end_probability(cut(row, share), None) for share in (0.35, 0.6) for row in rows]
        )
        assert (at_end >= 0.5).mean() >= 0.7
        assert (at_end >= 0.9).mean() >= 0.6
        assert np.mean(at_end[:, None] > in_middle) >= 0.6, "a cut in mid-word sounds odd, but not finished"

    entered(body)
