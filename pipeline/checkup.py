"""Checks whether a configuration can run on this machine: packages, models, audio devices, and each engine once.

What `antiphon doctor` shows. Every finding that stands in the way is a :class:`Problem` with what to do next.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from antiphon.engines.errors import (
    AntiphonError,
    EngineCrashed,
    EngineTimeout,
    EngineUnavailable,
    ModelCorrupt,
    ModelError,
    UnknownModel,
)
from antiphon.engines.host_process import Trial, try_in_child
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import EngineSpec
from antiphon.pipeline.config import Config, EngineBlock
from antiphon.pipeline.engine_making import make_store
from antiphon.pipeline.machine import Machine, disk_free_bytes, this_machine
from antiphon.pipeline.needs import NeededModel, block_paths, needed_models
from antiphon.pipeline.trial import AUDIO_DEVICES, TRY_BLOCK, Tried
from antiphon.pipeline.user_code import load_user_object

logger = logging.getLogger(__name__)

CORE_PACKAGES = ("numpy", "soxr", "soundfile")
"""Import names of the native packages that every configuration needs."""

_INSTALL_MIC = 'pip install "antiphon[mic]"'
_OUTPUT_LINES = 6

State = Literal["ok", "missing", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that stands in the way, and what to do about it."""

    where: str
    """A key path of the configuration, a package, or a model."""
    message: str
    todo: str
    missing: bool
    """Whether only something is missing (exit code 3) and nothing is broken (1)."""


@dataclass(frozen=True, slots=True)
class PackageFinding:
    name: str
    """As it is imported."""
    distribution: str
    """As it is installed; "" where it is not."""
    version: str
    needed_by: tuple[str, ...]
    """Key paths of the engines; empty: every configuration needs it."""
    install: str
    """The command that brings it; "" where it is there."""


@dataclass(frozen=True, slots=True)
class ModelFinding:
    reference: str
    keys: tuple[str, ...]
    state: State
    condition: str
    """"verified", "not here", "damaged" or "unknown"."""
    size_bytes: int | None
    directory: str


@dataclass(frozen=True, slots=True)
class AudioFinding:
    """Microphone and speaker: only for talking live, so what is missing here is no problem."""

    input: str | None
    output: str | None
    note: str
    """Why there is none; "" where all is well."""


@dataclass(frozen=True, slots=True)
class EngineFinding:
    path: str
    """"stt", "llm.1"."""
    engine: str
    state: State
    tried: Tried | None
    seconds: float
    """The whole trial, with the start of its process."""


@dataclass(slots=True)
class Checkup:
    """A check-up under way: call its parts in any order, `problems` gathers what they find."""

    config: Config
    source: str | None = None
    """Where the configuration came from, for the processes in which engines are tried; None: the default."""
    overrides: Sequence[str] = ()
    timeout_s: float = 120.0
    """For each engine."""
    problems: list[Problem] = field(default_factory=list)
    _store: ModelStore | None = None
    _models: dict[str, tuple[NeededModel, ModelError | None]] | None = None

    @property
    def store(self) -> ModelStore:
        if self._store is None:
            self._store = make_store(self.config)
        return self._store

    def machine(self) -> Machine:
        return this_machine()

    def disk_free_bytes(self) -> int | None:
        return disk_free_bytes(self.store.root)

    def packages(self) -> list[PackageFinding]:
        """The packages that the configured engines need."""
        wanted: dict[str, list[str]] = {name: [] for name in CORE_PACKAGES}
        extras: dict[str, EngineSpec] = {}
        for path, block in block_paths(self.config).items():
            for name in block.spec.packages:
                wanted.setdefault(name, []).append(path)
                extras.setdefault(name, block.spec)
        findings = [_package(name, needed_by, extras.get(name)) for name, needed_by in wanted.items()]
        for finding in findings:
            if finding.install:
                message = f"the Python package {finding.name} is not installed ({', '.join(finding.needed_by)})"
                self._report(finding.name, message, finding.install, missing=True)
        return findings

    def models(self) -> list[ModelFinding]:
        """The models that the configured engines name; those not yet verified are hashed."""
        findings = []
        for model, error in self._looked_up().values():
            if error is not None:
                self._report(", ".join(model.keys), error.message, error.hint, missing=True)
            findings.append(self._model(model, error))
        return findings

    def notes(self, machine: Machine, models: Sequence[ModelFinding]) -> list[str]:
        """What may make it slow or fail later: no problems, so the exit code does not tell of them."""
        notes = []
        if machine.architecture in ("x86_64", "AMD64") and "AVX2" not in machine.features:
            notes.append("this processor has no AVX2: speech recognition and language models will be slow")
        needed = sum(model.size_bytes or 0 for model in models)
        free = machine.memory_free_bytes
        if free is not None and free < needed:
            notes.append(f"the models take {_gib(needed)} of memory, and {_gib(free)} are free")
        to_fetch = sum(model.size_bytes or 0 for model in models if model.state == "missing")
        room = self.disk_free_bytes()
        if room is not None and room < to_fetch:
            notes.append(f"the missing models take {_gib(to_fetch)}, and the store's disk has {_gib(room)} free")
        return notes

    def audio(self) -> AudioFinding:
        """Microphone and speaker, looked for in a process of its own: audio drivers may crash too."""
        if importlib.util.find_spec("sounddevice") is None:
            return AudioFinding(None, None, f"sounddevice is not installed: {_INSTALL_MIC}")
        trial = try_in_child(AUDIO_DEVICES, timeout_s=30.0, offline=self.config.session.offline)
        if isinstance(trial.error, OSError | ImportError):
            return AudioFinding(None, None, f"{trial.error} (Debian: apt install libportaudio2)")
        if trial.error is not None:
            return AudioFinding(None, None, str(trial.error).partition("\n")[0])
        found: Mapping[str, str | None] = trial.value
        nothing = [name for name, key in (("microphone", "input"), ("speaker", "output")) if found[key] is None]
        return AudioFinding(found["input"], found["output"], f"no {' and no '.join(nothing)}" if nothing else "")

    def workflow(self) -> EngineFinding | None:
        """The user's own workflow; None where the configuration has a built-in one."""
        kind = self.config.workflow.kind
        if ":" not in kind and "." not in kind:
            return None
        try:
            load_user_object(kind)
        except Exception as error:  # importing it runs the user's code, which may raise anything
            message = f"'{kind}' cannot be imported: {type(error).__name__}: {error}"
            self._report("workflow.kind", message, "run the command where the module is, or install it", missing=False)
            return EngineFinding("workflow", kind, "failed", None, 0.0)
        return EngineFinding("workflow", kind, "ok", None, 0.0)

    def engines(self) -> Iterator[EngineFinding]:
        """Try each engine of the configuration, one after another, each in a process of its own.

        Those whose packages or models are missing are not tried.
        """
        lacking = [key for model, error in self._looked_up().values() if error is not None for key in model.keys]
        for path, block in block_paths(self.config).items():
            if block.spec.missing_packages() or any(key.startswith(f"{path}.") for key in lacking):
                yield EngineFinding(path, block.engine, "skipped", None, 0.0)
            else:
                yield self._try(path, block)

    # ------------------------------------------------------------------------------------------ inside

    def _report(self, where: str, message: str, todo: str, *, missing: bool) -> None:
        self.problems.append(Problem(where, message, todo, missing))

    def _looked_up(self) -> dict[str, tuple[NeededModel, ModelError | None]]:
        """Every model by reference, and what is wrong with it."""
        if self._models is None:
            self._models = {model.reference: (model, self._trouble(model)) for model in self._needed()}
        return self._models

    def _needed(self) -> list[NeededModel]:
        return needed_models(self.config, self.store)

    def _trouble(self, model: NeededModel) -> ModelError | None:
        try:
            self.store.resolve(model.reference)
        except ModelError as error:
            return error
        return None

    def _model(self, model: NeededModel, error: ModelError | None) -> ModelFinding:
        if error is not None:
            entry = self.store.find(self.store.key(model.reference))
            condition = {ModelCorrupt: "damaged", UnknownModel: "unknown"}.get(type(error), "not here")
            size = entry.size if entry else None
            return ModelFinding(model.reference, model.keys, "missing", condition, size, "")
        files = self.store.resolve(model.reference)
        size = sum(Path(path).stat().st_size for path in files.files.values())
        return ModelFinding(model.reference, model.keys, "ok", "verified", size, files.directory)

    def _try(self, path: str, block: EngineBlock) -> EngineFinding:
        try:
            trial = try_in_child(
                TRY_BLOCK,
                self.source,
                tuple(self.overrides),
                path,
                timeout_s=self.timeout_s,
                offline=self.config.session.offline,
            )
        except AntiphonError as error:  # no child process can be had on this system
            self._report(path, error.message, error.hint, missing=False)
            return EngineFinding(path, block.engine, "failed", None, 0.0)
        if trial.error is None:
            return EngineFinding(path, block.engine, "ok", trial.value, trial.seconds)
        logger.info("the engine did not pass its trial", extra={"path": path}, exc_info=trial.error)
        missing = isinstance(trial.error, EngineUnavailable | ModelError)
        message, todo = explain_trial(path, block.engine, trial, self.timeout_s)
        self._report(path, message, todo, missing=missing)
        return EngineFinding(path, block.engine, "missing" if missing else "failed", None, trial.seconds)


def exit_code(problems: Sequence[Problem]) -> int:
    """0 all well, 1 something is broken, 3 only something is missing."""
    if any(not problem.missing for problem in problems):
        return 1
    return 3 if problems else 0


def explain_trial(path: str, engine: str, trial: Trial, timeout_s: float) -> tuple[str, str]:
    """What went wrong with an engine that was tried, and what to do."""
    error = trial.error
    if isinstance(error, EngineCrashed):
        how = error.message.partition("): ")[2] or error.message
        todo = trial.explanation or "Try another version of the package; what it wrote last may say more."
        where = _where_it_crashed(trial.output)
        written = "\nIt was at:\n" + "\n".join(f"  {line}" for line in where) if where else ""
        return f"{engine} crashed: {how}", todo + written
    if isinstance(error, EngineTimeout) and not error.stage:  # the trial's own; an engine's names its stage
        todo = f"Is the machine busy, or the model too large for it? antiphon doctor --timeout {2 * timeout_s:g}"
        return f"{engine} was not ready and done within {timeout_s:g} s", todo
    if isinstance(error, AntiphonError):
        return error.message, error.hint or f"antiphon engines show {path.partition('.')[0]}.{engine}"
    return f"{type(error).__name__}: {error}", "This is not expected; antiphon -v doctor shows more."


def _where_it_crashed(output: str) -> list[str]:
    """The top of the crashed thread's trace, as Python's fault handler wrote it; else the last lines of anything."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if line.startswith("Current thread"):
            frames = [frame for frame in lines[index + 1 :] if frame.startswith("File ")]
            return frames[:_OUTPUT_LINES] or lines[-_OUTPUT_LINES:]
    return lines[-_OUTPUT_LINES:]


def _package(name: str, needed_by: Sequence[str], spec: EngineSpec | None) -> PackageFinding:
    if importlib.util.find_spec(name) is None:
        todo = f"pip install {name}" if spec is None else spec.install_command([name])
        return PackageFinding(name, "", "", tuple(needed_by), todo)
    distribution = (_distributions().get(name) or [name])[0]
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return PackageFinding(name, distribution, version, tuple(needed_by), "")


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
