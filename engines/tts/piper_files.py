"""Where a Piper voice's files are: found by the model store, the cut halves among its derived files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from antiphon.engines.errors import EngineLoadFailed, EngineUnavailable
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import ModelFiles
from antiphon.engines.tts.piper_graph import derived_names
from antiphon.engines.tts.piper_runtime import VoicePaths
from antiphon.engines.tts.piper_voice import ENGINE, VoiceConfig, read_voice_config

DESCRIPTION_SUFFIX = ".onnx.json"


@dataclass(frozen=True, slots=True)
class VoiceFiles:
    """A voice that is on this machine."""

    config: VoiceConfig
    paths: VoicePaths
    sha256: str
    """Of the graph and its description together."""


def read_description(models: ModelStore, reference: str) -> VoiceConfig:
    """What a voice's description says.

    :raises ModelError: the store does not have the voice.
    :raises EngineError: its files are incomplete or damaged.
    """
    graph = _graph_file(models.resolve(reference))
    return read_voice_config(f"{graph}.json", name=Path(graph).stem)


def find_voice(models: ModelStore, reference: str) -> VoiceFiles:
    """A voice's files. Hashes the graph where the store does not know its hash yet: not for the event loop.

    :param reference: a catalog name, or the path of NAME.onnx, beside which NAME.onnx.json must lie.
    :raises ModelError: the store does not have the voice.
    :raises EngineError: its files are incomplete or damaged.
    """
    config = read_description(models, reference)
    source = _graph_file(models.resolve(reference))
    try:
        graph_sha = models.file_sha256(source)
        description = Path(f"{source}.json").read_bytes()
        encoder, decoder = (str(models.derived(graph_sha, name)) for name in derived_names())
    except OSError as error:
        raise EngineLoadFailed(
            f"the piper voice '{config.name}' cannot be read or cut: {error}",
            stage="tts",
            engine=ENGINE,
            hint="check the permissions of the voice's folder and of the model store",
        ) from error
    both = hashlib.sha256(graph_sha.encode() + description).hexdigest()
    return VoiceFiles(config, VoicePaths(source, encoder, decoder), both)


def installed_voices(models: ModelStore) -> tuple[str, ...]:
    """Names of the catalog's Piper voices that are in the store."""
    return tuple(
        name
        for name in models.names()
        if any(file.endswith(DESCRIPTION_SUFFIX) for file in models.entry(name).files)
        and models.state(name) in ("ready", "unverified")
    )


def _graph_file(files: ModelFiles) -> str:
    """The one graph among a voice's files."""
    graphs = sorted(path for name, path in files.files.items() if name.endswith(".onnx"))
    if len(graphs) != 1:
        raise EngineUnavailable(
            f"the piper voice '{files.name}' needs one .onnx file; {files.directory} has {len(graphs)}",
            stage="tts",
            engine=ENGINE,
            hint="set `voice` to the path of the .onnx file itself, or to a catalog name",
        )
    return graphs[0]
