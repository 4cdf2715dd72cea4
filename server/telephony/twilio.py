"""Calls by a media stream: a WebSocket with Twilio's frames, mu-law at 8 kHz both ways.

The other end keeps what it is sent and plays it in order; `clear` empties it. What was heard is known by marks
(:mod:`~antiphon.server.telephony.marks`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from antiphon.engines.audio import AudioFrame
from antiphon.engines.live_resampler import LiveResampler
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config.model import SessionConfig
from antiphon.pipeline.events import Event, Interrupted
from antiphon.pipeline.session import Session
from antiphon.server import g711
from antiphon.server.client_audio import ClientTransport
from antiphon.server.instructing import NOT_INSTRUCTED, instruct
from antiphon.server.outbox import Message, Outbox
from antiphon.server.peer import Peer
from antiphon.server.telephony.keypad import Keypad
from antiphon.server.telephony.marks import MarkClock
from antiphon.server.together import end_all, first_over

logger = logging.getLogger(__name__)

RATE_HZ = g711.RATE_HZ
_PIECE_BYTES = RATE_HZ // 5
"""A mark behind every 200 ms: so closely is it known what was played."""
_START_S = 10.0
"""`start` has to come by then."""
_LAST_MARK_S = 3.0
"""At the end, what was sent may take so much longer to be played than was thought."""
_MAX_COMPLAINTS = 50
_MAX_PERSON_CHARS = 200
_MAX_INSTRUCTIONS_CHARS = 20_000


class _Frame(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)  # other networks speak this too, and say more


class _MediaFormat(_Frame):
    encoding: Annotated[str, Field(max_length=32)]
    sample_rate: int = Field(alias="sampleRate")
    channels: int = 1


class _StartBody(_Frame):
    stream_sid: Annotated[str, Field(alias="streamSid", min_length=1, max_length=200)]
    call_sid: Annotated[str | None, Field(alias="callSid", max_length=200)] = None
    media_format: _MediaFormat = Field(alias="mediaFormat")
    parameters: dict[str, Any] | None = Field(None, alias="customParameters")
    """What the TwiML gave along, by `<Parameter name="..." value="..."/>`: strings, from Twilio."""


class Connected(_Frame):
    event: Literal["connected"]


class Start(_Frame):
    event: Literal["start"]
    start: _StartBody


class _MediaBody(_Frame):
    payload: str
    track: str = "inbound"


class Media(_Frame):
    event: Literal["media"]
    media: _MediaBody


class _MarkBody(_Frame):
    name: str


class Mark(_Frame):
    event: Literal["mark"]
    mark: _MarkBody


class _DtmfBody(_Frame):
    digit: Annotated[str, Field(min_length=1, max_length=8)]


class Dtmf(_Frame):
    event: Literal["dtmf"]
    dtmf: _DtmfBody


class Stop(_Frame):
    event: Literal["stop"]


FRAMES: TypeAdapter[Connected | Start | Media | Mark | Dtmf | Stop] = TypeAdapter(
    Annotated[Connected | Start | Media | Mark | Dtmf | Stop, Field(discriminator="event")]
)


class BadStream(Exception):
    """Raised for a stream that no call can be held on; the message is for its sender."""


class TwilioConnection:
    """One call. Await :meth:`run` once."""

    def __init__(self, new_session: Callable[..., Session], peer: Peer, settings: SessionConfig) -> None:
        """
        :param new_session: makes the session: :meth:`Service.session <antiphon.server.service.Service.session>`.
        """
        self._new_session = new_session
        self._peer = peer
        self._settings = settings
        self._outbox = Outbox(self._send)
        self._transport = ClientTransport(self, rate_hz=RATE_HZ)
        self._marks = MarkClock()
        self._marks_moved = asyncio.Event()
        self._resampler: LiveResampler | None = None
        self._session: Session | None = None
        self._keypad: Keypad | None = None
        self._stream = self._call = ""
        self._parameters: Mapping[str, Any] = {}
        self._complaints = 0
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Hold the call until the caller hangs up or the conversation is over and was heard.

        :raises BadStream: it does not begin as a media stream does.
        :raises SlowClient: the other end takes nothing any more.
        :raises Exception: what the peer's functions raise.
        :raises BaseExceptionGroup: the session broke.
        """
        if not await self._begin():
            return
        self._session = session = self._new_session(
            self._transport, sinks=[self._tell], adjust=self._adjust, person=self._given("person", _MAX_PERSON_CHARS)
        )
        logger.info("a call has begun", extra={"front": "twilio", "session": session.id, "call": self._call})
        self._keypad = Keypad(session, self._settings)
        sending = asyncio.create_task(self._outbox.run(), name=f"send-{session.id}")
        talking = asyncio.create_task(session.run(), name=f"session-{session.id}")
        reading = asyncio.create_task(self._read(), name=f"read-{session.id}")
        tasks = (sending, talking, reading)
        try:
            done = await first_over(tasks)
            if talking in done and reading not in done:
                await self._played_out({sending, reading})
        finally:
            self._keypad.close()
            self._outbox.close()
            await end_all(tasks)

    def close(self) -> None:
        """End the call: what is being said is said to its end. One that has not begun does not begin."""
        self._closing.set()
        if self._session is not None:
            self._session.end()

    # ------------------------------------------------------------------------ from the network

    async def _begin(self) -> bool:
        """Wait for `start`. Returns whether there is a call."""
        closing = asyncio.create_task(self._closing.wait())
        starting = asyncio.create_task(self._start())
        try:
            async with asyncio.timeout(_START_S):
                await asyncio.wait({closing, starting}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise BadStream(f"no 'start' within {_START_S:g} s") from None
        finally:
            begun = starting.done() and not self._closing.is_set()
            await end_all((closing, starting))
        return begun and starting.result()

    async def _start(self) -> bool:
        while (message := await self._peer.receive()) is not None:
            match self._parsed(message):
                case Start(start=start):
                    form = start.media_format
                    if (form.encoding, form.sample_rate, form.channels) != ("audio/x-mulaw", RATE_HZ, 1):
                        raise BadStream(
                            f"{form.encoding} at {form.sample_rate} Hz, {form.channels} channels is not read; "
                            f"audio/x-mulaw at {RATE_HZ} Hz, 1 channel is"
                        )
                    self._stream, self._call = start.stream_sid, start.call_sid or ""
                    self._parameters = start.parameters or {}
                    return True
                case Connected():
                    pass
                case Stop():
                    return False
                case _:
                    raise BadStream("the first messages are to be 'connected' and 'start'")
        return False

    def _adjust(self, assembly: Assembly, arguments: dict[str, Any]) -> None:
        instructions = self._given("instructions", _MAX_INSTRUCTIONS_CHARS)
        if instructions is not None and not instruct(instructions, assembly, arguments):
            self._complain(NOT_INSTRUCTED)

    def _given(self, name: str, max_chars: int) -> str | None:
        """A parameter of the TwiML's; None: it was not given, or cannot be used."""
        value = self._parameters.get(name)
        if not isinstance(value, str) or len(value) > max_chars:
            if value is not None:
                self._complain(f"the parameter '{name}' is no text of at most {max_chars} characters")
            return None
        return value if value.strip() else None

    async def _read(self) -> None:
        while (message := await self._peer.receive()) is not None:
            match self._parsed(message):
                case Media(media=media) if media.track in ("inbound", "inbound_track"):
                    await self._hear(media.payload)
                case Mark(mark=mark):
                    self._returned(mark.name)
                case Dtmf(dtmf=dtmf):
                    assert self._keypad is not None
                    if not self._keypad.press(dtmf.digit):
                        self._complain("a dtmf digit that is on no keypad")
                case Stop():
                    return  # the caller has hung up: nobody will hear what is still to be said

    async def _hear(self, payload: str) -> None:
        try:
            data = base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            return self._complain("a media payload that is no base64")
        if data:
            await self._transport.push(g711.decode(data, "mulaw"))

    def _returned(self, name: str) -> None:
        if not self._marks.returned(name, asyncio.get_running_loop().time()):
            return
        self._marks_moved.set()
        self._correct()

    def _tell(self, event: Event) -> None:
        if isinstance(event, Interrupted) and not event.acknowledged:
            # What was played may be known since the user began to speak; the session can be told once this is over.
            asyncio.get_running_loop().call_soon(self._correct)

    def _correct(self) -> None:
        """Tell the session what the marks say: more exact than what it can estimate."""
        assert self._session is not None
        turn, heard_s = self._transport.played(self._marks.played_s(asyncio.get_running_loop().time()))
        if turn:
            self._session.played(turn, heard_s)

    def _parsed(self, message: Message) -> Connected | Start | Media | Mark | Dtmf | Stop | None:
        try:
            return FRAMES.validate_json(message)
        except ValidationError as error:
            kind = error.errors(include_url=False, include_context=False, include_input=False)[0]["type"]
            if kind != "union_tag_invalid":  # events that came after this was written are none of ours
                self._complain("a message that is no media stream's")
            return None

    def _complain(self, what: str) -> None:
        """The protocol has no word for it: it is noted, and the call goes on."""
        self._complaints += 1
        if self._complaints <= _MAX_COMPLAINTS:
            session = self._session.id if self._session is not None else ""
            logger.warning("a message of a call was dropped", extra={"session": session, "reason": what})

    # ------------------------------------------------------------------------ to the network

    async def _send(self, message: Message) -> None:
        """The outbox holds mu-law as it is: what was taken back is of no account to the marks."""
        if isinstance(message, str):
            return await self._peer.send(message)
        payload = base64.b64encode(message).decode("ascii")
        name = self._marks.sent(len(message) / RATE_HZ, asyncio.get_running_loop().time())
        await self._peer.send(self._frame("media", media={"payload": payload}))
        await self._peer.send(self._frame("mark", mark={"name": name}))

    def audio(self, frame: AudioFrame) -> None:
        resampler = self._resampler
        if resampler is None or resampler.from_hz != frame.rate_hz:
            self.flush()
            resampler = self._resampler = LiveResampler(frame.rate_hz, RATE_HZ)
        self._put(resampler.push(frame.samples))

    def flush(self) -> None:
        if self._resampler is not None and self._resampler.from_hz != RATE_HZ:
            self._put(self._resampler.push(np.empty(0, dtype=np.float32), last=True))
        self._resampler = None

    def drop(self) -> None:
        self._resampler = None  # what is left in its filter belongs to what is dropped
        self._outbox.drop_audio()
        if self._marks.cleared(asyncio.get_running_loop().time()):
            self._outbox.put(self._frame("clear"))

    async def room(self) -> None:
        await self._outbox.room()

    def _put(self, samples: Any) -> None:
        data = g711.encode(samples, "mulaw")
        for at in range(0, len(data), _PIECE_BYTES):
            self._outbox.put_audio(data[at : at + _PIECE_BYTES])

    def _frame(self, event: str, **body: Any) -> str:
        return json.dumps({"event": event, "streamSid": self._stream, **body})

    async def _played_out(self, others: set[asyncio.Task[None]]) -> None:
        """Closing the stream cuts off what was not played: wait for the last mark."""

        async def last_mark() -> None:
            await self._outbox.flushed()
            while self._marks.waiting:
                self._marks_moved.clear()
                await self._marks_moved.wait()

        waiting = asyncio.create_task(last_mark())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_MARK_S):
                await asyncio.wait({waiting, *others}, return_when=asyncio.FIRST_COMPLETED)
        await end_all((waiting,))
