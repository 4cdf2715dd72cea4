"""The file of API keys: read with care, changed by one program at a time, replaced whole.

What reads it (the server) and what writes it (`antiphon keys`) need not know of each other: a change is a new file
under the old name, which the server sees by its time, size and inode.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from antiphon.engines.models.store import antiphon_home
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.keys import MAX_FILE_BYTES, MAX_KEYS, Key, file_data, parse_file

_LOCK_S = 10.0
_FORBIDDEN = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""Nobody but the owner may change it, and the world may not read it. The group may read: files that a container is
given come so; there are hashes in it, not keys."""

Stamp = tuple[int, int, int]
"""Inode, time and size of a file: when they are the same, so is the file."""


def keys_path(configured: Path | None) -> Path:
    """`server.keys_file`, or `keys.json` in :func:`antiphon_home`."""
    return antiphon_home() / "keys.json" if configured is None else configured.expanduser()


def stamp_of(path: Path) -> Stamp | None:
    """None: there is no such file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, error) from error
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a file; none where there is no file.

    :raises ConfigError: it cannot be read, others may change or read it, or it is no file of keys.
    """
    try:
        with path.open("rb") as opened:
            found = os.fstat(opened.fileno())
            _check(path, found)
            data = opened.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unusable(path, error) from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"the file of API keys is longer than {MAX_FILE_BYTES} bytes", file=str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("the file of API keys is no text", file=str(path)) from None
    return parse_file(text, file=str(path))


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError("the file of API keys is no regular file", file=str(path))
    if found.st_mode & _FORBIDDEN:
        raise ConfigError(
            f"others than its owner may read or change the file of API keys (mode {stat.S_IMODE(found.st_mode):04o})",
            file=str(path),
            hint=f"chmod 600 {path}",
        )
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            "the file of API keys belongs to somebody else, who may change it", file=str(path), hint=f"chown it: {path}"
        )


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"the file of API keys cannot be used: {error.strerror or error}", file=str(path))


def change_keys(path: Path, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
    """Replace what is in the file. Nobody sees it half written; two changes at once come one after the other.

    :raises ConfigError: it cannot be read or written, or another program holds it.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=_LOCK_S, mode=0o600):
            keys = change(read_keys(target))
            if len(keys) > MAX_KEYS:
                raise ConfigError(f"more than {MAX_KEYS} keys are not kept in one file", file=str(path))
            _replace(target, json.dumps(file_data(keys), indent=1) + "\n")
    except Timeout:
        raise ConfigError("another program is changing the file of API keys", file=str(path)) from None
    except OSError as error:
        raise _unusable(path, error) from error


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def add_key(path: Path, key: Key) -> None:
    """
    :raises ConfigError: as :func:`change_keys`, or a key that can be used has this name.
    """

    def change(keys: tuple[Key, ...]) -> tuple[Key, ...]:
        if any(one.name == key.name and one.revoked_s is None for one in keys):
            hint = f"antiphon keys revoke {key.name}"
            raise ConfigError(f"there is a key of the name '{key.name}'", file=str(path), hint=hint)
        return (*keys, key)

    change_keys(path, change)


def revoke_key(path: Path, which: str, *, now_s: float) -> Key:
    """
    :param which: its id, or its name.
    :raises ConfigError: as :func:`change_keys`, or there is no such key that was not revoked before.
    """
    found: list[Key] = []

    def change(keys: tuple[Key, ...]) -> tuple[Key, ...]:
        found.extend(one for one in keys if which in (one.id, one.name) and one.revoked_s is None)
        if not found:
            raise ConfigError(
                f"no key that could be revoked has the name or id '{which}'", file=str(path), hint="antiphon keys list"
            )
        return tuple(replace(one, revoked_s=int(now_s)) if one is found[0] else one for one in keys)

    change_keys(path, change)
    return replace(found[0], revoked_s=int(now_s))
