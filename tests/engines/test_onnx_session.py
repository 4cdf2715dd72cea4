"""`engines.onnx_session`: good graphs load, bad files have a clear answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from antiphon.engines.errors import EngineLoadFailed, EngineUnavailable
from antiphon.engines.onnx_session import make_session, onnx_file
from antiphon.engines.protocols import ModelFiles


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A graph that doubles its input."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "doubling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    path = tmp_path / "doubling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize("first", ["import antiphon", "import antiphon.engines.onnx_session"])
def test_the_runtime_keeps_no_telemetry(doubling: Path, tmp_path: Path, first: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    program = (
        f"{first}\n"
        "import onnxruntime\n"
        "from antiphon.engines.onnx_session import make_session\n"
        f"session = make_session({str(doubling)!r}, threads=1, stage='turn', engine='probe')\n"
        "import numpy; session.run(None, {'x': numpy.ones(1, numpy.float32)})\n"
    )
    places = {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR")}
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"} | places
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=home, timeout=300)
    assert [path for path in home.rglob("*") if path.is_file()] == [], "its identifier and its queue of events"


def test_runs_with_the_threads_asked_for_and_does_not_spin(doubling: Path) -> None:
    session = make_session(doubling, threads=2, stage="turn", engine="probe")
    assert session.run(None, {"x": np.array([1.5, -2.0], dtype=np.float32)})[0].tolist() == [3.0, -4.0]
    options = session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        EngineUnavailable, match=r"the vad engine 'probe' needs the model file .*absent\.onnx"
    ) as caught:
        make_session(tmp_path / "absent.onnx", stage="vad", engine="probe")
    assert (caught.value.stage, caught.value.engine) == ("vad", "probe")
    assert "antiphon models pull" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"not a graph at all", bytes(range(256)) * 8])
def test_a_file_that_is_no_graph_fails_to_load(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(EngineLoadFailed, match=r"the tts engine 'probe' cannot load .*broken\.onnx") as caught:
        make_session(path, stage="tts", engine="probe")
    assert not caught.value.retryable
    assert "antiphon models verify" in caught.value.hint


def test_a_truncated_graph_fails_to_load(doubling: Path) -> None:
    doubling.write_bytes(doubling.read_bytes()[:-20])
    with pytest.raises(EngineLoadFailed):
        make_session(doubling, stage="vad", engine="probe")


def test_no_threads_is_a_programming_error(doubling: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        make_session(doubling, threads=0, stage="vad", engine="probe")


def test_the_one_onnx_file_of_a_model() -> None:
    files = {"voice.onnx.json": "/m/voice.onnx.json", "Voice.ONNX": "/m/Voice.ONNX"}
    assert onnx_file(ModelFiles("voice", "/m", files), stage="tts", engine="probe") == "/m/Voice.ONNX"


@pytest.mark.parametrize("names", [[], ["config.json"], ["a.onnx", "b.onnx"]])
def test_none_or_several_onnx_files_are_refused(names: list[str]) -> None:
    model = ModelFiles("odd", "/m", {name: f"/m/{name}" for name in names})
    with pytest.raises(EngineLoadFailed, match=r"one \.onnx file; 'odd' has"):
        onnx_file(model, stage="vad", engine="probe")
