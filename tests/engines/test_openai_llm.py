"""The LLM engine `openai` against the stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai_standin import Call, OpenAIStandin, Reply, collect

from antiphon.engines.errors import EngineFailed, EngineRequestInvalid, EngineTimeout
from antiphon.engines.host import EngineHost
from antiphon.engines.llm.openai import OpenAILLM, OpenAILLMOptions, _Answer, create
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import (
    Finish,
    LLMEvent,
    LLMOptions,
    Message,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from antiphon.engines.registry import EngineContext

HELLO = [Message("user", "Hello")]
WEATHER = ToolSpec(
    "weather", "The weather at a place.", {"type": "object", "properties": {"place": {"type": "string"}}}
)
TIME = ToolSpec("time", "The time.", {"type": "object", "properties": {}})


def engine(server: OpenAIStandin, **values: Any) -> OpenAILLM:
    context = EngineContext(EngineHost(), ModelStore())
    return create(OpenAILLMOptions(base_url=server.base_url, warm_up=False, **values), context)


def ask(
    server: OpenAIStandin, messages: Sequence[Message] = HELLO, tools: Sequence[ToolSpec] = (),
    options: LLMOptions = LLMOptions(), **values: Any,  # noqa: B008
) -> list[LLMEvent]:  # fmt: skip
    async def main() -> list[LLMEvent]:
        async with engine(server, **values) as llm:
            return await collect(llm.stream(messages, tools, options, "session-1"))

    events = asyncio.run(main())
    assert not server.invalid, server.invalid
    return events


def text_of(events: Sequence[LLMEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def body_of(server: OpenAIStandin) -> dict[str, Any]:
    return server.bodies("/chat/completions")[-1]


# --------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (7, 1, 13), (4096,)])
def test_answer_in_any_pieces(cuts: tuple[int, ...]) -> None:
    reply = "Grüße aus 日本 🎌, ça va?"
    with OpenAIStandin(replies=[reply], cuts=cuts) as server:
        events = ask(server)
    assert text_of(events) == reply
    assert events[-2:] == [Usage(11, 7, 3), Finish("stop")]
    assert len([event for event in events if isinstance(event, TextDelta)]) > 1


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter"])
def test_finish_reason(finish: str) -> None:
    with OpenAIStandin(replies=[Reply("Well", finish=finish)]) as server:
        assert ask(server)[-1] == Finish(finish)  # type: ignore[arg-type]


def test_refusal_is_spoken_and_ends_as_content_filter() -> None:
    with OpenAIStandin(replies=[Reply(refusal="I cannot help with that.")]) as server:
        events = ask(server)
    assert text_of(events) == "I cannot help with that." and events[-1] == Finish("content_filter")


def test_thinking_is_never_spoken() -> None:
    reply = Reply("<think>The user greets. </think>Hello. 2 < 3", thinking="Hidden thoughts.")
    with OpenAIStandin(replies=[reply]) as server:
        assert text_of(ask(server)) == "Hello. 2 < 3"


def test_text_that_only_looks_like_a_tag_is_spoken_to_its_end() -> None:
    with OpenAIStandin(replies=["a <thin"]) as server:
        assert text_of(ask(server)) == "a <thin"


def test_empty_answer() -> None:
    with OpenAIStandin(replies=[""]) as server:
        assert ask(server) == [Usage(11, 7, 3), Finish("stop")]


@given(st.lists(st.text(max_size=8), max_size=12))
def test_no_character_is_lost(pieces: list[str]) -> None:
    answer = _Answer()
    events: list[LLMEvent] = []
    for piece in pieces:
        events += answer.feed(chunk({"content": piece}))
    events += answer.feed(chunk({}, "stop"))
    assert text_of(events) == "".join(pieces)
    assert answer.finish == "stop"


def chunk(delta: dict[str, Any], finish: str | None = None) -> ChatCompletionChunk:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return ChatCompletionChunk.model_validate(
        {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    )


# ------------------------------------------------------------------------------------------------ tools


CALLS = (Call("weather", '{"place": "Zürich"}', "call_a"), Call("time", "", "call_b"))


@pytest.mark.parametrize("quirks", [(), ("no_tool_index",), ("zero_tool_index",)])
def test_tool_calls_are_put_together(quirks: tuple[str, ...]) -> None:
    with OpenAIStandin(replies=[Reply("Let me see.", calls=CALLS)], quirks=quirks) as server:
        events = ask(server, tools=[WEATHER, TIME])
    assert text_of(events) == "Let me see."
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert calls == [ToolCall("call_a", "weather", '{"place": "Zürich"}'), ToolCall("call_b", "time", "{}")]
    assert events[-1] == Finish("tool_calls")


def test_missing_ids_are_made_up_and_differ() -> None:
    with OpenAIStandin(replies=[Reply(calls=CALLS)], quirks=["no_tool_ids"]) as server:
        calls = [event for event in ask(server, tools=[WEATHER, TIME]) if isinstance(event, ToolCall)]
    assert [call.name for call in calls] == ["weather", "time"]
    assert calls[0].arguments == '{"place": "Zürich"}'
    assert all(call.id for call in calls) and calls[0].id != calls[1].id


def test_calls_that_end_as_stop_still_count() -> None:
    with OpenAIStandin(replies=[Reply(calls=CALLS, finish="stop")]) as server:
        assert ask(server, tools=[WEATHER, TIME])[-1] == Finish("tool_calls")


def test_a_call_cut_off_by_the_token_limit_is_not_made() -> None:
    reply = Reply(calls=(CALLS[0], Call("weather", '{"place": "Ber')), finish="length")
    with OpenAIStandin(replies=[reply]) as server:
        events = ask(server, tools=[WEATHER])
    assert [e.id for e in events if isinstance(e, ToolCall)] == ["call_a"] and events[-1] == Finish("length")


@given(st.lists(st.text('ab{}":1 ', min_size=1, max_size=9), min_size=1, max_size=4), st.integers(1, 4))
def test_interleaved_calls_keep_their_arguments(arguments: list[str], step: int) -> None:
    answer = _Answer()
    for index in range(len(arguments)):
        head = {"index": index, "id": f"id{index}", "type": "function", "function": {"name": f"f{index}"}}
        list(answer.feed(chunk({"tool_calls": [head]})))
    for start in range(0, 9, step):  # a piece of each in turn
        parts = [{"index": i, "function": {"arguments": a[start : start + step]}} for i, a in enumerate(arguments)]
        list(answer.feed(chunk({"tool_calls": parts})))
    events = list(answer.feed(chunk({}, "tool_calls")))
    assert events == [ToolCall(f"id{i}", f"f{i}", a) for i, a in enumerate(arguments)]


def test_a_conversation_with_tools_is_sent_as_the_protocol_wants() -> None:
    messages = [
        Message("system", "Be brief."),
        Message("user", "Weather?", name="ann"),
        Message("assistant", tool_calls=(ToolCall("c1", "weather", '{"place": "Bern"}'),)),
        Message("tool", "rain", tool_call_id="c1", name="weather"),
        Message("assistant", "It rains."),
        Message("user", "And now?"),
    ]
    with OpenAIStandin() as server:
        ask(server, messages, [WEATHER], LLMOptions(tool_choice="weather"), parallel_tool_calls=False)
        body = body_of(server)
    assert [message["role"] for message in body["messages"]] == [
        "system", "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"place": "Bern"}'}
    assert body["messages"][3] == {"role": "tool", "content": "rain", "tool_call_id": "c1"}
    assert body["tools"][0]["function"]["parameters"] == WEATHER.parameters
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("messages", "tools", "options", "what"),
    [
        ([], [], LLMOptions(), "at least one message"),
        ([Message("tool", "rain")], [], LLMOptions(), "tool_call_id"),
        (HELLO, [WEATHER], LLMOptions(tool_choice="nobody"), "'nobody'"),
    ],
)
def test_requests_that_cannot_succeed_are_not_sent(
    messages: list[Message], tools: list[ToolSpec], options: LLMOptions, what: str
) -> None:
    with OpenAIStandin() as server:
        with pytest.raises(EngineRequestInvalid, match=what):
            ask(server, messages, tools, options)
        assert not server.requests


# ---------------------------------------------------------------------------------------------- options


def test_options_of_the_engine_and_of_the_request() -> None:
    with OpenAIStandin() as server:
        ask(server, temperature=0.7, top_p=0.9, max_tokens=50, seed=3, model="mine")
        assert {k: v for k, v in body_of(server).items() if k != "messages"} == {
            "model": "mine", "temperature": 0.7, "top_p": 0.9, "max_tokens": 50, "seed": 3, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        wanted = LLMOptions(temperature=0.0, top_p=1.0, max_tokens=5, seed=0, stop=("\n",), model="other")
        ask(server, options=wanted, temperature=0.7, max_tokens=50, model="mine")
        body = body_of(server)
    assert (body["temperature"], body["max_tokens"], body["seed"], body["stop"]) == (0.0, 5, 0, ["\n"])
    assert (body["model"], body["top_p"]) == ("other", 1.0)


def test_nothing_is_sent_that_nobody_asked_for() -> None:
    with OpenAIStandin() as server:
        ask(server, include_usage=False)
        assert set(body_of(server)) == {"model", "messages", "stream"}


@pytest.mark.parametrize(
    ("url", "field", "sent"),
    [
        ("http://127.0.0.1:1/v1", "auto", "max_tokens"),
        ("https://api.openai.com/v1", "auto", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "auto", "max_completion_tokens"),
        ("https://openai.com.example/v1", "auto", "max_tokens"),
        ("https://api.openai.com/v1", "max_tokens", "max_tokens"),
        ("http://127.0.0.1:1/v1", "max_completion_tokens", "max_completion_tokens"),
    ],
)
def test_token_limit_field(url: str, field: Any, sent: str) -> None:
    options = OpenAILLMOptions(base_url=url, max_tokens=9, token_limit_field=field)
    body = OpenAILLM(options, EngineContext(EngineHost(), ModelStore()))._body(HELLO, (), LLMOptions(), "s")
    assert {key: body[key] for key in body if key.startswith("max_")} == {sent: 9}
    assert ("prompt_cache_key" in body) == options.is_vendor


def test_json_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    with OpenAIStandin(replies=['{"a": 1}']) as server:
        assert text_of(ask(server, options=LLMOptions(json_schema=schema), strict_schema=False)) == '{"a": 1}'
        assert body_of(server)["response_format"] == {
            "type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": False},
        }  # fmt: skip


def test_extra_body() -> None:
    with OpenAIStandin(extra_fields=["top_k"]) as server:
        ask(server, extra_body={"top_k": 5})
        assert body_of(server)["top_k"] == 5


def test_a_server_without_stream_options_is_asked_once() -> None:
    async def main() -> None:
        async with engine(server) as llm:
            for _ in range(2):
                events = await collect(llm.stream(HELLO))
                assert text_of(events) == "Hello there." and events[-1] == Finish("stop")
                assert not any(isinstance(event, Usage) for event in events)

    with OpenAIStandin(quirks=["no_stream_options"]) as server:
        asyncio.run(main())
        assert ["stream_options" in body for body in server.bodies("/chat/completions")] == [True, False, False]


def test_prefill_asks_nobody() -> None:
    async def main() -> None:
        async with engine(server) as llm:
            await llm.prefill(HELLO, "s")
            assert not llm.capabilities.prefill

    with OpenAIStandin() as server:
        asyncio.run(main())
        assert not server.requests


# ----------------------------------------------------------------------------------------------- trouble


def ask_until_error(server: OpenAIStandin, **values: Any) -> tuple[str, Exception]:
    """(what came before, the error)"""

    async def main() -> tuple[str, Exception]:
        said = ""
        async with engine(server, **values) as llm:
            try:
                async for event in llm.stream(HELLO):
                    said += event.text if isinstance(event, TextDelta) else ""
            except Exception as error:
                return said, error
        raise AssertionError(f"no error after {said!r}")

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["half", "no_finish", "error_event"])
def test_a_broken_stream_keeps_what_came_and_is_not_repeated(kind: str) -> None:
    with OpenAIStandin(replies=["one two three four"]) as server:
        server.fail_next(kind)
        said, error = ask_until_error(server)
        assert len(server.requests) == 1
    assert said and "one two three four".startswith(said)
    assert isinstance(error, EngineFailed) and error.retryable
    assert f"partial: {len(said)} characters" in error.message
    assert ("the model fell over" in error.message) == (kind == "error_event")


def test_a_stalled_stream_times_out() -> None:
    with OpenAIStandin(replies=["one two three four"]) as server:
        server.fail_next("stall")
        said, error = ask_until_error(server, stall_timeout_s=0.8)
        assert server.requests[0].left_early.wait(5)
    assert said and isinstance(error, EngineTimeout) and "partial" in error.message


def test_a_broken_chunk() -> None:
    with OpenAIStandin() as server:
        server.fail_next("garbage")
        said, error = ask_until_error(server)
    assert not said and isinstance(error, EngineFailed) and "no valid answer" in error.message


@pytest.mark.parametrize(
    "bad",
    [
        42,
        "text",
        [],
        {},
        {"choices": 7},
        {"choices": [{"index": 0, "delta": {"content": 5}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}]},
    ],
)
def test_json_that_is_no_chunk(bad: Any) -> None:
    from openai._models import construct_type

    chunk = construct_type(type_=ChatCompletionChunk, value=bad)
    with pytest.raises((AttributeError, TypeError, ValueError)):
        list(_Answer().feed(chunk))


def test_an_answer_whose_tail_is_lost_is_whole() -> None:
    with OpenAIStandin(replies=["one two"]) as server:
        server.fail_next("no_end")
        events = ask(server)
    assert text_of(events) == "one two" and events[-1] == Finish("stop")


def test_closing_the_stream_ends_the_request_at_once() -> None:
    async def main() -> None:
        async with engine(server) as llm:
            stream = llm.stream(HELLO)
            assert isinstance(await anext(stream), TextDelta)
            await stream.aclose()  # type: ignore[attr-defined]
            left = server.requests[0].left_early
            assert await asyncio.to_thread(left.wait, 5)
            assert text_of(await collect(llm.stream(HELLO))) == "short"  # the engine goes on

    with OpenAIStandin(replies=["word " * 200, "short"], delay_s=0.02) as server:
        asyncio.run(main())


def test_cancelling_the_task_ends_the_request() -> None:
    async def main() -> None:
        async with engine(server) as llm:
            begun = asyncio.Event()

            async def listen() -> None:
                async for _ in llm.stream(HELLO):
                    begun.set()

            task = asyncio.create_task(listen())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.requests[0].left_early.wait, 5)

    with OpenAIStandin(replies=["word " * 200], delay_s=0.02) as server:
        asyncio.run(main())


def test_many_streams_at_once() -> None:
    async def main() -> None:
        async with engine(server) as llm:
            prompts = [f"say {n}" for n in range(8)]
            answers = await asyncio.gather(*(collect(llm.stream([Message("user", prompt)])) for prompt in prompts))
            assert [text_of(answer) for answer in answers] == [f"you said {prompt}" for prompt in prompts]

    def reply(body: dict[str, Any]) -> str:
        return f"you said {body['messages'][-1]['content']}"

    with OpenAIStandin(replies=reply, delay_s=0.005) as server:
        asyncio.run(main())


def test_extreme_input() -> None:
    huge = "word " * 40_000 + "\x00\u202e🎌"
    with OpenAIStandin() as server:
        assert text_of(ask(server, [Message("user", huge), Message("user", "")])) == "Hello there."
        assert body_of(server)["messages"][0]["content"] == huge
