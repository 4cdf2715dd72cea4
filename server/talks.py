"""The conversations under way: whose they are, since when, whether somebody talks, who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from antiphon.pipeline.session_settings import Place
from antiphon.server.observing.watch import Watch

LIVE_S = 30.0
"""A conversation in which nothing happened for so long is not live: it costs next to nothing."""


class Conversing(Protocol):
    """A conversation under way."""

    def close(self) -> None:
        """End it: what is being said is said to its end."""
        ...


@dataclass(slots=True, eq=False)
class Talk:
    """One of them, from the moment that it was admitted."""

    conversing: Conversing
    began_s: float
    """Loop time."""
    place: Place | None = None
    """It waits for it; None: it does not wait."""
    sessions: dict[str, tuple[Any, Watch]] = field(default_factory=dict)
    """Each session of it that is under way by its id, and what watches it. Mostly one."""
    _ended_s: float = 0.0
    """Loop time of the last event of those that are over."""

    @property
    def active_s(self) -> float:
        """Loop time at which something happened last."""
        return max([self.began_s, self._ended_s, *(watch.active_s for _, watch in self.sessions.values())])

    def forget(self, session: str) -> None:
        """A session of it is over."""
        found = self.sessions.pop(session, None)
        if found is not None:
            self._ended_s = max(self._ended_s, found[1].active_s)


_current: ContextVar[Talk | None] = ContextVar("antiphon_talk", default=None)


class Talks:
    """All of them."""

    def __init__(self) -> None:
        self._open: dict[Conversing, Talk] = {}
        self._waiting: list[Talk] = []
        self._fewer = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Talk]:
        return iter(list(self._open.values()))

    def begin(self, conversing: Conversing, *, waits: Place | None) -> Talk:
        """One more; the task that calls, and those that it starts, work for it."""
        talk = Talk(conversing, asyncio.get_running_loop().time(), waits)
        self._open[conversing] = talk
        if waits is not None:
            self._waiting.append(talk)
        _current.set(talk)
        return talk

    def end(self, talk: Talk) -> None:
        """It is over."""
        self._open.pop(talk.conversing, None)
        self._stop_waiting(talk)
        if _current.get() is talk:
            _current.set(None)
        self._fewer.set()

    @property
    def current(self) -> Talk | None:
        """The one that the running task works for."""
        return _current.get()

    @property
    def waiting(self) -> list[Talk]:
        """Those who wait, the first to come first."""
        return list(self._waiting)

    @property
    def served(self) -> int:
        """Those who do not wait."""
        return len(self._open) - len(self._waiting)

    def live(self, now_s: float) -> int:
        """Those in which something has happened lately."""
        return sum(talk.place is None and now_s - talk.active_s <= LIVE_S for talk in self._open.values())

    def serve(self, talk: Talk) -> None:
        """It waits no longer."""
        place = talk.place
        self._stop_waiting(talk)
        talk.began_s = asyncio.get_running_loop().time()
        if place is not None:
            place.free.set()

    async def all_over(self) -> None:
        """Wait until there are none."""
        while self._open:
            self._fewer.clear()
            await self._fewer.wait()

    def _stop_waiting(self, talk: Talk) -> None:
        talk.place = None
        if talk in self._waiting:
            self._waiting.remove(talk)
