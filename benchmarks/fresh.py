"""A start from nothing: the first turn of a process that has just been started.

Engines that are loaded again in the same process find its libraries loaded, its allocator grown and its threads
there. What stays warm even so is the operating system's cache of the model files.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from antiphon.benchmarks.clips import Clip
from antiphon.benchmarks.drive import Patience
from antiphon.benchmarks.own import AntiphonSubject
from antiphon.benchmarks.records import TurnRecord
from antiphon.benchmarks.run import Entry, Options, run_turn_about
from antiphon.benchmarks.variants import load_without_replays


@dataclass(frozen=True, slots=True)
class FreshStart:
    """One configuration in a process of its own, once for each call."""

    name: str
    source: str
    """The configuration's file, or its packaged name."""
    overrides: tuple[str, ...] = ()
    finished_recording: bool = False

    async def __call__(self, clips: Sequence[Clip], patience: Patience) -> TurnRecord:
        """The first turn, on the last of `clips`.

        :raises AntiphonError: the engines cannot be loaded there.
        :raises concurrent.futures.process.BrokenProcessPool: the process died.
        """
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, _first_turn, self, tuple(clips), patience)


def _first_turn(start: FreshStart, clips: tuple[Clip, ...], patience: Patience) -> TurnRecord:
    config = load_without_replays(start.source, start.overrides)
    entry = Entry(AntiphonSubject(start.name, config, finished_recording=start.finished_recording))
    asyncio.run(run_turn_about([entry], clips, Options(runs=0, warmup=1, patience=patience, costs=False)))
    return entry.cold[0]
