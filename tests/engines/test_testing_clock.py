"""The virtual clock: time jumps, order holds, a hang is told."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import pytest

from antiphon.engines.testing import VirtualClockLoop, VirtualDeadlock, VirtualTimeout, run_virtual


def test_sleeping_costs_no_real_time_and_lands_on_the_exact_second() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = []
        for delay_s in (0.1, 0.2, 86400 * 3, 0.3):
            expected = loop.time() + delay_s
            await asyncio.sleep(delay_s)
            assert loop.time() == expected
            seen.append(loop.time())
        return seen

    assert run_virtual(main(), timeout_s=1e6)[-1] == pytest.approx(86400 * 3 + 0.6)


def test_timers_fire_in_order_of_time_then_of_setting() -> None:
    async def main() -> list[str]:
        order: list[str] = []

        async def note(delay_s: float, name: str) -> None:
            await asyncio.sleep(delay_s)
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for delay_s, name in ((0.3, "late"), (0.1, "early"), (0.2, "first"), (0.2, "second")):
                group.create_task(note(delay_s, name))
        return order

    assert run_virtual(main()) == ["early", "first", "second", "late"]


def test_a_deadlock_names_the_tasks_and_the_lines_at_which_they_wait() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(waits_for_nobody(), name="the one who hangs")
        await asyncio.sleep(5)
        await task

    with pytest.raises(VirtualDeadlock, match=r"at 5 s(.|\n)*who hangs: Event\.wait, from .*test_testing_clock"):
        run_virtual(main())


def test_a_run_that_never_ends_is_given_up_in_virtual_time() -> None:
    async def main() -> None:
        for pause_s in itertools.repeat(1.0):
            await asyncio.sleep(pause_s)

    with pytest.raises(VirtualTimeout, match=r"not done at 30 virtual s(.|\n)*test_testing_clock"):
        run_virtual(main(), timeout_s=30)


def test_asyncio_timeouts_follow_the_virtual_clock() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.sleep(8)
        return asyncio.get_running_loop().time()

    assert run_virtual(main(), start_s=100) == 107


def test_the_clock_waits_for_worker_threads() -> None:
    """A timer that is due must not overtake a thread that is still at work."""

    def work() -> str:
        time.sleep(0.05)
        return "from the thread"

    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        timer = asyncio.create_task(asyncio.sleep(0.001))
        result = await asyncio.to_thread(work)
        assert not timer.done()
        before_s = loop.time()
        await timer
        return result, before_s

    assert run_virtual(main()) == ("from the thread", 0.0)


def test_hold_waits_for_a_thread_of_ones_own() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)
        done = asyncio.Event()

        def work() -> None:
            time.sleep(0.05)
            loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=work)
        with loop.hold():
            thread.start()
            async with asyncio.timeout(0.001):
                await done.wait()
        await asyncio.to_thread(thread.join)
        return loop.time()

    assert run_virtual(main()) == 0.0


def test_results_and_exceptions_come_through() -> None:
    async def fails() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_virtual(fails())
