"""Variants of one configuration, measured so that they can be compared: the same clips, turn about.

All variants that fit into memory are loaded together (:mod:`antiphon.benchmarks.shared_host`), and each clip is played
to every one of them before the next clip, so that whatever else the machine does meets all alike. Those that do not
fit are measured in groups, or one after another.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.meter import Meter
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import ConfigResult, Summary
from antiphon.benchmarks.run import Entry, OnProgress, Options, run_turn_about
from antiphon.benchmarks.shared_host import SharedHost
from antiphon.engines.errors import AntiphonError
from antiphon.engines.host import EngineHost
from antiphon.pipeline.config import Config, load_config
from antiphon.pipeline.machine import this_machine

logger = logging.getLogger(__name__)

RESERVE_BYTES = 512 * 2**20
"""Stays free: for sessions, and for whoever else uses the machine."""

Grouping = Literal["groups", "all or one"]
"""What to do with variants that do not all fit into memory: as many at a time as fit; or, where each must be compared
with the first, one after another."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One configuration to be measured."""

    name: str
    """The configuration's file name."""
    config: Config
    settings: dict[str, Any] = field(default_factory=dict)
    """What makes this variant, as YAML text by key path."""
    fixed: dict[str, Any] = field(default_factory=dict)
    """What is set on top of the file in every variant."""
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.settings.items())])


REPLAYS_OFF = "the cache of spoken text is off (tts.cache_mb: 0): clips are repeated, users' sentences are not"


def without_replays(config: Config) -> list[str]:
    """Overrides that keep a TTS from playing what it has spoken before."""
    several = len(config.tts) > 1
    return [
        f"tts.{number}.cache_mb=0" if several else "tts.cache_mb=0"
        for number, block in enumerate(config.tts)
        if getattr(block.options, "cache_mb", 0)
    ]


def load_without_replays(source: str, overrides: Sequence[str] = ()) -> Config:
    """A configuration whose TTS does not play again what it has spoken before: clips that get the same answer, and the
    runs after the first, would seem faster than they are.

    :raises ConfigError: it is not valid.
    """
    config = load_config(source, overrides=overrides)
    more = without_replays(config)
    return load_config(source, overrides=[*overrides, *more]) if more else config


def fixed_settings(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as they stand in a result, by key path."""
    return {key.strip(): value for key, _, value in (override.partition("=") for override in overrides)}


class TooLittleMemory(AntiphonError):
    """Raised when one more variant may not fit beside those that are loaded; `loaded` says how many those are."""

    def __init__(self, loaded: int) -> None:
        super().__init__(f"there is too little memory to load more than {loaded} variants together")
        self.loaded = loaded


class Memory:
    """What the machine has left and what this process takes, in bytes."""

    def free(self) -> int | None:
        """None: unknown."""
        return this_machine().memory_free_bytes

    def used(self) -> int:
        """:raises EngineUnavailable: psutil is missing."""
        meter = Meter()
        meter.look()
        return int(meter.peak_rss_mb * 1e6)


class Variants:
    """A run of several variants. :meth:`run` measures; :meth:`results` has what was measured until then."""

    def __init__(
        self,
        variants: Sequence[Variant],
        clips: Sequence[Clip],
        options: Options,
        *,
        grouping: Grouping = "groups",
        memory: Memory | None = None,
    ) -> None:
        self.variants = tuple(variants)
        self._clips = clips
        self._options = replace(options, starts=1, concurrency=(1,))
        self._grouping = grouping
        self._memory = memory or Memory()
        self._sizes: list[int] = []
        self._entries: dict[int, tuple[Entry, bool]] = {}
        """By variant; and whether it shared its models with others."""

    @property
    def order(self) -> str:
        """In which order clips were played, in words; empty before anything was."""
        if not self._sizes:
            return ""
        if len(self._sizes) == 1:
            return "each clip to every variant in turn" if len(self.variants) > 1 else "one variant"
        if max(self._sizes) == 1:
            return "one variant after another: memory does not hold them all"
        return f"{max(self._sizes)} variants at a time, each clip to each of them: memory does not hold more"

    async def run(self, on_progress: OnProgress | None = None) -> None:
        """
        :raises AntiphonError: engines cannot be loaded; what was measured before stays.
        """
        start, size = 0, len(self.variants)
        while start < len(self.variants):
            group = list(enumerate(self.variants))[start : start + size]
            try:
                await self._group(group, on_progress)
            except TooLittleMemory as error:
                size = 1 if self._grouping == "all or one" else error.loaded
                logger.info("variants are measured in smaller groups", extra={"size": size})
                continue
            start += len(group)

    def results(self) -> list[tuple[int, ConfigResult]]:
        """Index of the variant and its result, for those that have turns."""
        found = []
        for index, (entry, shared) in sorted(self._entries.items()):
            variant = self.variants[index]
            if shared:  # a first turn beside loaded models is not cold, and the memory is everybody's
                entry.cold.clear()
            unknown: dict[str, Any] = {"peak_rss_mb": None, "ready_s": None, "ttfa_cold_ms": Summary()}
            for result in entry.results(self._clips):
                more = unknown if shared else {}
                result = replace(result, config=variant.name, notes=(*result.notes, *variant.notes), **more)
                if result.turn_records:
                    found.append((index, result))
        return found

    async def _group(self, group: Sequence[tuple[int, Variant]], on_progress: OnProgress | None) -> None:
        if len(group) == 1:
            ((index, variant),) = group
            entry = Entry(AntiphonSubject(variant.label, variant.config), {**variant.fixed, **variant.settings})
            self._entries[index] = (entry, False)
            self._sizes.append(1)
            await run_turn_about([entry], self._clips, self._options, on_progress)
            return
        async with AsyncExitStack() as stack:
            host = await stack.enter_async_context(SharedHost())
            room = _Room(self._memory)
            entries = [
                Entry(_Subject(variant.label, variant.config, host.part(), room), {**variant.fixed, **variant.settings})
                for _, variant in group
            ]
            meter = await stack.enter_async_context(Meter()) if self._options.costs else None
            for entry in entries:
                entry.meter = meter  # one for all: each would look at the same process
            added = {index: (entry, True) for (index, _), entry in zip(group, entries, strict=True)}
            self._entries.update(added)
            self._sizes.append(len(group))
            try:
                await run_turn_about(entries, self._clips, replace(self._options, costs=False), on_progress)
            except TooLittleMemory:
                self._sizes.pop()
                for index in added:
                    del self._entries[index]
                raise


class _Room:
    """Watches memory while variants are loaded, one after the other."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._loaded = 0
        self._largest = 0
        self._before = 0

    def ask(self) -> None:
        """:raises TooLittleMemory: another variant that takes as much as the largest so far may not fit."""
        self._before = self._memory.used()
        free = self._memory.free()
        if self._loaded and free is not None and free < self._largest + RESERVE_BYTES:
            raise TooLittleMemory(self._loaded)

    def took(self) -> None:
        self._loaded += 1
        self._largest = max(self._largest, self._memory.used() - self._before)


class _Subject(AntiphonSubject):
    """A variant that asks for room before it loads."""

    def __init__(self, name: str, config: Config, host: EngineHost, room: _Room) -> None:
        super().__init__(name, config, host=host)
        self._room = room

    async def __aenter__(self) -> _Subject:
        self._room.ask()
        await super().__aenter__()
        self._room.took()
        return self
