"""The thread plan: never more threads in one stage than cores, one each on small machines."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.protocols import MachinePlan


@given(st.integers(0, 512))
def test_no_stage_has_more_threads_than_there_are_cores(cores: int) -> None:
    plan = dataclasses.asdict(MachinePlan.for_cores(cores))
    assert all(1 <= threads <= max(1, cores) for threads in plan.values())
    assert plan["llm_alone"] >= plan["llm"]
    if cores <= 2:
        del plan["llm_alone"]
        assert set(plan.values()) == {1}


def test_this_machine_has_a_plan() -> None:
    assert MachinePlan.for_this_machine().llm >= 1
