"""The plain stream: PCM16 both ways and a little JSON, for devices and test rigs.

Binary messages are mono PCM16, little-endian, at the connection's sample rate, both ways; text messages are JSON
objects with a `type`. docs/server.md has them all. Nothing here knows of sockets: a connection is given as two
functions, so that a whole conversation can be tested in virtual time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from antiphon.engines.audio import AudioFrame, StreamResampler
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.events import Event, TranscriptEvent
from antiphon.pipeline.session import Session
from antiphon.server.client_audio import ClientTransport, from_pcm16, pcm16
from antiphon.server.instructing import NOT_INSTRUCTED, instruct
from antiphon.server.outbox import Message, Outbox
from antiphon.server.peer import Peer

MIN_RATE_HZ, MAX_RATE_HZ = 8000, 48000
MAX_UNSENT = 5000
"""Messages that may wait to be sent; past that the client's are not read, which would only make more of them."""


class _ClientMessage(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_ClientMessage):
    """`settings`: the first message, if any."""

    type: Literal["settings"]
    events: bool = False
    """Send the events of the pipeline, too."""
    instructions: Annotated[str, Field(max_length=20_000)] | None = None
    """In place of the configured ones; for the workflow kind `chat`."""


class Played(_ClientMessage):
    """`played`: how many seconds of all the audio that was sent have been played, since the connection began."""

    type: Literal["played"]
    seconds: float = Field(ge=0, allow_inf_nan=False)


class End(_ClientMessage):
    """`end`: no more audio will come. What was said is answered, then the connection is closed."""

    type: Literal["end"]


class Commit(_ClientMessage):
    """`commit`: the turn is over now, whatever the silence."""

    type: Literal["commit"]


class Cancel(_ClientMessage):
    """`cancel`: stop the reply."""

    type: Literal["cancel"]


MESSAGES: TypeAdapter[Settings | Played | End | Commit | Cancel] = TypeAdapter(
    Annotated[Settings | Played | End | Commit | Cancel, Field(discriminator="type")]
)


class StreamConnection:
    """One client and its session. Await :meth:`run` once."""

    def __init__(self, new_session: Callable[..., Session], peer: Peer, *, rate_hz: int) -> None:
        """
        :param new_session: makes the session: :meth:`Service.session <antiphon.server.service.Service.session>`.
        :param rate_hz: of the audio both ways, :data:`MIN_RATE_HZ` to :data:`MAX_RATE_HZ`.
        """
        self._new_session = new_session
        self._peer = peer
        self._rate_hz = rate_hz
        self._outbox = Outbox(peer.send)
        self._transport = ClientTransport(self, rate_hz=rate_hz)
        self._resampler: StreamResampler | None = None
        self._session: Session | None = None
        self._settings = Settings(type="settings")
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client goes, or the conversation is over and everything was sent.

        :raises SlowClient: the client takes nothing any more.
        :raises Exception: what the peer's functions raise.
        :raises BaseExceptionGroup: the session broke.
        """
        first = await self._first()
        if isinstance(first, str):
            self._settings = self._first_settings(first)
            first = None
        elif first is None:
            return
        self._session = session = self._new_session(self._transport, sinks=[self._tell], adjust=self._adjust)
        sending = asyncio.create_task(self._outbox.run(), name=f"send-{session.id}")
        talking = asyncio.create_task(session.run(), name=f"session-{session.id}")
        reading = asyncio.create_task(self._read(first), name=f"read-{session.id}")
        try:
            done, _ = await asyncio.wait({sending, talking, reading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what went wrong
            if talking in done and reading not in done:
                flushing = asyncio.create_task(self._outbox.flushed())
                await asyncio.wait({sending, flushing}, return_when=asyncio.FIRST_COMPLETED)
                flushing.cancel()
        finally:
            self._outbox.close()
            for task in (reading, talking, sending):
                task.cancel()
            await asyncio.wait({reading, talking, sending})

    def close(self) -> None:
        """End the conversation: what is being said is said to its end. One that has not begun does not begin."""
        self._closing.set()
        if self._session is not None:
            self._session.end()

    async def _first(self) -> Message | None:
        """The first message; None: there is none, or it comes too late."""
        receiving = asyncio.ensure_future(self._peer.receive())
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({receiving, closing}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._closing.is_set() else receiving.result()
        finally:
            for task in (receiving, closing):
                task.cancel()
            await asyncio.wait({receiving, closing})

    # ------------------------------------------------------------------------ from the client

    def _first_settings(self, text: str) -> Settings:
        message = self._parsed(text)
        if isinstance(message, Settings):
            return message
        if message is not None:
            self._complain("the first text message must be of the type 'settings'")
        return self._settings

    async def _read(self, first: Message | None) -> None:
        message = first
        while True:
            if message is None:
                await self._outbox.few(MAX_UNSENT)
                message = await self._peer.receive()
            if message is None:  # gone: nobody will hear what is still to be said
                return
            if isinstance(message, str):
                self._obey(message)
            else:
                await self._hear(message)
            message = None

    async def _hear(self, data: bytes) -> None:
        if len(data) % 2:
            self._complain(f"a binary message of {len(data)} bytes is no PCM16: an odd number; it was dropped")
        elif data:
            await self._transport.push(from_pcm16(data))

    def _obey(self, text: str) -> None:
        assert self._session is not None
        match self._parsed(text):
            case Settings():
                self._complain("settings come first, before any audio; these were ignored")
            case Played(seconds=seconds):
                self._correct(seconds)
            case End():
                self._transport.end()
            case Commit():
                self._session.commit()
            case Cancel():
                self._session.cancel()

    def _parsed(self, text: str) -> Settings | Played | End | Commit | Cancel | None:
        try:
            return MESSAGES.validate_json(text)
        except ValidationError as error:
            self._complain(_in_words(error))
            return None

    def _correct(self, seconds: float) -> None:
        assert self._session is not None
        turn, heard_s = self._transport.played(seconds)
        if turn:
            self._session.played(turn, heard_s)

    def _adjust(self, assembly: Assembly, arguments: dict[str, Any]) -> None:
        instructions = self._settings.instructions
        if instructions is not None and not instruct(instructions, assembly, arguments):
            self._complain(f"{NOT_INSTRUCTED}; they were ignored")

    # ------------------------------------------------------------------------ to the client

    def audio(self, frame: AudioFrame) -> None:
        resampler = self._resampler
        if resampler is None or resampler.from_hz != frame.rate_hz:
            resampler = self._resampler = StreamResampler(frame.rate_hz, self._rate_hz)
        self._outbox.put_audio(pcm16(resampler.push(frame.samples)))

    def flush(self) -> None:
        if self._resampler is not None:
            self._outbox.put_audio(pcm16(self._resampler.push(np.empty(0, dtype=np.float32), last=True)))

    def drop(self) -> None:
        self._resampler = None  # what is left in its filter belongs to what is dropped
        self._outbox.drop_audio()
        self._send({"type": "clear"})

    async def room(self) -> None:
        await self._outbox.room()

    def _tell(self, event: Event) -> None:
        if isinstance(event, TranscriptEvent):
            role = "user" if event.role == "user" else "agent"
            self._send({"type": "transcript", "role": role, "text": event.text, "final": event.final})
        if self._settings.events:
            self._send({"type": "event", "event": event.to_dict()})

    def _complain(self, message: str) -> None:
        self._send({"type": "error", "message": message})

    def _send(self, message: dict[str, Any]) -> None:
        self._outbox.put(json.dumps(message, ensure_ascii=False, allow_nan=False))


def _in_words(error: ValidationError) -> str:
    """The first thing that is wrong with a message."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in found["loc"][1:])
    match found["type"]:
        case "json_invalid":
            return "the text message is no JSON"
        case "union_tag_invalid" | "union_tag_not_found":
            return "the message needs a 'type': settings, played, commit, cancel or end"
        case "extra_forbidden":
            return f"'{place}' is no key of this message"
        case "model_attributes_type" | "dict_type" | "model_type":
            return "the text message is no JSON object"
    return f"{place}: {found['msg']}" if place else str(found["msg"])
