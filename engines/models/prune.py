"""Leftovers in the store: found first, shown, and only then removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from antiphon.engines.models.pull import cannot_write
from antiphon.engines.models.store import ModelStore

Kind = Literal["partial", "unknown", "derived", "record"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something in the store that no model needs."""

    path: Path
    kind: Kind
    why: str
    size: int
    """Bytes."""
    key: str = ""
    """For a partial download: whose lock to hold."""


def find_leftovers(store: ModelStore, *, derived: bool = False) -> list[Leftover]:
    """What could be removed. Downloads of a pull that runs now are not among it.

    :param derived: also the derived files of models that are here; they are made again when needed.
    """
    if not store.root.is_dir():
        return []
    return [
        *_partial(store),
        *_unknown(store),
        *_derived(store, everything=derived),
        *_records(store),
    ]


def remove_leftovers(store: ModelStore, leftovers: Sequence[Leftover]) -> int:
    """Remove them. Returns bytes freed.

    :raises ModelError: the store cannot be written.
    """
    freed = 0
    for leftover in leftovers:
        try:
            if leftover.key:
                with FileLock(_lock(store, leftover.key), timeout=0):
                    freed += _remove(leftover)
            else:
                freed += _remove(leftover)
        except Timeout:
            continue  # a pull took it up again meanwhile
        except OSError as error:
            raise cannot_write(store, error) from error
    return freed


def _remove(leftover: Leftover) -> int:
    if leftover.path.is_dir() and not leftover.path.is_symlink():
        shutil.rmtree(leftover.path)
    else:
        leftover.path.unlink(missing_ok=True)
    return leftover.size


def _partial(store: ModelStore) -> Iterator[Leftover]:
    for path in _children(store.root / ".staging"):
        try:
            with FileLock(_lock(store, path.name), timeout=0):
                size = _size(path)
        except Timeout:
            continue  # a pull is at work there
        yield Leftover(path, "partial", "an interrupted download", size, path.name)
    for path in (store.root / ".records").glob(".new-*"):
        yield Leftover(path, "partial", "an interrupted write", _size(path))


def _unknown(store: ModelStore) -> Iterator[Leftover]:
    for path in _children(store.root):
        if path.name.startswith("."):
            continue
        entry = store.find(path.name) if path.is_dir() else None
        if entry is None:
            yield Leftover(path, "unknown", "no model of the catalog", _size(path))
            continue
        for file in sorted(path.rglob("*")):
            if not file.is_dir() and file.relative_to(path).as_posix() not in entry.files:
                yield Leftover(file, "unknown", f"no file of {path.name}", _size(file))


def _derived(store: ModelStore, *, everything: bool) -> Iterator[Leftover]:
    needed = {
        spec.sha256
        for name in store.names()
        for file, spec in store.entry(name).files.items()
        if (store.directory(name) / file).exists()
    }
    for path in _children(store.root / ".derived"):
        if path.name not in needed:
            yield Leftover(path, "derived", "made from a file that the store does not have", _size(path))
        elif everything:
            yield Leftover(path, "derived", "made again when needed", _size(path))


def _records(store: ModelStore) -> Iterator[Leftover]:
    for path in sorted((store.root / ".records").glob("*.json")):
        if not store.directory(path.name.removesuffix(".json")).exists():
            yield Leftover(path, "record", "of a model that is no longer here", _size(path))


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _lock(store: ModelStore, key: str) -> Path:
    (store.root / ".locks").mkdir(parents=True, exist_ok=True)
    return store.root / ".locks" / f"{key}.lock"


def _size(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())
    return path.lstat().st_size
