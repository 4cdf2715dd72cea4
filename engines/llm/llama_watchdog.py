"""Breaks off an evaluation of llama.cpp that takes too long, from inside its compute loop.

llama.cpp asks an abort callback between the nodes of its graph, some hundred times an evaluation. A callback in Python
would have to take the interpreter's lock each time, and wait for it while other threads compute. So the callback is a C
function that exists already: `strlen` of a buffer is 0 (go on) until a thread of ours writes a letter into it.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Iterator
from typing import Any

ABORTED = 2
"""What llama_decode returns then; nothing of that evaluation is left in the cache."""


class Watchdog:
    """One a context. Used by one thread."""

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self._changed = threading.Condition()
        self._deadline_s: float | None = None
        self._ended = False
        self._thread: threading.Thread | None = None

    def attach(self, lib: Any, context: Any) -> bool:
        """Make llama.cpp ask this watchdog. False: this system's C library cannot be used for it."""
        try:
            ask = ctypes.cast(ctypes.CDLL(None).strlen, lib.ggml_abort_callback)
        except (OSError, AttributeError, TypeError, ctypes.ArgumentError):
            return False
        self._ask = ask  # must live as long as the context
        lib.llama_set_abort_callback(context, ask, ctypes.cast(self._flag, ctypes.c_void_p))
        self._thread = threading.Thread(target=self._watch, name="llama watchdog", daemon=True)
        self._thread.start()
        return True

    def close(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """What is evaluated inside is broken off after so many seconds."""
        with self._changed:
            self._deadline_s = time.monotonic() + seconds
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._deadline_s = None
                self._flag[0] = b"\0"

    def _watch(self) -> None:
        with self._changed:
            while not self._ended:
                if self._deadline_s is None:
                    self._changed.wait()
                    continue
                left_s = self._deadline_s - time.monotonic()
                if left_s > 0:
                    self._changed.wait(left_s)
                else:
                    self._flag[0] = b"x"
                    self._deadline_s = None
