"""Who may have the machine to itself for a moment, on a machine with few cores."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator


class Precedence:
    """Lets one request have the machine to itself until its first item: streams elsewhere pause between their items.

    :param enabled: False: there are cores for all, and nobody pauses.
    """

    _LONGEST_S = 0.3
    """Nobody pauses for longer, whatever happens."""

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled
        self._holders = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        with self._changed:
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    def give_way(self) -> float:
        """Wait until nobody holds it; returns for how many seconds."""
        if not self._enabled or not self._holders:
            return 0.0
        began_s = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: not self._holders, self._LONGEST_S)
        return time.monotonic() - began_s
