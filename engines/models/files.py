"""Writing model files: in chunks, with a cap, told apart from a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

CHUNK_BYTES = 1 << 20

_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG})


class TooLong(Exception):
    """Raised when a source gives more bytes than the file may have."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the user's quota of it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def write_chunk(file: IO[bytes], chunk: bytes) -> None:
    """The one place where downloaded bytes are written."""
    file.write(chunk)


def pour(source: Readable, path: Path, *, at: int, limit: int | None, wrote: Callable[[int], None]) -> int:
    """Write what `source` gives into `path` from byte `at` on, cutting off what was there. Returns bytes written.

    :param limit: the file's greatest length; None for no limit.
    :param wrote: called with the file's length after each chunk.
    :raises TooLong: more came than fits; the file is cut back to `at`.
    :raises OSError: of the disk or of the source; what was written so far stays.
    """
    length = at
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(at)
        file.seek(at)
        while chunk := source.read(CHUNK_BYTES):
            if limit is not None and length + len(chunk) > limit:
                file.truncate(at)
                raise TooLong(f"more than {limit} bytes")
            write_chunk(file, chunk)
            length += len(chunk)
            wrote(length)
        file.flush()
        os.fsync(file.fileno())
    return length - at
