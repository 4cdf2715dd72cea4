"""Bridges to the `openai-agents` package: its agents run on Antiphon's LLM engines.

`SingleAgentVoiceWorkflow` keeps the name and the arguments that users of `agents.voice` know; inside an Antiphon
pipeline its agent runs on the configured LLM, whatever model name the agent carries, unless the agent was given a model
*object* of its own. So do agents that a workflow runs itself with `Runner`.

Nothing is traced: the first import of this module turns the SDK's tracing off for the process, unless the environment
variable OPENAI_AGENTS_DISABLE_TRACING is set to a false value ("false", "0", "no", "off").
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any, cast

from agents import (
    Agent,
    Handoff,
    Model,
    ModelProvider,
    ModelResponse,
    ModelSettings,
    ModelTracing,
    RunConfig,
    Runner,
    RunResult,
    Tool,
    Usage,
    set_tracing_disabled,
)
from agents.agent_output import AgentOutputSchemaBase
from agents.items import TResponseInputItem, TResponseStreamEvent
from agents.models.chatcmpl_converter import Converter
from agents.models.chatcmpl_stream_handler import ChatCmplStreamHandler
from agents.models.fake_id import FAKE_RESPONSES_ID
from agents.models.multi_provider import MultiProvider
from agents.result import RunResultStreaming
from agents.run import AgentRunner, get_default_agent_runner, set_default_agent_runner
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response
from openai.types.responses.response_usage import ResponseUsage

from antiphon.engines import protocols
from antiphon.engines.protocols import LLM, Finish, LLMOptions, Message, TextDelta, ToolCall, ToolSpec
from antiphon.pipeline.agents_sdk import session_llm
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.workflow import VoiceWorkflowBase

MODEL_NAME = "antiphon"


# ------------------------------------------------------------------------------------ the model


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
        messages = _messages(system_instructions, input)
        specs = [*map(_tool_spec, tools), *map(_handoff_spec, handoffs)]
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


# ------------------------------------------------------------------ agents that workflows run themselves


class SessionRunner(AgentRunner):
    """The SDK's default runner, on the session's LLM where a workflow of a session calls it.

    A run whose `run_config` has a model provider of its own keeps it, and elsewhere nothing is changed.
    """

    def __init__(self, inner: AgentRunner) -> None:
        self._inner = inner

    async def run(self, starting_agent: Agent[Any], input: Any, **options: Any) -> RunResult:
        return await self._inner.run(starting_agent, input, **_on_session_llm(options))

    def run_sync(self, starting_agent: Agent[Any], input: Any, **options: Any) -> RunResult:
        return self._inner.run_sync(starting_agent, input, **_on_session_llm(options))

    def run_streamed(self, starting_agent: Agent[Any], input: Any, **options: Any) -> RunResultStreaming:
        return self._inner.run_streamed(starting_agent, input, **_on_session_llm(options))


def install_runner() -> None:
    """Make :class:`SessionRunner` the SDK's default runner, around the one that is."""
    current = get_default_agent_runner()
    if not isinstance(current, SessionRunner):
        set_default_agent_runner(SessionRunner(current))


def _on_session_llm(options: dict[str, Any]) -> Any:
    session = session_llm.get()
    config: RunConfig | dict[str, Any] | None = options.get("run_config")
    if session is None or _has_own_provider(config):
        return options
    ours: dict[str, Any] = {
        "model_provider": AntiphonModelProvider(session.llm, session_key=session.key),
        "tracing_disabled": True,
    }
    if isinstance(config, RunConfig):
        return {**options, "run_config": dataclasses.replace(config, **ours)}
    return {**options, "run_config": RunConfig(**ours) if config is None else {**config, **ours}}


def _has_own_provider(config: RunConfig | dict[str, Any] | None) -> bool:
    """Whether somebody chose the model provider: it is not what the SDK makes when nobody does."""
    if config is None or isinstance(config, dict):
        return config is not None and "model_provider" in config
    given = config.model_provider
    if type(given) is not MultiProvider:
        return True
    unchosen = MultiProvider()
    return {**vars(given), "openai_provider": vars(given.openai_provider)} != {
        **vars(unchosen),
        "openai_provider": vars(unchosen.openai_provider),
    }


def _stop_tracing() -> None:
    if os.environ.get("OPENAI_AGENTS_DISABLE_TRACING", "").strip().lower() not in ("false", "0", "no", "off"):
        set_tracing_disabled(True)


_stop_tracing()
install_runner()


# --------------------------------------------------------------------------------- the workflow


class VoiceWorkflowHelper:
    """Helps workflows that run agents themselves."""

    @classmethod
    async def stream_text_from(cls, result: RunResultStreaming) -> AsyncIterator[str]:
        """The text of a streamed agent run, piece by piece. The run ends with who reads it."""
        try:
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    yield event.data.delta
        except (GeneratorExit, asyncio.CancelledError):
            result.cancel()
            raise


class SingleAgentWorkflowCallbacks:
    """Override what you want to be told of."""

    def on_run(self, workflow: SingleAgentVoiceWorkflow, transcription: str) -> None:
        """The agent is about to answer this."""


class SingleAgentVoiceWorkflow(VoiceWorkflowBase):
    """One agent answers every turn; its history, and whom it handed over to, go on from turn to turn."""

    def __init__(
        self, agent: Agent[Any], callbacks: SingleAgentWorkflowCallbacks | None = None, *, context: Any = None
    ) -> None:
        """
        :param agent: an `agents.Agent`, with its tools, handoffs and guardrails.
        :param context: the application's context object, given to every run.
        """
        self._agent = agent
        self._callbacks = callbacks
        self._context = context
        self._history: list[TResponseInputItem] = []
        self._llm: LLM | None = None
        self._session_key = f"agent-{uuid.uuid4().hex[:12]}"

    def bind_llm(self, llm: LLM) -> None:
        """Called by the pipeline: the engine on which the agent runs."""
        self._llm = llm

    async def run(self, transcription: str) -> AsyncIterator[str]:
        if self._callbacks is not None:
            self._callbacks.on_run(self, transcription)
        if self._llm is None:
            raise WorkflowError(
                "SingleAgentVoiceWorkflow has no LLM", hint="give it to a VoicePipeline: VoicePipeline(workflow=...)"
            )
        asked: list[TResponseInputItem] = [*self._history, {"role": "user", "content": transcription}]
        result = Runner.run_streamed(
            self._agent,
            asked,
            context=self._context,
            run_config=RunConfig(
                model_provider=AntiphonModelProvider(self._llm, session_key=self._session_key), tracing_disabled=True
            ),
        )
        finished = spoke = False
        try:
            async for text in VoiceWorkflowHelper.stream_text_from(result):
                spoke = spoke or bool(text.strip())
                yield text
            finished = True
        finally:
            if not finished:
                result.cancel()
        self._history = result.to_input_list()
        self._agent = result.last_agent
        if not spoke:  # an agent that stops at its first tool has an answer without the model's having said it
            if not isinstance(result.final_output, str) or not result.final_output.strip():
                raise WorkflowError("the agent ended its turn without a word", hint="a bigger model may do better")
            yield result.final_output


# -------------------------------------------------------------------------- their values and ours


def _messages(system_instructions: str | None, input: str | list[TResponseInputItem]) -> list[Message]:
    found = [Message("system", system_instructions)] if system_instructions else []
    for given in Converter.items_to_messages(input):
        message = cast(dict[str, Any], given)
        role: str = message["role"]
        if role == "tool":
            found.append(Message("tool", _text(message["content"]), tool_call_id=message["tool_call_id"]))
            continue
        calls = tuple(
            ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        )
        role = "system" if role == "developer" else role
        found.append(Message(cast(protocols.Role, role), _text(message.get("content")), tool_calls=calls))
    return found


def _text(content: Any) -> str:
    """The text of a message's content; parts that are no text cannot be given to a text model.

    :raises WorkflowError: the content has an image, audio or file.
    """
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in cast(Iterable[dict[str, Any]], content):
        if "text" not in part:
            raise WorkflowError(
                f"a message has a part of type '{part.get('type')}'; the LLM engines here take text only"
            )
        texts.append(str(part["text"]))
    return "".join(texts)


def _tool_spec(tool: Tool) -> ToolSpec:
    return _spec(cast(dict[str, Any], Converter.tool_to_openai(tool)))


def _handoff_spec(handoff: Handoff[Any, Any]) -> ToolSpec:
    return _spec(cast(dict[str, Any], Converter.convert_handoff_tool(handoff)))


def _spec(tool: dict[str, Any]) -> ToolSpec:
    function = tool["function"]
    return ToolSpec(
        function["name"], function.get("description") or "", function.get("parameters") or {"type": "object"}
    )


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

    Small models repeat a call whose result is in front of them until the run's steps are used up. Where an answer is
    nothing but such a repetition, the model is asked again, to speak this time.
    """
    made = _answered_calls(messages)
    calls = repetitions = 0
    async with contextlib.aclosing(_generator(llm.stream(messages, tools, options, session_key))) as events:
        async for event in events:
            if isinstance(event, ToolCall):
                if _call_key(event) in made:
                    repetitions += 1
                    continue
                calls += 1
            if isinstance(event, Finish) and repetitions and not calls:
                break
            yield event
    if repetitions and not calls:
        spoken = dataclasses.replace(options, tool_choice="none")
        async with contextlib.aclosing(_generator(llm.stream(messages, tools, spoken, session_key))) as events:
            async for event in events:
                yield event


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
