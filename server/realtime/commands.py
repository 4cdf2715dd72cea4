"""What a client's events do. Everything here is synchronous: what takes time is done by the session, or in a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from antiphon.engines import protocols
from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import Transcript, TTSOptions
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.errors import SessionClosed, StageError
from antiphon.pipeline.events import TextDeltaEvent
from antiphon.pipeline.session import Session
from antiphon.pipeline.workflow import WorkflowEvent
from antiphon.server.realtime.audio import Silent
from antiphon.server.realtime.audio import from_wire as samples_of
from antiphon.server.realtime.buffer import InputBuffer
from antiphon.server.realtime.items import Entry, ItemBook
from antiphon.server.realtime.narrator import Narrator
from antiphon.server.realtime.protocol import (
    AudioFormat,
    Failure,
    ItemCreate,
    ItemDelete,
    ItemReference,
    ItemRetrieve,
    ItemTruncate,
    ProtocolError,
    ResponseCancel,
    ResponseConfig,
    ResponseCreate,
    ServerEvent,
    SessionConfig,
    Shape,
    Usage,
    from_wire,
    response_config,
    server_events,
)
from antiphon.server.realtime.responses import Response
from antiphon.server.realtime.workflow import RealtimeWorkflow

logger = logging.getLogger(__name__)

Emit = Callable[[ServerEvent], None]


class Commands:
    """Items and responses, as the client orders them. One per connection.

    :raises ProtocolError: (every method) the event cannot be obeyed; nothing has changed.
    """

    def __init__(
        self,
        session: Session,
        workflow: RealtimeWorkflow,
        narrator: Narrator,
        book: ItemBook,
        conversation: Conversation,
        emit: Emit,
        *,
        conversation_id: str,
        config: Callable[[], SessionConfig],
        voice_of: Callable[[str, float], TTSOptions],
        max_asides: int,
        sends_audio: bool,
    ) -> None:
        self._session = session
        self._workflow = workflow
        self._narrator = narrator
        self._book = book
        self._conversation = conversation
        self._emit = emit
        self._conversation_id = conversation_id
        self._config = config
        self._voice_of = voice_of
        self._max_asides = max_asides
        self._sends_audio = sends_audio
        self._hearing: dict[str, asyncio.Task[Transcript]] = {}
        """Spoken items of the client's whose words are not known yet."""
        self._asides: dict[str, tuple[Response, asyncio.Task[None]]] = {}

    # ------------------------------------------------------------------------ items

    def create_item(self, event: ItemCreate) -> None:
        given = from_wire(event.item)
        item, form = given.item, self._config().input_format
        if item.kind == "function_call_output":
            item = replace(item, name=self._called(item.call_id))
        audio = _samples(given.audio, form) if given.audio else None
        self._book.insert(Entry(item, given.shape), event.previous_item_id)
        if audio is not None:
            self.transcribe(item.id, AudioFrame(audio, form.rate_hz))

    def retrieve_item(self, event: ItemRetrieve) -> None:
        self._emit(server_events.item_retrieved(self._book.get(event.item_id).wire()))

    def delete_item(self, event: ItemDelete) -> None:
        if (hearing := self._hearing.get(event.item_id)) is not None:
            hearing.cancel()
        self._book.delete(event.item_id)

    def truncate_item(self, event: ItemTruncate) -> None:
        """Cut a spoken message of the assistant to what was heard of it."""
        entry = self._book.get(event.item_id)
        item = entry.item
        if item.kind != "message" or item.role != "assistant":
            raise ProtocolError(
                f"Only messages of the assistant can be truncated; '{event.item_id}' is none.", param="item_id"
            )
        heard_ms = min(event.audio_end_ms, entry.audio_ms) if entry.audio_ms else event.audio_end_ms
        self._emit(server_events.item_truncated(event.item_id, event.content_index, event.audio_end_ms))
        if entry.turn and entry.shape.spoken and not self._book.was_taken_back(event.item_id):
            self._narrator.cut(entry.turn, heard_ms / 1000)

    def _called(self, call_id: str) -> str:
        """The name of the tool that a call id belongs to; "" where the call is not known."""
        return next(
            (one.name for one in self._conversation if one.kind == "function_call" and one.call_id == call_id), ""
        )

    # ------------------------------------------------------------------------ sound that is no turn of speech

    def commit_audio(self, buffer: InputBuffer, *, after_s: float) -> None:
        """What the client has recorded becomes an item.

        :param after_s: so much later all of it is there.
        """
        self._book.check_room()
        item_id = new_id()
        self._emit(server_events.input_committed(item_id, self._book.last_id))
        self._book.append(Entry(Item(id=item_id, role="user"), Shape(spoken=True, transcript_known=False)))
        self._book.done(item_id)
        if not after_s:
            return self.transcribe(item_id, buffer.taken())

        async def late() -> AudioFrame:
            await asyncio.sleep(after_s)
            return buffer.taken()

        self.transcribe(item_id, late())

    def transcribe(self, item_id: str, audio: AudioFrame | Coroutine[Any, Any, AudioFrame]) -> None:
        """Find out what is said in an item."""
        task = asyncio.create_task(self._transcribed(item_id, audio))
        self._hearing[item_id] = task
        task.add_done_callback(lambda _: self._hearing.pop(item_id, None))

    async def _transcribed(self, item_id: str, audio: AudioFrame | Coroutine[Any, Any, AudioFrame]) -> Transcript:
        try:
            if not isinstance(audio, AudioFrame):
                audio = await audio
            heard = await self._session.requests.hear(audio)
        except (StageError, ProtocolError) as error:  # the latter: it was cleared meanwhile
            if item_id in self._book:
                self._emit(server_events.transcription_failed(item_id, error.message, error.code))
            logger.info("an item could not be transcribed", extra={"session": self._session.id, "code": error.code})
            raise
        self._book.update(item_id, text=heard.text, transcript_known=True)
        self._book.remember(item_id)
        if item_id in self._book:
            self._narrator.tell_transcript(item_id, heard.text, audio.duration_s)
        return heard

    # ------------------------------------------------------------------------ responses

    def create_response(self, event: ResponseCreate) -> None:
        session_config = self._config()
        if session_config.type == "transcription":
            raise ProtocolError("A transcription session gives no responses.", code="invalid_request_error")
        config = response_config(session_config, event.response)
        if config.out_of_band:
            return self._answer_aside(config)
        if (active := self._narrator.active) is not None or self._narrator.awaited:
            which = f" ({active.id})" if active is not None else ""
            raise ProtocolError(
                f"Conversation already has an active response{which}. Wait until it is done, or cancel it, before "
                "creating another one.",
                code="conversation_already_has_active_response",
            )
        self._respond(config, None if config.input is None else self._given(config.input))

    def time_out(self, seconds: float) -> None:
        """The user has said nothing for so long: the assistant speaks again."""
        if self._narrator.active is not None or self._narrator.awaited:
            return
        item_id, end_ms = new_id(), round(1000 * self._session.audio_s)
        start_ms = max(0, end_ms - round(1000 * seconds))
        self._emit(server_events.timeout_triggered(item_id, start_ms, end_ms))
        self._emit(server_events.input_committed(item_id, self._book.last_id))
        self._book.append(Entry(Item(id=item_id, role="user"), Shape(spoken=True)))
        self._book.done(item_id)
        self._respond(response_config(self._config()), None)

    def _respond(self, config: ResponseConfig, inputs: Conversation | None) -> None:
        voice = self._voice_of(config.voice, self._config().speed)
        words, user_id = (None, "") if inputs is not None else self._last_words()
        try:
            turn = self._session.requests.respond(words, user_id=user_id, muted=config.modality == "text", voice=voice)
        except SessionClosed as error:
            raise ProtocolError("The session is about to end.", code="session_closed", type="server_error") from error
        response = self._narrator.make(config, turn)
        response.inputs = inputs
        self._narrator.begin(turn, response)

    def cancel_response(self, event: ResponseCancel) -> None:
        if event.response_id in self._asides:
            response, task = self._asides[event.response_id]
            response.reason = "client_cancelled"
            task.cancel()
            return
        active = self._narrator.active
        if active is None or event.response_id not in (None, active.id):
            raise ProtocolError(
                "Cancellation failed: no active response found.", code="response_cancel_not_active", param="response_id"
            )
        active.reason = "client_cancelled"
        active.finish("cancelled")
        self._session.requests.stop(active.turn)

    def clear_output(self) -> None:
        """Stop what is being played."""
        if (active := self._narrator.active) is not None:
            active.reason = "client_cancelled"
            active.finish("cancelled")
        self._session.cancel()

    def _last_words(self) -> tuple[str | Awaitable[Transcript] | None, str]:
        """What the user said last, if nothing but that is to be answered."""
        last_id = self._book.last_id
        entry = self._book.find(last_id) if last_id is not None else None
        if entry is None or entry.item.kind != "message" or entry.item.role != "user":
            return None, ""
        if (hearing := self._hearing.get(entry.item.id)) is not None:
            return asyncio.shield(hearing), entry.item.id
        return (entry.item.text, entry.item.id) if entry.item.text.strip() else (None, "")

    def _given(self, items: Sequence[Any]) -> Conversation:
        """The items that a response reads in place of the conversation."""
        given = Conversation()
        for one in items:
            if isinstance(one, ItemReference):
                found = self._book.get(one.id).item
            else:
                found = from_wire(one).item
                if found.kind == "function_call_output":
                    found = replace(found, name=self._called(found.call_id))
            given.put(found)
        return given

    # ------------------------------------------------------------------------ answers beside the conversation

    def _answer_aside(self, config: ResponseConfig) -> None:
        if len(self._asides) >= self._max_asides:
            raise ProtocolError(
                f"{len(self._asides)} responses beside the conversation are being made, and more are not allowed.",
                code="too_many_responses",
            )
        given = self._conversation if config.input is None else self._given(config.input)
        speaks = config.modality == "audio" and self._sends_audio
        voice = self._voice_of(config.voice, self._config().speed)
        response = Response(self._emit, config, conversation_id=self._conversation_id, book=None, sends_audio=speaks)
        usage = _Counted()
        source = usage.counting(
            self._workflow.beside(
                config,
                given.messages(),
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
        self._asides[response.id] = (response, task)
        response.create()
        task.add_done_callback(lambda done: self._aside_ended(response, done, usage.total))

    def _aside_ended(self, response: Response, task: asyncio.Task[None], usage: Usage) -> None:
        self._asides.pop(response.id, None)
        if task.cancelled():
            response.finish("cancelled", usage)
        elif (error := task.exception()) is not None:
            code = error.code if isinstance(error, StageError) else type(error).__name__
            response.failure = Failure(str(error), code)
            response.finish("failed", usage)
        else:
            response.finish("completed", usage)

    def close(self) -> None:
        """The session is over."""
        for task in self._hearing.values():
            task.cancel()
        for _, aside in tuple(self._asides.values()):
            aside.cancel()


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


def _samples(audio: bytes, form: AudioFormat) -> Any:
    """:raises ProtocolError: half a sample is left over."""
    try:
        return samples_of(audio, form)
    except ValueError:
        raise ProtocolError(
            f"{len(audio)} bytes are no PCM16: an odd number.", code="invalid_audio", param="audio"
        ) from None
