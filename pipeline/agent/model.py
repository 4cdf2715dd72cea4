"""The LLM contract as a model of the Agents SDK."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

from agents import Handoff, Model, ModelProvider, ModelResponse, ModelSettings, ModelTracing, Tool, Usage
from agents.agent_output import AgentOutputSchemaBase
from agents.items import TResponseInputItem, TResponseStreamEvent
from agents.models.chatcmpl_converter import Converter
from agents.models.chatcmpl_stream_handler import ChatCmplStreamHandler
from agents.models.fake_id import FAKE_RESPONSES_ID
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response
from openai.types.responses.response_usage import ResponseUsage

from antiphon.engines import protocols
from antiphon.engines.protocols import LLM, Finish, LLMOptions, Message, TextDelta, ToolCall, ToolSpec
from antiphon.pipeline.agent.imitation import Imitation, has_results, said_in_words, without_imitation
from antiphon.pipeline.agent.items import prompt_messages
from antiphon.pipeline.errors import WorkflowError

MODEL_NAME = "antiphon"


class AntiphonModel(Model):
    """An Antiphon LLM engine as a model of the Agents SDK: streaming, tools, handoffs, structured output, usage."""

    def __init__(self, llm: LLM, *, session_key: str = "") -> None:
        """
        :param llm: an entered engine.
        :param session_key: names the conversation, for the engine's prompt cache.
        """
        self.llm = llm
        self.session_key = session_key

    async def get_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: Any = None,
    ) -> ModelResponse:
        """The whole answer at once; see :meth:`stream_response`."""
        response: Response | None = None
        async for event in self.stream_response(
            system_instructions,
            input,
            model_settings,
            tools,
            output_schema,
            handoffs,
            tracing,
            previous_response_id=previous_response_id,
            conversation_id=conversation_id,
            prompt=prompt,
        ):
            if event.type == "response.completed":
                response = event.response
        if response is None:
            raise WorkflowError("the model's answer did not come to an end")
        usage = Usage(requests=1)
        if response.usage is not None:
            usage = _usage(response.usage)
        return ModelResponse(output=response.output, usage=usage, response_id=None)

    async def stream_response(
        self,
        system_instructions: str | None,
        input: str | list[TResponseInputItem],
        model_settings: ModelSettings,
        tools: list[Tool],
        output_schema: AgentOutputSchemaBase | None,
        handoffs: list[Handoff[Any, Any]],
        tracing: ModelTracing,
        *,
        previous_response_id: str | None = None,
        conversation_id: str | None = None,
        prompt: Any = None,
    ) -> AsyncIterator[TResponseStreamEvent]:
        """The answer as events of the Responses API.

        :raises EngineError: the engine failed.
        """
        messages = prompt_messages(system_instructions, input)
        specs = tool_specs(tools, handoffs)
        options = _options(model_settings, output_schema)
        response = Response(
            id=FAKE_RESPONSES_ID,
            created_at=time.time(),
            model=MODEL_NAME,
            object="response",
            output=[],
            tool_choice="auto",
            tools=[],
            parallel_tool_calls=bool(model_settings.parallel_tool_calls),
        )
        chunks = _chunks(_answer(self.llm, messages, specs, options, self.session_key))
        async with contextlib.aclosing(chunks):
            async for event in ChatCmplStreamHandler.handle_stream(response, cast(Any, chunks), model=MODEL_NAME):
                yield event


class AntiphonModelProvider(ModelProvider):
    """Gives the one configured LLM for every model name: `gpt-5.5` and the like stand for it."""

    def __init__(self, llm: LLM, *, session_key: str = "") -> None:
        self._model = AntiphonModel(llm, session_key=session_key)

    def get_model(self, model_name: str | None) -> Model:
        return self._model


# -------------------------------------------------------------------------- their values and ours


def tool_specs(tools: Sequence[Tool], handoffs: Sequence[Handoff[Any, Any]]) -> list[ToolSpec]:
    """What the LLM is told of an agent's tools and of those to whom it can hand over, in the SDK's order."""
    return [*map(_tool_spec, tools), *map(_handoff_spec, handoffs)]


def _tool_spec(tool: Tool) -> ToolSpec:
    return _spec(cast(dict[str, Any], Converter.tool_to_openai(tool)))


def _handoff_spec(handoff: Handoff[Any, Any]) -> ToolSpec:
    return _spec(cast(dict[str, Any], Converter.convert_handoff_tool(handoff)))


def _spec(tool: dict[str, Any]) -> ToolSpec:
    function = tool["function"]
    return ToolSpec(function["name"], function.get("description") or "", _slim(function.get("parameters")))


def _slim(schema: Any) -> dict[str, Any]:
    """A schema of arguments without what only validators need: small models copy it into their calls.

    Titles repeat the names; that nothing else is allowed, the check says when it comes to that.
    """
    slim = _without_titles(schema if isinstance(schema, dict) else {})
    return {"type": "object", "properties": {}, **slim}


def _without_titles(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties" and isinstance(value, dict):  # here the keys are names of arguments
            found[key] = {name: _without_titles(inner) for name, inner in value.items()}
        elif key == "additionalProperties" and value is False:
            continue
        elif key == "required" and value == []:
            continue
        elif key != "title" or not isinstance(value, str):
            found[key] = _without_titles(value)
    return found


def _options(settings: ModelSettings, output_schema: AgentOutputSchemaBase | None) -> LLMOptions:
    choice = settings.tool_choice
    schema = None if output_schema is None or output_schema.is_plain_text() else output_schema.json_schema()
    return LLMOptions(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        tool_choice=choice if isinstance(choice, str) else None,
        json_schema=schema,
    )


async def _answer(
    llm: LLM, messages: Sequence[Message], tools: Sequence[ToolSpec], options: LLMOptions, session_key: str
) -> AsyncGenerator[protocols.LLMEvent]:
    """The engine's answer, without calls that have their result already.

    Small models repeat a call whose result is in front of them until the run's steps are used up, or write it down as
    text. Where an answer is nothing else, the model is asked again, to speak this time.
    """
    first = _generator(llm.stream(messages, tools, options, session_key))
    if not has_results(messages):
        stream = _calls_once(first, messages, tools)
        again = None
    else:
        stream = _calls_once(without_imitation(first), messages, tools)
        again = said_in_words(llm, messages, options, session_key)
    finished = False
    try:
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                finished = isinstance(event, Finish)
                yield event
    except Imitation:
        finished = False
    if not finished and again is not None:
        async with contextlib.aclosing(again) as events:
            async for event in events:
                yield event


async def _calls_once(
    stream: AsyncGenerator[protocols.LLMEvent], messages: Sequence[Message], tools: Sequence[ToolSpec]
) -> AsyncGenerator[protocols.LLMEvent]:
    """An answer without the calls that have their result; it does not finish if it was nothing else."""
    made = _answered_calls(messages)
    taken = {call.id for message in messages for call in message.tool_calls}
    calls = repetitions = 0
    async with contextlib.aclosing(stream) as events:
        async for event in events:
            if isinstance(event, ToolCall):
                event = _without_needless(event, tools)
                if _call_key(event) in made:
                    repetitions += 1
                    continue
                calls += 1
                event = _with_own_id(event, taken)
            if isinstance(event, Finish) and repetitions and not calls:
                return
            yield event


def _without_needless(call: ToolCall, tools: Sequence[ToolSpec]) -> ToolCall:
    """A tool without parameters gets none, whatever a small model makes up for it."""
    spec = next((tool for tool in tools if tool.name == call.name), None)
    if spec is not None and not spec.parameters.get("properties") and not spec.parameters.get("additionalProperties"):
        return dataclasses.replace(call, arguments="{}")
    return call


def _with_own_id(call: ToolCall, taken: set[str]) -> ToolCall:
    """The SDK refuses an id that it has seen before; some models count their calls anew in each answer."""
    if not call.id or call.id in taken:
        call = dataclasses.replace(call, id=f"call_{uuid.uuid4().hex[:12]}")
    taken.add(call.id)
    return call


def _generator(events: AsyncIterator[protocols.LLMEvent]) -> AsyncGenerator[protocols.LLMEvent]:
    """Every engine's stream is an async generator, which the contract says in words only."""
    return cast(AsyncGenerator[protocols.LLMEvent], events)


def _answered_calls(messages: Sequence[Message]) -> set[tuple[str, str]]:
    """The calls since the user last spoke that have a result."""
    calls: dict[str, ToolCall] = {}
    answered: set[tuple[str, str]] = set()
    for message in messages:
        if message.role == "user":
            calls, answered = {}, set()
        calls.update({call.id: call for call in message.tool_calls})
        if message.role == "tool" and message.tool_call_id in calls:
            answered.add(_call_key(calls[message.tool_call_id]))
    return answered


def _call_key(call: ToolCall) -> tuple[str, str]:
    try:
        return call.name, json.dumps(json.loads(call.arguments or "{}"), sort_keys=True)
    except ValueError:
        return call.name, call.arguments


async def _chunks(events: AsyncGenerator[protocols.LLMEvent]) -> AsyncGenerator[ChatCompletionChunk]:
    """Our events as the chunks that the SDK's own stream handler takes."""
    index = 0
    usage: dict[str, Any] | None = None
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, TextDelta):
                yield _chunk({"content": event.text})
            elif isinstance(event, ToolCall):
                function = {"name": event.name, "arguments": event.arguments or json.dumps({})}
                yield _chunk(
                    {"tool_calls": [{"index": index, "id": event.id, "type": "function", "function": function}]}
                )
                index += 1
            elif isinstance(event, Finish):
                yield _chunk({}, finish_reason=event.reason, usage=usage)
            else:
                usage = {
                    "prompt_tokens": event.input_tokens,
                    "completion_tokens": event.output_tokens,
                    "total_tokens": event.input_tokens + event.output_tokens,
                    "prompt_tokens_details": {"cached_tokens": event.cached_tokens},
                }


def _chunk(
    delta: dict[str, Any], *, finish_reason: str | None = None, usage: dict[str, Any] | None = None
) -> ChatCompletionChunk:
    return ChatCompletionChunk.model_validate(
        {
            "id": "chatcmpl-antiphon",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": MODEL_NAME,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
            "usage": usage,
        }
    )


def _usage(given: ResponseUsage) -> Usage:
    return Usage(
        requests=1,
        input_tokens=given.input_tokens,
        output_tokens=given.output_tokens,
        total_tokens=given.total_tokens,
        input_tokens_details=given.input_tokens_details,
        output_tokens_details=given.output_tokens_details,
    )
