"""Calls from Asterisk: AudioSocket, PCM both ways over TCP.

Asterisk passes on what it gets, when it gets it: we keep the time, so what was heard is known to a frame, and a pause
holds at once. Frames go out all the time, silent ones between replies, as a telephone line has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import uuid
from functools import partial

from antiphon.engines.audio import Samples
from antiphon.pipeline.config import Config
from antiphon.pipeline.session import Session
from antiphon.server.access.principal import caller
from antiphon.server.client_audio import from_pcm16, pcm16
from antiphon.server.paced_audio import PacedTransport
from antiphon.server.service import Refused, Service
from antiphon.server.tcp_front import TcpFront, listen_tcp
from antiphon.server.telephony.audiosocket_wire import (
    DTMF,
    ERROR,
    ERRORS,
    HANGUP,
    HEADER_BYTES,
    RATES_HZ,
    UUID,
    Packet,
    parse_header,
)
from antiphon.server.telephony.keypad import Keypad
from antiphon.server.together import end_all, first_over

logger = logging.getLogger(__name__)

FRAME_MS = 20.0
_PATIENCE_S = 10.0
"""A line that has taken nothing for so long is gone."""
_MAX_COMPLAINTS = 50


class BadCall(Exception):
    """Raised for a connection that is no call."""


class AudioSocketCall:
    """One call. Await :meth:`run` once."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._service = service
        self._idle_s = service.settings.audiosocket.idle_s
        self._reader = reader
        self._writer = writer
        self._session: Session | None = None
        self._kind = 0
        """Of the audio, both ways: what the caller's first audio is."""
        self._complaints = 0
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Hold the call until the caller hangs up, or the conversation is over; then hang up."""
        try:
            begun = await self._begun()
            if begun is not None:
                await self._converse(*begun)
        except BadCall as error:
            logger.warning("a connection was no call", extra={"front": "audiosocket", "reason": str(error)})
            await self._write(Packet(ERROR))
        except Refused as why:
            logger.warning("a call was refused", extra={"front": "audiosocket", "code": why.code})
        except TimeoutError:
            logger.info("a call has fallen silent", extra={"front": "audiosocket"})
        with contextlib.suppress(OSError, TimeoutError):
            await self._write(Packet(HANGUP))

    def close(self) -> None:
        """End the call: what is being said is said to its end. One that has not begun does not begin."""
        self._closing.set()
        if self._session is not None:
            self._session.end()

    # ------------------------------------------------------------------------ the beginning

    async def _begun(self) -> tuple[uuid.UUID, Packet] | None:
        """The call's id and its first audio; None: there is to be no call."""
        closing = asyncio.create_task(self._closing.wait())
        beginning = asyncio.create_task(self._begin())
        try:
            await first_over((beginning, closing))
            return beginning.result() if beginning.done() and not self._closing.is_set() else None
        finally:
            await end_all((closing, beginning))

    async def _begin(self) -> tuple[uuid.UUID, Packet] | None:
        call = await self._identified()
        first = await self._first_audio()
        return None if first is None else (call, first)

    async def _identified(self) -> uuid.UUID:
        packet = await self._packet()
        if packet is None or packet.kind != UUID or len(packet.payload) != 16:
            raise BadCall("the first packet is to be the call's UUID")
        return uuid.UUID(bytes=packet.payload)

    async def _first_audio(self) -> Packet | None:
        """The first audio, which says at which rate both sides speak; None: there was a hang-up first."""
        while (packet := await self._packet()) is not None:
            if packet.kind in RATES_HZ and packet.payload:
                self._kind = packet.kind
                return packet
            if packet.kind in (HANGUP, ERROR):
                return None
        return None

    async def _converse(self, call: uuid.UUID, first: Packet) -> None:
        service = self._service
        service.admit()
        rate_hz = RATES_HZ[self._kind]
        transport = PacedTransport(self._play, input_hz=rate_hz, output_hz=rate_hz, frame_ms=FRAME_MS, continuous=True)
        async with service.conversation(self):  # before the first await: the next call must see it counted
            self._session = session = service.session(transport, protocol="audiosocket", principal=caller())
            logger.info("a call has begun", extra={"front": "audiosocket", "session": session.id, "call": str(call)})
            keypad = Keypad(session, service.config.session)
            talking = asyncio.create_task(session.run(), name=f"session-{session.id}")
            playing = asyncio.create_task(transport.run(), name=f"play-{session.id}")
            reading = asyncio.create_task(self._read(first, transport, keypad), name=f"read-{session.id}")
            tasks = (talking, playing, reading)
            try:
                async with asyncio.timeout(service.settings.max_session_s):
                    await first_over(tasks)
            finally:
                keypad.close()
                transport.close()
                await end_all(tasks)

    # ------------------------------------------------------------------------ both ways

    async def _read(self, first: Packet, transport: PacedTransport, keypad: Keypad) -> None:
        """Until the caller hangs up: nobody will hear then what is still to be said."""
        packet: Packet | None = first
        while packet is not None:
            if packet.kind == self._kind:
                if len(packet.payload) % 2:
                    self._complain("audio of an odd number of bytes")
                elif packet.payload:
                    await transport.push(from_pcm16(packet.payload))
            elif packet.kind == DTMF:
                if not keypad.press(packet.payload.decode("latin-1")):
                    self._complain("a key that is on no keypad")
            elif packet.kind == HANGUP:
                return
            elif packet.kind == ERROR:
                code = packet.payload[0] if packet.payload else 0
                logger.info("Asterisk ends a call", extra={"reason": ERRORS.get(code, f"code {code}")})
                return
            elif packet.kind in RATES_HZ:
                self._complain("audio at another rate than the call began with")
            else:
                self._complain("a packet of an unknown type")
            packet = await self._packet()

    async def _packet(self) -> Packet | None:
        """The next one; None: the connection was closed.

        :raises TimeoutError: nothing has come for too long.
        """
        async with asyncio.timeout(self._idle_s):
            try:
                kind, length = parse_header(await self._reader.readexactly(HEADER_BYTES))
                return Packet(kind, await self._reader.readexactly(length))
            except asyncio.IncompleteReadError:
                return None

    async def _play(self, frame: Samples | None) -> None:
        if frame is not None:
            await self._write(Packet(self._kind, pcm16(frame)))

    async def _write(self, packet: Packet) -> None:
        self._writer.write(packet.encoded())
        async with asyncio.timeout(_PATIENCE_S):
            await self._writer.drain()

    def _complain(self, what: str) -> None:
        self._complaints += 1
        if self._complaints <= _MAX_COMPLAINTS:
            session = self._session.id if self._session is not None else ""
            logger.warning("a packet of a call was dropped", extra={"session": session, "reason": what})


def listen_audiosocket(config: Config) -> socket.socket | None:
    """The listening socket; None: there is to be none.

    :raises ConfigError: it may not, or cannot, be listened there.
    """
    keys = config.server.audiosocket
    return None if keys.port is None else listen_tcp(keys, keys.port, "server.audiosocket")


def audiosocket_front(service: Service, listener: socket.socket) -> TcpFront:
    """Takes calls. An async context manager; the service is ready when it is entered."""
    return TcpFront(
        listener,
        partial(AudioSocketCall, service),
        service=service,
        name="audiosocket",
        keys=service.settings.audiosocket,
        max_connections=service.settings.audiosocket.max_connections,
        too_many=Packet(HANGUP).encoded(),
    )
