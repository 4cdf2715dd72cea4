"""`/v1/chat/completions`: the language model of the chain, as it is; the agent around it is not asked."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse

from antiphon.engines.errors import AntiphonError
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import Finish, TextDelta, ToolCall, Usage
from antiphon.pipeline.conversation import new_id
from antiphon.server.rest.access import Ready
from antiphon.server.rest.chat_schema import ChatRequest
from antiphon.server.rest.errors import ApiError, as_api_error, error_body
from antiphon.server.rest.pace import paced
from antiphon.server.rest.sse import DONE, event

router = APIRouter(prefix="/v1", tags=["chat"])


@dataclass(slots=True)
class _Answer:
    """One answer, as it grows."""

    model: str
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish: str = "stop"

    def take(self, item: Any) -> dict[str, Any] | None:
        """What an event of the model adds, as the protocol's delta; None: nothing that is sent on."""
        match item:
            case TextDelta(text=text):
                self.text += text
                return {"content": text}
            case ToolCall():
                self.calls.append(item)
                return {"tool_calls": [{"index": len(self.calls) - 1, **_call(item)}]}
            case Usage():
                self.usage = item
            case Finish(reason=reason):
                self.finish = "tool_calls" if self.calls and reason == "stop" else reason
        return None

    def chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._frame("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self) -> dict[str, Any]:
        return {**self._frame("chat.completion.chunk"), "choices": [], "usage": self._usage()}

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self.calls:
            message["tool_calls"] = [_call(call) for call in self.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish}
        return {**self._frame("chat.completion"), "choices": [choice], "usage": self._usage()}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _usage(self) -> dict[str, Any]:
        used = self.usage
        return {
            "prompt_tokens": used.input_tokens,
            "completion_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
            "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
        }


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


@router.post("/chat/completions", response_model=None)
async def chat_completions(service: Ready, asked: ChatRequest) -> Response:
    """The next message of a conversation."""
    service.check_model(asked.model)
    llm = service.assembly.llm
    if llm is None:
        raise ApiError(400, "not_supported", "this configuration has no language model")
    messages, tools, options = asked.as_messages(), asked.as_tools(), asked.as_options()
    current_ticket.set(Ticket("rest", priority=Priority.RERUN))  # what is said live goes first
    session = service.config.session
    stream = llm.stream(messages, tools, options, "rest")
    items = paced("llm", stream, first_s=session.answer_deadline_s, gap_s=session.answer_gap_s)
    answer = _Answer(asked.model)
    if not asked.stream:
        async with aclosing(items):
            async for item in items:
                answer.take(item)
        return JSONResponse(answer.whole())
    first = await anext(items, None)  # an error before any text has a status of its own
    with_usage = asked.stream_options is not None and asked.stream_options.include_usage
    return StreamingResponse(_events(answer, first, items, with_usage=with_usage), media_type="text/event-stream")


async def _events(answer: _Answer, first: Any, rest: Any, *, with_usage: bool) -> AsyncGenerator[str]:
    yield event(answer.chunk({"role": "assistant", "content": ""}))
    try:
        async with aclosing(rest):
            if first is not None and (delta := answer.take(first)) is not None:
                yield event(answer.chunk(delta))
            async for item in rest:
                if (delta := answer.take(item)) is not None:
                    yield event(answer.chunk(delta))
    except AntiphonError as error:
        told = as_api_error(error)
        yield event(error_body(told.status, told.code, told.message))
        return
    yield event(answer.chunk({}, finish=answer.finish))
    if with_usage:
        yield event(answer.usage_chunk())
    yield DONE
