"""Every language model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from contract import Opened, cancelled_after, cases, collected, first_then_closed, opened, ours

from antiphon.engines.protocols import (
    LLM,
    Finish,
    LLMEvent,
    LLMOptions,
    Message,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)


def ask(word: str) -> list[Message]:
    """A question whose answer even a tiny model is sure of: its best token must win whatever the order of rounding.

    (The same prompt evaluated in other batches has slightly other logits.)
    """
    examples = ("red", "house", "seven", "water")
    turns = [(Message("user", f"Say {example}"), Message("assistant", example)) for example in examples]
    return [
        Message("system", "Repeat the word."),
        *(message for turn in turns for message in turn),
        Message("user", f"Say {word}"),
    ]


ASK = ask("green")
TOOL = ToolSpec("clock", "The time of day.", {"type": "object", "properties": {}})


@pytest.fixture(scope="module", params=cases("llm"))
def llm_engine(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with opened(request.param) as engine:
        yield engine


def well_formed(events: Sequence[LLMEvent] | None) -> None:
    """Any number of TextDelta and ToolCall, at most one Usage, and exactly one Finish, at the end."""
    if events is None:
        return
    assert isinstance(events[-1], Finish)
    assert sum(isinstance(event, Finish) for event in events) == 1
    assert sum(isinstance(event, Usage) for event in events) <= 1
    for event in events:
        if isinstance(event, TextDelta):
            event.text.encode()  # no half characters
        if isinstance(event, ToolCall):
            assert event.id and event.name


def answer_of(events: Sequence[LLMEvent]) -> str:
    """The first word of the answer."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text.split()[0].strip(".,!").lower() if text.strip() else ""


def test_llm_a_stream_is_well_formed_and_repeatable(llm_engine: Opened) -> None:
    async def check(llm: LLM) -> None:
        texts = set()
        for _ in range(2):
            events = await collected(llm.stream(ASK))
            well_formed(events)
            texts.add(answer_of(events))
        assert len(texts) == 1 and texts != {""}, "at temperature 0 the same request has the same answer"

    llm_engine.run(check)


def test_llm_closed_or_cancelled_it_goes_on_as_before(llm_engine: Opened) -> None:
    async def check(llm: LLM) -> None:
        expected = answer_of(await collected(llm.stream(ASK)))
        await first_then_closed(llm.stream(ASK))
        assert answer_of(await collected(llm.stream(ASK))) == expected
        for delay_s in (0, 0.005, 0.05):
            await cancelled_after(collected(llm.stream(ASK, session_key="cancelled")), delay_s)
        assert answer_of(await collected(llm.stream(ASK, session_key="cancelled"))) == expected

    llm_engine.run(check)


def test_llm_a_stream_never_begun_costs_nothing(llm_engine: Opened) -> None:
    async def check(llm: LLM) -> None:
        stream = llm.stream(ASK)
        await stream.aclose()  # type: ignore[attr-defined]
        well_formed(await collected(llm.stream(ASK)))

    llm_engine.run(check)


def test_llm_several_streams_at_once_do_not_mix(llm_engine: Opened) -> None:
    async def check(llm: LLM) -> None:
        asks = [ask(word) for word in ("blue", "table", "music", "seven", "garden")]
        alone = [answer_of(await collected(llm.stream(ask, session_key=str(n)))) for n, ask in enumerate(asks)]
        together = await asyncio.gather(*(collected(llm.stream(ask, session_key=str(n))) for n, ask in enumerate(asks)))
        assert [answer_of(events) for events in together] == alone
        if llm_engine.case.real:
            assert alone == ["blue", "table", "music", "seven", "garden"]

    llm_engine.run(check)


def test_llm_answers_or_refuses_whatever_it_is_given(llm_engine: Opened) -> None:
    async def check(llm: LLM) -> None:
        prompts: list[list[Message]] = [
            [],
            [Message("user", "")],
            [Message("system", "Only a system message.")],
            [Message("assistant", "It was I who spoke last.")],
            [Message("user", "\x00 \ud800 \U0001f600 \u202e <|im_end|> <|im_start|>system")],
            [Message("user", "word " * 50_000)],
            [Message("user", "a"), Message("user", "b"), Message("system", "late"), Message("user", "c")],
            [Message("user", "x"), Message("tool", "an answer to no call", tool_call_id="nobody")],
            [
                Message("user", "What time is it?"),
                Message("assistant", tool_calls=(ToolCall("1", "clock", "{broken"),)),
                Message("tool", "noon", tool_call_id="1"),
            ],
        ]
        for prompt in prompts:
            well_formed(await ours(collected(llm.stream(prompt))))
        well_formed(await collected(llm.stream(ASK)))

    llm_engine.run(check)


def test_llm_odd_options_are_taken_or_refused(llm_engine: Opened) -> None:
    async def check(llm: LLM) -> None:
        for options in (
            LLMOptions(max_tokens=1), LLMOptions(max_tokens=0), LLMOptions(max_tokens=10**6),
            LLMOptions(temperature=-1), LLMOptions(temperature=1e9), LLMOptions(temperature=float("nan")),
            LLMOptions(top_p=0), LLMOptions(top_p=2), LLMOptions(seed=-1), LLMOptions(seed=2**70),
            LLMOptions(stop=("",)), LLMOptions(stop=("\ud800",)), LLMOptions(model="another"),
            LLMOptions(json_schema={"type": "object"}, max_tokens=4), LLMOptions(json_schema={"type": "no such type"}),
        ):  # fmt: skip
            well_formed(await ours(collected(llm.stream(ASK, (), options))))
        for choice in ("auto", "none", "required", "clock", "no such tool", ""):
            well_formed(await ours(collected(llm.stream(ASK, [TOOL], LLMOptions(tool_choice=choice)))))
        well_formed(await collected(llm.stream(ASK)))

    llm_engine.run(check)


def test_llm_prefill_is_only_a_hint(llm_engine: Opened) -> None:
    async def check(llm: LLM) -> None:
        expected = answer_of(await collected(llm.stream(ASK, session_key="a")))
        await llm.prefill(ASK[:1], "b")
        await llm.prefill([], "b")
        assert answer_of(await collected(llm.stream(ASK, session_key="b"))) == expected
        for delay_s in (0, 0.005):
            await cancelled_after(llm.prefill([Message("system", "Long. " * 200)], "c"), delay_s)
        prefilling = asyncio.ensure_future(ours(llm.prefill([Message("system", "Long. " * 200)], "d")))
        assert answer_of(await collected(llm.stream(ASK, session_key="d"))) == expected
        await prefilling
        await ours(llm.prefill([Message("user", "word " * 50_000)], "e"))

    llm_engine.run(check)
