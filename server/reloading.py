"""Another configuration while the server runs: new conversations get it, running ones keep the engines they have."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from antiphon.engines.errors import AntiphonError
from antiphon.pipeline.build import return_free_memory
from antiphon.pipeline.config import Config
from antiphon.server.admission import capacity_of
from antiphon.server.capacity import Capacity
from antiphon.server.generation import Generation, import_engines

if TYPE_CHECKING:
    from antiphon.server.service import Service

logger = logging.getLogger(__name__)

LIVE_KEYS = frozenset(
    {
        "aliases", "allowed_addresses", "allowed_hosts", "allowed_origins", "audit_required", "capacity",
        "capacity_from", "capacity_p95_ms", "drain_s", "full_notice", "log_level", "max_session_s", "max_sessions",
        "max_upload_mb", "max_wait_s", "max_waiting", "proxy_headers", "requests_per_minute", "sessions_per_key",
        "sessions_per_minute", "stall_s", "upload_s", "wait_over_notice", "when_full", "wrong_keys_per_minute",
    }
)  # fmt: skip
"""Keys of `server` that are asked for when they are needed. The others are read once, at the start."""

_UNTIDY_S = 300.0
_LOOK_S = 1.0
_SIGNALS = 2
"""Reloads by signal at a time: one that is under way, and one that waits for it."""


class CannotReload(Exception):
    """Raised where there is nothing to read a configuration from, or no time for it."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of a reload."""

    changed: tuple[str, ...]
    """Sections that differ from those before."""
    needs_restart: tuple[str, ...]
    """Keys that differ, and that take effect with the next start only."""
    took_s: float


class Reloading:
    """One for a service."""

    def __init__(self, service: Service, source: Callable[[], Config] | None) -> None:
        self.checks: list[Callable[[Config], None]] = []
        """Called on a thread with each configuration before anything is loaded; one that is refused raises
        :class:`ConfigError`."""
        self.on_taken: list[Callable[[Config], None]] = []
        """Called with each configuration that was taken, for what is not part of the engines. May raise nothing."""
        self.live_keys: set[str] = set(LIVE_KEYS)
        """Keys of `server` that those functions put into force; they may add theirs."""
        self._service = service
        self._source = source
        self._one_at_a_time = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._signalled: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.Task[None] | None = None
        self._listens = False
        self._before: Any = None
        """What this process did at SIGHUP before it listened."""
        self.refused = False
        """The last configuration that was read was not taken: what is in force is not what the file says."""

    @property
    def leaving(self) -> int:
        """Configurations of before whose engines are still used."""
        return len(self._leaving)

    @property
    def tidying(self) -> bool:
        """Whether memory of engines of before is still to be given back."""
        return self._tidying is not None and not self._tidying.done()

    async def reload(self) -> Reloaded:
        """Read the configuration again, load its engines, and use them for what begins from now on.

        :raises AntiphonError: it is invalid, or an engine cannot be loaded; everything stays as it was.
        :raises CannotReload: there is nothing to read, or the server is shutting down.
        """
        service, source = self._service, self._source
        if source is None:
            raise CannotReload("this server was not started from a configuration that can be read again")
        async with self._one_at_a_time:
            if service.draining or not service.ready:
                raise CannotReload("the server is loading, or shutting down")
            began_s = asyncio.get_running_loop().time()
            try:
                config, capacity = await asyncio.to_thread(self._read, source)
                await asyncio.to_thread(import_engines, config)
                generation = Generation(config, service.new_assembly(config))
                await generation.load()
            except AntiphonError as error:
                self._refuse()
                why = {"error": type(error).__name__, "reason": str(error)}
                logger.error("the configuration was not reloaded: the old one stays", extra=why)
                raise
            except Exception as error:
                self._refuse()
                logger.exception("the configuration was not reloaded: the old one stays")
                raise CannotReload(f"{type(error).__name__}; the server's log says more") from error
            if service.draining:
                await generation.leave()
                raise CannotReload("the server is shutting down")
            before = service.config
            self._leave(service.replace(generation, capacity))
            for tell in self.on_taken:
                tell(config)
            took_s = asyncio.get_running_loop().time() - began_s
            done = Reloaded(_sections(before, config), self._for_the_next_start(before, config), round(took_s, 3))
        self.refused = False
        service.metrics.count("antiphon_reloads_total", outcome="taken")
        about = {"changed": list(done.changed), "needs_restart": list(done.needs_restart), "took_s": done.took_s}
        logger.warning("the configuration was reloaded", extra=about)
        return done

    def listen_for_signal(self) -> None:
        """Reload at SIGHUP, where there is something to read and this system has that signal."""
        if self._source is None or not hasattr(signal, "SIGHUP"):
            return
        # On another thread than the main one there are no signals.
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
            self._before = signal.getsignal(signal.SIGHUP)
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_signal)
            self._listens = True

    def forget_signal(self) -> None:
        """Take that back."""
        if self._listens:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, self._before)
            self._listens = False

    async def close(self) -> None:
        """Free the engines of all configurations of before, used or not."""
        for _ in range(2):  # what leaves may begin to tidy
            tasks = [*self._signalled, *self._leaving, *([self._tidying] if self._tidying is not None else [])]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    # ------------------------------------------------------------------------------ inside

    def _read(self, source: Callable[[], Config]) -> tuple[Config, Capacity | int | None]:
        config = source()
        for check in self.checks:
            check(config)
        return config, capacity_of(config.server)

    def _refuse(self) -> None:
        self.refused = True
        self._service.metrics.count("antiphon_reloads_total", outcome="refused")

    def _on_signal(self) -> None:
        if len(self._signalled) >= _SIGNALS:
            return  # the one that waits will read what the file says then
        task = asyncio.create_task(self._reload_quietly(), name="reload")
        self._signalled.add(task)
        task.add_done_callback(self._signalled.discard)

    async def _reload_quietly(self) -> None:
        audit = self._service.access.audit
        try:
            done = await self.reload()
            audit.write("config_reloaded", by="SIGHUP", changed=", ".join(done.changed))
        except AntiphonError:
            audit.write("config_refused", by="SIGHUP")  # why was logged
        except CannotReload as why:
            audit.write("config_refused", by="SIGHUP")
            logger.error("the configuration was not reloaded: the old one stays", extra={"reason": str(why)})

    def _leave(self, generation: Generation) -> None:
        task = asyncio.create_task(self._leave_when_unused(generation), name="leave-engines")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave_when_unused(self, generation: Generation) -> None:
        try:
            await self._service.uses.those_of_now()
        finally:
            try:
                await generation.leave()
            except Exception:
                logger.exception("engines of a configuration of before were not freed in order")
        logger.warning("the engines of the configuration before were freed")
        if not self.tidying:
            self._tidying = asyncio.create_task(self._tidy(), name="tidy")

    async def _tidy(self) -> None:
        """Let the garbage of engines go, and freeze again what stays, for the collector to look at no more.

        That holds up the event loop for a tenth of a second or two: it waits until nobody talks, but not for ever.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _UNTIDY_S
        while self._service.live and loop.time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        gc.collect()
        gc.freeze()
        return_free_memory()

    def _for_the_next_start(self, before: Config, after: Config) -> tuple[str, ...]:
        old, new = before.server, after.server
        names = [name for name in type(new).model_fields if name not in self.live_keys]
        return tuple(f"server.{name}" for name in names if getattr(old, name) != getattr(new, name))


def _sections(before: Config, after: Config) -> tuple[str, ...]:
    return tuple(name for name in type(after).model_fields if getattr(before, name) != getattr(after, name))
