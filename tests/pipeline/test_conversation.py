"""The conversation: items by id, and the prompts made of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import Message, ToolCall
from antiphon.pipeline.conversation import Conversation, Item, ItemError, estimated_tokens, new_id


def ids(conversation: Conversation) -> list[str]:
    return [item.id for item in conversation]


def user(number: int, text: str | None = None) -> Item:
    return Item(id=f"u{number}", role="user", text=text or f"question {number}", turn=number)


def assistant(number: int, text: str | None = None) -> Item:
    return Item(id=f"a{number}", role="assistant", text=text or f"answer {number}", turn=number)


def dialogue(turns: int) -> Conversation:
    return Conversation([item for number in range(turns) for item in (user(number), assistant(number))])


def contents(conversation: Conversation, **limits: Any) -> list[str]:
    return [message.content for message in conversation.messages(**limits)]


# ----------------------------------------------------------------------------------------------- items


def test_items_stand_where_they_were_put() -> None:
    conversation = Conversation([user(1)])
    conversation.add(assistant(1))
    conversation.add(user(3), after="u1")
    conversation.add(user(4), first=True)
    conversation.add(user(5), after="a1")
    assert ids(conversation) == ["u4", "u1", "u3", "a1", "u5"]
    assert "u3" in conversation and "u9" not in conversation and len(conversation) == 5
    conversation.delete("u1")
    assert ids(conversation) == ["u4", "u3", "a1", "u5"]
    assert conversation.get("a1").text == "answer 1"


def test_ids_are_unique_and_known() -> None:
    conversation = Conversation([user(1)])
    with pytest.raises(ItemError, match="'u1' already exists"):
        conversation.add(user(1))
    actions: list[Any] = [
        lambda: conversation.get("x"),
        lambda: conversation.delete("x"),
        lambda: conversation.truncate("x", 1),
        lambda: conversation.add(user(2), after="x"),
    ]
    for action in actions:
        with pytest.raises(ItemError, match="no item 'x'"):
            action()
    assert ids(conversation) == ["u1"], "a refused action changes nothing"
    assert issubclass(ItemError, AntiphonError)


def test_new_ids_differ() -> None:
    assert len({new_id() for _ in range(1000)}) == 1000
    assert new_id("call").startswith("call_")


def test_a_walk_is_not_disturbed_by_changes() -> None:
    conversation = dialogue(3)
    for item in conversation:
        conversation.delete(item.id)
    assert len(conversation) == 0


def test_what_was_not_heard_is_kept_apart() -> None:
    conversation = Conversation([user(1), assistant(1, "It is noon, and all is well.")])
    cut = conversation.truncate("a1", len("It is noon"))
    assert (cut.text, cut.unheard) == ("It is noon", ", and all is well.")
    assert contents(conversation) == ["question 1", "It is noon ..."], "a mark where it broke off"
    # a later correction may also give more back
    assert conversation.truncate("a1", len("It is noon, and")).text == "It is noon, and"
    assert conversation.truncate("a1", 999).unheard == ""
    assert conversation.truncate("a1", -5).text == ""
    assert contents(conversation) == ["question 1"], "nothing heard is nothing said"


@pytest.mark.parametrize("item", [user(1), Item(id="u1", kind="function_call", name="f", call_id="c")])
def test_only_the_assistants_messages_are_cut(item: Item) -> None:
    with pytest.raises(ItemError, match="no message of the assistant"):
        Conversation([item]).truncate("u1", 1)


@given(st.text(max_size=40), st.lists(st.integers(-5, 50), min_size=1, max_size=5))
def test_cutting_loses_no_character(text: str, cuts: list[int]) -> None:
    conversation = Conversation([Item(id="a", role="assistant", text=text)])
    for cut in cuts:
        item = conversation.truncate("a", cut)
        assert item.text + item.unheard == text
        assert len(item.text) == min(max(cut, 0), len(text))


# --------------------------------------------------------------------------------------------- prompts


def test_calls_in_a_row_are_one_message() -> None:
    conversation = Conversation(
        [
            user(1),
            Item(id="c1", kind="function_call", call_id="1", name="weather", arguments='{"city": "Rome"}'),
            Item(id="c2", kind="function_call", call_id="2", name="time", arguments="{}"),
            Item(id="o1", kind="function_call_output", call_id="1", name="weather", text="sunny"),
            Item(id="o2", kind="function_call_output", call_id="2", text="noon"),
            assistant(1),
            Item(id="c3", kind="function_call", call_id="3", name="end", arguments="{}"),
        ]
    )
    assert conversation.messages() == (
        Message("user", "question 1"),
        Message("assistant", tool_calls=(ToolCall("1", "weather", '{"city": "Rome"}'), ToolCall("2", "time", "{}"))),
        Message("tool", "sunny", tool_call_id="1", name="weather"),
        Message("tool", "noon", tool_call_id="2"),
        Message("assistant", "answer 1"),
        Message("assistant", tool_calls=(ToolCall("3", "end", "{}"),)),
    )


def test_no_limit_is_all_and_zero_is_nothing() -> None:
    conversation = dialogue(50)
    assert len(conversation.messages()) == 100
    assert conversation.messages(max_turns=0) == ()
    assert Conversation().messages() == Conversation().messages(max_turns=3, max_tokens=10) == ()


def test_what_precedes_the_first_turn_goes_with_it() -> None:
    conversation = Conversation([assistant(0, "Welcome."), user(1), assistant(1), user(2), assistant(2)])
    assert contents(conversation)[0] == "Welcome." and contents(conversation, max_turns=2)[0] == "Welcome."
    assert contents(conversation, max_turns=1)[0] == "question 2"


@given(st.integers(0, 60), st.integers(1, 30))
def test_turns_are_bounded_and_kept_whole(turns: int, limit: int) -> None:
    found = contents(dialogue(turns), max_turns=limit)
    kept = len(found) // 2
    assert len(found) % 2 == 0 and kept <= min(turns, limit)
    assert found == contents(dialogue(turns))[2 * (turns - kept) :], "the last ones, in order"
    if turns <= limit:
        assert kept == turns
    else:
        assert kept > limit - max(1, limit // 4), "at most a block too few"


@given(st.integers(4, 40))
def test_the_prompts_beginning_changes_rarely(limit: int) -> None:
    beginnings = [contents(dialogue(turns), max_turns=limit)[0] for turns in range(limit, 4 * limit)]
    changes = sum(1 for before, after in pairwise(beginnings) if before != after)
    assert changes <= 3 * limit / max(1, limit // 4) + 1


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(1, 300))
def test_tokens_are_bounded(lengths: list[int], limit: int) -> None:
    conversation = Conversation([user(number, "x" * length) for number, length in enumerate(lengths)])
    found = contents(conversation, max_tokens=limit)
    assert sum(estimated_tokens(text) for text in found) <= limit
    everything = contents(conversation)
    assert found == everything[len(everything) - len(found) :]
    if sum(estimated_tokens(text) for text in everything) <= limit:
        assert found == everything


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("日本語", 3)])
def test_tokens_are_estimated(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


# ---------------------------------------------------------------------------- against a list of pairs


class ConversationMachine(RuleBasedStateMachine):
    """Random actions on a conversation and on the plain list that it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.real = Conversation()
        self.model: list[str] = []

    @rule(name=st.sampled_from("abcdefgh"), after=st.none() | st.sampled_from("abcdefgh"), first=st.booleans())
    def add(self, name: str, after: str | None, first: bool) -> None:
        item = Item(id=name, text=name)
        if name in self.model or (not first and after is not None and after not in self.model):
            with pytest.raises(ItemError):
                self.real.add(item, after=after, first=first)
            return
        self.real.add(item, after=after, first=first)
        place = 0 if first else len(self.model) if after is None else self.model.index(after) + 1
        self.model.insert(place, name)

    @rule(name=st.sampled_from("abcdefgh"))
    def delete(self, name: str) -> None:
        if name not in self.model:
            with pytest.raises(ItemError):
                self.real.delete(name)
            return
        self.real.delete(name)
        self.model.remove(name)

    @invariant()
    def same(self) -> None:
        assert ids(self.real) == self.model
        assert [message.content for message in self.real.messages()] == self.model


TestConversationMachine = ConversationMachine.TestCase
