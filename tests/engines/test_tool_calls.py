"""Tool calls are found in what models write, and never spoken."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.engines.llm.tool_calls import BadCall, ParsedCall, Piece, ToolCallParser, known_name

NAMES = ("get_weather", "set_timer", "get_time")


def run(chunks: list[str], names: tuple[str, ...] | None = NAMES, *, truncated: bool = False) -> list[Piece]:
    parser = ToolCallParser(names)
    pieces = [piece for chunk in chunks for piece in parser.feed(chunk)]
    pieces += parser.finish(truncated=truncated)
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def both_ways(text: str, names: tuple[str, ...] | None = NAMES, *, truncated: bool = False) -> list[Piece]:
    whole = run([text], names, truncated=truncated)
    assert run(list(text), names, truncated=truncated) == whole
    return whole


def call(name: str, **arguments: Any) -> ParsedCall:
    return ParsedCall(name, json.dumps(arguments))


PARIS = call("get_weather", city="Paris")
PLAIN = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{PLAIN}\n</tool_call>",
        f"<tool_call>{PLAIN}</tool_call>",
        f"<tool_call>\n{PLAIN}",
        f"<tools>\n{PLAIN}\n</tools>",
        f"<function_call>{PLAIN}</function_call>",
        f"<|python_tag|>{PLAIN}",
        f"[TOOL_CALLS][{PLAIN}]",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}',
        '<function=get_weather>{"city": "Paris"}</function>',
        PLAIN,
        f"[{PLAIN}]",
        f"```json\n{PLAIN}\n```",
        f"```\n{PLAIN}\n```",
        f"```xml\n<tool_call>\n{PLAIN}\n</tool_call>\n```",
        f"<tool_call>\n```json\n{PLAIN}\n```\n</tool_call>",
        '{"name": "get_weather", "parameters": {"city": "Paris"}}',
        '{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}',
        '{"function": "get_weather", "args": {"city": "Paris"}}',
        '{"tool": "get_weather", "input": {"city": "Paris"}}',
        '{"arguments": {"city": "Paris"}, "name": "get_weather"}',
        '{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}',
        '{"name": "functions.get_weather", "arguments": {"city": "Paris"}}',
        '{"name": "Get-Weather", "arguments": {"city": "Paris"}}',
        # nearly JSON
        "<tool_call>{'name': 'get_weather', 'arguments': {'city': 'Paris'}}</tool_call>",
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris",}}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"',
        f"<tool_call>{PLAIN}}}\n</tool_call>",
        '{"name": "get_weather", "arguments": {"city": "Paris"}',
    ],
)
def test_one_call_in_every_dress(text: str) -> None:
    assert both_ways(text) == [PARIS]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (f"Let me look.\n{PLAIN}", ["Let me look.\n", PARIS]),
        (f"Sure: <tool_call>{PLAIN}</tool_call>", ["Sure: ", PARIS]),
        (
            f'<tool_call>{PLAIN}</tool_call>\n<tool_call>{{"name": "get_time"}}</tool_call>',
            [PARIS, call("get_time")],
        ),
        (f'<tool_call>{PLAIN}\n{{"name": "get_time", "arguments": null}}</tool_call>', [PARIS, call("get_time")]),
        (f'[{PLAIN}, {{"name": "set_timer", "arguments": {{"minutes": 3}}}}]', [PARIS, call("set_timer", minutes=3)]),
        (f"<tool_call>{PLAIN}</tool_call>It is sunny.", [PARIS, "It is sunny."]),
        (
            '{"name": "set_timer", "arguments": {"label": "a } b \\" { </x>", "minutes": 1}}',
            [call("set_timer", label='a } b " { </x>', minutes=1)],
        ),
        ("<tool_call>no idea</tool_call>Hello.", [BadCall("a tool call holds no JSON object"), "Hello."]),
        ("<tool_call>", [BadCall("a tool call was begun and not written")]),
        ("<tool_call>hm", [BadCall("a tool call holds no JSON object")]),
        ('<tool_call>{"name": "fly"}</tool_call>', [BadCall("a tool call names no known tool")]),
        (
            '<tool_call>{"name": "get_time", "arguments": [1]}</tool_call>',
            [BadCall("a tool call's arguments are no JSON object")],
        ),
    ],
)
def test_mixed(text: str, pieces: list[Piece]) -> None:
    assert both_ways(text) == pieces


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        "1 < 2, {a set}, [a list], `code` and ``more``",
        '{"name": "fly_away", "arguments": {}}',
        '{"answer": 42}',
        '```python\nprint("hi")\n```',
        "```json\n{}\n```",
        "[1, 2]",
        '["name"]',
        "ends with {",
        'ends with {"na',
        "<tool_cat>",
        "``",
        '{"name": 5}',
    ],
)
def test_what_is_no_call_is_text(text: str) -> None:
    assert both_ways(text) == [text]


def test_a_call_cut_by_the_length_does_not_run() -> None:
    cut = BadCall("a tool call was cut off by the answer's maximum length")
    assert both_ways('<tool_call>{"name": "get_weather", "arguments": {"city": "Par', truncated=True) == [cut]
    assert both_ways('{"name": "get_weather", "arguments": {"city": "Par', truncated=True) == [cut]


def test_without_tools_tags_are_still_not_spoken_and_json_is_text() -> None:
    assert both_ways(PLAIN, ()) == [PLAIN]
    assert both_ways(f"a<tool_call>{PLAIN}</tool_call>b", ()) == ["a", BadCall("a tool call names no known tool"), "b"]
    assert both_ways(f"<tool_call>{PLAIN}</tool_call>", None) == [f"<tool_call>{PLAIN}</tool_call>"]


def test_nothing_of_a_call_is_shown_before_it_is_clear() -> None:
    parser = ToolCallParser(NAMES)
    assert parser.feed("Well, ") == ["Well, "]
    assert parser.feed("<tool_") == []
    assert parser.marked is None
    assert parser.feed("call>\n") == []
    assert parser.marked == ("<tool_call>", "\n")
    assert parser.feed('{"name"') == []
    assert parser.feed(': "get_time", "arguments": {}}') == [call("get_time")]
    assert parser.marked is None


def test_text_is_not_held_back_without_reason() -> None:
    parser = ToolCallParser(NAMES)
    assert parser.feed("a {") == ["a "]
    assert parser.feed("b") == ["{b"]
    assert parser.feed(" <b") == [" <b"]


@pytest.mark.parametrize(
    ("name", "known"),
    [("get_time", "get_time"), ("GetTime", None), ("GET TIME", "get_time"), ("", None), ("time", None)],
)
def test_known_name(name: str, known: str | None) -> None:
    assert known_name(name, NAMES) == known


def test_an_ambiguous_name_is_not_guessed() -> None:
    assert known_name("a b", ["a-b", "a_b"]) is None


_PARTS = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", "<tools>", "</tools>", "[TOOL_CALLS]", "[ARGS]", "<function=", "get_time>",
        "```", "json", "\n", " ", PLAIN, '{"name": ', '"get_time"', ', "arguments": ', "{}", "{", "}", "[", "]", '"',
        "'", "\\", "hello", "<", "`", "é", ",", ":", "<|python_tag|>",
    ]
)  # fmt: skip


@given(st.lists(_PARTS, max_size=16), st.lists(st.integers(0, 200), max_size=12), st.booleans())
@example(["<tool_call>", "[", "[ARGS]", "{}"], [12], False)
def test_any_chunking_gives_the_same_pieces(parts: list[str], cuts: list[int], truncated: bool) -> None:
    text = "".join(parts)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    chunks = [text[a:b] for a, b in pairwise(edges)]
    whole = run([text], truncated=truncated)
    assert run(chunks, truncated=truncated) == whole
    assert run(list(text), truncated=truncated) == whole


@given(st.text(max_size=60))
def test_any_text_is_survived_and_words_are_kept(text: str) -> None:
    pieces = both_ways(text)
    if not any(char in text for char in "<{[`"):
        assert "".join(piece for piece in pieces if isinstance(piece, str)) == text


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(alphabet="ab\"'{}[]<>/\\ é`", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="abc", min_size=1, max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(alphabet="abcdef", min_size=1, max_size=5), _VALUES, max_size=4), st.booleans())
def test_arguments_arrive_as_they_were(arguments: dict[str, Any], tagged: bool) -> None:
    text = json.dumps({"name": "set_timer", "arguments": arguments}, ensure_ascii=False)
    pieces = both_ways(f"<tool_call>\n{text}\n</tool_call>" if tagged else text)
    assert len(pieces) == 1
    found = pieces[0]
    assert isinstance(found, ParsedCall)
    assert json.loads(found.arguments) == arguments
