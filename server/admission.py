"""Who may begin a conversation now, who waits, and who is told to come again."""

from __future__ import annotations

import asyncio
import logging

from antiphon.pipeline.config.serving import ServerKeys
from antiphon.pipeline.errors import ConfigError
from antiphon.pipeline.session_settings import Place
from antiphon.server.capacity import Capacity, measured_capacity
from antiphon.server.observing.metrics import Metrics
from antiphon.server.talks import Talk, Talks

logger = logging.getLogger(__name__)


class Refused(Exception):
    """A conversation that cannot begin now."""

    def __init__(self, code: str, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class Admission:
    """Its methods are for the event loop; none of them waits."""

    def __init__(self, settings: ServerKeys, talks: Talks, metrics: Metrics) -> None:
        """
        :raises ConfigError: `capacity_from` names no result of a load test.
        """
        self._talks = talks
        self._metrics = metrics
        self.settings = settings
        self._capacity = capacity_of(settings)
        self._told_off: set[Talk] = set()
        """Those who have waited for too long, until they are gone."""

    def change(self, settings: ServerKeys, capacity: Capacity | int | None) -> None:
        """Other settings from now on. What was learned of the machine stays, unless they say something else of it.

        :param capacity: what they say of it: :func:`capacity_of`.
        """
        if _about_capacity(settings) != _about_capacity(self.settings):
            self._capacity = capacity
        self.settings = settings

    # ------------------------------------------------------------------------------ who comes

    def check(self) -> None:
        """
        :raises Refused: nobody more is taken in now, not even to wait.
        """
        why = self._why_not()
        waiting = len(self._talks.waiting)
        if why is None or (self.settings.when_full == "wait" and waiting < self.settings.max_waiting):
            return
        raise why

    def place(self) -> Place | None:
        """What one who comes now has to wait for; None: nothing."""
        if self._why_not() is None:
            return None
        return Place(asyncio.Event(), self.settings.full_notice, self.settings.wait_over_notice)

    @property
    def carries(self) -> int:
        """Live conversations that are taken now."""
        most = self.settings.max_sessions
        if self._capacity is None:
            return most
        return min(most, self._capacity if isinstance(self._capacity, int) else self._capacity.now)

    # ------------------------------------------------------------------------------ what is measured

    def answered(self, ttfa_s: float) -> None:
        """An answer began to be heard."""
        if isinstance(self._capacity, Capacity):
            now_s = asyncio.get_running_loop().time()
            self._capacity.answered(now_s, ttfa_s, self._talks.live(now_s))

    def lagged(self, lag_s: float) -> None:
        """The event loop was so late."""
        if isinstance(self._capacity, Capacity):
            self._capacity.lagged(asyncio.get_running_loop().time(), lag_s)

    def look(self) -> None:
        """To be called every second or so: who waits may come in, or has waited for too long."""
        now_s = asyncio.get_running_loop().time()
        if isinstance(self._capacity, Capacity):
            before, after = self._capacity.now, self._capacity.judge(now_s, self._talks.live(now_s))
            if after != before:
                logger.warning("capacity changed", extra={"live_conversations": after, "before": before})
        self.let_in()
        waiting = self._talks.waiting
        self._told_off.intersection_update(waiting)
        for talk in waiting:
            if talk not in self._told_off and now_s - talk.began_s > self.settings.max_wait_s:
                self._told_off.add(talk)
                self._metrics.count("antiphon_admission_refused_total", reason="waited")
                talk.conversing.close()

    def let_in(self) -> None:
        """Those who wait, as far as there is room."""
        for talk in self._talks.waiting:
            if self._why_full() is not None:
                return
            if talk not in self._told_off:
                self._talks.serve(talk)

    # ------------------------------------------------------------------------------ inside

    def _why_not(self) -> Refused | None:
        """Who waits goes first."""
        full = self._why_full()
        if full is None and self._talks.waiting:
            return Refused("busy", "others wait for a place", retry_after_s=10)
        return full

    def _why_full(self) -> Refused | None:
        served = self._talks.served
        if served >= self.settings.max_sessions:
            return Refused(
                "full", f"conversations under way: {served}; more are not taken (server.max_sessions)", retry_after_s=10
            )
        if self._talks.live(asyncio.get_running_loop().time()) >= self.carries:
            return Refused("busy", f"live conversations that this machine carries: {self.carries}", retry_after_s=10)
        return None


def capacity_of(settings: ServerKeys) -> Capacity | int | None:
    """What settings say of the machine: what is known at the start, a fixed number, or nothing. Reads a file.

    :raises ConfigError: `capacity_from` names no result of a load test.
    """
    if settings.capacity == "off":
        return None
    if isinstance(settings.capacity, int):
        return settings.capacity
    ceiling = settings.max_sessions
    if settings.capacity_from is not None:
        try:
            ceiling = min(ceiling, measured_capacity(settings.capacity_from))
        except ValueError as error:
            raise ConfigError(
                f"'{settings.capacity_from.name}' {error}",
                key="server.capacity_from",
                hint="make one: antiphon bench load CONFIG --clips FOLDER --out FOLDER; it is FOLDER/result.json",
            ) from None
    return Capacity(ceiling, most_p95_s=settings.capacity_p95_ms / 1000)


def _about_capacity(settings: ServerKeys) -> tuple[object, ...]:
    return settings.capacity, settings.capacity_from, settings.capacity_p95_ms, settings.max_sessions
