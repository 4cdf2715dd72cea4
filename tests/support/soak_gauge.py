"""What a process holds, sampled over many turns, and whether it grows."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import statistics
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

MAX_BYTES_PER_100_TURNS = 1_000_000
"""Of resident memory, after the warm-up. Held on purpose: the history, and with it the prompts' text."""
MAX_BLOCKS_PER_100_TURNS = 10_000
"""Objects that stay: 100 a turn are a history's items."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds after so many turns."""

    turns: int
    tasks: int
    threads: int
    handles: int
    """Open file descriptors; 0 where the system does not tell."""
    bytes: int
    """Resident memory."""
    blocks: int
    """What Python has allocated in small pieces: exact, and blind to audio and native code."""

    @classmethod
    def now(cls, turns: int) -> Held:
        gc.collect()
        handles = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        return cls(turns, tasks, threads, handles, resident_bytes(), sys.getallocatedblocks())


def resident_bytes() -> int:
    """Resident memory, less what the allocator has been given back and keeps for later."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def fill_thread_pool(threads: int = 8) -> None:
    """Give the loop a pool whose threads are all there: it would start each when that many are first busy at once."""
    pool, all_there = ThreadPoolExecutor(threads), threading.Barrier(threads)
    asyncio.get_running_loop().set_default_executor(pool)
    await asyncio.gather(*(asyncio.to_thread(all_there.wait, 20) for _ in range(threads)))


def slope(samples: Sequence[Held], what: str) -> float:
    """Growth in 100 turns, by Theil and Sen: the median of the slopes between all pairs, which outliers do not move."""
    pairs = [(one, other) for one, other in combinations(samples, 2) if other.turns > one.turns]
    return 100 * statistics.median(
        (getattr(other, what) - getattr(one, what)) / (other.turns - one.turns) for one, other in pairs
    )


@dataclass
class Gauge:
    """Samples, every so many turns."""

    every: int
    warm_up: int
    """Turns in which caches and pools fill."""
    samples: list[Held] = field(default_factory=list)

    def look(self, turns: int) -> None:
        """Take a sample if one is due."""
        if not self.samples or turns >= self.samples[-1].turns + self.every:
            self.samples.append(Held.now(turns))

    @property
    def warm(self) -> list[Held]:
        return [held for held in self.samples if held.turns >= self.warm_up]

    @property
    def slope(self) -> float:
        """Bytes in 100 turns, after the warm-up."""
        return slope(self.warm, "bytes")

    def assert_no_growth(self, max_bytes_per_100_turns: float = MAX_BYTES_PER_100_TURNS) -> None:
        warm = self.warm
        assert len(warm) >= 3, "too few samples to say anything"
        for name in ("tasks", "threads", "handles"):
            counts = [getattr(held, name) for held in warm]
            # The least of the last ones: what is left behind stays, what is at work this moment does not.
            assert min(counts[-3:]) <= max(counts[: max(1, len(counts) // 4)]), f"{name} grow: {counts}"
        assert self.slope < max_bytes_per_100_turns, f"{self.slope:.0f} bytes in 100 turns: {self.samples}"
        blocks = slope(warm, "blocks")
        assert blocks < MAX_BLOCKS_PER_100_TURNS, f"{blocks:.0f} blocks in 100 turns: {self.samples}"
