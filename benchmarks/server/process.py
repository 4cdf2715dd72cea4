"""A server in a process of its own, as an operator starts it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
import urllib.request
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from antiphon.benchmarks.result import ResultError

LOADING_S = 180.0
LEAVING_S = 40.0
_STDERR_LINES = 20


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server takes of its machine now, its children included."""

    rss_mb: float
    fds: int
    threads: int
    tasks: int
    """Of its event loop."""


class ServerProcess:
    """`antiphon serve` on a free port of this machine. An async context manager."""

    def __init__(self, config: str, overrides: Sequence[str] = ()) -> None:
        """
        :param config: a YAML file, or the name of a packaged one.
        """
        self.url = ""
        """Such as "http://127.0.0.1:41234", once it is entered."""
        words = [word for text in overrides for word in ("--set", text)]
        self._command = [sys.executable, "-m", "antiphon", "serve", config, "--port", "0", *words]
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._ready = asyncio.Event()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)

    async def __aenter__(self) -> ServerProcess:
        """
        :raises ResultError: it did not become ready.
        """
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        self._readers = [
            asyncio.create_task(self._read_stdout(process), name="server-stdout"),
            asyncio.create_task(self._read_stderr(process), name="server-stderr"),
        ]
        ready, over = asyncio.create_task(self._ready.wait()), asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ready, over}, timeout=LOADING_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ready, over):
                task.cancel()
        if not self._ready.is_set():
            await self._leave()
            raise ResultError("the server did not become ready", hint="\n".join(self._stderr))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has not been entered"
        return self._process.pid

    async def figures(self) -> dict[str, float]:
        """Every series of its `/metrics`, as "name{label="value"}" has it, and its value."""
        return await asyncio.to_thread(_figures, f"{self.url}/metrics")

    async def usage(self) -> Usage:
        """What it takes now."""
        figures = await self.figures()
        return await asyncio.to_thread(_usage, self.pid, int(figures.get("antiphon_event_loop_tasks", 0)))

    # ------------------------------------------------------------------------------ inside

    async def _leave(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LEAVING_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await asyncio.wait(self._readers)

    async def _read_stdout(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            words = line.decode(errors="replace").split()
            if words[:1] == ["ready:"]:
                self.url = words[1].rstrip(";")
                self._ready.set()

    async def _read_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._stderr.append(line.decode(errors="replace").rstrip())


def _figures(url: str) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("ANTIPHON_API_KEY")) else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        page = answer.read().decode()
    found = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def _usage(pid: int, tasks: int) -> Usage:
    psutil: Any = importlib.import_module("psutil")
    root: Any = psutil.Process(pid)
    all_of = [root, *root.children(recursive=True)]
    return Usage(
        rss_mb=round(sum(one.memory_info().rss for one in all_of) / 1e6, 1),
        fds=sum(one.num_fds() for one in all_of),
        threads=sum(one.num_threads() for one in all_of),
        tasks=tasks,
    )
