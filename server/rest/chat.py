"""`/v1/chat/completions`: the language model of the chain as it is, or, as `antiphon-agent`, the whole workflow."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from antiphon.engines.errors import AntiphonError
from antiphon.server.names import resolve
from antiphon.server.rest.access import Ready, behind_speech, unless_gone
from antiphon.server.rest.agent import AGENT, answer_by_agent
from antiphon.server.rest.chat_schema import ChatRequest
from antiphon.server.rest.completion import Completion
from antiphon.server.rest.errors import ApiError, as_api_error, error_body
from antiphon.server.rest.pace import paced
from antiphon.server.rest.shapes import CHAT_FORMS, ERRORS, NOT_FOUND
from antiphon.server.rest.sse import DONE, EVENT_STREAM, event
from antiphon.server.service import Service

router = APIRouter(prefix="/v1", tags=["chat"])


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    response_model=None,
    responses={**CHAT_FORMS, **ERRORS, **NOT_FOUND},
)
async def chat_completions(request: Request, service: Ready, asked: ChatRequest) -> Response:
    """The next message of a conversation: by the language model, or, with the model `antiphon-agent`, by the configured
    workflow with its tools and its policy."""
    if _means_agent(service, asked.model):
        return await answer_by_agent(request, service, asked)
    llm = service.assembly.llm
    if llm is None:
        raise ApiError(400, "not_supported", "this configuration has no language model")
    messages, tools, options = asked.as_messages(), asked.as_tools(), asked.as_options()
    behind_speech()
    session = service.config.session
    stream = llm.stream(messages, tools, options, "rest")
    items = paced("llm", stream, first_s=session.answer_deadline_s, gap_s=session.answer_gap_s)
    answer = Completion(asked.model)
    if not asked.stream:
        await unless_gone(request, _taken(answer, items))
        return JSONResponse(answer.whole())
    first = await anext(items, None)  # an error before any text has a status of its own
    return StreamingResponse(_events(answer, first, items, with_usage=asked.wants_usage), media_type=EVENT_STREAM)


def _means_agent(service: Service, wanted: str) -> bool:
    """
    :raises UnknownName: it is no name of a model, and no alias.
    """
    aliases = service.settings.aliases.models
    own = [name for name in service.model_names if name not in aliases]
    return resolve(wanted, [*own, AGENT], aliases) == AGENT


async def _taken(answer: Completion, items: AsyncGenerator[Any]) -> None:
    async with aclosing(items):
        async for item in items:
            answer.take(item)


async def _events(answer: Completion, first: Any, rest: Any, *, with_usage: bool) -> AsyncGenerator[str]:
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
