"""What a subject costs: processor time and memory of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from antiphon.engines.errors import EngineUnavailable

_LOOK_S = 0.1
_SEARCH_S = 5.0


class Meter:
    """CPU time and memory of processes and their children. Entered, it follows the peak of memory.

    Looking for children means to go through all processes of the machine, so it is done where nobody waits: in
    :meth:`cpu_s`, which is asked between turns, and every few seconds in a thread.
    """

    def __init__(self, pids: Sequence[int] | None = None, *, without: Iterable[int] = ()) -> None:
        """
        :param pids: None: this process.
        :param without: children that belong to somebody else, with their own children.
        :raises EngineUnavailable: psutil is missing.
        """
        try:
            self._psutil: Any = importlib.import_module("psutil")
        except ImportError as error:
            raise EngineUnavailable(
                "measuring processor time and memory needs the package psutil", hint='pip install "antiphon[bench]"'
            ) from error
        self.peak_rss_mb = 0.0
        self._roots = pids
        self._without = tuple(without)
        self._processes: list[Any] = []
        self._spent_s: dict[int, float] = {}
        """CPU time last seen, by process: of those that have ended it stays in the sum."""
        self._tasks: list[asyncio.Task[None]] = []

    def cpu_s(self) -> float:
        """Processor time so far, user and system, in seconds."""
        self._search()
        for process in self._processes:
            with contextlib.suppress(self._psutil.Error):
                times = process.cpu_times()
                self._spent_s[process.pid] = times.user + times.system
        return sum(self._spent_s.values())

    def look(self) -> None:
        """Take memory down, if it is higher than ever."""
        if not self._processes:
            self._search()
        total = 0
        for process in self._processes:
            with contextlib.suppress(self._psutil.Error):
                total += process.memory_info().rss
        self.peak_rss_mb = max(self.peak_rss_mb, total / 1e6)

    async def __aenter__(self) -> Meter:
        self.look()
        self._tasks = [
            asyncio.create_task(self._looking(), name="bench-meter"),
            asyncio.create_task(self._searching(), name="bench-meter-search"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._search()
        self.look()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            self.look()

    async def _searching(self) -> None:
        while True:
            await asyncio.sleep(_SEARCH_S)
            await asyncio.to_thread(self._search)

    def _search(self) -> None:
        """Find the processes that there are now."""
        others = {pid for root in self._without for pid in [root, *(child.pid for child in self._children(root))]}
        found: list[Any] = []
        for pid in [None] if self._roots is None else self._roots:
            with contextlib.suppress(self._psutil.Error):
                root = self._psutil.Process(pid)
                found += [root, *(child for child in self._children(root.pid) if child.pid not in others)]
        self._processes = found

    def _children(self, pid: int) -> list[Any]:
        with contextlib.suppress(self._psutil.Error):
            return list(self._psutil.Process(pid).children(recursive=True))
        return []
