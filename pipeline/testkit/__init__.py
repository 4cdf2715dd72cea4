"""Tests of an agent: talk to it in text or speech, and check what it said, called and asked. See docs/testing.md.

talk = TextTalk(workflow)
turn = await talk.say("What is the weather in Paris?")
turn.expect_call("get_weather", city="Paris").expect_text("sunny")

Scenarios in YAML, for pytest and `antiphon test`: :mod:`antiphon.pipeline.testkit.scenario`.
"""

from antiphon.pipeline.testkit.runner import ScenarioFailure, ScenarioResult, run_scenario
from antiphon.pipeline.testkit.scenario import Scenario, load_scenario
from antiphon.pipeline.testkit.talk import TextTalk
from antiphon.pipeline.testkit.turn import Approval, Call, Turn, Unexpected

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
