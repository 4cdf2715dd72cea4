"""Long conversations are made shorter in the background, and prompts go on beginning as they did."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from transcript_events import Talk, sqlite_store, tell

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import Message, ToolCall
from antiphon.engines.testing import Reply, ScriptedLLM, run_virtual
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.transcript import Compactor, TranscriptStore, llm_summariser
from antiphon.pipeline.workflow import ChatWorkflow


def say(conversation: Conversation, turn: int, words: int = 10) -> None:
    for role in ("user", "assistant"):
        text = " ".join([f"{role}-{turn}"] * words)
        conversation.add(Item(id=new_id(), role=role, text=text, turn=turn))  # type: ignore[arg-type]


class Summaries:
    """A summariser that counts, and fails where told to."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.asked: list[Sequence[Message]] = []
        self.fails = False
        self._delay_s = delay_s

    async def __call__(self, messages: Sequence[Message]) -> str:
        self.asked.append(messages)
        await asyncio.sleep(self._delay_s)
        if self.fails:
            raise EngineFailed("no")
        return f"summary number\n{len(self.asked)}"


def texts(conversation: Conversation) -> list[str]:
    return [item.text.split(" ")[0] for item in conversation]


def test_old_turns_become_a_summary_and_new_ones_stay() -> None:
    conversation, summaries = Conversation(), Summaries()
    compactor = Compactor(conversation, summaries, max_turns=12, max_tokens=100_000)
    for turn in range(1, 10):
        assert not compactor.is_due()
        say(conversation, turn)
    say(conversation, 10)
    assert compactor.is_due()
    assert asyncio.run(compactor.compact())
    assert not compactor.is_due()
    (asked,) = summaries.asked
    assert asked[0].content.startswith("user-1 ") and asked[-1].content.startswith("assistant-6 ")
    first, *rest = conversation
    assert first.text == "(Summary of our conversation until now: summary number 1)" and first.role == "user"
    assert [item.turn for item in rest] == [7, 7, 8, 8, 9, 9, 10, 10]


def test_it_begins_by_length_too_and_leaves_the_last_turn() -> None:
    conversation, summaries = Conversation(), Summaries()
    compactor = Compactor(conversation, summaries, max_turns=100, max_tokens=400)
    for turn in range(1, 5):
        say(conversation, turn, words=17)
    assert compactor.is_due() and asyncio.run(compactor.compact())
    assert {item.turn for item in conversation} >= {4} and len(conversation) < 8
    only = Conversation()
    say(only, 1, words=5000)
    assert not Compactor(only, summaries, max_turns=10, max_tokens=100).is_due(), "there is nothing older"


def test_the_next_summary_takes_the_last_one_in() -> None:
    conversation, summaries = Conversation(), Summaries()
    compactor = Compactor(conversation, summaries, max_turns=8, max_tokens=100_000)
    for turn in range(1, 30):
        say(conversation, turn)
        if compactor.is_due():
            asyncio.run(compactor.compact())
    assert len(summaries.asked) > 3
    assert all(asked[0].content.startswith("(Summary of") for asked in summaries.asked[1:])
    assert sum(item.text.startswith("(Summary") for item in conversation) == 1
    assert len(conversation.messages(max_turns=8)) == len(conversation), "nothing is ever left out"


def test_between_two_summaries_each_prompt_begins_with_the_one_before() -> None:
    conversation, summaries = Conversation(), Summaries()
    compactor = Compactor(conversation, summaries, max_turns=10, max_tokens=100_000)
    workflow = ChatWorkflow(ScriptedLLM(), "Be brief.")
    changes = 0
    before: list[Message] = []
    for turn in range(1, 60):
        history = conversation.messages(max_turns=10, max_tokens=100_000)
        prompt = workflow.prompt(history, f"user-{turn}")
        begins = [message.content for message in prompt[:-1]]
        whole = [message.content for message in before[:-1]]
        changes += begins[: len(whole)] != whole
        before = prompt
        say(conversation, turn)
        if compactor.is_due():
            asyncio.run(compactor.compact())
    assert 3 <= changes <= len(summaries.asked) <= 60 / 3


def test_turns_go_on_while_it_is_made() -> None:
    conversation, summaries = Conversation(), Summaries(delay_s=5.0)
    compactor = Compactor(conversation, summaries, max_turns=8, max_tokens=100_000)
    for turn in range(1, 8):
        say(conversation, turn)

    async def main() -> None:
        task = asyncio.create_task(compactor.compact())
        await asyncio.sleep(1.0)
        assert not compactor.is_due(), "one at a time"
        say(conversation, 8)
        conversation.delete(next(iter(conversation)).id)  # a client's doing
        assert await task

    run_virtual(main())
    assert texts(conversation)[0] == "(Summary" and texts(conversation)[-1] == "assistant-8"


def test_a_failure_costs_nothing_and_is_tried_again() -> None:
    conversation, summaries = Conversation(), Summaries()
    summaries.fails = True
    compactor = Compactor(conversation, summaries, max_turns=8, max_tokens=100_000)
    for turn in range(1, 8):
        say(conversation, turn)
    assert compactor.is_due() and not asyncio.run(compactor.compact())
    assert len(conversation) == 14 and not compactor.is_due()
    summaries.fails = False
    for turn in (8, 9):
        say(conversation, turn)
    assert compactor.is_due() and asyncio.run(compactor.compact())


def test_marks_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="keep < begin_at"):
        Compactor(Conversation(), Summaries(), max_turns=8, max_tokens=8, keep=0.8)


def test_the_llm_makes_a_summary_behind_everything_else() -> None:
    messages = [
        Message("user", "Book a table."),
        Message("assistant", tool_calls=(ToolCall("1", "book", '{"seats": 2}'),)),
        Message("tool", "booked", tool_call_id="1", name="book"),
        Message("assistant", "Done."),
    ]

    async def main() -> tuple[str, ScriptedLLM]:
        async with ScriptedLLM([Reply(["A table ", "for two."])]) as llm:
            return await llm_summariser(llm, "sess_a")(messages), llm

    summary, llm = asyncio.run(main())
    assert summary == "A table for two."
    (call,) = llm.calls
    assert call.session_key == "sess_a/summary"
    assert call.messages[1].content == (
        'User: Book a table.\nAssistant calls book({"seats": 2})\nResult of book: booked\nAssistant: Done.'
    )


def test_a_session_that_goes_on_begins_with_the_summary(tmp_path: Path) -> None:
    async def first(store: TranscriptStore) -> None:
        talk = Talk("one")
        recorder = store.recorder("one")
        conversation = Conversation()
        compactor = Compactor(conversation, Summaries(), max_turns=8, max_tokens=100_000, recorder=recorder)
        for turn in range(1, 8):
            tell(recorder, *talk.whole_turn(turn, f"user-{turn}", f"assistant-{turn}"))
            say(conversation, turn, words=1)
        assert await compactor.compact()
        tell(recorder, *talk.whole_turn(8, "user-8", "assistant-8"))
        say(conversation, 8, words=1)
        await recorder.aclose()
        assert texts(conversation) == texts(store.conversation("one"))

    async def second(store: TranscriptStore) -> None:
        talk = Talk("two")
        conversation = store.conversation("one")
        recorder = store.recorder("two", resumed_from="one")
        compactor = Compactor(conversation, Summaries(), max_turns=8, max_tokens=100_000, recorder=recorder)
        for turn in range(1, 7):
            tell(recorder, *talk.whole_turn(turn, f"later-{turn}", f"reply-{turn}"))
            conversation.add(Item(id=new_id(), text=f"later-{turn}", turn=turn))
            conversation.add(Item(id=new_id(), role="assistant", text=f"reply-{turn}", turn=turn))
            if compactor.is_due():
                await compactor.compact()
        await recorder.aclose()
        assert texts(conversation) == texts(store.conversation("two"))
        assert texts(conversation).count("(Summary") == 1

    with sqlite_store(tmp_path) as store:
        asyncio.run(first(store))
        assert len(store.conversation("one", compacted=False)) == 16, "the store keeps every word"
        asyncio.run(second(store))
        assert len(store.conversation("two", compacted=False)) == 28
