"""Who asks an engine for something, how urgently, and who pays for it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first when several ask one model."""

    COMMITTED = 0
    SPECULATION = 1
    RERUN = 2
    PREFILL = 3


class Meter:
    """Adds up the time that engines work for somebody, and what they use. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._uses: dict[tuple[str, str, str], float] = {}

    def add(self, seconds: float) -> None:
        with self._lock:
            self._seconds += seconds

    @property
    def seconds(self) -> float:
        return self._seconds

    def use(self, stage: str, engine: str, unit: str, amount: float) -> None:
        """An engine has used so much: see :mod:`antiphon.engines.metering`."""
        key = (stage, engine, unit)
        with self._lock:
            self._uses[key] = self._uses.get(key, 0.0) + amount

    @property
    def uses(self) -> Mapping[tuple[str, str, str], float]:
        """By stage, engine and unit."""
        with self._lock:
            return dict(self._uses)


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asks, how urgently, and until when. Travels beside the call in :data:`current_ticket`."""

    session: str = ""
    turn: int = 0
    revision: int = 0
    priority: Priority = Priority.COMMITTED
    timeout_s: float | None = None
    """From the moment of asking, waiting in the queue included."""
    meter: Meter | None = field(default=None, compare=False, repr=False)
    """Who pays: the time that a worker spends on the request is added when it ends. None: nobody counts."""
    foremost: bool = False
    """Somebody waits for this stream's first item in silence: other streams give way until it is there."""


current_ticket: contextvars.ContextVar[Ticket] = contextvars.ContextVar("antiphon_ticket", default=Ticket())  # noqa: B039
