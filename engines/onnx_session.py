"""One way to make an ONNX Runtime session that is a good neighbour: few threads, no spinning, no chatter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from antiphon.engines.errors import EngineLoadFailed, EngineUnavailable
from antiphon.engines.protocols import ModelFiles

if TYPE_CHECKING:
    import onnxruntime

_LOG_ERRORS_ONLY = 3


def make_session(path: str | Path, *, threads: int = 1, stage: str, engine: str) -> onnxruntime.InferenceSession:
    """Load an ONNX graph for the CPU.

    ONNX Runtime's workers spin for a while after each call by default, which takes the core from the stage that
    comes next; here they sleep.

    :param path: the .onnx file.
    :param threads: threads that one call may use, the caller's own included; at least 1.
    :param stage: the stage to name in errors ("vad", "tts", ...).
    :param engine: the engine to name in errors.
    :raises EngineUnavailable: the file or the package onnxruntime is missing.
    :raises EngineLoadFailed: the file is no ONNX graph that this version of ONNX Runtime can run.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    file = Path(path)
    if not file.is_file():
        raise EngineUnavailable(
            f"the {stage} engine '{engine}' needs the model file '{file}', which is not there",
            stage=stage,
            engine=engine,
            hint="check the engine's `model` option, or fetch the model with: antiphon models pull NAME",
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            f"the {stage} engine '{engine}' needs the Python package onnxruntime: {error}",
            stage=stage,
            engine=engine,
            hint='pip install "antiphon[local-core]"',
        ) from error

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(file), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exception types have no common public base
        raise EngineLoadFailed(
            f"the {stage} engine '{engine}' cannot load '{file}': {error}",
            stage=stage,
            engine=engine,
            hint="the file may be damaged or of another format; check it with: antiphon models verify",
        ) from error


def onnx_file(model: ModelFiles, *, stage: str, engine: str) -> str:
    """The path of the one .onnx file of a model.

    :raises EngineLoadFailed: the model has none, or several.
    """
    found = sorted(path for name, path in model.files.items() if name.lower().endswith(".onnx"))
    if len(found) == 1:
        return found[0]
    raise EngineLoadFailed(
        f"the {stage} engine '{engine}' needs a model with one .onnx file; '{model.name}' has {len(found)}",
        stage=stage,
        engine=engine,
        hint="set the engine's `model` option to a catalog name of this kind, or to the path of the .onnx file itself",
    )
