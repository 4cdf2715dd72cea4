"""The wire between the benchmark and a peer's driver: frames over the driver's standard input and output.

A frame is one byte of kind, four bytes of length (little-endian), and the payload: "J" is a JSON object; "A" is audio,
four bytes of rate in Hz (little-endian) before signed 16-bit little-endian mono samples. Both sides use this module;
it imports the standard library alone, for a driver runs in an environment that has no Antiphon.

To the driver
    {"type": "load", ...}       once, first: models, the LLM's address, instructions (`job` in the package)
    {"type": "open"}            a conversation begins; "keep": true goes on with the one before
    audio                       16 kHz, 20 ms a frame, in real time
    {"type": "end"}             the recording is over (drivers that answer finished recordings)
    {"type": "close"}           the conversation is over: stop all output
    end of input                leave

From the driver
    {"type": "ready", "versions": {}, "settings": {}}     loaded and warm
    {"type": "opened"}, {"type": "closed"}
    audio                                                 to be played, behind what was sent before
    {"type": "clear"}                                     drop what was sent and not played
    {"type": "event", "name": one of EVENTS, "text": ""}  what happened, as it happens
    {"type": "error", "message": "", "fatal": false}
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

EVENTS = ("vad_stop", "heard", "commit", "first_token", "first_audio", "reply", "done")
"""What a driver tells of.

vad_stop     the VAD was sure of silence
heard        one final transcript (`text`)
commit       the turn was taken as over
first_token  the first text of the answer came from the LLM
first_audio  the first audio of the answer came from the TTS
reply        text of the answer (`text`); pieces are joined with a space
done         the answer is over: all its audio was sent and has been played
"""

RATE_HZ = 16000
"""Of audio to the driver."""
FRAME_SAMPLES = 320
MAX_FRAME_BYTES = 64 << 20

_HEAD = struct.Struct("<cI")
_RATE = struct.Struct("<I")


class WireError(Exception):
    """Raised when the other side sends what is no frame."""


def pack(message: dict[str, Any]) -> bytes:
    """A frame of a message."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    return _HEAD.pack(b"J", len(payload)) + payload


def pack_audio(pcm: bytes, rate_hz: int) -> bytes:
    """A frame of audio: signed 16-bit little-endian mono."""
    return _HEAD.pack(b"A", _RATE.size + len(pcm)) + _RATE.pack(rate_hz) + pcm


class Unpacker:
    """Takes bytes as they come and gives whole frames: messages, and audio as (samples, rate)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def push(self, data: bytes) -> list[dict[str, Any] | tuple[bytes, int]]:
        """The frames that are whole now.

        :raises WireError: the bytes are no frames; nothing after them can be read.
        """
        self._buffer += data
        frames: list[dict[str, Any] | tuple[bytes, int]] = []
        while len(self._buffer) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._buffer)
            if kind not in (b"J", b"A") or length > MAX_FRAME_BYTES:
                raise WireError(f"not a frame: kind {kind!r}, {length} bytes")
            if len(self._buffer) < _HEAD.size + length:
                break
            payload = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
            del self._buffer[: _HEAD.size + length]
            frames.append(_message(payload) if kind == b"J" else _audio(payload))
        return frames


def _message(payload: bytes) -> dict[str, Any]:
    try:
        message = json.loads(payload)
    except ValueError as error:
        raise WireError(f"not JSON: {payload[:80]!r}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise WireError(f"not a message: {payload[:80]!r}")
    return message


def _audio(payload: bytes) -> tuple[bytes, int]:
    if len(payload) < _RATE.size or len(payload) % 2:
        raise WireError(f"not audio: {len(payload)} bytes")
    (rate_hz,) = _RATE.unpack_from(payload)
    if not 4000 <= rate_hz <= 192000:
        raise WireError(f"not audio: {rate_hz} Hz")
    return payload[_RATE.size :], rate_hz


# ------------------------------------------------------------------------------------------- a driver's side


class Peer(Protocol):
    """What a driver makes of its framework. All run on the event loop and return soon."""

    async def open(self, keep: bool) -> None: ...
    async def audio(self, pcm: bytes) -> None: ...
    async def end(self) -> None: ...
    async def close(self) -> None: ...
    async def aclose(self) -> None: ...


class Wire:
    """A driver's end. Standard output is kept for frames: what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._lock = threading.Lock()

    def send(self, type: str, **fields: Any) -> None:
        """Send a message. Any thread may."""
        self._write(pack({"type": type, **fields}))

    def event(self, name: str, text: str = "") -> None:
        if name not in EVENTS:
            raise ValueError(f"no such event: {name}")
        self.send("event", name=name, text=text)

    def audio(self, pcm: bytes, rate_hz: int) -> None:
        """Send audio to be played: signed 16-bit little-endian mono."""
        self._write(pack_audio(pcm, rate_hz))

    def _write(self, frame: bytes) -> None:
        view = memoryview(frame)
        with self._lock:
            while view:
                view = view[os.write(self._out, view) :]


def stay_on_this_machine() -> None:
    """From now on this process reaches nothing but loopback: no hub, no telemetry, whatever a library would like."""

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto"):
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else "localhost"
        elif event == "socket.getaddrinfo":
            host = arguments[0]
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in (None, "", "localhost", "::1", "0.0.0.0", "::") and not str(host).startswith("127."):
            raise PermissionError(f"a peer that is measured stays on this machine: it wanted to reach {host}")

    sys.addaudithook(check)


async def serve(load: Callable[[dict[str, Any], Wire], Awaitable[Peer]]) -> None:
    """Run a driver until its input ends. `load` makes the peer of the first message, and says "ready"."""
    wire = Wire()
    stay_on_this_machine()
    inbox = _read_standard_input(asyncio.get_running_loop())
    peer: Peer | None = None
    try:
        while (frame := await inbox.get()) is not None:
            if isinstance(frame, tuple):
                if peer is not None:
                    await peer.audio(frame[0])
                continue
            match frame["type"]:
                case "load":
                    peer = await load(frame, wire)
                case name if peer is not None:
                    await _told(peer, name, frame, wire)
                case name:
                    raise WireError(f"'{name}' before 'load'")
    except Exception as error:
        wire.send("error", message=f"{type(error).__name__}: {error}", fatal=True)
        raise
    finally:
        if peer is not None:
            await peer.aclose()


async def _told(peer: Peer, name: str, frame: dict[str, Any], wire: Wire) -> None:
    if name == "open":
        await peer.open(bool(frame.get("keep")))
        wire.send("opened")
    elif name == "end":
        await peer.end()
    elif name == "close":
        await peer.close()
        wire.send("closed")
    else:
        raise WireError(f"unknown message '{name}'")


def _read_standard_input(loop: asyncio.AbstractEventLoop) -> asyncio.Queue[dict[str, Any] | tuple[bytes, int] | None]:
    """Frames as they arrive; None at the end of input. Read in a thread: pipes are not pollable everywhere."""
    inbox: asyncio.Queue[dict[str, Any] | tuple[bytes, int] | None] = asyncio.Queue()

    def put(item: dict[str, Any] | tuple[bytes, int] | None) -> None:
        try:
            loop.call_soon_threadsafe(inbox.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody reads any more
            return

    def read() -> None:
        unpacker = Unpacker()
        while data := os.read(0, 1 << 16):
            for frame in unpacker.push(data):
                put(frame)
        put(None)

    threading.Thread(target=read, name="standard input", daemon=True).start()
    return inbox
