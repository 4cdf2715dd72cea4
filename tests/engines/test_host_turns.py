"""Streams of one worker that take turns: the beginning of one answer does not wait for the end of another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest

from antiphon.engines.errors import EngineFailed
from antiphon.engines.host import EngineHost, Meter, Priority, Ticket, Worker, abandoned, current_ticket


class Counter:
    """Counts for several at once; each step waits for its permit, so that a test decides who has asked by then."""

    streams_at_once = 2
    items_a_turn = 3

    def __init__(self) -> None:
        self.log: list[str] = []
        self.permits = threading.Semaphore(0)
        self.closed: list[str] = []

    def count(self, name: str, until: int) -> Iterator[str]:
        try:
            for number in range(until):
                self.permits.acquire()
                if abandoned():
                    return
                self.log.append(name)
                yield f"{name}{number}"
        finally:
            self.closed.append(name)

    def call(self, name: str) -> str:
        self.log.append(name)
        return name


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[Worker, Counter]]:
    host, counter = EngineHost(), Counter()
    worker = await host.acquire("counter", lambda: counter)
    try:
        yield worker, counter
    finally:
        for _ in range(1000):
            counter.permits.release()
        await host.release(worker)


def allow(counter: Counter, steps: int) -> None:
    for _ in range(steps):
        counter.permits.release()


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # a thread changes it
            await asyncio.sleep(0.002)


def reader(worker: Worker, name: str, length: int, **ticket: Any) -> asyncio.Task[list[str]]:
    async def read() -> list[str]:
        current_ticket.set(Ticket(**ticket))
        return [item async for item in worker.stream("count", name, length)]

    return asyncio.create_task(read())


def test_first_items_go_before_later_ones() -> None:
    async def main() -> None:
        async with counting() as (worker, counter):
            first = reader(worker, "a", 9)
            await until(lambda: worker.stats.running)
            second = reader(worker, "b", 6)
            await until(lambda: worker.queued == 1)
            allow(counter, 15)
            assert await first == [f"a{number}" for number in range(9)]
            assert await second == [f"b{number}" for number in range(6)]
            assert "".join(counter.log) == "aaabbbaaabbbaaa"
            assert worker.stats.done == 2 and worker.queued == 0

    asyncio.run(main())


def test_the_more_urgent_goes_first_at_the_next_item() -> None:
    async def main() -> None:
        async with counting() as (worker, counter):
            speculation = reader(worker, "s", 3, priority=Priority.SPECULATION)
            await until(lambda: worker.stats.running)
            allow(counter, 1)
            await until(lambda: len(counter.log) == 1)
            committed = reader(worker, "c", 3, priority=Priority.COMMITTED)
            await until(lambda: worker.queued == 1)
            call = asyncio.create_task(worker.call("call", "!"))
            await until(lambda: worker.queued == 2)
            allow(counter, 5)
            await asyncio.gather(speculation, committed, call)
            assert "".join(counter.log) in ("sscccs!", "ssccc!s")  # the call was asked for after c's first items
            assert counter.log.index("c") == 2

    asyncio.run(main())


def test_no_more_streams_than_the_runtime_holds() -> None:
    async def main() -> None:
        async with counting() as (worker, counter):
            tasks = [reader(worker, "a", 4)]
            await until(lambda: worker.stats.running)
            for name in "bc":
                tasks.append(reader(worker, name, 4))
            await until(lambda: worker.queued == 2)
            allow(counter, 12)
            await asyncio.gather(*tasks)
            assert "".join(counter.log).index("c") > "".join(counter.log).index("b")
            assert set(counter.log[: counter.log.index("c")]) == {"a", "b"}
            assert "aaaa" not in "".join(counter.log) and sorted(counter.closed) == ["a", "b", "c"]

    asyncio.run(main())


def test_a_stream_that_is_given_up_on_the_way_frees_its_place() -> None:
    async def main() -> None:
        async with counting() as (worker, counter):
            stream = worker.stream("count", "a", 100)
            async with aclosing(cast("Any", stream)):
                asking = asyncio.ensure_future(anext(stream))
                await until(lambda: worker.stats.running)
                others = [reader(worker, name, 4) for name in "bc"]
                await until(lambda: worker.queued == 2)
                allow(counter, 3)
                assert await asking == "a0"
                await until(lambda: counter.log.count("a") == 3)  # its turn is over: "b" waits for a permit
            allow(counter, 8)
            assert [len(items) for items in await asyncio.gather(*others)] == [4, 4]
            assert counter.log.count("a") == 3 and counter.closed[0] == "a"

    asyncio.run(main())


def test_stopping_closes_what_is_under_way() -> None:
    async def main() -> None:
        host, counter = EngineHost(), Counter()
        worker = await host.acquire("counter", lambda: counter)
        tasks = [reader(worker, "a", 50)]
        await until(lambda: worker.stats.running)
        tasks.append(reader(worker, "b", 50))
        await until(lambda: worker.queued == 1)
        allow(counter, 4)
        await until(lambda: counter.log.count("b") == 1)
        releasing = asyncio.create_task(host.release(worker))
        await asyncio.sleep(0)
        allow(counter, 10)
        await releasing
        for task in tasks:
            with pytest.raises(EngineFailed, match="was closed"):
                await task
        assert sorted(counter.closed) == ["a", "b"]

    asyncio.run(main())


def test_everybody_pays_for_his_own_turns() -> None:
    async def main() -> None:
        async with counting() as (worker, counter):
            meters = [Meter(), Meter()]
            first = reader(worker, "a", 6, meter=meters[0])
            await until(lambda: worker.stats.running)
            second = reader(worker, "b", 6, meter=meters[1])
            await until(lambda: worker.queued == 1)
            allow(counter, 12)
            await asyncio.gather(first, second)
            await until(lambda: not worker.stats.running)
            assert meters[0].seconds > 0 and meters[1].seconds > 0
            assert sum(meter.seconds for meter in meters) == pytest.approx(worker.stats.busy_s)

    asyncio.run(main())
