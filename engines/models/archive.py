"""Models in one file, for machines without a network: a plain tar whose first member says what the others must be.

An archive is not trusted: no path of it is used to write. Each member must be one that the manifest announces, by a
name that was checked, and must have the announced size and SHA-256; a model that the catalog knows must be the
catalog's.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from antiphon.engines.errors import ModelCorrupt, ModelError, ModelMissing, StoreFull
from antiphon.engines.models.catalog import FileSpec, HubSource, ModelEntry, ModelName, PackageSource
from antiphon.engines.models.files import TooLong, disk_full, pour
from antiphon.engines.models.pull import ProgressCallback, cannot_write, disk_is_full, install, locked
from antiphon.engines.models.records import FileMark
from antiphon.engines.models.sources import Progress
from antiphon.engines.models.store import ModelStore

MANIFEST = "antiphon-models.json"
_MANIFEST_LIMIT = 4 << 20


class Manifest(BaseModel):
    """The archive's first member."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["antiphon-models/1"] = "antiphon-models/1"
    models: dict[ModelName, ModelEntry] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Imported:
    """One model that an archive brought."""

    name: str
    changed: bool
    """False: it was in the store already."""
    in_catalog: bool
    """False: its hashes are the archive's word only."""


def export_models(
    store: ModelStore, names: Sequence[str], out: Path, *, progress: ProgressCallback = lambda _: None
) -> int:
    """Write models into the archive `out`; every file is hashed on the way. Returns the archive's size in bytes.

    :raises UnknownModel: no such model.
    :raises ModelMissing: a model is not (wholly) in the store.
    :raises ModelCorrupt: a file is not what the catalog says.
    :raises ModelError: `out` cannot be written; nothing is left of it.
    """
    entries = {store.key(name): store.entry(name) for name in names}
    for key in entries:
        if store.state(key) in ("missing", "partial"):
            raise ModelMissing(
                f"model '{key}' is not in the store", model=key, hint=f"Fetch it: antiphon models pull {key}"
            )
    manifest = Manifest(models={key: _portable(entry) for key, entry in entries.items()}).model_dump_json().encode()
    partial = out.with_name(out.name + ".partial")
    try:
        with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(_info(MANIFEST, len(manifest)), io.BytesIO(manifest))
            for key, entry in entries.items():
                for name, spec in entry.files.items():
                    progress(Progress(key, "verifying", str(out), name, 0, spec.size))
                    _export_file(archive, key, name, spec, store.directory(key) / name)
        os.replace(partial, out)
        return out.stat().st_size
    except OSError as error:
        kind = StoreFull if disk_full(error) else ModelError
        raise kind(f"cannot write the archive {out}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):  # a folder that is none, or cannot be written: the error above says so
            partial.unlink(missing_ok=True)


def import_models(
    store: ModelStore, path: Path, *, progress: ProgressCallback = lambda _: None
) -> tuple[Imported, ...]:
    """Bring every model of the archive into the store: all of them, or none.

    :raises ModelCorrupt: a file is not what it must be; nothing was changed.
    :raises ModelError: it is no such archive, or the store cannot be written.
    :raises StoreFull: the disk is full; nothing half-written is left.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            members = iter(archive)
            entries = _read_manifest(store, archive, next(members, None), path)
            with ExitStack() as stack:
                for key in sorted(entries):
                    waiting = functools.partial(progress, Progress(key, "waiting"))
                    stack.enter_context(locked(store, key, waiting))
                return _Import(store, entries, path, progress).run(archive, members)
    except (tarfile.TarError, EOFError) as error:
        raise ModelError(f"{path}: not a model archive, or a damaged one: {error}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


class _Import:
    """One import, with the locks of all its models held."""

    def __init__(
        self, store: ModelStore, entries: dict[str, ModelEntry], path: Path, progress: ProgressCallback
    ) -> None:
        self.store = store
        self.entries = entries
        self.path = path
        self.progress = progress
        self.here = {key for key in entries if store.find(key) == entries[key] and store.state(key) == "ready"}

    def run(self, archive: tarfile.TarFile, members: Iterator[tarfile.TarInfo]) -> tuple[Imported, ...]:
        expected = {f"{key}/{name}": (key, name) for key, entry in self.entries.items() for name in entry.files}
        try:
            for member in members:
                key, name = self._expected(member, expected)
                if key not in self.here:
                    self._unpack(archive, member, key, name)
            if expected:
                raise ModelError(f"{self.path}: the archive ends without '{next(iter(expected))}'")
            return tuple(self._install(key, entry) for key, entry in self.entries.items())
        finally:
            for key in self.entries:
                shutil.rmtree(self._staging(key), ignore_errors=True)
                with contextlib.suppress(OSError):  # not empty: an interrupted pull of the same model waits there
                    self._staging(key).parent.rmdir()

    def _staging(self, key: str) -> Path:
        return self.store.root / ".staging" / key / "import"

    def _expected(self, member: tarfile.TarInfo, expected: dict[str, tuple[str, str]]) -> tuple[str, str]:
        """Takes the member off the list of what must still come."""
        if not member.isreg():
            raise ModelError(f"{self.path}: refused: member {member.name!r} is no plain file")
        place = expected.pop(member.name, None)
        if place is None:
            raise ModelError(f"{self.path}: refused: member {member.name!r} is not in the archive's manifest")
        spec = self.entries[place[0]].files[place[1]]
        if member.size != spec.size:
            raise ModelCorrupt(
                f"{self.path}: member {member.name!r} has {member.size} bytes, expected {spec.size}", model=place[0]
            )
        return place

    def _unpack(self, archive: tarfile.TarFile, member: tarfile.TarInfo, key: str, name: str) -> None:
        spec = self.entries[key].files[name]
        target = self._staging(key) / name
        content = archive.extractfile(member)
        assert content is not None  # it is a plain file
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            report = functools.partial(Progress, key, "downloading", str(self.path), name, total_bytes=spec.size)
            pour(content, target, at=0, limit=spec.size, wrote=lambda at: self.progress(report(done_bytes=at)))
            found = FileMark.take(target).sha256
        except TooLong as error:
            raise ModelCorrupt(f"{self.path}: {member.name!r}: {error}", model=key) from error
        except OSError as error:
            if disk_full(error):
                raise disk_is_full(self.store, key, error.strerror or "no space left") from error
            raise cannot_write(self.store, error) from error
        if found != spec.sha256:
            raise ModelCorrupt(
                f"{self.path}: {member.name!r} is not the right file: expected SHA-256 {spec.sha256}, found {found}",
                model=key,
                hint="Nothing was imported. Export the model again.",
            )

    def _install(self, key: str, entry: ModelEntry) -> Imported:
        known = key in self.store.catalog
        if key in self.here:
            return Imported(key, changed=False, in_catalog=known)
        try:
            install(self.store, key, entry, self._staging(key))
        except OSError as error:
            raise cannot_write(self.store, error) from error
        self.progress(Progress(key, "installed"))
        return Imported(key, changed=True, in_catalog=known)


def _portable(entry: ModelEntry) -> ModelEntry:
    """Without the sources that are this machine's own paths and addresses."""
    sources = tuple(source for source in entry.sources if isinstance(source, PackageSource | HubSource))
    return entry.model_copy(update={"sources": sources})


def _info(name: str, size: int) -> tarfile.TarInfo:
    """A member without owner and time: the same models give the same archive."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info


class _Hashing:
    """Hashes what passes through."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def _export_file(archive: tarfile.TarFile, key: str, name: str, spec: FileSpec, path: Path) -> None:
    with path.open("rb") as file:
        content = _Hashing(file)
        archive.addfile(_info(f"{key}/{name}", spec.size), content)
    if content.sha256.hexdigest() != spec.sha256:
        raise ModelCorrupt(
            f"model '{key}': {path}: expected SHA-256 {spec.sha256}, found {content.sha256.hexdigest()}",
            model=key,
            hint=f"Nothing was exported. Fetch it again: antiphon models pull {key}",
        )


def _read_manifest(
    store: ModelStore, archive: tarfile.TarFile, member: tarfile.TarInfo | None, path: Path
) -> dict[str, ModelEntry]:
    """The archive's models; for those that the catalog knows, the catalog's entry."""
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > _MANIFEST_LIMIT:
        raise ModelError(
            f"{path}: not a model archive: it does not begin with {MANIFEST}",
            hint="Make one with 'antiphon models export NAME --out model.tar'.",
        )
    content = archive.extractfile(member)
    assert content is not None  # it is a plain file
    try:
        manifest = Manifest.model_validate_json(content.read(_MANIFEST_LIMIT))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"] if part != "[key]")
        problem = first["msg"].removeprefix("Value error, ")
        raise ModelError(f"{path}: the archive's manifest is refused: {key}: {problem}") from error
    for key, entry in manifest.models.items():
        known = store.catalog.get(key)
        if known is not None and known.files != entry.files:
            raise ModelCorrupt(
                f"{path}: the archive's '{key}' is not the model that the catalog calls so",
                model=key,
                hint="Nothing was imported. Export it with the same version of Antiphon.",
            )
    return {key: store.catalog.get(key) or entry for key, entry in manifest.models.items()}
