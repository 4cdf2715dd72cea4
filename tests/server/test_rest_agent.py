"""The model `antiphon-agent`: the whole configured workflow by OpenAI's chat client."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from network_clock import run_networked
from served import config, serving, with_client

from antiphon.engines.errors import EngineFailed, EngineOverloaded
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import Reply
from antiphon.pipeline.config.model import ApprovalsConfig, PolicyConfig, TranscriptConfig
from antiphon.pipeline.workflow import ToolResult, TurnContext

ASK: list[Any] = [{"role": "user", "content": "What time is it?"}]
AGENT = "antiphon-agent"


class Clock:
    """A workflow with a tool, for `workflow.kind`."""

    speculative = True

    async def respond(self, turn: TurnContext) -> Any:
        call = ToolCall("1", "clock", "{}")
        permit = await turn.before_call(call)
        yield call
        yield ToolResult("1", "clock", "12:00")
        yield "It is " if permit.allowed else "I may not "
        yield "noon." if permit.allowed else "tell."
        yield Usage(10, 4, 2)


def clock(**sections: Any) -> Any:
    made = config(llm=(), workflow={"kind": "test_rest_agent:Clock"})
    return made.model_copy(update=sections)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_the_workflow_answers_whole_and_in_pieces_and_its_tools_run_here() -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        assert AGENT in [model.id async for model in client.models.list()]
        assert (await client.models.retrieve(AGENT)).id == AGENT
        whole = await client.chat.completions.create(model=AGENT, messages=ASK)
        stream = await client.chat.completions.create(
            model=AGENT, messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        return whole, [chunk async for chunk in stream]

    whole, chunks = with_client(use, clock())
    (choice,) = whole.choices
    assert (choice.message.content, choice.finish_reason, choice.message.tool_calls) == ("It is noon.", "stop", None)
    assert (whole.model, whole.usage.prompt_tokens, whole.usage.completion_tokens) == (AGENT, 10, 4)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert pieces == ["It is ", "noon."]
    assert chunks[-1].usage.total_tokens == 14 and chunks[-2].choices[0].finish_reason == "stop"
    assert not any(one.delta.tool_calls for chunk in chunks for one in chunk.choices)


def test_the_sync_client_gets_the_same() -> None:
    async def main() -> Any:
        async with serving(clock()) as (address, _):

            def ask() -> Any:
                with openai.OpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0) as client:
                    whole = client.chat.completions.create(model=AGENT, messages=ASK)
                    with client.chat.completions.stream(model=AGENT, messages=ASK) as stream:
                        return whole.choices[0].message.content, stream.get_final_completion().choices[
                            0
                        ].message.content

            return await asyncio.to_thread(ask)

    assert run_networked(main()) == ("It is noon.", "It is noon.")


def test_the_messages_are_the_history() -> None:
    seen: list[Any] = []

    def answer(call: Any) -> Reply:
        seen.extend((one.role, one.content) for one in call.messages)
        return Reply.of("Yes.")

    messages: list[Any] = [
        {"role": "system", "content": "The user is Ada."},
        {"role": "user", "content": "Look it up."},
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
        {"role": "assistant", "content": "Found."},
        {"role": "user", "content": [{"type": "text", "text": "Sure?"}]},
    ]

    async def use(client: openai.AsyncOpenAI) -> Any:
        return await client.chat.completions.create(model=AGENT, messages=messages)

    assert with_client(use, config(llm=answer)).choices[0].message.content == "Yes."
    assert seen == [
        ("system", "Be brief."), ("system", "The user is Ada."), ("user", "Look it up."), ("assistant", "One moment."),
        ("assistant", ""), ("tool", "found"), ("assistant", "Found."), ("user", "Sure?"),
    ]  # fmt: skip


def test_an_alias_may_mean_the_agent() -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        return await client.chat.completions.create(model="gpt-4o", messages=ASK)

    given = clock(server=config({"aliases": {"models": {"gpt-4o": AGENT, "*": "default"}}}).server)
    answer = with_client(use, given)
    assert (answer.choices[0].message.content, answer.model) == ("It is noon.", "gpt-4o")


@pytest.mark.parametrize("stream", [False, True])
def test_the_policy_stands_around_it(stream: bool) -> None:
    policy = PolicyConfig.model_validate(
        {"transcript": [{"check": "pattern", "patterns": ["time"], "action": "block", "line": "Not that."}]}
    )

    async def use(client: openai.AsyncOpenAI) -> Any:
        answer = await client.chat.completions.create(model=AGENT, messages=ASK, stream=stream)
        if not stream:
            return answer.choices[0].message.content
        return "".join([chunk.choices[0].delta.content or "" async for chunk in answer])

    assert with_client(use, clock(policy=policy)) == "Not that."


@pytest.mark.parametrize("by", ["voice", "desk"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_needs_a_yes_is_refused_unless_the_desk_grants_it(tmp_path: Path, by: str, stream: bool) -> None:
    policy = PolicyConfig.model_validate({"tool_call": [{"check": "approve", "question": "Shall I?", "by": by}]})
    approvals = ApprovalsConfig(store=tmp_path / "approvals.db", timeout_s=60, poll_ms=20)

    async def main() -> str:
        async with serving(clock(policy=policy, approvals=approvals)) as (address, service):
            async with openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0) as client:
                granting = asyncio.create_task(grant(service.assembly.desk)) if by == "desk" else None
                answer: Any = await client.chat.completions.create(model=AGENT, messages=ASK, stream=stream)
                text = (
                    "".join([chunk.choices[0].delta.content or "" async for chunk in answer])
                    if stream
                    else answer.choices[0].message.content
                )
                if granting is not None:
                    await granting
                return text

    async def grant(desk: Any) -> None:
        while not (found := await desk.find(states=("pending",))):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await desk.grant(found[0].id, by="Ada")

    expected = "It is noon." if by == "desk" else "I may not tell."
    assert run_networked(asyncio.wait_for(main(), 60)) == expected


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [*ASK, {"role": "assistant", "content": "Noon."}]}, "messages.1"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages.0"),
        ({"user": "x" * 300}, "user"),
    ],
)
def test_what_the_workflow_decides_cannot_be_asked(more: dict[str, Any], param: str) -> None:
    async def use(client: openai.AsyncOpenAI) -> Any:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**{"model": AGENT, "messages": ASK, **more})
        return caught.value

    assert with_client(use, clock()).param == param


def test_what_breaks_has_its_status() -> None:
    async def use(client: openai.AsyncOpenAI) -> list[Any]:
        told: list[Any] = []
        for stream in (False, True, True):
            try:
                answer: Any = await client.chat.completions.create(model=AGENT, messages=ASK, stream=stream)
                async for chunk in answer:
                    told.append(chunk.choices[0].delta.content)
            except openai.InternalServerError as error:
                told.append((error.status_code, error.code))
            except openai.APIError as error:
                told.append(error.code)
        return told

    halfway = Reply(("It ", "is ", "noon."), error_after=1, error=EngineFailed("it broke"))
    script = [EngineOverloaded("full"), EngineFailed("no model"), halfway]
    told = with_client(use, config(llm=script, stt=(), repeat=False))
    assert told == [(503, "overloaded"), (500, "engine_failed"), "", "It ", "engine_failed"]


def test_the_answer_is_on_record_under_the_name_in_the_header(tmp_path: Path) -> None:
    transcript = TranscriptConfig(store="sqlite", path=tmp_path / "kept.db", recordings=tmp_path)

    async def main() -> Any:
        async with serving(clock(transcript=transcript)) as (address, service):
            async with httpx2.AsyncClient(base_url=f"http://{address}") as client:
                asked = {"model": AGENT, "messages": ASK, "user": "ada"}
                answer = await client.post("/v1/chat/completions", json=asked)
                session = answer.headers["x-antiphon-session"]
                kept = await service.assembly.recalled(session)
                return [(item.kind, item.text) for item in kept], service.assembly.transcripts.find(session)

    kept, found = run_networked(main())
    assert kept == [
        ("message", "What time is it?"), ("function_call", ""), ("function_call_output", "12:00"),
        ("message", "It is noon."),
    ]  # fmt: skip
    assert found.person == "ada"


def test_a_client_that_goes_stops_the_turn() -> None:
    hangs = Reply(("It ", "is ", "noon."), delta_delay_s=30.0)

    async def main() -> int:
        async with serving(config(llm=[hangs], stt=(), repeat=False)) as (address, service):
            async with httpx2.AsyncClient(base_url=f"http://{address}") as client:
                asked = {"model": AGENT, "messages": ASK, "stream": True}
                async with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
                    async for line in answer.aiter_lines():
                        if "It " in line:
                            break
            async with asyncio.timeout(60):
                while service.assembly.llm.calls[0].outcome == "running":  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            return len(service.assembly.llm.calls)

    assert run_networked(main()) == 1
