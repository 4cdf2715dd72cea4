"""Whatever a model writes: parsing its tool calls never raises, invents nothing, and loses no prose."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from antiphon.engines.errors import EngineFailed
from antiphon.engines.llm.llama_answer import AnswerParser
from antiphon.engines.llm.nearly_json import load_json
from antiphon.engines.llm.tool_args import settle
from antiphon.engines.llm.tool_calls import TAGS, BadCall, ParsedCall, Piece, ToolCallParser
from antiphon.engines.protocols import TextDelta

NAMES = ("get_weather", "set_timer")
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "minutes": {"type": "integer", "minimum": 0},
        "room": {"enum": ["kitchen", "hall"]},
        "tags": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["city"],
}
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

FRAGMENTS = (
    *TAGS, *TAGS.values(), '{"name": "get_weather", "arguments": {"city": "Oslo"}}', '{"name": "set_timer"',
    '{"name": "nobody", "arguments": {}}', '"arguments"', "[ARGS]", "[", "]", "{", "}", "{{", "}}", '"', "'", "\\",
    "\\u", "\\ud800", ":", ",", "```", "```json\n", "\n", " ", "get_weather", "set_timer>", "null", "true", "NaN",
    "-Infinity", "1e999", "9" * 30, "'city'", "é", "日本", "\U0001f600", "\u202e", "\x00", "<", ">", "<think>", "Oh, ",
)  # fmt: skip
garbage = st.one_of(
    st.text(max_size=60),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=6)), max_size=14).map("".join),
)
# No character that could begin a call, none that is swallowed behind one (see _AFTER_CALL), and no half of a surrogate.
prose = st.text(st.sampled_from("abc XYZé日\U0001f600.?!'\"-:()"), min_size=1, max_size=30).map(
    lambda text: f"A{text}Z"
)
arguments = st.dictionaries(
    st.sampled_from(["city", "minutes", "room", "tags", "other"]),
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text(max_size=12),
        ),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
        max_leaves=6,
    ),
    max_size=4,
)


def parsed(text: str, cuts: tuple[int, ...] = (), *, truncated: bool = False, plain: bool = False) -> list[Piece]:
    parser = ToolCallParser(NAMES, plain=plain)
    pieces: list[Piece] = []
    at = 0
    for cut in (*sorted(cuts), len(text)):
        pieces += parser.feed(text[at:cut])
        at = max(at, cut)
    pieces += parser.finish(truncated=truncated)
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def spoken(pieces: list[Piece]) -> str:
    return "".join(piece for piece in pieces if isinstance(piece, str))


def is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(char in rest for char in part)


@FUZZ
@given(garbage, st.lists(st.integers(0, 80), max_size=5), st.booleans(), st.booleans())
@example("[" * 20_000, [], False, False)
@example("<tool_call>" + '{"a":' * 20_000, [], False, False)
@example('{"name": ' * 3_000, [], False, False)
@example('<tool_call>{"name": "get_weather", "arguments": {"city": ' + "9" * 6_000 + "}}", [], False, False)
def test_any_text_is_split_without_an_error_and_without_an_invention(
    text: str, cuts: list[int], truncated: bool, plain: bool
) -> None:
    pieces = parsed(text, tuple(cut for cut in cuts if cut <= len(text)), truncated=truncated, plain=plain)
    assert is_subsequence(spoken(pieces), text)
    if all(isinstance(piece, str) for piece in pieces):
        assert spoken(pieces) == text
    for piece in pieces:
        if isinstance(piece, ParsedCall):
            assert piece.name in NAMES
            assert isinstance(json.loads(piece.arguments, parse_constant=_no_constant), dict)
            piece.arguments.encode()  # no half of a surrogate, which nobody could send on
        elif isinstance(piece, BadCall):
            assert piece.reason


def _no_constant(name: str) -> object:
    raise AssertionError(f"{name} is no JSON")


@FUZZ
@given(garbage, st.lists(st.integers(0, 80), max_size=8))
def test_how_the_text_is_cut_into_tokens_changes_nothing(text: str, cuts: list[int]) -> None:
    assert parsed(text, tuple(cut for cut in cuts if cut <= len(text))) == parsed(text)


@FUZZ
@given(
    st.lists(
        st.tuples(prose, st.sampled_from(NAMES), arguments, st.sampled_from(["tag", "fence", "bare"])), max_size=3
    ),
    prose,
)
def test_prose_around_several_calls_is_all_there(
    calls: list[tuple[str, str, dict[str, object], str]], end: str
) -> None:
    text, expected = "", ""
    for before, name, given_arguments, form in calls:
        body = json.dumps({"name": name, "arguments": given_arguments})
        text += before + {"tag": f"<tool_call>{body}</tool_call>", "fence": f"```json\n{body}\n```", "bare": body}[form]
        expected += before
    pieces = parsed(text + end)
    assert [piece.name for piece in pieces if isinstance(piece, ParsedCall)] == [name for _, name, _, _ in calls]
    assert spoken(pieces) == expected + end


@FUZZ
@given(prose, arguments, st.data())
def test_a_call_that_is_cut_off_by_the_length_never_runs_and_takes_no_prose_with_it(
    before: str, given_arguments: dict[str, object], data: st.DataObject
) -> None:
    body = "<tool_call>" + json.dumps({"name": "get_weather", "arguments": given_arguments})
    cut = data.draw(st.integers(len("<tool_call>"), len(body) - 1))
    pieces = parsed(before + body[:cut], truncated=True)
    assert spoken(pieces) == before
    assert not [piece for piece in pieces if isinstance(piece, ParsedCall)]


@FUZZ
@given(garbage, st.booleans())
def test_an_answer_of_anything_gives_events_or_says_that_it_cannot_be_used(text: str, truncated: bool) -> None:
    parser = AnswerParser(NAMES)
    data = text.encode("utf-8", "surrogatepass")
    events = [event for at in range(0, len(data), 3) for event in parser.feed(data[at : at + 3])]
    try:
        events += parser.finish(truncated=truncated)
    except EngineFailed:
        assert not parser.called
        return
    assert all(event.text for event in events if isinstance(event, TextDelta))


@FUZZ
@given(garbage)
@example("[" * 50_000)
@example('{"a": ' * 50_000)
@example("9" * 5_000)
def test_nearly_json_is_loaded_or_left(text: str) -> None:
    load_json(text)
    load_json(text, repair=False)


@FUZZ
@given(arguments, st.text(max_size=30))
def test_any_arguments_are_settled_or_have_a_problem(given_arguments: dict[str, object], said: str) -> None:
    settled = settle(given_arguments, SCHEMA, said)
    assert set(settled.arguments) <= set(SCHEMA["properties"]) or settled.problem  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [
    "[{" * 15_000,
    '[{"name": ' * 4_000,
    '{"name": "get_weather", "arguments": {"city": "' + "Oslo, " * 8_000,
    "<tool_call>" * 4_000,
    "a<b " * 10_000,
    "```" * 10_000,
])  # fmt: skip
def test_a_huge_answer_is_parsed_too(text: str) -> None:
    assert is_subsequence(spoken(parsed(text)), text)  # within the time limit of a test: work squared would pass it
