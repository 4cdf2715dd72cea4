"""The pure parts of the llama_cpp engine: text assembly, answers, slots, grammars."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.errors import EngineFailed, EngineRequestInvalid
from antiphon.engines.llm.llama_answer import AnswerParser, new_call_id
from antiphon.engines.llm.llama_grammar import (
    arguments_grammar,
    call_grammar,
    loose_call_grammar,
    schema_grammar,
)
from antiphon.engines.llm.llama_slots import SlotTable, common
from antiphon.engines.llm.llama_text import LeadingSpace, StopMatcher, Utf8Assembler, held_suffix
from antiphon.engines.protocols import TextDelta, ToolCall, ToolSpec

# ----------------------------------------------------------------------------------------- text


def test_held_suffix() -> None:
    assert held_suffix("abc<th", ["<think>", "<thing>"]) == 3
    assert held_suffix("abc", ["<think>"]) == 0
    assert held_suffix("<think>", ["<think>"]) == 0
    assert held_suffix("aa", ["aab"]) == 2


@given(st.text(max_size=30), st.lists(st.integers(0, 120), max_size=12))
def test_characters_come_out_whole(text: str, cuts: list[int]) -> None:
    data = text.encode("utf-8", "replace")
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    assembler = Utf8Assembler()
    out = [assembler.feed(data[a:b]) for a, b in pairwise(edges)]
    assert "".join(out) + assembler.finish() == data.decode()


def test_half_a_character_at_the_end_is_dropped_and_rubbish_is_marked() -> None:
    assembler = Utf8Assembler()
    assert assembler.feed("é".encode()[:1]) == ""
    assert assembler.finish() == ""
    assert Utf8Assembler().feed(b"a\xffb") == "a\ufffdb"


def first_stop(text: str, stops: list[str]) -> str:
    """The specification: the stop string whose last character comes first ends the text where it begins."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if found:
            return text[: end - max(len(stop) for stop in found)]
    return text


@given(
    st.text(alphabet="abc", max_size=24),
    st.lists(st.text(alphabet="abc", max_size=4), max_size=4),
    st.lists(st.integers(0, 24), max_size=8),
)
def test_stop_strings_by_any_chunking(text: str, stops: list[str], cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    matcher = StopMatcher(stops)
    out = "".join(matcher.feed(text[a:b]) for a, b in pairwise(edges)) + matcher.finish()
    assert out == first_stop(text, stops)
    assert matcher.stopped == (out != text)


def test_leading_space_is_dropped_once() -> None:
    leading = LeadingSpace()
    assert [leading.feed(text) for text in ("", " ", "\n", " Hello", " there", " ")] == [
        "", "", "", "Hello", " there", " ",
    ]  # fmt: skip


# --------------------------------------------------------------------------------------- answers


def answer(text: str, parser: AnswerParser, *, truncated: bool = False) -> tuple[str, list[tuple[str, str]]]:
    events = [event for byte in text.encode() for event in parser.feed(bytes([byte]))]
    events += parser.finish(truncated=truncated)
    spoken = "".join(event.text for event in events if isinstance(event, TextDelta))
    return spoken, [(event.name, event.arguments) for event in events if isinstance(event, ToolCall)]


TIME = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'


def test_an_answer_with_everything() -> None:
    parser = AnswerParser(["get_time"], ["STOP"])
    assert answer(f" <think>x STOP</think>\n\n Müßig. {TIME} STOP", parser) == ("Müßig. ", [("get_time", "{}")])
    assert parser.called


def test_text_after_a_call_ends_the_answer() -> None:
    parser = AnswerParser(["get_time"])
    assert answer(f"{TIME}\nIt is noon. {TIME}", parser) == ("", [("get_time", "{}")])
    assert parser.done


def test_the_same_call_twice_ends_the_answer() -> None:
    parser = AnswerParser(["get_time"])
    assert answer(TIME * 3, parser) == ("", [("get_time", "{}")])
    assert parser.done


def test_parallel_calls_have_their_own_ids() -> None:
    parser = AnswerParser(["a", "b"])
    events = parser.feed(b'<tool_call>{"name": "a"}</tool_call><tool_call>{"name": "b"}</tool_call>')
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert [call.name for call in calls] == ["a", "b"]
    assert all(call.id for call in calls) and calls[0].id != calls[1].id


def test_call_ids_are_unique_and_plain() -> None:
    ids = {new_call_id() for _ in range(5000)}
    assert len(ids) == 5000
    assert all(len(one) == 9 and one.isalnum() and one.isascii() for one in ids)


def test_calls_are_dropped_where_none_is_allowed() -> None:
    parser = AnswerParser(["get_time"], call_allowed=False)
    assert answer(f"Let me see. {TIME}", parser) == ("Let me see. ", [])
    assert not parser.called


def test_an_answer_that_is_only_a_bad_call_fails() -> None:
    with pytest.raises(EngineFailed, match="names no known tool"):
        answer('<tool_call>{"name": "fly"}</tool_call>', AnswerParser(["get_time"]))


def test_a_bad_call_after_text_is_dropped() -> None:
    assert answer('Hm. <tool_call>{"name": "fly"}</tool_call>', AnswerParser(["get_time"])) == ("Hm. ", [])


def test_a_call_cut_by_the_length_is_dropped() -> None:
    assert answer('<tool_call>{"name": "get_time", "arg', AnswerParser(["get_time"]), truncated=True) == ("", [])


def test_what_a_stop_string_held_back_comes_before_the_call() -> None:
    parser = AnswerParser(["get_time"], ["###"])
    assert answer(f"Well #{TIME}", parser) == ("Well #", [("get_time", "{}")])


def test_json_answers_pass_untouched() -> None:
    assert answer(TIME, AnswerParser(None)) == (TIME, [])


# ----------------------------------------------------------------------------------------- slots


class FakeCache:
    """What llama.cpp's memory does, as lists; `parts` False: only whole sequences can be forgotten (recurrent)."""

    def __init__(self, count: int, *, parts: bool = True) -> None:
        self.held: list[list[int]] = [[] for _ in range(count)]
        self.parts = parts

    def remove(self, sequence: int, start: int) -> bool:
        if start and start < len(self.held[sequence]) and not self.parts:
            return False
        del self.held[sequence][start:]
        return True

    def copy(self, source: int, target: int, size: int) -> None:
        assert not self.held[target]
        self.held[target] = self.held[source][: size if self.parts else None]

    def length(self, sequence: int) -> int:
        return len(self.held[sequence])


def use(table: SlotTable, cache: FakeCache, key: str, prompt: list[int]) -> int:
    """Prepare and evaluate, as the runtime does. Returns how much was reused."""
    slot = table.prepare(key, prompt, len(prompt) - 1)
    reused = len(slot.tokens)
    slot.tokens.extend(prompt[reused:])
    cache.held[slot.sequence].extend(prompt[reused:])
    assert cache.held[slot.sequence] == prompt
    return reused


def test_a_session_keeps_its_slot_and_its_prefix() -> None:
    cache = FakeCache(2)
    table = SlotTable(cache, 2)
    assert use(table, cache, "a", [1, 2, 3]) == 0
    assert use(table, cache, "a", [1, 2, 3, 4, 5]) == 3
    assert use(table, cache, "a", [1, 2, 9]) == 2
    assert use(table, cache, "a", [1, 2, 9]) == 2  # the last token is always evaluated: it gives the logits


def test_a_new_session_copies_the_shared_beginning() -> None:
    cache = FakeCache(3)
    table = SlotTable(cache, 3)
    use(table, cache, "a", [1, 2, 3, 4, 5])
    assert use(table, cache, "b", [1, 2, 3, 7]) == 3
    assert use(table, cache, "a", [1, 2, 3, 4, 5, 6]) == 5


def test_the_longest_unused_slot_gives_way() -> None:
    cache = FakeCache(2)
    table = SlotTable(cache, 2)
    use(table, cache, "a", [1, 1])
    use(table, cache, "b", [2, 2])
    use(table, cache, "a", [1, 1, 1])
    use(table, cache, "c", [3, 3])
    assert table.find("b") is None
    assert use(table, cache, "a", [1, 1, 1, 1]) == 3


def test_room_is_made_from_the_longest_unused() -> None:
    cache = FakeCache(3)
    table = SlotTable(cache, 3)
    for key in "abc":
        use(table, cache, key, [ord(key)] * 3)
    keep = table.find("a")
    assert keep is not None
    assert table.make_room(keep) and table.find("b") is None
    assert table.make_room(keep) and table.find("c") is None
    assert not table.make_room(keep)
    assert cache.held[keep.sequence] == [ord("a")] * 3


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.lists(st.integers(0, 1), min_size=1, max_size=8), st.booleans()),
        max_size=30,
    ),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_table_always_knows_what_the_cache_holds(
    uses: list[tuple[str, list[int], bool]], count: int, parts: bool
) -> None:
    cache = FakeCache(count, parts=parts)
    table = SlotTable(cache, count)
    for key, prompt, crowd in uses:
        best = max(common(held, prompt) for held in cache.held)
        reused = use(table, cache, key, prompt)
        assert reused <= len(prompt) - 1
        if parts:
            assert reused == min(best, len(prompt) - 1)
        if crowd:
            slot = table.find(key)
            assert slot is not None
            table.make_room(slot)
        assert [slot.tokens for slot in table.slots] == cache.held
        keys = [slot.key for slot in table.slots if slot.key is not None]
        assert len(keys) == len(set(keys))


# -------------------------------------------------------------------------------------- grammars

WEATHER = ToolSpec(
    "get_weather", "", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)


def test_grammars_name_the_tools() -> None:
    grammar = call_grammar([WEATHER, ToolSpec("get_time", "", {"type": "object", "properties": {}})])
    assert grammar.startswith("root ::= ")
    assert "get_weather" in grammar and "get_time" in grammar and "city" in grammar
    assert "city" not in loose_call_grammar([WEATHER])
    assert "city" in arguments_grammar(WEATHER)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"description": "untyped"}}},
        {"type": "object", "properties": {"a": {"type": ["string", "null"], "enum": ["x", None]}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "no anchors"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "integer"}}},
        {"$ref": "#/$defs/Node", "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}},
        {"type": "object", "additionalProperties": {"type": "number"}},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 3},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {},
    ],
)
def test_schemas_as_people_write_them(schema: dict[str, Any]) -> None:
    assert "root ::= " in schema_grammar(schema)


def test_a_schema_that_no_grammar_fits_is_refused() -> None:
    with pytest.raises(EngineRequestInvalid, match="JSON schema"):
        schema_grammar({"type": "quaternion"})


def test_enum_values_survive() -> None:
    assert json.dumps("kitchen")[1:-1] in schema_grammar({"enum": ["kitchen", "bath"], "type": "string"})


def test_a_busy_slot_is_left_alone() -> None:
    cache = FakeCache(2)
    table = SlotTable(cache, 2)
    use(table, cache, "s", [1, 2, 3])
    first = table.find("s")
    assert first is not None
    first.busy = True
    second = table.prepare("s", [1, 2, 4], 3)  # the same session asks again: another slot, with what both begin with
    assert second is not first and first.tokens == [1, 2, 3] and second.tokens == [1, 2]
    assert table.find("s") is second
    second.busy = True
    assert not table.free and not table.make_room(second)
    first.busy = False
    assert table.free and table.make_room(second) and first.tokens == []
