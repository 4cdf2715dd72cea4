"""Calls that a model writes down as text, after it has their result, are never spoken."""

from __future__ import annotations

import pytest
from agents import Agent, function_tool
from agents_kit import Turns, called, run, spoken
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.protocols import Message
from antiphon.engines.testing import Reply
from antiphon.pipeline.agent.imitation import has_results, imitates_call, in_words

pytestmark = pytest.mark.interop


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"The weather in {city} is sunny."


WEATHER = Agent(name="Assistant", instructions="Be brief.", tools=[get_weather])
CALL = called("get_weather", '{"city": "Paris"}')


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("", None),
        ("  ", None),
        ("{", None),
        ('{"na', None),
        ('{ "name" : "x"', True),
        ('```json\n{"name": "x"', True),
        ('[{"name": "x"', True),
        ("<tool_call>", True),
        ("<tool", None),
        ("``", None),
        ('{"city": "Paris"}', False),
        ("It is sunny.", False),
        ("<b>", False),
        ("name", False),
    ],
)
def test_a_call_written_down_is_known_by_its_beginning(text: str, verdict: bool | None) -> None:
    assert imitates_call(text) is verdict


@given(st.text(max_size=30))
def test_any_text_is_judged_the_same_however_it_comes(text: str) -> None:
    whole = imitates_call(text)
    for end in range(len(text)):
        if (early := imitates_call(text[:end])) is not None and whole is not None:
            assert early is whole or not text[:end].strip("` \n\t")


def test_a_call_written_down_is_asked_for_in_words() -> None:
    written = Reply(['{"', 'name": "get_weather", ', '"arguments": {}}'])
    turns = Turns(WEATHER, [CALL, written, Reply.of("It is sunny in Paris.")])
    assert spoken(run(turns, turns.ask("Weather in Paris?"))) == "It is sunny in Paris."
    last = turns.llm.calls[2]
    assert last.tools == () and last.messages[-1] == Message(
        "user", "Weather in Paris?\n\nUse this result: The weather in Paris is sunny."
    )


def test_a_repeated_call_is_asked_for_in_words_too() -> None:
    turns = Turns(WEATHER, [CALL, CALL, Reply.of("Sunny.")])
    assert spoken(run(turns, turns.ask("Weather in Paris?"))) == "Sunny."
    assert "Use this result" in turns.llm.calls[2].messages[-1].content


def test_if_that_fails_too_the_result_itself_is_said() -> None:
    written = Reply(['{"name": "get_weather"}'])
    turns = Turns(WEATHER, [CALL, written, written])
    assert spoken(run(turns, turns.ask("Weather in Paris?"))) == "The weather in Paris is sunny."


def test_other_answers_pass_as_they_come() -> None:
    turns = Turns(WEATHER, [CALL, Reply(["{", "curly} ", "braces"]), Reply(['{"name": "Bob"}'])])

    async def main() -> list[str]:
        return [spoken(await turns.ask("Weather?")), spoken(await turns.ask("JSON, please."))]

    assert run(turns, main()) == ["{curly} braces", '{"name": "Bob"}']


def test_prompts_in_words() -> None:
    history = [Message("system", "S"), Message("user", "a"), Message("assistant", "b"), Message("user", "q")]
    results = [Message("assistant"), Message("tool", "one."), Message("tool", "two.")]
    assert not has_results(history) and has_results([*history, *results])
    words = in_words([*history, *results])
    assert words[:-1] == history[:-1] and words[-1].content == "q\n\nUse this result: one. two."
