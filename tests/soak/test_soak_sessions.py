"""Whole live sessions on scripted engines and a virtual clock, with somebody who interrupts: nothing may grow. Seeded.

By default a short run. `ANTIPHON_SOAK=full` (`make soak`): 500 turns each in one session and over many.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest
from room import Tally
from soak_gauge import MAX_BYTES_PER_100_TURNS, Gauge, fill_thread_pool
from soak_report import Stopwatch, write_turns
from soak_scripted import WEIGHTS, Product

from antiphon.engines.testing import run_virtual
from antiphon.pipeline.build import Assembly

FULL = os.environ.get("ANTIPHON_SOAK") == "full"
TURNS = 500 if FULL else 60
WARM_UP = 100 if FULL else 20
ALLOWED = MAX_BYTES_PER_100_TURNS * (1 if FULL else 10)
"""What is under way at a sample (audio that waits, a tool at work) weighs more in a short run."""


@pytest.mark.timeout(1800)
def test_one_long_session_with_interruptions(tmp_path: Path) -> None:
    product, tally = Product(tmp_path, 3), Tally()
    gauge, watch = Gauge(every=10 if FULL else 5, warm_up=WARM_UP), Stopwatch()

    async def main() -> None:
        await fill_thread_pool()
        async with Assembly(product.config()) as assembly:

            def look() -> None:
                product.forget()
                gauge.look(tally.turns)

            await product.visit(assembly, tally, random.Random(3), TURNS, between=look)

    run_virtual(main(), timeout_s=1e6)
    gauge.assert_no_growth(ALLOWED)
    assert tally.turns >= TURNS
    assert tally.statuses["interrupted"] > TURNS / 10 and tally.resumed.total() > TURNS / 30 and tally.reopened
    assert tally.events["tool_result"] and tally.events["error"] and tally.statuses["completed"] > TURNS / 4
    if FULL:
        assert set(tally.acts) == set(WEIGHTS), "everything was done that a person does"
        write_turns("one_session", tally, gauge, watch.seconds, 1)


@pytest.mark.timeout(1800)
def test_many_sessions_with_interruptions(tmp_path: Path) -> None:
    """Two at a time; a third of them end in the middle of something."""
    product, tally, chance = Product(tmp_path, 5), Tally(), random.Random(5)
    gauge, watch = Gauge(every=10 if FULL else 5, warm_up=WARM_UP), Stopwatch()
    ends = ("", "", "", "", "hang up", "break", "drop")
    done: list[str] = []

    async def visit(assembly: Assembly) -> None:
        end = chance.choice(ends)
        turns = chance.randrange(1, 8)
        await product.visit(assembly, tally, random.Random(chance.random()), turns, end=end)
        done.append(end)

    async def main() -> None:
        await fill_thread_pool()
        async with Assembly(product.config()) as assembly:
            while tally.turns < TURNS:
                async with asyncio.TaskGroup() as group:
                    group.create_task(visit(assembly))
                    group.create_task(visit(assembly))
                product.forget()
                gauge.look(tally.turns)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main(), timeout_s=1e6)
    gauge.assert_no_growth(ALLOWED)
    assert tally.turns >= TURNS
    assert tally.statuses["interrupted"] > TURNS / 20
    assert set(done) == set(ends)
    if FULL:
        write_turns("many_sessions", tally, gauge, watch.seconds, len(done))
