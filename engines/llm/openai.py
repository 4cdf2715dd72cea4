"""Chat completions at any base URL that speaks OpenAI's protocol."""

from __future__ import annotations

import functools
import json
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, cast

from antiphon.engines.config import option
from antiphon.engines.errors import EngineError
from antiphon.engines.llm.thinking import ThinkingFilter
from antiphon.engines.openai_client import OpenAIEngine, OpenAIOptions, invalid
from antiphon.engines.openai_errors import names_field
from antiphon.engines.protocols import (
    Finish,
    FinishReason,
    LLMCapabilities,
    LLMEvent,
    LLMOptions,
    Message,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

_TAIL_S = 0.5
"""Longest wait for the token counts that come after the answer's last word."""

_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}

_AS_CONFIGURED = LLMOptions()

_log = logging.getLogger(__name__)


class OpenAILLMOptions(OpenAIOptions):
    """Options of the LLM engine `openai`."""

    model: str = option("gpt-5.4-mini", "Model name, as the server lists it.", min_length=1)
    temperature: float | None = option(None, "Sampling temperature; unset: the server's default.", ge=0, le=2)
    top_p: float | None = option(None, "Nucleus sampling; unset: the server's default.", gt=0, le=1)
    max_tokens: int | None = option(None, "Longest answer.", unit="tokens", ge=1)
    token_limit_field: Literal["auto", "max_tokens", "max_completion_tokens"] = option(
        "auto", "The request field that carries the longest answer; auto: max_completion_tokens for the vendor, whose "
        "newer models refuse the other, max_tokens elsewhere."
    )  # fmt: skip
    seed: int | None = option(None, "Seed of the sampling, where the server has one.")
    tool_choice: str | None = option(
        None, 'What to do with tools: "auto", "none", "required", or the name of the one to call.'
    )
    parallel_tool_calls: bool | None = option(
        None, "Whether one answer may call several tools; unset: the server's default."
    )
    strict_schema: bool = option(
        True, "Whether an asked-for JSON schema binds exactly. The vendor then takes only schemas that list every "
        "property as required and forbid others."
    )  # fmt: skip
    include_usage: bool = option(True, "Whether to ask for token counts; a server that refuses is not asked again.")


def create(options: OpenAILLMOptions, context: EngineContext) -> OpenAILLM:
    """The engine, not yet entered."""
    return OpenAILLM(options, context)


class OpenAILLM(OpenAIEngine):
    """Streams answers; one HTTP request an answer."""

    def __init__(self, options: OpenAILLMOptions, context: EngineContext) -> None:
        super().__init__("llm", options, context)
        self._options = options
        self._ask_usage = options.include_usage

    @property
    def capabilities(self) -> LLMCapabilities:
        return LLMCapabilities(
            tools=True, json_schema=True, prefill=False, local=self._connection.local, cancel_granularity_ms=50.0
        )

    async def prefill(self, messages: Sequence[Message], session_key: str = "") -> None:
        """Does nothing: the protocol has no such request."""

    async def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = _AS_CONFIGURED,
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        """Stream one answer. A refusal is spoken like an answer and ends with reason "content_filter".

        :raises EngineError: see :mod:`antiphon.engines.errors`; "partial" in the message says that text came before.
        """
        body = self._body(messages, tools, options, session_key)
        exchange = self._connection.exchange(functools.partial(self._send, body), model=body["model"])
        answer = _Answer()
        characters = 0
        async with aclosing(cast(Any, exchange.items())) as chunks:
            while True:
                try:
                    chunk = await anext(chunks, None)
                except EngineError as error:
                    if answer.finish is None:
                        raise
                    _log.debug("lost the tail of an answer", extra={"reason": type(error).__name__})
                    chunk = None
                if chunk is None:
                    break
                try:
                    events = list(answer.feed(chunk))
                except (AttributeError, TypeError, ValueError, KeyError) as error:
                    raise exchange.broken(f"sent something that is no chat chunk ({type(error).__name__})") from None
                for event in events:
                    characters += len(event.text) if isinstance(event, TextDelta) else 0
                    exchange.delivered = f"{characters} characters" if characters else "a tool call"
                    yield event
                if answer.finish is not None:
                    exchange.stall_timeout_s = min(exchange.stall_timeout_s, _TAIL_S)
        if answer.finish is None:
            raise exchange.broken("ended its answer without saying that it was done")
        if answer.usage is not None:
            yield answer.usage
        yield Finish(answer.finish)

    async def _send(self, body: dict[str, Any]) -> tuple[AsyncIterator[Any], Callable[[], Awaitable[None]]]:
        try:
            stream = await self._create(body)
        except Exception as error:
            if not self._ask_usage or not names_field(error, "stream_options", "include_usage"):
                raise
            self._ask_usage = False
            _log.info("the server does not know stream_options: no token counts", extra={"stage": "llm"})
            stream = await self._create(body)
        return stream, stream.close

    async def _create(self, body: dict[str, Any]) -> Any:
        usage = {"stream_options": {"include_usage": True}} if self._ask_usage else {}
        create_stream = cast(Any, self._connection.client.chat.completions.create)  # its overloads want literal fields
        return await create_stream(**body, **usage, stream=True, extra_body=dict(self._options.extra_body) or None)

    def _body(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: LLMOptions, session_key: str
    ) -> dict[str, Any]:
        if not messages:
            raise invalid("llm", "a prompt needs at least one message")
        mine = self._options
        limit = mine.max_tokens if options.max_tokens is None else options.max_tokens
        field = mine.token_limit_field
        if field == "auto":
            field = "max_completion_tokens" if mine.is_vendor else "max_tokens"
        body: dict[str, Any] = {
            "model": options.model or mine.model,
            "messages": [_message(message) for message in messages],
            "temperature": mine.temperature if options.temperature is None else options.temperature,
            "top_p": mine.top_p if options.top_p is None else options.top_p,
            field: limit,
            "stop": list(options.stop) or None,
            "seed": mine.seed if options.seed is None else options.seed,
        }
        if tools:
            body["tools"] = [_tool(tool) for tool in tools]
            body["tool_choice"] = _tool_choice(options.tool_choice or mine.tool_choice, tools)
            body["parallel_tool_calls"] = mine.parallel_tool_calls
        if options.json_schema is not None:
            schema = {"name": "answer", "schema": dict(options.json_schema), "strict": mine.strict_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if mine.is_vendor and session_key:
            body["prompt_cache_key"] = session_key  # sends a session's requests to where its prompt is cached
        return {key: value for key, value in body.items() if value is not None}


class _Answer:
    """Puts one answer together from its chunks."""

    def __init__(self) -> None:
        self.finish: FinishReason | None = None
        self.usage: Usage | None = None
        self._filter = ThinkingFilter()
        self._calls: list[_PartialCall] = []
        self._refused = False

    def feed(self, chunk: Any) -> Iterator[LLMEvent]:
        """:raises ValueError, TypeError, AttributeError: the chunk has not the protocol's form."""
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        elif chunk.choices is None:
            raise ValueError("neither choices nor usage")
        for choice in chunk.choices or ():
            if choice.index:  # only one answer was asked for
                continue
            if choice.delta is not None:
                yield from self._delta(choice.delta)
            if choice.finish_reason is not None and self.finish is None:
                yield from self._end(choice.finish_reason)

    def _delta(self, delta: Any) -> Iterator[LLMEvent]:
        if delta.content and (text := self._filter.feed(_text(delta.content))):
            yield TextDelta(text)
        if delta.refusal:
            self._refused = True
            yield TextDelta(_text(delta.refusal))
        for part in delta.tool_calls or ():
            self._tool_part(part)

    def _tool_part(self, part: Any) -> None:
        name, arguments = part.function.name or "", part.function.arguments
        if arguments is not None and not isinstance(arguments, str):
            arguments = json.dumps(arguments)
        call = self._find(part.index, part.id or "", name)
        call.id = call.id or part.id or ""
        call.name = call.name or name
        call.arguments += arguments or ""

    def _find(self, index: int | None, id: str, name: str) -> _PartialCall:
        """The call that a part belongs to. Servers differ: no index, no id, or index 0 for every call."""
        for call in reversed(self._calls):
            same_index = call.index == index if index is not None else not (id or name)
            if same_index and (not id or not call.id or id == call.id):
                return call
        self._calls.append(_PartialCall(index))
        return self._calls[-1]

    def _end(self, reason: str) -> Iterator[LLMEvent]:
        if rest := self._filter.finish():
            yield TextDelta(rest)
        finish = _REASONS.get(reason, "stop")
        for call in self._calls:
            if not call.name:
                raise ValueError("a tool call without a name")
            if finish in ("length", "content_filter") and not _is_json(call.arguments or "{}"):
                continue  # cut off in the middle: nobody can run it
            yield ToolCall(call.id or f"call_{uuid.uuid4().hex}", call.name, call.arguments or "{}")
        if self._refused:
            finish = "content_filter"
        elif self._calls and finish == "stop":
            finish = "tool_calls"
        self.finish = finish


class _PartialCall:
    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments = ""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text expected, not {type(value).__name__}")
    return value


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _usage(usage: Any) -> Usage:
    details = usage.prompt_tokens_details
    cached = getattr(details, "cached_tokens", None) or 0
    return Usage(int(usage.prompt_tokens or 0), int(usage.completion_tokens or 0), int(cached))


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        if not message.tool_call_id:
            raise invalid("llm", "a message of role 'tool' needs the tool_call_id of the call that it answers")
        return {"role": "tool", "content": message.content, "tool_call_id": message.tool_call_id}
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        wire["name"] = message.name
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return wire


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _tool_choice(choice: str | None, tools: Sequence[ToolSpec]) -> Any:
    if choice is None or choice in ("auto", "none", "required"):
        return choice
    names = [tool.name for tool in tools]
    if choice not in names:
        raise invalid("llm", f"tool_choice names '{choice}', and the tools are {', '.join(names)}")
    return {"type": "function", "function": {"name": choice}}
