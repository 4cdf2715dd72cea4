"""Filling the store: the sources of a model in order, every file verified before any becomes visible."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from antiphon.engines.errors import ModelError, ModelSourceFailed, StoreFull
from antiphon.engines.models.catalog import FileSpec, ModelEntry, PackageSource, PathSource, Source, UrlSource
from antiphon.engines.models.files import disk_full
from antiphon.engines.models.http import SourceFailed
from antiphon.engines.models.hubrepo import describe
from antiphon.engines.models.records import FileMark, Record
from antiphon.engines.models.sources import Progress, fetch
from antiphon.engines.models.store import HubReference, ModelStore, air_gapped, check_file
from antiphon.engines.protocols import ModelFiles

log = logging.getLogger(__name__)

ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did."""

    files: ModelFiles
    source: str
    """Label of the source that gave the last missing file; empty where everything was there already."""


def pull(
    store: ModelStore, reference: str, *, progress: ProgressCallback | None = None, include: Sequence[str] = ()
) -> Pulled:
    """Bring a model into the store, unless it is there and right.

    Blocking. An interrupted pull goes on where it stopped; a second process pulling the same model waits for the first
    and then finds it there.

    :param reference: a catalog name, or `hub:owner/name@revision`.
    :param include: for a hub reference: patterns of the files to take.
    :raises UnknownModel: no such name.
    :raises ModelSourceFailed: every source failed; `reasons` has one sentence for each.
    :raises StoreFull: the disk is full; nothing half-written is left.
    :raises ModelError: the store cannot be written.
    """
    return _Pull(store, reference, progress or (lambda _: None), include).run()


class _Pull:
    def __init__(self, store: ModelStore, reference: str, progress: ProgressCallback, include: Sequence[str]) -> None:
        self.store = store
        self.reference = reference
        self.hub = HubReference.parse(reference)
        self.key = ModelStore.key(reference)
        self.include = include
        self.report = progress
        self.staging = store.root / ".staging" / self.key
        self.ready = self.staging / "ready"
        self.reasons: list[str] = []

    def run(self) -> Pulled:
        entry = None if self.hub and self.include else self._known()
        if entry is not None and self.store.state(self.key) == "ready":
            return Pulled(self.store.resolve(self.reference), "")
        with locked(self.store, self.key, lambda: self.report(Progress(self.reference, "waiting"))), self._tidy():
            source = self._fetch(entry)
        self.report(Progress(self.reference, "installed"))
        return Pulled(self.store.resolve(self.reference), source)

    def _known(self) -> ModelEntry | None:
        """The entry; None for a hub reference that was never pulled."""
        if self.hub is not None:
            return self.store.find(self.key)
        return self.store.entry(self.key)

    @contextmanager
    def _tidy(self) -> Iterator[None]:
        """On a full disk give back what the pull took. Otherwise what is staged waits for the next try."""
        try:
            yield
        except ModelSourceFailed:
            if not any(path.is_file() and path.stat().st_size for path in self.staging.rglob("*")):
                shutil.rmtree(self.staging, ignore_errors=True)
            raise
        except OSError as error:
            if not disk_full(error):
                raise cannot_write(self.store, error) from error
            shutil.rmtree(self.staging, ignore_errors=True)
            raise disk_is_full(self.store, self.reference, error.strerror or "no space left") from error
        shutil.rmtree(self.staging, ignore_errors=True)

    def _fetch(self, entry: ModelEntry | None) -> str:
        if entry is None:
            entry = self._describe()
        missing = self._missing(entry)
        last = ""
        self._check_room(sum(spec.size for name, spec in missing.items() if not (self.ready / name).exists()))
        for source in entry.sources:
            if not missing:
                break
            try:
                self._take(source, missing)
                last = source.label
            except SourceFailed as failure:
                log.info("model source failed", extra={"model": self.reference, "source": source.label})
                self.reasons.append(_reason(source, str(failure)))
            missing = {name: spec for name, spec in missing.items() if not (self.ready / name).exists()}
        if missing:
            raise self._failed(entry)
        install(self.store, self.key, entry, self.ready)
        return last

    def _describe(self) -> ModelEntry:
        assert self.hub is not None
        label = f"hub {self.hub.repo}@{self.hub.revision}"
        self._check_room(0)
        self.ready.mkdir(parents=True, exist_ok=True)
        try:
            entry = describe(self.hub.repo, self.hub.revision, self.include, self.ready, self._wrote(label, {}))
        except SourceFailed as failure:
            self.reasons.append(f"{label}: {failure}")
            raise self._failed(None) from failure
        before = self.store.find(self.key)
        return entry.model_copy(update={"files": {**before.files, **entry.files}}) if before else entry

    def _missing(self, entry: ModelEntry) -> dict[str, FileSpec]:
        """What is neither in its place nor staged, right. A wrong staged file is removed."""
        missing = {}
        for name, spec in entry.files.items():
            if check_file(self.store.directory(self.key) / name, spec.size, spec.sha256)[0] == "ok":
                continue
            staged = self.ready / name
            if staged.exists() and check_file(staged, spec.size, spec.sha256)[0] != "ok":
                staged.unlink()
            if not staged.exists():
                missing[name] = spec
        return missing

    def _take(self, source: Source, missing: Mapping[str, FileSpec]) -> None:
        """Fetch from one source into a folder of its own, and let through what is right.

        :raises SourceFailed: something is missing or wrong.
        """
        folder = self.staging / hashlib.sha256(source.model_dump_json().encode()).hexdigest()[:16]
        resumed = folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self.ready.mkdir(exist_ok=True)
        failure = None
        try:
            fetch(source, missing, folder, self._wrote(source.label, missing))
        except SourceFailed as error:
            failure = error
        wrong = [
            reason
            for name, spec in missing.items()
            if (reason := self._admit(source, folder, name, spec, complete=failure is None))
        ]
        if wrong:
            shutil.rmtree(folder)
            if resumed and not isinstance(source, PathSource):
                # What an earlier call had left, perhaps of another answer, may be what is bad: once more, from nothing.
                self._take(source, {name: spec for name, spec in missing.items() if not (self.ready / name).exists()})
                return
        if wrong or failure is not None:
            raise SourceFailed("; ".join([*wrong, *([str(failure)] if failure else [])])) from failure

    def _admit(self, source: Source, folder: Path, name: str, spec: FileSpec, *, complete: bool) -> str:
        """Move a right file to the ready ones. Empty, or why not; a wrong file is removed.

        :param complete: the source says that it gave everything; else a short file waits for the next try.
        """
        path = folder / name
        size = path.stat().st_size if path.exists() else -1
        if size < spec.size:
            return f"'{name}' has {max(size, 0)} bytes, expected {spec.size}" if complete else ""
        self.report(Progress(self.reference, "verifying", source.label, name, spec.size, spec.size))
        state, mark = check_file(path, spec.size, spec.sha256)
        if state == "ok":
            (self.ready / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, self.ready / name)
            return ""
        path.unlink()
        found = f"SHA-256 {mark.sha256}" if mark else state
        return f"'{name}' is not the right file: expected SHA-256 {spec.sha256}, found {found}; removed"

    def _wrote(self, label: str, files: Mapping[str, FileSpec]) -> Callable[[str, int], None]:
        def wrote(what: str, done: int) -> None:
            total = files[what].size if what in files else None
            self.report(Progress(self.reference, "downloading", label, what, done, total))

        return wrote

    def _check_room(self, needed: int) -> None:
        self.staging.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.staging).free
        if needed > free:
            shutil.rmtree(self.staging, ignore_errors=True)
            raise disk_is_full(self.store, self.reference, f"{needed:,} bytes are needed, {free:,} are free")

    def _failed(self, entry: ModelEntry | None) -> ModelSourceFailed:
        reasons = self.reasons or ["the catalog gives no source for it"]
        tried = "\n".join(f"  {number}. {reason}" for number, reason in enumerate(reasons, 1))
        return ModelSourceFailed(
            f"model '{self.reference}' could not be fetched. Tried in order:\n{tried}",
            model=self.reference,
            hint=f"{_other_ways(self.reference, entry)}\n{air_gapped(self.reference)}",
            reasons=reasons,
        )


def _reason(source: Source, failure: str) -> str:
    """A failure that begins with its own package or URL needs no label before it."""
    names = isinstance(source, PackageSource) and re.match(r"\S+==", failure)
    if names or (isinstance(source, UrlSource) and re.match(r"\w+://", failure)):
        return f"{source.kind} {failure}"
    return f"{source.label}: {failure}"


def _other_ways(name: str, entry: ModelEntry | None) -> str:
    if entry is None:
        return "Another hub: set HF_ENDPOINT. A private or gated repository: set HF_TOKEN."
    return (
        "Packages come from pip's configured index (PIP_INDEX_URL), hub repositories from HF_ENDPOINT (HF_TOKEN for "
        f"private ones).\nA source of your own: add 'models: {{{name}: {{sources: [{{kind: path, path: /folder}}]}}}}' "
        "(or kind url, hub, package) to catalog.yaml in the folder ANTIPHON_HOME."
    )


@contextmanager
def locked(store: ModelStore, key: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of one model across processes.

    :param waiting: called once if another process has it.
    :raises ModelError: the store cannot be written.
    """
    try:
        (store.root / ".locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(store.root / ".locks" / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire(poll_interval=0.1)
    except OSError as error:
        if disk_full(error):
            raise disk_is_full(store, key, error.strerror or "no space left") from error
        raise cannot_write(store, error) from error
    try:
        yield
    finally:
        lock.release()


def install(store: ModelStore, key: str, entry: ModelEntry, ready: Path) -> None:
    """Make verified files visible and remember their hashes. Call it with the model's lock held.

    A new model appears as a whole, by one rename; in a model that is there, each file is replaced by a rename.

    :raises OSError: the store cannot be written.
    """
    target = store.directory(key)
    names = [name for name in entry.files if (ready / name).exists()]
    for name in names:
        os.chmod(ready / name, 0o644)
    if not target.exists() and len(names) == len(entry.files):
        _only(ready, names)
        os.rename(ready, target)
    else:
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(ready / name, target / name)
    marks = {}
    for name, spec in entry.files.items():
        status = (target / name).stat()
        marks[name] = FileMark(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=spec.sha256)
    Record(name=key, entry=entry, marks=marks).write(store.record_path(key))
    log.info("model installed", extra={"model": key, "bytes": entry.size})


def _only(folder: Path, names: Sequence[str]) -> None:
    """Remove what is not among `names`: leftovers of an interrupted pull of other files."""
    wanted = {folder / name for name in names}
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()


def cannot_write(store: ModelStore, error: OSError) -> ModelError:
    """The error for a store that refuses to be written."""
    return ModelError(
        f"the model store {store.root} cannot be written: {error.strerror or error}",
        hint="Check its permissions, or set ANTIPHON_HOME to a folder of your own.",
    )


def disk_is_full(store: ModelStore, name: str, what: str) -> StoreFull:
    """The error for a full disk."""
    return StoreFull(
        f"model '{name}': the disk under {store.root} is full: {what}",
        model=name,
        hint="Make room ('antiphon models prune' removes leftovers), or set ANTIPHON_HOME to a folder on a larger "
        f"disk. Nothing half-written is left.\n{air_gapped(name)}",
    )
