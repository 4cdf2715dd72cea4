"""The wording of a request speaks for a tool, or against it, by the tool's own schema."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.llm.request_signs import TELLING, bonus
from antiphon.engines.protocols import ToolSpec


def tool(name: str, description: str, required: tuple[str, ...] = (), **properties: dict[str, Any]) -> ToolSpec:
    return ToolSpec(name, description, {"type": "object", "properties": properties, "required": list(required)})


OVEN = tool("setOven", "Heat the oven.", ("degrees",), degrees={"type": "integer"})
RECIPE = tool("find_recipe", "Find a recipe.", dish={"type": "string", "description": "Soup, cake or bread."})
CLOCK = tool("count_down", "Count down.", weeks={"type": "integer"}, days={"type": "integer"})
FORMULA = tool("solve", "Solve it.", ("formula",), formula={"type": "string", "description": "Such as 3 + x."})


def test_a_word_of_the_tool_speaks_for_it() -> None:
    assert bonus(OVEN, "Heat the oven to 200.") > bonus(RECIPE, "Heat the oven to 200.")
    assert bonus(RECIPE, "Any ideas for cakes?") > bonus(RECIPE, "Any ideas for gifts?")


def test_what_needs_a_number_is_not_called_without_one() -> None:
    for one, said in ((OVEN, "Heat the oven"), (CLOCK, "Count down the days"), (FORMULA, "Solve it")):
        assert bonus(one, f"{said} ten.") > bonus(one, f"{said}.") + 10
    assert bonus(RECIPE, "Find ten recipes.") == bonus(RECIPE, "Find recipes.") + 1  # one word more


def test_a_number_without_its_unit_is_nothing_for_a_tool_that_counts_units() -> None:
    assert bonus(CLOCK, "Count 9 days.") > bonus(CLOCK, "Count 9 sheep.") + 5


def test_who_tells_something_asks_for_nothing() -> None:
    assert bonus(OVEN, "We heated the oven to 200.") <= bonus(OVEN, "Heat the oven to 200.") + TELLING
    assert bonus(OVEN, "We could heat the oven to 200, please.") > bonus(OVEN, "We heated the oven to 200.")
    assert bonus(RECIPE, "My soup has a recipe?") > bonus(RECIPE, "My soup has a recipe.")


@given(st.text(max_size=80), st.recursive(st.none() | st.text(max_size=4) | st.integers(), st.lists, max_leaves=4))
def test_any_words_and_any_schema_have_a_finite_bonus(said: str, odd: Any) -> None:
    strange = ToolSpec("x", said, {"properties": {"a": odd, "b": {"enum": odd, "description": odd}}, "required": odd})
    for one in (OVEN, RECIPE, strange, ToolSpec("y", "", {"properties": odd})):
        assert -20 < bonus(one, said) < 30
