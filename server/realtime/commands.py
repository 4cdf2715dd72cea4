"""What a client's events do. Nearly all is synchronous: what takes time is done by the session, or in a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.protocols import Transcript, TTSOptions
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.pipeline.errors import SessionClosed, StageError
from antiphon.pipeline.session import Session
from antiphon.server.realtime.answers import Answers
from antiphon.server.realtime.asides import Asides
from antiphon.server.realtime.audio import from_wire as samples_of
from antiphon.server.realtime.buffer import InputBuffer
from antiphon.server.realtime.items import Entry, ItemBook
from antiphon.server.realtime.mcp.calls import Calls
from antiphon.server.realtime.mcp.toolbox import Toolbox
from antiphon.server.realtime.narrator import Narrator
from antiphon.server.realtime.protocol import (
    ApprovalResponseItem,
    AudioFormat,
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
    from_wire,
    response_config,
    server_events,
)
from antiphon.server.realtime.sounds import encoded
from antiphon.server.realtime.spending import Spending

logger = logging.getLogger(__name__)

Emit = Callable[[ServerEvent], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A response that waits until it is known whether what the user has just said is answered."""

    event: ResponseCreate
    config: ResponseConfig
    """What was effective when it was asked for."""
    reply: Emit
    """The way to whoever asked."""


class Commands:
    """Items and responses, as the client orders them. One per connection.

    :raises ProtocolError: (every method) the event cannot be obeyed; nothing has changed.
    """

    def __init__(
        self,
        session: Session,
        narrator: Narrator,
        answers: Answers,
        book: ItemBook,
        conversation: Conversation,
        emit: Emit,
        *,
        config: Callable[[], SessionConfig],
        voice_of: Callable[[str, float], TTSOptions],
        asides: Asides,
        toolbox: Toolbox,
        hosting: Calls,
        spending: Spending,
    ) -> None:
        self._session = session
        self._narrator = narrator
        self._answers = answers
        self._book = book
        self._conversation = conversation
        self._emit = emit
        self._config = config
        self._voice_of = voice_of
        self._hearing: dict[str, asyncio.Task[Transcript]] = {}
        """Spoken items of the client's whose words are not known yet."""
        self._working: set[asyncio.Task[None]] = set()
        """Typed items that the policy looks at."""
        self._asides = asides
        self._toolbox = toolbox
        self._hosting = hosting
        self._spending = spending
        self._held: _Asked | None = None
        narrator.on_event = hosting.on_settled = self._look_at_held

    # ------------------------------------------------------------------------ items

    def create_item(self, event: ItemCreate) -> None:
        if isinstance(event.item, ApprovalResponseItem):
            return self._hosting.answer(event.item, event.previous_item_id)
        given = from_wire(event.item)
        item, form = given.item, self._config().input_format
        if item.kind == "function_call_output":
            item = replace(item, name=self._called(item.call_id))
        audio = _samples(given.audio, form) if given.audio else None
        by_user = item.kind == "message" and item.role == "user"
        judged = by_user and self._session.requests.judges
        self._book.insert(Entry(item, given.shape), event.previous_item_id, known=not judged)
        if audio is not None:
            self.transcribe(item.id, AudioFrame(audio, form.rate_hz))
        elif judged:
            self._work(self._remember(item.id, item.text))
        if item.kind == "function_call_output":
            turn = next((one.turn for one in self._conversation if one.call_id == item.call_id), 0)
            self._session.requests.tool_done(turn, item.call_id, item.name, item.text)

    async def retrieve_item(self, event: ItemRetrieve, *, with_sound: bool) -> None:
        """
        :param with_sound: as far as that is kept.
        """
        entry, sound, config = self._book.get(event.item_id), self._book.sound_of(event.item_id), self._config()
        audio = None
        if with_sound and sound is not None:
            form = config.input_format if entry.item.role == "user" else config.output_format
            audio = await asyncio.to_thread(encoded, sound.heard(), form) or None
        self._emit(server_events.item_retrieved(entry.wire(audio)))

    def delete_item(self, event: ItemDelete) -> None:
        if (hearing := self._hearing.get(event.item_id)) is not None:
            hearing.cancel()
        self._book.delete(event.item_id)
        self._hosting.deleted(event.item_id)

    def truncate_item(self, event: ItemTruncate) -> None:
        """Cut a spoken message of the assistant to what was heard of it."""
        entry = self._book.get(event.item_id)
        item = entry.item
        if item.kind != "message" or item.role != "assistant":
            raise ProtocolError(
                f"Only messages of the assistant can be truncated; '{event.item_id}' is none.", param="item_id"
            )
        if not entry.shape.spoken:
            raise ProtocolError(
                f"Only what was said aloud can be truncated; '{event.item_id}' is for reading.",
                code="unsupported_content_type",
                param="item_id",
            )
        if event.content_index:
            raise ProtocolError(
                f"Messages of the assistant have one part, with the index 0; there is no {event.content_index}.",
                param="content_index",
            )
        heard_ms = min(event.audio_end_ms, entry.audio_ms) if entry.audio_ms else event.audio_end_ms
        self._emit(server_events.item_truncated(event.item_id, event.content_index, event.audio_end_ms))
        if entry.turn and not self._book.was_taken_back(event.item_id):
            self._answers.cut(entry.turn, heard_ms / 1000)

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

        recording = buffer.closing(after_s)

        async def late() -> AudioFrame:
            await asyncio.sleep(after_s)
            return recording.frame()

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
            if item_id in self._book:
                self._book.sounds.put_frame(item_id, audio)
            heard = await self._session.requests.hear(audio)
        except (StageError, ProtocolError) as error:  # the latter: it was cleared meanwhile
            if item_id in self._book:
                self._emit(server_events.transcription_failed(item_id, error.message, error.code))
            logger.info("an item could not be transcribed", extra={"session": self._session.id, "code": error.code})
            raise
        text = await self._session.requests.judged(heard.text)
        self._book.update(item_id, text=text, transcript_known=True)
        self._book.remember(item_id, text)
        if item_id in self._book:
            self._narrator.tell_transcript(item_id, text, audio.duration_s)
        return heard

    async def _remember(self, item_id: str, text: str) -> None:
        """Let prompts have the words of an item, as far as the policy lets them."""
        self._book.remember(item_id, await self._session.requests.judged(text))

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _settled(self, words: Awaitable[Transcript] | str) -> Transcript:
        """The words that are to be answered, once those before them are known, too."""
        if before := [*self._hearing.values(), *self._working]:
            await asyncio.wait(before)
        if isinstance(words, str):
            return Transcript(words)
        try:
            return await words
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            return Transcript("")  # the client has deleted the item

    # ------------------------------------------------------------------------ responses

    def create_response(self, event: ResponseCreate, reply: Emit) -> None:
        """
        :param reply: the way to whoever asks, should it turn out later that it cannot be given.
        """
        session_config = self._config()
        if session_config.type == "transcription":
            raise ProtocolError("A transcription session gives no responses.", code="invalid_request_error")
        if self._session.waits:
            raise ProtocolError("All lines are busy: wait a moment.", code="server_busy", type="server_error")
        self._spending.check()
        config = response_config(session_config, event.response)
        if config.out_of_band:
            given = self._conversation if config.input is None else self._given(config.input)
            return self._asides.answer(config, given, self._voice_of(config.voice, session_config.speed))
        active = self._answers.active
        if self._held is not None or (active is not None and not active.hosts):
            raise _one_at_a_time(f" ({active.id})" if active is not None else "")
        inputs = None if config.input is None else self._given(config.input)
        if event.response is not None and event.response.tools is not None:
            self._toolbox.use_once(config.mcp)
        if self._must_wait():
            self._held = _Asked(event, config, reply)
            return
        self._respond(config, inputs)

    def _must_wait(self) -> bool:
        """Whether it is not known yet if there can be another response: it may have been a cough. Also while one waits
        for its calls of MCP tools, or while one is made that the client has allowed: clients ask for the next as soon
        as they are told of a result, or before."""
        active = self._answers.active
        return self._narrator.awaited or self._hosting.owed or (active is not None and active.hosts)

    def _look_at_held(self) -> None:
        """Not at once: whoever tells of an event is in the middle of something."""
        if self._held is not None and not self._must_wait():
            asyncio.get_running_loop().call_soon(self._take_up_held)

    def _take_up_held(self) -> None:
        """The user's words are answered, or never will be."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            self.create_response(held.event, held.reply)
        except ProtocolError as problem:
            held.reply(server_events.error(problem.about(held.event.event_id)))

    def _cancel_held(self) -> bool:
        """Returns whether one was held. Whoever asks for a response gets one: clients wait for the pair of events."""
        held, self._held = self._held, None
        if held is None:
            return False
        response = self._answers.make(held.config)
        response.create()
        response.reason = "client_cancelled"
        response.finish("cancelled")
        return True

    def time_out(self, seconds: float) -> None:
        """The user has said nothing for so long: the assistant speaks again."""
        if self._answers.active is not None or self._must_wait():
            return
        config = response_config(self._config())
        turn = self._turn(config, has_words=False)  # nothing is told where there can be no answer
        item_id, end_ms = new_id(), round(1000 * self._session.audio_s)
        start_ms = max(0, end_ms - round(1000 * seconds))
        self._emit(server_events.timeout_triggered(item_id, start_ms, end_ms))
        self._emit(server_events.input_committed(item_id, self._book.last_id))
        self._book.append(Entry(Item(id=item_id, role="user"), Shape(spoken=True)))
        self._book.done(item_id)
        self._answers.begin(turn, self._answers.make(config))

    def _respond(self, config: ResponseConfig, inputs: Conversation | None) -> None:
        turn = self._turn(config, has_words=inputs is None)
        response = self._answers.make(config)
        response.inputs = inputs
        self._answers.begin(turn, response)

    def _turn(self, config: ResponseConfig, *, has_words: bool) -> int:
        """Ask the session for an answer: to what the user said last, or to none of their words."""
        voice = self._voice_of(config.voice, self._config().speed)
        words, user_id = self._last_words() if has_words else (None, "")
        try:
            return self._session.requests.respond(words, user_id=user_id, muted=config.modality == "text", voice=voice)
        except SessionClosed as error:
            raise ProtocolError("The session is about to end.", code="session_closed", type="server_error") from error

    def cancel_response(self, event: ResponseCancel) -> None:
        if self._asides.cancel(event.response_id):
            return
        active = self._answers.active
        found = active is not None and event.response_id in (None, active.id)
        if active is not None and found:
            active.reason = "client_cancelled"
            active.finish("cancelled")
            self._session.requests.stop(active.turn)
        if event.response_id is None:
            found |= self._cancel_held()
        if not found and not self._answers.was_cut(event.response_id):
            raise ProtocolError(
                "Cancellation failed: no active response found.", code="response_cancel_not_active", param="response_id"
            )

    def clear_output(self) -> None:
        """Stop what is being played."""
        if (active := self._answers.active) is not None:
            active.reason = "client_cancelled"
            active.finish("cancelled")
        self._session.cancel()

    def _last_words(self) -> tuple[str | Awaitable[Transcript] | None, str]:
        """What the user said last, if nothing but that is to be answered."""
        last_id = self._book.last_id
        entry = self._book.find(last_id) if last_id is not None else None
        if entry is None or entry.item.kind != "message" or entry.item.role != "user":
            return None, ""
        hearing = self._hearing.get(entry.item.id)
        if hearing is None and not entry.item.text.strip():
            return None, ""
        if not (self._hearing or self._working):
            return entry.item.text, entry.item.id
        return self._settled(asyncio.shield(hearing) if hearing is not None else entry.item.text), entry.item.id

    def _given(self, items: Sequence[Any]) -> Conversation:
        """The items that a response reads in place of the conversation."""
        given = Conversation()
        for one in items:
            if isinstance(one, ItemReference):
                for found in self._book.get(one.id).read:
                    given.put(found)
                continue
            found = from_wire(one).item
            if found.kind == "function_call_output":
                found = replace(found, name=self._called(found.call_id))
            given.put(found)
        return given

    def close(self) -> None:
        """The session is over."""
        self._held = None
        for task in (*self._hearing.values(), *self._working):
            task.cancel()
        self._asides.close()


def _one_at_a_time(which: str) -> ProtocolError:
    return ProtocolError(
        f"Conversation already has an active response{which}. Wait until it is done, or cancel it, before creating "
        "another one.",
        code="conversation_already_has_active_response",
    )


def _samples(audio: bytes, form: AudioFormat) -> Any:
    """:raises ProtocolError: half a sample is left over."""
    try:
        return samples_of(audio, form)
    except ValueError:
        raise ProtocolError(
            f"{len(audio)} bytes are no PCM16: an odd number.", code="invalid_audio", param="audio"
        ) from None
