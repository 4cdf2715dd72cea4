"""What a subject costs: processor time and memory of its processes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from antiphon.engines.errors import EngineUnavailable

_EVERY_S = 0.1


class Meter:
    """CPU time and memory of processes and their children. Entered, it follows the peak of memory."""

    def __init__(self, pids: Sequence[int] | None = None, *, without: Sequence[int] = ()) -> None:
        """
        :param pids: None: this process.
        :param without: children that belong to somebody else.
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
        self._without = frozenset(without)
        self._ended_s: dict[int, float] = {}
        """CPU time last seen, by process: of those that have ended it stays in the sum."""
        self._task: asyncio.Task[None] | None = None

    def cpu_s(self) -> float:
        """Processor time so far, user and system, in seconds."""
        for process in self._processes():
            with contextlib.suppress(self._psutil.Error):
                times = process.cpu_times()
                self._ended_s[process.pid] = times.user + times.system
        return sum(self._ended_s.values())

    def look(self) -> None:
        """Take memory down, if it is higher than ever."""
        total = 0
        for process in self._processes():
            with contextlib.suppress(self._psutil.Error):
                total += process.memory_info().rss
        self.peak_rss_mb = max(self.peak_rss_mb, total / 1e6)

    async def __aenter__(self) -> Meter:
        self.look()
        self._task = asyncio.create_task(self._follow(), name="bench-meter")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.look()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            self.look()

    def _processes(self) -> Iterator[Any]:
        roots = [None] if self._roots is None else self._roots
        for pid in roots:
            with contextlib.suppress(self._psutil.Error):
                root = self._psutil.Process(pid)
                yield root
                for child in root.children(recursive=True):
                    if child.pid not in self._without:
                        yield child
