"""The measured set of tool calls, and when a call is the expected one."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmarks.tools.matching import RULES, agree, evaluate, exact
from antiphon.benchmarks.tools.measure import measure, score
from antiphon.benchmarks.tools.requests import ToolSetError, load_requests, load_tools, spread
from antiphon.engines.protocols import Finish, TextDelta, ToolCall, Usage

TOOLS = load_tools()
REQUESTS = load_requests(TOOLS)


def test_the_set_is_balanced_and_no_request_is_there_twice() -> None:
    counts = Counter((request.kind, request.split) for request in REQUESTS)
    assert len({kind for kind, _ in counts}) == 8
    assert all(counts[kind, "tune"] == counts[kind, "held_out"] for kind, _ in counts)
    assert len({request.say.casefold() for request in REQUESTS}) == len(REQUESTS) >= 80
    assert all(rule in RULES for tool in TOOLS.values() for rule in tool.match.values())


def test_no_rule_of_the_help_names_a_phrase_of_the_set() -> None:
    engines = Path(__file__).parents[2] / "engines" / "llm"
    code = "\n".join(path.read_text("utf-8") for path in engines.glob("*.py")).casefold()
    assert not [request.say for request in REQUESTS if request.say.casefold() in code]


def test_every_first_expectation_agrees_with_itself() -> None:
    for request in REQUESTS:
        if request.tool is None:
            assert exact([], request, TOOLS)
            continue
        arguments = {
            key: next(value for value in (wanted if isinstance(wanted, list) else [wanted]))
            for key, wanted in request.accept[0].items()
        }
        if request.tool == "calculate":
            arguments = {"expression": str(arguments["expression"])}
        arguments = {key: value for key, value in arguments.items() if value is not None}
        assert exact([ToolCall("1", request.tool, json.dumps(arguments))], request, TOOLS), request.id


@pytest.mark.parametrize(
    ("rule", "given_value", "expected", "agrees"),
    [
        ("place", "Oslo, Norway", "Oslo", True),
        ("place", "Osloo", "Oslo", False),
        ("day", "on the 3rd of March", "March 3", True),
        ("day", "this Friday", "friday", True),
        ("day", "next Friday", "friday", False),
        ("time", "3 pm", "15:00", True),
        ("time", "3:00 PM", "15:00", True),
        ("time", "noon", "12:00", True),
        ("time", "3 am", "15:00", False),
        ("time", "25:00", "1:00", False),
        ("number", "10", 10, True),
        ("number", True, 1, False),
        ("value", "17 x 23", 391, True),
        ("value", "$1,000 / 8", 125, True),
        ("value", "96 / 4 = 24", 24, False),
        ("value", "9 ** 9 ** 9", 1, False),
        ("words", "the Wi-Fi policy", "wifi", True),
        ("words", "policies", "policy", False),
        ("exact", "Living room", "living room", True),
    ],
)
def test_rules(rule: str, given_value: Any, expected: Any, agrees: bool) -> None:
    assert RULES[rule](given_value, expected) is agrees


def test_arguments_beside_the_expected_ones_do_not_agree() -> None:
    weather, timer = TOOLS["get_weather"], TOOLS["set_timer"]
    assert agree({"city": "Bonn", "day": "today"}, {"city": "Bonn"}, weather)
    assert not agree({"city": "Bonn", "day": "tomorrow"}, {"city": "Bonn"}, weather)
    assert not agree({}, {"city": "Bonn"}, weather)
    assert not agree({"city": "Bonn", "more": 1}, {"city": "Bonn"}, weather)
    assert agree({"hours": 0, "minutes": 5}, {"minutes": 5}, timer)


@given(st.text(alphabet="0123456789+-*/().^x e"))
def test_any_expression_has_a_value_or_none(text: str) -> None:
    value = evaluate(text)
    assert value is None or isinstance(value, float | complex)


class Scripted:
    """An LLM that answers by the user's words."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self._answers = answers

    async def stream(self, messages: Any, tools: Any = (), options: Any = None, session_key: str = "") -> Any:
        for event in self._answers.get(messages[-1].content, [TextDelta("Well.")]):
            yield event
        yield Usage(10, 2, 5)
        yield Finish("stop")


def test_a_run_counts_right_calls_and_false_triggers() -> None:
    chosen = [request for request in REQUESTS if request.kind in ("arithmetic", "none") and request.split == "tune"]
    right, wrong, none = chosen[0], chosen[1], chosen[-1]
    llm: Any = Scripted(
        {
            right.say: [ToolCall("1", "calculate", '{"expression": "17*23"}')],
            wrong.say: [ToolCall("1", "calculate", '{"expression": "1"}')],
            none.say: [ToolCall("1", "get_weather", "{}")],
        }
    )
    outcomes = asyncio.run(measure(llm, chosen, TOOLS, "Help."))
    found = score("tune", outcomes)
    assert (found.needing, found.exact, found.not_needing, found.false_triggers) == (8, 1, 20, 1)
    assert [(kind.kind, kind.right_tool) for kind in found.kinds] == [("arithmetic", 2), ("none", 0)]


def test_a_limit_spreads_over_the_kinds() -> None:
    assert len({request.kind for request in spread(REQUESTS, 24)}) == 8
    assert spread(REQUESTS, None) == REQUESTS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: {tool: nothing, tune: [{say: x, arguments: {}}], held_out: []}", "there is no tool 'nothing'"),
        ("a: {tool: calculate, tune: [{say: x, arguments: {y: 1}}], held_out: []}", "has no argument y"),
        ("- 1", "is no set of requests"),
    ],
)
def test_a_set_with_mistakes_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(text)
    with pytest.raises(ToolSetError, match=reason):
        load_requests(TOOLS, path)
