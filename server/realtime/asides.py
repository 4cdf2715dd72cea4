"""Answers beside the conversation (`conversation: none`): any number at a time, up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from antiphon.engines import protocols
from antiphon.engines.protocols import TTSOptions
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.errors import SessionClosed, StageError
from antiphon.pipeline.events import TextDeltaEvent
from antiphon.pipeline.session import Session
from antiphon.pipeline.workflow import WorkflowEvent
from antiphon.server.realtime.audio import Silent
from antiphon.server.realtime.protocol import Failure, ProtocolError, ResponseConfig, ServerEvent, Usage
from antiphon.server.realtime.responses import Response
from antiphon.server.realtime.workflow import RealtimeWorkflow


class Asides:
    """One per connection."""

    def __init__(
        self,
        session: Session,
        workflow: RealtimeWorkflow,
        conversation: Conversation,
        emit: Callable[[ServerEvent], None],
        *,
        conversation_id: str,
        most: int,
        sends_audio: bool,
        spent: Callable[[], None] = lambda: None,
    ) -> None:
        """
        :param most: so many at a time.
        :param sends_audio: False: there is no way for their sound; they are words alone.
        :param spent: told of each that begins.
        """
        self._session = session
        self._workflow = workflow
        self._conversation = conversation
        self._emit = emit
        self._conversation_id = conversation_id
        self._most = most
        self._sends_audio = sends_audio
        self._spent = spent
        self._under_way: dict[str, tuple[Response, asyncio.Task[None]]] = {}

    def answer(self, config: ResponseConfig, given: Conversation, voice: TTSOptions) -> None:
        """Begin one.

        :param given: what it answers.
        :raises ProtocolError: there are too many, or the session is over.
        """
        if len(self._under_way) >= self._most:
            raise ProtocolError(
                f"{len(self._under_way)} responses beside the conversation are being made, and more are not allowed.",
                code="too_many_responses",
            )
        speaks = config.modality == "audio" and self._sends_audio
        response = Response(self._emit, config, conversation_id=self._conversation_id, book=None, sends_audio=speaks)
        usage = _Counted()
        source = usage.counting(
            self._workflow.beside(
                config,
                lambda: self._read(given),
                f"{self._session.id}-aside",
                on_call=response.call,
                on_limit=lambda: setattr(response, "limited", True),
            )
        )

        def tell(kind: type, **fields: Any) -> None:
            if kind is TextDeltaEvent:
                response.text(fields["text"])

        transport = Silent(response.audio, asyncio.get_running_loop().time)
        try:
            task = self._session.requests.aside(source, transport, tell, muted=not speaks, voice=voice)
        except SessionClosed as error:
            raise ProtocolError("The session is about to end.", code="session_closed", type="server_error") from error
        self._under_way[response.id] = (response, task)
        response.create()
        self._spent()
        task.add_done_callback(lambda done: self._ended(response, done, usage.total))

    def cancel(self, response_id: str | None) -> bool:
        """Returns whether it is one of these."""
        if response_id not in self._under_way:
            return False
        response, task = self._under_way[response_id]
        response.reason = "client_cancelled"
        task.cancel()
        return True

    def close(self) -> None:
        """The session is over."""
        for _, task in tuple(self._under_way.values()):
            task.cancel()

    async def _read(self, given: Conversation) -> Sequence[protocols.Message]:
        """What the model reads, as far as the policy lets it: what is in the conversation has been judged."""
        if given is not self._conversation and self._session.requests.judges:
            for item in given:
                if item.kind == "message" and item.role == "user" and item.id not in self._conversation:
                    given.put(replace(item, text=await self._session.requests.judged(item.text)))
        return given.messages()

    def _ended(self, response: Response, task: asyncio.Task[None], usage: Usage) -> None:
        self._under_way.pop(response.id, None)
        if task.cancelled():
            response.finish("cancelled", usage)
        elif (error := task.exception()) is not None:
            code = error.code if isinstance(error, StageError) else type(error).__name__
            response.failure = Failure(str(error), code)
            response.finish("failed", usage)
        else:
            response.finish("completed", usage)


class _Counted:
    """What a model told that an answer has used."""

    def __init__(self) -> None:
        self.total = Usage()

    async def counting(self, source: AsyncIterator[str | WorkflowEvent]) -> AsyncIterator[str | WorkflowEvent]:
        async for piece in source:
            if isinstance(piece, protocols.Usage):
                self.total = Usage(
                    self.total.input_tokens + piece.input_tokens,
                    self.total.output_tokens + piece.output_tokens,
                    self.total.cached_tokens + piece.cached_tokens,
                )
            yield piece
