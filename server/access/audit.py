"""Who did what: a JSON line for each act, in a file of its own or on standard error.

The event loop only puts a line into a bounded queue; a thread writes. While the disk is full or slow, lines wait, and
are written to the end once there is room; past a bound they are lost, counted, and told of in the next line that can be
written. That never costs a conversation, unless `server.audit_required` asks for it. A file that was renamed or removed
(`logrotate`) is opened anew.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import queue
import stat
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from antiphon.pipeline.errors import ConfigError

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000
MAX_TEXT = 200
"""Characters of a text; what a client chose is cut."""
MAX_UNWRITTEN_BYTES = 4 << 20
"""What waits for a disk that takes nothing, besides the queue."""
RETRY_S = 1.0
_STDERR = 2
"""Written to past :mod:`logging`: whoever logs waits for the lock of its handler, and nobody may wait for this."""
_FLUSH_S = 5.0
_NEWLINE = ord("\n")
_OTHERS_BITS = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""The group may read: log shippers do. Nobody but the owner may change who did what."""

Value = str | int | float | bool | None | list[str] | dict[str, float]
Target = Path | Literal["stderr", "off"]


class Audit:
    """The audit log. Safe to write to from any thread.

    :param target: a file; `stderr`: standard error, whatever the level of the log.
    :param clock: seconds since 1970.
    :param as_log: the log on standard error is JSON: lines there have its fields, too.
    :raises ConfigError: the file cannot be written.
    """

    def __init__(self, target: Target, clock: Callable[[], float] = time.time, *, as_log: bool = False) -> None:
        self.target: Target = target.expanduser() if isinstance(target, Path) else target
        self.failing = False
        """What was to be written last could not be, or waits for so long that there is no more room."""
        self.on_lost: Callable[[int], object] = lambda lines: None
        """Told of lines that are gone, on any thread."""
        self._clock = clock
        self._as_log = as_log
        self._waiting: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._untold = 0
        """Lost lines that no line has told of yet."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._file: int | None = None
        self._rest = bytearray()
        """What the file has not taken yet."""
        self._torn = False
        """That begins within a line, of which the file has the beginning."""
        if isinstance(self.target, Path):
            try:
                self._reopen(self.target)
            except OSError as error:
                raise ConfigError(
                    f"the audit log cannot be written: {error.strerror or error}",
                    file=str(self.target),
                    key="server.audit_log",
                    hint="name a file in a folder that the server may write to; or audit_log: stderr",
                ) from error

    def write(self, event: str, **fields: Value) -> None:
        """Never waits, never fails. Fields without a value are left out. Never give it a key, or what was said."""
        if self.target == "off":
            return
        line = self._line(event, fields)
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self.failing = True  # the disk does not say so: it takes nothing; what it takes next ends this
            self._lose(1)
            return
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Write what waits, for at most a few seconds. It can be written to again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            try:
                self._waiting.put(None, timeout=_FLUSH_S)
            except queue.Full:
                logger.error("the audit log was not written to its end")
                return
            thread.join(_FLUSH_S)

    def begin(self) -> None:
        """Write to standard error from now on, where nothing was written before."""
        if self.target == "off":
            self.target = "stderr"

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    def _line(self, event: str, fields: dict[str, Any]) -> str:
        return _line(self._clock(), event, fields, as_log=self._as_log and self.target == "stderr")

    def _lose(self, lines: int) -> None:
        with self._lock:
            self._untold += lines
        self.on_lost(lines)

    # ------------------------------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        ended = False
        while not ended:
            lines, ended = self._taken()
            self._put(lines)
        if self._rest:
            logger.error("the audit log was not written to its end", extra={"lines": self._rest.count(b"\n")})
            self._rest.clear()
        self._close_file()

    def _taken(self) -> tuple[list[str], bool]:
        """The lines that wait, and whether they are the last. Waits for one; not for long where others wait too."""
        lines: list[str] = []
        try:
            line = self._waiting.get(timeout=RETRY_S if self._rest or self._untold else None)
            while line is not None:
                lines.append(line)
                line = self._waiting.get_nowait()
        except queue.Empty:
            return lines, False
        return lines, True

    def _put(self, lines: list[str]) -> None:
        self._keep(lines)
        try:
            file = self._opened()
            self._write_rest(file)
            self._keep(self._told())
            self._write_rest(file)
        except OSError as error:
            if not self.failing:
                logger.error("the audit log cannot be written", extra={"error": error.strerror})
            self.failing = True
        else:
            if self.failing:
                logger.warning("the audit log is written again")
            self.failing = False

    def _opened(self) -> int:
        if not isinstance(self.target, Path):
            if sys.__stderr__ is None:  # it was closed when the process began: anything else may have its number
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return _STDERR
        if self._file is None or self._is_another(self.target, self._file):
            self._reopen(self.target)
        assert self._file is not None
        return self._file

    def _write_rest(self, file: int) -> None:
        while self._rest:
            # Line by line where others write, too: so long as a line is short, it stays in one piece.
            end = self._rest.index(_NEWLINE) + 1 if file == _STDERR else len(self._rest)
            count = os.write(file, self._rest[:end])
            self._torn = self._rest[count - 1] != _NEWLINE
            del self._rest[:count]

    def _keep(self, lines: list[str]) -> None:
        """Add to what is to be written, as far as there is room."""
        for number, line in enumerate(lines):
            if len(self._rest) + len(line) >= MAX_UNWRITTEN_BYTES:
                return self._lose(len(lines) - number)
            self._rest += f"{line}\n".encode("ascii")

    def _told(self) -> list[str]:
        """A line that tells of lines that were lost, if any were."""
        with self._lock:
            untold, self._untold = self._untold, 0
        return [self._line("lines_lost", {"count": untold})] if untold else []

    @staticmethod
    def _is_another(path: Path, file: int) -> bool:
        try:
            named = path.stat()
        except FileNotFoundError:
            return True
        held = os.fstat(file)
        return (named.st_ino, named.st_dev) != (held.st_ino, held.st_dev)

    def _reopen(self, path: Path) -> None:
        self._close_file()
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            mode = os.fstat(file).st_mode
            if stat.S_ISREG(mode) and mode & _OTHERS_BITS:
                os.fchmod(file, stat.S_IMODE(mode) & ~_OTHERS_BITS)
        except OSError:
            os.close(file)
            raise
        self._file = file
        if self._torn:  # its beginning is in another file, or was lost with it
            del self._rest[: self._rest.index(_NEWLINE) + 1]
            self._torn = False
            self._lose(1)

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(now_s: float, event: str, fields: dict[str, Any], *, as_log: bool = False) -> str:
    stamp = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    kept = {name: _short(value) for name, value in fields.items() if value not in ("", None)}
    head = {"level": "info", "logger": "antiphon.audit", "message": event} if as_log else {"event": event}
    return json.dumps({"time": stamp, **head, **kept}, ensure_ascii=True, allow_nan=False, default=str)


def _short(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value
