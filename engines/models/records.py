"""What the store remembers about a model: its facts, and which files were found right, and when.

A record lets `resolve` trust a file without hashing it again: as long as size and modification time are those of the
moment when the hash was taken. It also keeps the facts of models that no catalog on this machine knows (imported, or
pulled by `hub:` reference).
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from antiphon.engines.models.catalog import ModelEntry, Sha256
from antiphon.engines.whole_file import whole_file

log = logging.getLogger(__name__)


class FileMark(BaseModel):
    """A file as it was when its hash was taken."""

    model_config = ConfigDict(frozen=True)

    size: int
    mtime_ns: int
    sha256: Sha256

    @classmethod
    def take(cls, path: Path) -> FileMark:
        """Hash the file now.

        :raises OSError: it cannot be read.
        """
        before = path.stat()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(size=before.st_size, mtime_ns=before.st_mtime_ns, sha256=digest)

    def still_true(self, path: Path) -> bool:
        """Whether the file has not been touched since."""
        try:
            now = path.stat()
        except OSError:
            return False
        return now.st_size == self.size and now.st_mtime_ns == self.mtime_ns


class Record(BaseModel):
    """One model's record."""

    model_config = ConfigDict(frozen=True)

    name: str
    entry: ModelEntry
    marks: dict[str, FileMark] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record in `path`; None where there is none that can be used (the files are then hashed again)."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("model record unusable", extra={"path": str(path), "error": type(error).__name__})
            return None

    def write(self, path: Path) -> bool:
        """Write it, atomically. False where the store is read-only: then files are hashed again at the next start."""
        try:
            write_atomically(path, self.model_dump_json(indent=1).encode())
        except OSError as error:
            log.debug("model record not written", extra={"path": str(path), "error": type(error).__name__})
            return False
        return True


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that readers see the old or the new one, never a part.

    :raises OSError: nothing is left behind.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(data)
