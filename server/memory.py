"""The C library's memory, as a server that runs for months wants it."""

from __future__ import annotations

import contextlib
import ctypes
import os

from antiphon.engines.protocols import usable_cores

_M_ARENA_MAX = -8
"""Of glibc's <malloc.h>."""
_EACH_CORE = 2
_FEWEST = 4


def keep_few_arenas() -> None:
    """Let all threads share a few of glibc's heaps ("arenas"); to be called before there are threads.

    By default there may be eight for each core. Engines load and work on threads of their own, and what one frees in
    the middle of its heap neither serves the others nor goes back to the system: after four exchanges of the models of
    `tiny.yaml` and back, 180 MB of 928 were such holes; with four heaps there are none, of 746. MALLOC_ARENA_MAX, where
    somebody has set it, stays in force. Other C libraries have no such heaps.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(_FEWEST, _EACH_CORE * usable_cores()))
