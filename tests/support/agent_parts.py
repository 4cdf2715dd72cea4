"""What configurations of agents name by dotted path, in tests."""

from __future__ import annotations

from typing import Any

from agents import Agent, GuardrailFunctionOutput, function_tool

NOT_A_TOOL = 5


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Name of the city.
    """
    return f"The weather in {city} is sunny."


@function_tool
def ready_tool() -> str:
    """Ready."""
    return "ready"


def odd(thing: NOT_A_TOOL) -> str:  # type: ignore[valid-type]
    return ""


agent = Agent(name="Coded", instructions="I am code.", tools=[ready_tool])


def make_agent() -> Agent[Any]:
    return Agent(name="Made", instructions="I was made.")


def make_agent_of(what: str) -> Agent[Any]:
    return Agent(name=what)


def no_swearing(context: Any, agent: Any, given: Any) -> GuardrailFunctionOutput:
    return GuardrailFunctionOutput(output_info=None, tripwire_triggered="damn" in str(given))


class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []


def make_basket() -> Basket:
    return Basket()


def wanting(context: Any, item: str) -> str:
    """Put something into the basket."""
    return item
