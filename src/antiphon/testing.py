"""Tests of your own agents and pipelines: the kit of :mod:`antiphon.pipeline.testkit` under a short name."""

from antiphon.pipeline.testkit import (
    Approval,
    Call,
    Scenario,
    ScenarioFailure,
    ScenarioResult,
    TextTalk,
    Turn,
    Unexpected,
    load_scenario,
    run_scenario,
)

__all__ = [
    "Approval",
    "Call",
    "Scenario",
    "ScenarioFailure",
    "ScenarioResult",
    "TextTalk",
    "Turn",
    "Unexpected",
    "load_scenario",
    "run_scenario",
]
