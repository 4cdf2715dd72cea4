"""A model that is asked for too much: requests are refused, guesses first, and nobody is queued for ever."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from host_runtimes import Gate

from antiphon.engines.errors import EngineOverloaded
from antiphon.engines.host import EngineHost, Priority, Ticket, Worker, current_ticket


async def ask(worker: Worker, name: str, priority: Priority) -> Any:
    current_ticket.set(Ticket(priority=priority))
    return await worker.call("wait", name)


async def queue(worker: Worker, gate: Gate, *priorities: Priority) -> list[asyncio.Task[Any]]:
    """One request at work, and these behind it."""
    tasks = [asyncio.create_task(ask(worker, "busy", Priority.COMMITTED))]
    async with asyncio.timeout(60):
        while not gate.entered.is_set():  # noqa: ASYNC110  # a thread sets it
            await asyncio.sleep(0.002)
    for number, priority in enumerate(priorities):
        tasks.append(asyncio.create_task(ask(worker, str(number), priority)))
        await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("newcomer", list(Priority))
def test_a_full_queue_refuses_the_least_urgent(newcomer: Priority) -> None:
    async def main() -> None:
        host, gate = EngineHost(max_waiting=2), Gate()
        worker = await host.acquire("gate", lambda: gate, name="the gate")
        try:
            tasks = await queue(worker, gate, Priority.COMMITTED, Priority.RERUN)
            last = asyncio.create_task(ask(worker, "last", newcomer))
            await asyncio.sleep(0.01)
            refused = last if newcomer >= Priority.RERUN else tasks[2]
            with pytest.raises(EngineOverloaded, match="2 requests wait for 'the gate' already"):
                await refused
            assert worker.stats.refused == 1 and worker.stats.queued == 2
            gate.go_on.set()
            served = {await task for task in [*tasks, last] if task is not refused}
            assert len(served) == 3
        finally:
            gate.go_on.set()
            await host.release(worker)

    before = set(threading.enumerate())
    asyncio.run(main())
    assert set(threading.enumerate()) <= before


def test_who_leaves_a_full_queue_makes_room() -> None:
    async def main() -> None:
        host, gate = EngineHost(max_waiting=1), Gate()
        worker = await host.acquire("gate", lambda: gate, name="the gate")
        try:
            tasks = await queue(worker, gate, Priority.COMMITTED)
            tasks[1].cancel()
            await asyncio.wait(tasks[1:])
            later = asyncio.create_task(ask(worker, "later", Priority.COMMITTED))
            await asyncio.sleep(0.01)
            gate.go_on.set()
            assert await later == "later"
            await tasks[0]
        finally:
            gate.go_on.set()
            await host.release(worker)

    asyncio.run(main())
