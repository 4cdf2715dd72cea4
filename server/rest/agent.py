"""The model `antiphon-agent`: what a caller on the telephone would be told, in text.

The configured workflow answers, with its tools, its policy and its record; tools run here, and their calls are not sent
to the client. What needs a yes is refused where only a voice may say it; otherwise it waits for the desk
(`antiphon approvals`, `/v1/approvals`), and is refused when nobody decides in time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from antiphon.engines.errors import AntiphonError
from antiphon.engines.host import Priority
from antiphon.engines.protocols import TextDelta, Usage
from antiphon.pipeline.events import ApprovalEvent, Event, TextDeltaEvent, TurnEnded
from antiphon.pipeline.text_session import TextSession
from antiphon.server.access.principal import principal_of
from antiphon.server.rest.access import unless_gone
from antiphon.server.rest.chat_schema import ChatRequest
from antiphon.server.rest.completion import Completion
from antiphon.server.rest.errors import as_api_error, error_body
from antiphon.server.rest.sse import DONE, EVENT_STREAM, comment, event
from antiphon.server.service import Service

AGENT = "antiphon-agent"
"""The name of the whole workflow among the models."""

SESSION_HEADER = "X-Antiphon-Session"
"""Under which name the answer is on record."""


async def answer_by_agent(request: Request, service: Service, asked: ChatRequest) -> Response:
    """
    :raises ApiError: something is asked that the workflow's configuration decides.
    :raises AntiphonError: a stage failed before there was any text.
    """
    question, conversation = asked.as_turn()
    session = service.text_session(
        protocol="chat",
        principal=principal_of(request, "chat"),
        conversation=conversation,
        person=asked.safety_identifier or asked.user,
        priority=Priority.RERUN,  # who speaks goes first
    )
    answer, turn, headers = Completion(asked.model), _turn(session, question), {SESSION_HEADER: session.id}
    if not asked.stream:
        await unless_gone(request, _taken(answer, turn))
        return JSONResponse(answer.whole(), headers=headers)
    first = await unless_gone(request, _first(turn))
    body = _events(answer, first, turn, with_usage=asked.wants_usage)
    return StreamingResponse(body, media_type=EVENT_STREAM, headers=headers)


async def _turn(session: TextSession, question: str) -> AsyncGenerator[Event]:
    """One turn of a session that ends with it."""
    async with session, aclosing(session.ask(question)) as events:
        async for one in events:
            yield one


async def _first(turn: AsyncIterator[Event]) -> Event | None:
    """The first event that is of interest to a client: an error before it has a status of its own."""
    async for one in turn:
        if isinstance(one, TextDeltaEvent | ApprovalEvent) or (isinstance(one, TurnEnded) and one.status != "failed"):
            return one
    return None


def _take(answer: Completion, one: Event | None) -> dict[str, Any] | None:
    """What an event adds, as the protocol's delta."""
    match one:
        case TextDeltaEvent(text=text) if text:
            return answer.take(TextDelta(text))
        case TurnEnded():
            answer.take(Usage(one.input_tokens, one.output_tokens, one.cached_tokens))
    return None


async def _taken(answer: Completion, turn: AsyncGenerator[Event]) -> None:
    async with aclosing(turn):
        async for one in turn:
            _take(answer, one)


async def _events(
    answer: Completion, first: Event | None, rest: AsyncGenerator[Event], *, with_usage: bool
) -> AsyncGenerator[str]:
    yield event(answer.chunk({"role": "assistant", "content": ""}))
    try:
        async with aclosing(rest):
            async for one in _with(first, rest):
                if isinstance(one, ApprovalEvent) and one.state == "pending":
                    yield comment("waiting for approval")  # something comes: nobody takes the connection for dead
                elif (delta := _take(answer, one)) is not None:
                    yield event(answer.chunk(delta))
    except AntiphonError as error:
        told = as_api_error(error)
        yield event(error_body(told.status, told.code, told.message))
        return
    yield event(answer.chunk({}, finish=answer.finish))
    if with_usage:
        yield event(answer.usage_chunk())
    yield DONE


async def _with(first: Event | None, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    if first is not None:
        yield first
    async for one in rest:
        yield one
