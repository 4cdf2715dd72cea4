"""The local model store: where verified files live.

<root>/<name>/<file>                     models, visible only when every file has the right hash
<root>/hub--<owner>--<name>--<rev>/...   models pulled by `hub:` reference
<root>/.records/<name>.json              facts and marks, see :mod:`antiphon.engines.models.records`
<root>/.derived/<sha256>/<file>          files made from a model's file of that hash; can be made again
<root>/.staging/<name>/...               downloads under way
<root>/.locks/<name>.lock                one pull at a time for each model
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from antiphon.engines.errors import ModelCorrupt, ModelMissing, UnknownModel
from antiphon.engines.models.catalog import Catalog, ModelEntry, unknown_model
from antiphon.engines.models.records import FileMark, Record
from antiphon.engines.protocols import ModelFiles

log = logging.getLogger(__name__)

FileState = Literal["ok", "missing", "wrong size", "wrong hash", "unreadable"]
ModelState = Literal["ready", "unverified", "partial", "missing"]

_HUB = re.compile(r"^hub:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@(?P<revision>[A-Za-z0-9][\w./-]*)$")


@dataclass(frozen=True, slots=True)
class HubReference:
    """A repository of a model hub, named in place of a catalog name."""

    repo: str
    revision: str

    @classmethod
    def parse(cls, reference: str) -> HubReference | None:
        """None where `reference` is no hub reference at all.

        :raises UnknownModel: it starts like one, and is not one.
        """
        if not reference.startswith("hub:"):
            return None
        match = _HUB.match(reference)
        if match is None:
            raise UnknownModel(
                f"'{reference}' is not a hub reference",
                model=reference,
                hint="Write hub:owner/name@revision; the revision is a commit or a tag: the model must not change.",
            )
        return cls(match["repo"], match["revision"])

    @property
    def key(self) -> str:
        """Its folder in the store."""
        return "hub--" + f"{self.repo}--{self.revision}".replace("/", "--")


@dataclass(frozen=True, slots=True)
class FileReport:
    """What :meth:`ModelStore.verify` found of one file."""

    name: str
    path: Path
    state: FileState
    expected_sha256: str
    found_sha256: str = ""


@dataclass(frozen=True, slots=True)
class ModelReport:
    """What is known of one model."""

    name: str
    entry: ModelEntry
    directory: Path
    files: tuple[FileReport, ...] = field(default=())

    @property
    def ok(self) -> bool:
        return all(report.state == "ok" for report in self.files)


def antiphon_home() -> Path:
    """`$ANTIPHON_HOME`, or `~/.local/share/antiphon`."""
    home = os.environ.get("ANTIPHON_HOME")
    return Path(home).expanduser() if home else Path.home() / ".local" / "share" / "antiphon"


def default_catalog(more: Iterable[Path] = ()) -> Catalog:
    """The built-in catalog, over it `catalog.yaml` in :func:`antiphon_home` where it exists, and `more` over both.

    :raises CatalogInvalid: a file of the user's has an error.
    """
    own = antiphon_home() / "catalog.yaml"
    return Catalog.load([*([own] if own.exists() else []), *more])


class ModelStore:
    """Verified model files on this machine. Cheap to make; safe to share between threads and processes.

    :param root: the store's folder; default `models` in :func:`antiphon_home`. Made when first written to.
    :param catalog: default :func:`default_catalog`.
    """

    def __init__(self, root: Path | None = None, catalog: Catalog | None = None) -> None:
        self.root = (antiphon_home() / "models" if root is None else Path(root).expanduser()).absolute()
        self.catalog = default_catalog() if catalog is None else catalog

    # -------------------------------------------------------------------------- for engines

    def resolve(self, reference: str) -> ModelFiles:
        """Files of a model by catalog name, path (file or folder), or "hub:owner/name@revision", which must be local.

        Never downloads. A file whose hash was not taken yet (someone copied it here) is hashed once.

        :raises UnknownModel: no such name or path.
        :raises ModelMissing: known, but not in the store; the hint has the pull command.
        :raises ModelCorrupt: a file is not the one that the catalog names. It is left where it is.
        """
        hub = HubReference.parse(reference)
        key = hub.key if hub else reference
        entry = self.find(key)
        if entry is None:
            if hub is None:
                return self._resolve_path(reference)
            raise self._missing(reference, "not in the model store")
        return self._resolve_entry(reference, key, entry)

    def derived(self, source_sha256: str, name: str) -> Path:
        """Path (in an existing folder) for a file made from a source file of that hash; write it with a rename.

        Where the store is read-only the folder is in the user's cache.

        :raises ValueError: `name` or the hash is not plain.
        :raises OSError: neither folder can be made.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", source_sha256):
            raise ValueError(f"not a SHA-256: {source_sha256!r}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise ValueError(f"not a plain file name: {name!r}")
        folder = self.root / ".derived" / source_sha256
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError:
            writable = False
        if not writable and not (folder / name).exists():
            cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            folder = cache / "antiphon" / "derived" / source_sha256
            folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def file_sha256(self, path: Path | str) -> str:
        """SHA-256 of any file, for :meth:`derived`; taken from the records where the file is a verified model's.

        :raises OSError: it cannot be read.
        """
        path = Path(path).absolute()
        if path.is_relative_to(self.root):
            key, _, name = path.relative_to(self.root).as_posix().partition("/")
            record = Record.read(self.record_path(key)) if _is_name(key) else None
            mark = record.marks.get(name) if record else None
            if mark is not None and mark.still_true(path):
                return mark.sha256
        return FileMark.take(path).sha256

    # -------------------------------------------------------------------------- what is here

    def directory(self, key: str) -> Path:
        """Where the files of a model are, or will be."""
        return self.root / key

    def record_path(self, key: str) -> Path:
        return self.root / ".records" / f"{key}.json"

    def names(self) -> list[str]:
        """Every model of the catalog, then those that only the store knows."""
        own = {path.stem for path in (self.root / ".records").glob("*.json")}
        return [*self.catalog, *sorted(key for key in own if key not in self.catalog and self.find(key) is not None)]

    def find(self, key: str) -> ModelEntry | None:
        """The entry of a name or key. The catalog's word counts; the record's only for models that it does not know."""
        entry = self.catalog.get(key)
        if entry is None and _is_name(key):
            record = Record.read(self.record_path(key))
            entry = record.entry if record else None
        return entry

    def entry(self, name: str) -> ModelEntry:
        """:raises UnknownModel: neither in the catalog nor in the store."""
        entry = self.find(self.key(name))
        if entry is None:
            raise unknown_model(name, self.names())
        return entry

    def state(self, name: str) -> ModelState:
        """A quick look, without hashing: "unverified" means that sizes fit and a hash is still to be taken."""
        entry, key = self.entry(name), self.key(name)
        record = Record.read(self.record_path(key))
        here = {file: _has_size(self.directory(key) / file, spec.size) for file, spec in entry.files.items()}
        if not any(here.values()):
            return "missing"
        if not all(here.values()):
            return "partial"
        return "ready" if not self._unmarked(key, entry, record) else "unverified"

    def verify(self, name: str) -> ModelReport:
        """Hash every file again, and remember those that are right. Nothing is removed.

        :raises UnknownModel: neither in the catalog nor in the store.
        """
        entry, key = self.entry(name), self.key(name)
        marks: dict[str, FileMark] = {}
        reports = []
        for file, spec in entry.files.items():
            path = self.directory(key) / file
            state, mark = check_file(path, spec.size, spec.sha256)
            if mark is not None and state == "ok":
                marks[file] = mark
            reports.append(FileReport(file, path, state, spec.sha256, mark.sha256 if mark else ""))
        if marks or self.record_path(key).exists():
            Record(name=key, entry=entry, marks=marks).write(self.record_path(key))
        return ModelReport(key, entry, self.directory(key), tuple(reports))

    @staticmethod
    def key(name: str) -> str:
        """The name of a model's folder and record."""
        hub = HubReference.parse(name)
        return hub.key if hub else name

    # -------------------------------------------------------------------------- inside

    def _unmarked(self, key: str, entry: ModelEntry, record: Record | None) -> list[str]:
        """Files whose hash is not known to be the entry's."""
        marks: Mapping[str, FileMark] = record.marks if record else {}
        return [
            file
            for file, spec in entry.files.items()
            if (mark := marks.get(file)) is None
            or mark.sha256 != spec.sha256
            or not mark.still_true(self.directory(key) / file)
        ]

    def _resolve_entry(self, reference: str, key: str, entry: ModelEntry) -> ModelFiles:
        folder = self.directory(key)
        absent = [file for file in entry.files if not (folder / file).is_file()]
        if absent:
            some = f"'{absent[0]}' is missing from {folder}" if folder.is_dir() else "not in the model store"
            raise self._missing(reference, some)
        record = Record.read(self.record_path(key))
        unmarked = self._unmarked(key, entry, record)
        if unmarked:
            marks = dict(record.marks) if record else {}
            for file in unmarked:
                spec = entry.files[file]
                state, mark = check_file(folder / file, spec.size, spec.sha256)
                if state != "ok" or mark is None:
                    found = f", found SHA-256 {mark.sha256}" if mark else ""
                    raise ModelCorrupt(
                        f"model '{reference}': {folder / file}: {state}: expected {spec.size} bytes "
                        f"with SHA-256 {spec.sha256}{found}",
                        model=reference,
                        hint=f"Fetch it again: antiphon models pull {reference}",
                    )
                marks[file] = mark
            kept = {file: mark for file, mark in marks.items() if file in entry.files}
            Record(name=key, entry=entry, marks=kept).write(self.record_path(key))
        files = {file: str(folder / file) for file in entry.files}
        return ModelFiles(name=reference, directory=str(folder), files=files, metadata=entry.facts())

    def _resolve_path(self, reference: str) -> ModelFiles:
        path = Path(reference).expanduser().absolute()
        if path.is_file():
            return ModelFiles(name=path.stem, directory=str(path.parent), files={path.name: str(path)})
        if path.is_dir():
            files = {
                found.name: str(found)
                for found in sorted(path.iterdir())
                if found.is_file() and not found.name.startswith(".")
            }
            if not files:
                raise UnknownModel(f"the folder {path} has no files", model=reference)
            return ModelFiles(name=path.name, directory=str(path), files=files)
        if names_a_path(reference):
            raise UnknownModel(
                f"no file or folder {path}", model=reference, hint="Give a path that exists, or a name of the catalog."
            )
        raise unknown_model(reference, self.names())

    def _missing(self, reference: str, what: str) -> ModelMissing:
        return ModelMissing(
            f"model '{reference}': {what}",
            model=reference,
            hint=f"Fetch it: antiphon models pull {reference}\n{air_gapped(reference)}",
        )


def names_a_path(reference: str) -> bool:
    """Whether a reference is meant as a path: it is written like one, or something of that name is there."""
    if "/" in reference or "\\" in reference or reference.startswith((".", "~")):
        return True
    try:
        return Path(reference).exists()
    except (OSError, ValueError):  # too long for a path, or with a null byte
        return False


def air_gapped(name: str) -> str:
    """How to bring a model to a machine without a network."""
    return (
        f"Without a network: on a machine that has it, 'antiphon models export {name} --out model.tar'; "
        "here, 'antiphon models import model.tar'."
    )


def check_file(path: Path, size: int, sha256: str) -> tuple[FileState, FileMark | None]:
    """Whether a file is what it must be; the hash is taken only where the size fits."""
    try:
        if path.stat().st_size != size:
            return "wrong size", None
        mark = FileMark.take(path)
    except FileNotFoundError:
        return "missing", None
    except OSError as error:
        log.warning("model file unreadable", extra={"path": str(path), "error": type(error).__name__})
        return "unreadable", None
    return ("ok" if mark.sha256 == sha256 else "wrong hash"), mark


def _is_name(key: str) -> bool:
    """Whether it can be the name of a folder in the store (so never a path out of it)."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]*", key) is not None


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False
