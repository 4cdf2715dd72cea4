"""One engine host for several sets of engines that come and go: what two of them ask for alike is loaded once."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from antiphon.engines.host import EngineHost, Isolation, Runtime, Worker, WorkerStats


class HostPart(EngineHost):
    """Looks like a host of its own. Who is at work is asked of all: they share the cores."""

    def __init__(self, whole: EngineHost) -> None:
        super().__init__(max_waiting=whole.max_waiting)
        self._whole = whole
        self._held: list[Worker] = []

    async def acquire(
        self, key: Hashable, factory: Callable[[], Runtime], *, name: str = "", isolation: Isolation = "thread"
    ) -> Worker:
        self._whole.max_waiting = self.max_waiting
        worker = await self._whole.acquire(key, factory, name=name, isolation=isolation)
        self._held.append(worker)
        return worker

    async def release(self, worker: Worker) -> None:
        if worker in self._held:  # else it was given back with all others
            self._held.remove(worker)
            await self._whole.release(worker)

    def drop(self, session: str, turn: int, below_revision: int) -> int:
        return self._whole.drop(session, turn, below_revision)

    def at_most_one_at_work(self) -> bool:
        return self._whole.at_most_one_at_work()

    def cores_free(self) -> bool:
        return self._whole.cores_free()

    def stats(self) -> dict[str, WorkerStats]:
        return self._whole.stats()

    async def close(self) -> None:
        """Give back what its engines have not. The models of others go on."""
        held, self._held = self._held, []
        for worker in held:
            await self._whole.release(worker)
