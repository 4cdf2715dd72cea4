"""How long the sound of an answer is on its way: from the server's sink to the client, in the same turn.

Where a front tells the pipeline's events, `turn_ended` says when the first audible sample was at the server's sink, by
the machine's monotonic clock. The client hears it by the same clock: no other turn's noise is in the difference.
"""

from __future__ import annotations

from statistics import median
from types import TracebackType
from typing import Any, cast

from antiphon.benchmarks.sink import first_audible
from antiphon.benchmarks.subject import Listener, Subject, SubjectSession
from antiphon.pipeline.events import Event, TurnEnded

_BEFORE_S = 0.02
"""A client may round a sample's place by so much."""


class Timed:
    """A subject, and how long its sound was on its way in each turn."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.ways_ms: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._subject, name)

    async def __aenter__(self) -> Timed:
        await self._subject.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._subject.__aexit__(kind, error, trace)

    async def open(self, listener: Listener) -> SubjectSession:
        """A conversation whose turns are timed."""
        return await self._subject.open(cast(Listener, _Ear(listener, self.ways_ms)))

    @property
    def way_out_ms(self) -> float | None:
        """The median; None: the front does not tell."""
        return round(median(self.ways_ms), 1) if self.ways_ms else None


class _Ear:
    """A listener that looks at the clock when a turn has ended."""

    def __init__(self, listener: Listener, ways_ms: list[float]) -> None:
        self._listener = listener
        self._ways_ms = ways_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def on_event(self, event: Event) -> None:
        self._listener.on_event(event)
        if isinstance(event, TurnEnded) and (there_s := event.timings.audible_s) is not None:
            here_s = first_audible(self._listener.sink.pieces, after_s=there_s - _BEFORE_S)
            if here_s is not None:
                self._ways_ms.append((here_s - there_s) * 1000)
