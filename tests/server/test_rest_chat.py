"""`/v1/chat/completions` by OpenAI's own client, on a scripted model and on a small real one."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from served import config, with_client

from antiphon.engines.errors import EngineFailed, EngineRequestInvalid
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import Reply
from antiphon.pipeline.config import load_config
from antiphon.pipeline.config.model import ServerConfig

ASK: list[Any] = [{"role": "user", "content": "What time is it?"}]
CLOCK: Any = {
    "type": "function",
    "function": {"name": "clock", "description": "The time.", "parameters": {"type": "object"}},
}


def test_an_answer_at_once_and_as_it_is_written() -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        whole = await client.chat.completions.create(model="gpt-4o", messages=ASK)
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        return whole, [chunk async for chunk in stream]

    whole, chunks = with_client(use)
    assert whole.choices[0].message.content == "It is noon."
    assert (whole.choices[0].finish_reason, whole.model, whole.object) == ("stop", "gpt-4o", "chat.completion")
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == "It is noon." and len([text for text in texts if text]) > 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


def test_everything_that_is_asked_reaches_the_model() -> None:
    seen: list[Any] = []

    def answer(call: Any) -> Reply:
        seen.append(call)
        return Reply.of("Fine.")

    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What"}, {"type": "text", "text": "time?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "12:00"},
    ]

    async def use(client: openai.AsyncOpenAI) -> Any:
        return await client.chat.completions.create(
            model="m", messages=messages, temperature=0.5, top_p=0.9, max_completion_tokens=7, stop="X", seed=3,
            tools=[CLOCK], tool_choice={"type": "function", "function": {"name": "clock"}},
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        )  # fmt: skip

    with_client(use, config(llm=answer))
    (call,) = seen
    assert [(one.role, one.content) for one in call.messages] == [
        ("system", "Be brief."), ("user", "What\ntime?"), ("assistant", ""), ("tool", "12:00"),
    ]  # fmt: skip
    assert call.messages[2].tool_calls == (ToolCall("c1", "clock", "{}"),)
    options = call.options
    assert (options.temperature, options.top_p, options.max_tokens, options.stop, options.seed) == (
        0.5,
        0.9,
        7,
        ("X",),
        3,
    )
    assert (options.tool_choice, options.json_schema) == ("clock", {"type": "object"})
    assert [tool.name for tool in call.tools] == ["clock"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_a_tool(stream: bool) -> None:
    reply = Reply(tool_calls=(ToolCall("c1", "clock", '{"zone": "CET"}'),), usage=Usage(10, 5, 8))

    async def use(client: openai.AsyncOpenAI) -> Any:
        asked = await client.chat.completions.create(model="m", messages=ASK, tools=[CLOCK], stream=stream)
        return [chunk async for chunk in asked] if stream else asked

    answer = with_client(use, config(llm=[reply]))
    if stream:
        (call,) = [one for chunk in answer for one in chunk.choices[0].delta.tool_calls or ()]
        finish = answer[-1].choices[0].finish_reason
        assert call.index == 0
    else:
        (call,) = answer.choices[0].message.tool_calls
        finish = answer.choices[0].finish_reason
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)
        assert answer.usage.prompt_tokens_details.cached_tokens == 8
    assert (call.id, call.function.name, json.loads(call.function.arguments)) == ("c1", "clock", {"zone": "CET"})
    assert finish == "tool_calls"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [*ASK, {"role": "user", "content": [{"type": 5}]}]}, "messages.1.content.0.type"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"temperature": 9}, "temperature"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": 5}, "stop"),
        ({"modalities": ["text", "audio"]}, "modalities.1"),
        ({"functions": [{"name": "clock"}]}, "functions"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
    ],
)
def test_what_cannot_be_asked_is_told(more: dict[str, Any], param: str) -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**{"model": "m", "messages": ASK, **more})
        return caught.value

    error = with_client(use)
    assert error.param == param, error
    assert error.body["message"].startswith(param) or error.code != "invalid_request", error


@pytest.mark.parametrize(
    ("about", "param", "code"),
    [
        ("length", "messages", "context_length_exceeded"),
        ("messages", "messages", "invalid_request"),
        ("schema", "response_format", "invalid_request"),
        (None, None, "invalid_request"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_cannot_do_names_the_part_of_the_request(
    about: Any, param: str | None, code: str, stream: bool
) -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="m", messages=ASK, stream=stream)
        return caught.value

    def refuse(asked: Any) -> Any:
        raise EngineRequestInvalid("it cannot be", about=about)

    error = with_client(use, config(llm=refuse))
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize("body", ['{"model": "m", ', "hello", "", "[]", "7"])
def test_a_body_that_is_no_request_is_told_as_such(body: str) -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        async with httpx2.AsyncClient() as plain:
            headers = {"Content-Type": "application/json"}
            return await plain.post(f"{client.base_url}chat/completions", content=body, headers=headers)

    answer = with_client(use)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] is None and error["message"] and not error["message"][0].isdigit(), error


def test_a_model_that_fails_before_and_in_the_middle() -> None:
    async def use(client: openai.AsyncOpenAI) -> str:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=ASK, stream=True)
        text = ""
        with pytest.raises(openai.APIError, match="an engine of this server failed"):
            async for chunk in await client.chat.completions.create(model="m", messages=ASK, stream=True):
                text += chunk.choices[0].delta.content or ""
        return text

    halfway = Reply(("It ", "is ", "noon."), error_after=2, error=EngineFailed("it broke"))
    assert with_client(use, config(llm=[EngineFailed("no model"), halfway], stt=(), repeat=False)).startswith("It")


@pytest.mark.real
@pytest.mark.timeout(300)
def test_a_small_real_model_answers() -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        return await client.chat.completions.create(
            model="m",
            messages=[
                {"role": "system", "content": "Answer in one short sentence."},
                {"role": "user", "content": "What is the capital of France?"},
            ],
            temperature=0,
            max_tokens=30,
        )

    answer = with_client(use, load_config("tiny.yaml").model_copy(update={"server": ServerConfig(port=0)}))
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 5 and answer.usage.completion_tokens > 0


def test_a_fault_of_ours_has_the_same_form_and_no_details() -> None:
    def answer(call: Any) -> Reply:
        raise KeyError("secret")

    async def use(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="m", messages=ASK)
        return caught.value

    error = with_client(use, config(llm=answer))
    assert error.code == "internal_error" and "secret" not in str(error)


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_hangs_before_or_after_its_first_word_is_not_waited_for(stream: bool) -> None:
    async def use(client: openai.AsyncOpenAI) -> list[Any]:
        told: list[Any] = []
        for _ in range(2):
            try:
                answer: Any = await client.chat.completions.create(model="m", messages=ASK, stream=stream)
                assert stream, answer
                async for chunk in answer:
                    told.append(chunk.choices[0].delta.content)
            except openai.InternalServerError as error:
                told.append((error.status_code, error.code))
            except openai.APIError as error:
                told.append(error.code)
        return told

    hangs = [Reply(("It ",), first_delay_s=1e6), Reply(("It ", "is "), delta_delay_s=1e6)]
    limits = {"on_error": "", "answer_deadline_s": 0.2, "answer_gap_s": 0.1}
    late = (504, "timeout")
    expected = [late, "", "It ", "timeout"] if stream else [late, late]
    assert with_client(use, config(llm=hangs, stt=(), repeat=False, session=limits)) == expected
