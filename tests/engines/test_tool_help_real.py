"""Guided tool calls on the small real model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from antiphon.engines.host import EngineHost
from antiphon.engines.llm.llama_cpp import LlamaCppLLM, LlamaCppOptions, create
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import Finish, LLMOptions, MachinePlan, Message, TextDelta, ToolCall, ToolSpec, Usage
from antiphon.engines.registry import EngineContext

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

SYSTEM = Message("system", "You are a helpful voice assistant. Answer in one or two short spoken sentences.")
OVEN = ToolSpec(
    "set_oven",
    "Heat the oven to a temperature.",
    {
        "type": "object",
        "properties": {"degrees": {"type": "integer"}, "mode": {"type": "string", "enum": ["fan", "grill"]}},
        "required": ["degrees"],
    },
)
RECIPE = ToolSpec(
    "find_recipe",
    "Find a recipe in the cookbook.",
    {"type": "object", "properties": {"dish": {"type": "string"}}, "required": ["dish"]},
)
TOOLS = (OVEN, RECIPE)


async def ask(
    engine: LlamaCppLLM, messages: Sequence[Message], tools: Sequence[ToolSpec] = TOOLS, **options: Any
) -> tuple[str, list[ToolCall], Usage, str]:
    text, calls, usage, finish = "", [], Usage(), ""
    async for event in engine.stream(messages, tools, LLMOptions(max_tokens=30, **options), "s"):
        match event:
            case TextDelta():
                text += event.text
            case ToolCall():
                calls.append(event)
            case Usage():
                usage = event
            case Finish():
                finish = event.reason
    return text, calls, usage, finish


def on_engine(work: Callable[[LlamaCppLLM], Awaitable[None]], **changes: Any) -> None:
    async def run() -> None:
        context = EngineContext(EngineHost(), ModelStore(), MachinePlan(llm=1))
        try:
            async with create(LlamaCppOptions(context_tokens=1024, **changes), context) as engine:
                await work(engine)
        finally:
            await context.host.close()

    asyncio.run(run())


def test_a_talk_with_and_without_calls() -> None:
    async def work(engine: LlamaCppLLM) -> None:
        bake = [SYSTEM, Message("user", "Heat the oven to one hundred and eighty degrees.")]
        text, calls, usage, finish = await ask(engine, bake)
        assert (text, finish) == ("", "tool_calls")
        assert [(call.name, json.loads(call.arguments)["degrees"]) for call in calls] == [("set_oven", 180)]
        assert usage.output_tokens > 0
        again = await ask(engine, bake)
        assert [(call.name, call.arguments) for call in again[1]] == [(call.name, call.arguments) for call in calls]

        # What the call gave is told, and the tool is not called once more for the same words.
        told = [*bake, Message("assistant", tool_calls=tuple(calls)),
                Message("tool", "The oven is heating.", tool_call_id=calls[0].id)]  # fmt: skip
        text, more, _, finish = await ask(engine, told)
        assert text and not more and finish != "tool_calls"

        text, calls, _, _ = await ask(engine, [SYSTEM, Message("user", "Who invented paper?")])
        assert text and not calls
        text, calls, _, _ = await ask(engine, bake, tool_choice="none")
        assert text and not calls
        _, calls, _, _ = await ask(engine, [SYSTEM, Message("user", "Who invented paper?")], tool_choice="required")
        assert len(calls) == 1

    on_engine(work, tool_help="guided")


def test_prefill_prepares_the_tools_and_the_talk() -> None:
    async def work(engine: LlamaCppLLM) -> None:
        await engine.prefill([SYSTEM], "s", tools=TOOLS)
        worker: Any = engine._worker
        before = {state.session_key: state.tokens for state in await worker.call("inspect")}
        assert before["s"] > 10
        text, calls, usage, _ = await ask(engine, [SYSTEM, Message("user", "Who invented paper?")])
        assert text and not calls
        assert usage.cached_tokens >= before["s"]

    on_engine(work, tool_help="guided")
