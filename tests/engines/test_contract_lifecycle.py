"""Every engine: entering, leaving, entering again, and use at the wrong time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from contract import Case, Make, cases, run, use

from antiphon.engines.errors import EngineError
from antiphon.engines.host import EngineHost
from antiphon.engines.protocols import STAGES

# (What a process of its own changes is tested with the engine host.)
ALL = pytest.mark.parametrize("case", [case for case in cases(*STAGES, loads=True) if "process" not in str(case.id)])


async def refused(case: Case, engine: Any) -> None:
    with pytest.raises(EngineError) as caught:
        await use(case.stage, engine)
    assert not caught.value.retryable, "asking again would not help"


@ALL
def test_it_works_inside_only_and_can_be_entered_again(case: Case) -> None:
    async def check(make: Make, host: EngineHost) -> None:
        engine = make(host)
        await refused(case, engine)
        for _ in range(2):
            async with engine:
                await use(case.stage, engine)
            await refused(case, engine)

    run(case, check)


@ALL
def test_entering_twice_is_refused_and_harms_nothing(case: Case) -> None:
    async def check(make: Make, host: EngineHost) -> None:
        async with make(host) as engine:
            with pytest.raises(EngineError):
                await engine.__aenter__()
            await use(case.stage, engine)

    run(case, check)


@ALL
def test_entering_can_be_cancelled(case: Case) -> None:
    async def check(make: Make, host: EngineHost) -> None:
        engine = make(host)
        # Later and later, so that every stage of it is met; a real model's load is cancelled once, as it takes long.
        delays_s = [0.02, None] if case.real else [*(0.001 * 1.25**step for step in range(30)), None]
        for delay_s in delays_s:
            task = asyncio.ensure_future(engine.__aenter__())
            await asyncio.wait([task], timeout=delay_s)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():  # it was faster
                assert task.exception() is None
                await engine.__aexit__(None, None, None)
                break
        async with engine:
            await use(case.stage, engine)

    run(case, check)


@ALL
def test_two_engines_of_the_same_configuration_do_not_disturb_each_other(case: Case) -> None:
    async def check(make: Make, host: EngineHost) -> None:
        async with make(host) as first:
            async with make(host) as second:
                await asyncio.gather(use(case.stage, first), use(case.stage, second))
            await use(case.stage, first)

    run(case, check)


@ALL
def test_an_exception_inside_passes_and_the_engine_is_freed(case: Case) -> None:
    async def check(make: Make, host: EngineHost) -> None:
        engine = make(host)
        with pytest.raises(LookupError, match="of the user"):
            async with engine:
                raise LookupError("of the user")
        await refused(case, engine)

    run(case, check)
