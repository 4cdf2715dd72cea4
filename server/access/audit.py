"""Who did what: a JSON line for each act, in a file of its own or in the log.

The event loop only puts a line into a bounded queue; a thread writes. A disk that is full or slow costs lines, which
are counted and told in the next line that can be written, and never a conversation. A file that was renamed or removed
(`logrotate`) is opened anew.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from antiphon.pipeline.errors import ConfigError

logger = logging.getLogger(__name__)
audit_logger = logging.getLogger("antiphon.audit")

MAX_WAITING = 10_000
MAX_TEXT = 200
"""Characters of a text; what a client chose is cut."""
_FLUSH_S = 5.0

Value = str | int | float | bool | None | list[str] | dict[str, float]


class Audit:
    """The audit log. Safe to write to from any thread.

    :param path: None: the logger `antiphon.audit`, level INFO.
    :param clock: seconds since 1970.
    :raises ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._path = None if path is None else path.expanduser()
        self._clock = clock
        self._waiting: queue.Queue[str | None] = queue.Queue(MAX_WAITING)
        self._lost = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._file: int | None = None
        self._failing = False
        if self._path is not None:
            try:
                self._reopen(self._path)
            except OSError as error:
                message = f"the audit log cannot be written: {error.strerror or error}"
                raise ConfigError(message, file=str(self._path), key="server.audit_log") from error

    def write(self, event: str, **fields: Value) -> None:
        """Never waits, never fails. Fields without a value are left out. Never give it a key, or what was said."""
        if self._path is None and not audit_logger.isEnabledFor(logging.INFO):
            return
        line = _line(self._clock(), event, fields)
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            with self._lock:
                self._lost += 1
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

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    # ------------------------------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        while True:
            lines: list[str] = []
            line = self._waiting.get()
            while line is not None:
                lines.append(line)
                try:
                    line = self._waiting.get_nowait()
                except queue.Empty:
                    break
            self._put(lines)
            if line is None:
                self._close_file()
                return

    def _put(self, lines: list[str]) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost:
            lines.append(_line(self._clock(), "lines_lost", {"count": lost}))
        if not lines:
            return
        if self._path is None:
            for line in lines:
                audit_logger.info("%s", line)
            return
        try:
            if self._file is None or self._is_another(self._path, self._file):
                self._reopen(self._path)
            assert self._file is not None
            _write_all(self._file, "".join(f"{line}\n" for line in lines).encode("ascii"))
            self._failing = False
        except OSError as error:
            with self._lock:
                self._lost += lost + len(lines) - bool(lost)
            if not self._failing:
                logger.error("the audit log cannot be written", extra={"error": error.strerror})
            self._failing = True

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
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(now_s: float, event: str, fields: dict[str, Any]) -> str:
    stamp = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    kept = {name: _short(value) for name, value in fields.items() if value not in ("", None)}
    return json.dumps({"time": stamp, "event": event, **kept}, ensure_ascii=True, allow_nan=False, default=str)


def _short(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
