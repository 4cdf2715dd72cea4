"""The engine host with runtimes in threads: order, sharing, cancellation, and what is left behind (nothing)."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import pytest
from host_runtimes import Gate

from antiphon.engines import worker as worker_module
from antiphon.engines.errors import EngineFailed, EngineTimeout, StaleRequest
from antiphon.engines.host import EngineHost, Priority, Ticket, Worker, current_ticket


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on a fresh loop; no thread may be left."""
    before = set(threading.enumerate())
    asyncio.run(main())
    assert set(threading.enumerate()) <= before


@asynccontextmanager
async def one() -> AsyncIterator[tuple[Worker, Gate]]:
    """A host with one worker, and its runtime."""
    host, gate = EngineHost(), Gate()
    worker = await host.acquire("gate", lambda: gate, name="the gate")
    try:
        yield worker, gate
    finally:
        gate.go_on.set()
        await host.release(worker)


async def asked(worker: Worker, method: str, *args: Any, **ticket: Any) -> Any:
    current_ticket.set(Ticket(**ticket))
    return await worker.call(method, *args)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # a thread changes it, which no asyncio.Event can tell
            await asyncio.sleep(0.002)


@asynccontextmanager
async def busy(worker: Worker, gate: Gate) -> AsyncIterator[None]:
    """The worker is at work inside."""
    task = asyncio.create_task(worker.call("wait", "busy"))
    await until(gate.entered.is_set)
    yield
    gate.go_on.set()
    assert await task == "busy"


def test_the_most_urgent_goes_first_and_equals_in_order() -> None:
    async def main() -> None:
        async with one() as (worker, gate):
            async with busy(worker, gate):
                order = (Priority.PREFILL, Priority.RERUN, Priority.COMMITTED, Priority.SPECULATION, Priority.COMMITTED)
                tasks = [
                    asyncio.create_task(asked(worker, "note", (priority.name, index), priority=priority))
                    for index, priority in enumerate(order)
                ]
                await until(lambda: worker.queued == 5)
            await asyncio.gather(*tasks)
            assert gate.ran == [
                "busy", ("COMMITTED", 2), ("COMMITTED", 4), ("SPECULATION", 3), ("RERUN", 1), ("PREFILL", 0),
            ]  # fmt: skip

    run(main)


def test_older_revisions_of_a_turn_are_dropped_before_they_begin() -> None:
    async def main() -> None:
        async with one() as (worker, gate):
            async with busy(worker, gate):
                tickets = [("s", 1, 0), ("s", 1, 1), ("s", 1, 2), ("s", 2, 0), ("other", 1, 0)]
                tasks = [
                    asyncio.create_task(asked(worker, "note", ticket, session=ticket[0], turn=ticket[1],
                                              revision=ticket[2]))
                    for ticket in tickets
                ]  # fmt: skip
                await until(lambda: worker.queued == 5)
                assert worker.drop("s", 1, 2) == 2
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results[:2]] == [StaleRequest, StaleRequest]
            assert results[2:] == tickets[2:]
            assert gate.ran == ["busy", *tickets[2:]]
            assert worker.stats.dropped == 2

    run(main)


def test_one_who_stops_waiting_gives_up_the_place_in_the_queue() -> None:
    async def main() -> None:
        async with one() as (worker, gate):
            async with busy(worker, gate):
                task = asyncio.create_task(worker.call("note", "never"))
                await until(lambda: worker.queued == 1)
                task.cancel()
                await asyncio.wait([task])
                assert worker.queued == 0
                with pytest.raises(EngineTimeout, match=r"'the gate' gave no answer within 0\.01 s"):
                    await asyncio.create_task(asked(worker, "note", "late", timeout_s=0.01))
                assert worker.queued == 0
            assert gate.ran == ["busy"]

    run(main)


def test_a_runtime_can_see_that_nobody_waits() -> None:
    async def main() -> None:
        async with one() as (worker, gate):
            task = asyncio.create_task(worker.call("until_abandoned"))
            await until(gate.entered.is_set)
            task.cancel()
            await until(lambda: gate.saw_abandoned)

    run(main)


def test_a_closed_stream_stops_after_its_item_on_the_workers_thread() -> None:
    async def main() -> None:
        async with one() as (worker, gate):
            async with aclosing(cast("Any", worker.stream("count", 1000))) as numbers:
                assert await anext(numbers) == 0
                await until(gate.entered.is_set)
            gate.go_on.set()
            assert await worker.call("note", "next") == "next"
            assert gate.generator_closed_on == "the gate"
            assert gate.ran[-1] == "next" and len(gate.ran) <= 3

    run(main)


def test_streams_yield_everything_in_order_and_then_the_error() -> None:
    async def main() -> None:
        async with one() as (worker, gate):
            gate.go_on.set()
            assert [number async for number in worker.stream("count", 100)] == list(range(100))
            got = []
            with pytest.raises(LookupError, match="mine"):
                async for item in worker.stream("yields_then_raises", LookupError("mine")):
                    got.append(item)
            assert got == [1]
            assert (worker.stats.done, worker.stats.failed) == (1, 1)

    run(main)


def test_the_timeout_of_a_stream_is_for_its_first_item() -> None:
    async def main() -> None:
        async with one() as (worker, gate):
            async with busy(worker, gate):
                current_ticket.set(Ticket(timeout_s=0.01))
                with pytest.raises(EngineTimeout):
                    await anext(aiter(worker.stream("count", 3)))
                current_ticket.set(Ticket())
            assert gate.ran == ["busy"]

    run(main)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1), asyncio.CancelledError()])
def test_exceptions_that_would_harm_the_event_loop_come_as_engine_errors(error: BaseException) -> None:
    async def main() -> None:
        async with one() as (worker, _):
            for _ in range(2):
                with pytest.raises(EngineFailed, match=type(error).__name__):
                    await worker.call("raises", error)
            # Python itself makes a RuntimeError of a StopIteration in a generator.
            with pytest.raises(RuntimeError if isinstance(error, StopIteration) else EngineFailed):
                async for _ in worker.stream("yields_then_raises", error):
                    pass

    run(main)


def test_a_timeout_error_of_the_runtime_is_its_own() -> None:
    async def main() -> None:
        async with one() as (worker, _):
            with pytest.raises(TimeoutError, match="of a socket"):
                await asyncio.create_task(asked(worker, "raises", TimeoutError("of a socket"), timeout_s=60))

    run(main)


def test_one_load_is_shared_and_ends_with_the_last_user() -> None:
    async def main() -> None:
        host, made = EngineHost(), []

        def factory() -> Gate:
            made.append(Gate())
            return made[-1]

        first, second = await asyncio.gather(host.acquire("key", factory), host.acquire("key", factory))
        other = await host.acquire("other key", factory)
        assert first is second is not other and len(made) == 2
        await host.release(first)
        assert await second.call("note", 1) == 1
        await host.release(second)
        assert made[0].closed_on == "key"
        with pytest.raises(EngineFailed, match="closed"):
            await second.call("note", 1)
        await host.release(other)
        third = await host.acquire("key", factory)
        assert len(made) == 3
        await host.release(third)

    run(main)


def test_a_factory_that_fails_leaves_nothing_and_may_be_tried_again() -> None:
    async def main() -> None:
        host, errors = EngineHost(), [LookupError("no file"), SystemExit(2)]

        def factory() -> Gate:
            if errors:
                raise errors.pop(0)
            return Gate()

        results = await asyncio.gather(*(host.acquire("key", factory) for _ in range(2)), return_exceptions=True)
        assert [str(result) for result in results] == ["no file", "no file"]
        with pytest.raises(EngineFailed, match="SystemExit: 2"):
            await host.acquire("key", factory)
        await host.release(await host.acquire("key", factory))

    run(main)


def test_giving_up_a_load_closes_what_was_loaded_and_harms_no_other_waiter() -> None:
    async def main() -> None:
        host, gates, go_on = EngineHost(), [], threading.Event()

        def factory() -> Gate:
            assert go_on.wait(20)
            gates.append(Gate())
            return gates[-1]

        waiting = [asyncio.create_task(host.acquire("key", factory)) for _ in range(2)]
        await asyncio.sleep(0.01)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        go_on.set()
        worker = await waiting[1]
        assert await worker.call("note", 1) == 1
        await host.release(worker)

        go_on.clear()
        alone = asyncio.create_task(host.acquire("key", factory))
        await asyncio.sleep(0.01)
        alone.cancel()
        await asyncio.wait([alone])
        later = asyncio.create_task(host.acquire("key", factory))  # must wait until the one given up has ended
        await asyncio.sleep(0.01)
        go_on.set()
        await host.release(await later)
        assert [gate.closed_on for gate in gates] == ["key"] * len(gates)

    run(main)


def test_stopping_ends_a_stream_refuses_the_queue_and_waits_for_a_call() -> None:
    async def main() -> None:
        host, gate = EngineHost(), Gate()
        worker = await host.acquire("gate", lambda: gate)
        running = asyncio.create_task(worker.call("wait", "to its end"))
        await until(gate.entered.is_set)
        waiting = asyncio.create_task(worker.call("note", "never"))
        await until(lambda: worker.queued == 1)
        closing = asyncio.create_task(host.close())
        with pytest.raises(EngineFailed, match="closed"):
            await waiting
        gate.go_on.set()
        await closing
        assert await running == "to its end"
        assert gate.closed_on
        await host.release(worker)  # late, and harmless

    run(main)


def test_a_stream_cut_short_by_the_end_of_the_worker_does_not_look_complete() -> None:
    async def main() -> None:
        host, gate = EngineHost(), Gate()
        worker = await host.acquire("gate", lambda: gate)
        numbers = aiter(worker.stream("count", 1000))
        assert await anext(numbers) == 0
        await until(gate.entered.is_set)
        closing = asyncio.create_task(host.close())
        await asyncio.sleep(0.01)
        gate.go_on.set()
        with pytest.raises(EngineFailed, match="closed"):
            async for _ in numbers:
                pass
        await closing

    run(main)


def test_an_ended_worker_holds_no_model() -> None:
    async def main() -> None:
        host, models = EngineHost(), weakref.WeakSet[Gate]()

        def factory() -> Gate:
            models.add(gate := Gate())
            return gate

        worker = await host.acquire("gate", factory)
        await worker.call("note", 1)
        assert len(models) == 1
        await host.release(worker)
        gc.collect()
        assert len(models) == 0

    run(main)


def test_a_call_that_never_ends_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_module, "STOP_S", 0.05)

    async def main() -> None:
        host, gate = EngineHost(), Gate()
        worker = await host.acquire("gate", lambda: gate)
        task = asyncio.create_task(worker.call("wait", "long"))
        await until(gate.entered.is_set)
        await host.release(worker)
        assert "worker does not end" in caplog.text
        gate.go_on.set()
        await task
        worker.join()

    run(main)


def test_a_close_that_fails_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class BadClose(Gate):
        def close(self) -> None:
            raise LookupError("cannot close")

    async def main() -> None:
        host = EngineHost()
        await host.release(await host.acquire("bad", BadClose))

    with caplog.at_level(logging.ERROR):
        run(main)
    assert "cannot close" in caplog.text


def test_a_host_outlives_an_event_loop() -> None:
    """A loop that ended with requests under way must not harm the worker, nor the next loop."""
    host, gate = EngineHost(), Gate()

    async def first() -> Worker:
        worker = await host.acquire("gate", lambda: gate)
        task = asyncio.create_task(worker.call("wait", "abandoned"))
        await until(gate.entered.is_set)
        del task
        return worker

    async def second(worker: Worker) -> None:
        assert await host.acquire("gate", Gate) is worker
        assert await worker.call("note", "in the second loop") == "in the second loop"
        await host.release(worker)
        await host.release(worker)

    worker = asyncio.run(first())
    gate.go_on.set()
    asyncio.run(second(worker))
    assert gate.closed_on


def test_statistics_count_what_was_done() -> None:
    async def main() -> None:
        host, gate = EngineHost(), Gate()
        worker = await host.acquire("gate", lambda: gate, name="counted")
        await worker.call("note", 1)
        with pytest.raises(LookupError):
            await worker.call("raises", LookupError())
        await until(lambda: not worker.stats.running)
        stats = host.stats()["counted"]
        assert (stats.done, stats.failed, stats.dropped, stats.queued) == (1, 1, 0, 0)
        assert stats.busy_s > 0
        await host.release(worker)

    run(main)
