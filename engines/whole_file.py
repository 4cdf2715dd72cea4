"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_file(path: Path, *, suffix: str = "", mode: int = 0o644) -> Iterator[Path]:
    """An empty file beside `path`, to be written by name; it becomes `path` when the block ends well, else it goes.

    The folder is made where it is missing.

    :param suffix: of the temporary name, which begins with ".new-".
    :param mode: the file's permissions in the end.
    :raises OSError: the file cannot be written, or `path` is a folder; what was there before is untouched.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-", suffix=suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
