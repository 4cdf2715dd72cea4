"""What our own code logs that should not happen, as a failure of a test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.problems.append(self.format(record))


@contextmanager
def no_complaints(name: str) -> Iterator[None]:
    """While inside, nobody under a logger of that name may log an error, or an exception.

    :raises AssertionError: somebody did; raised where nothing else is.
    """
    complaints, root = _Complaints(), logging.getLogger(name)
    root.addHandler(complaints)
    try:
        yield
    finally:
        root.removeHandler(complaints)
    assert not complaints.problems, "\n".join(complaints.problems)
