"""Any server that speaks the OpenAI Realtime protocol over WebSocket, as a subject.

The client is an ordinary one: it sends 24 kHz PCM as a microphone gives it, leaves turn detection to the server's
`server_vad` with the server's own defaults, plays what comes, and stops playing when the server hears the user speak.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import soxr

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.benchmarks.peers.address import KEY_VARIABLE, check_url, listening_pids, shown_url
from antiphon.benchmarks.peers.errors import PeerFailed
from antiphon.benchmarks.peers.story import Story
from antiphon.benchmarks.subject import Listener
from antiphon.engines.audio import Samples, to_pcm16
from antiphon.engines.errors import EngineUnavailable, OfflineForbidden
from antiphon.pipeline.events import TurnStatus

log = logging.getLogger(__name__)

WIRE_HZ = 24000
"""The only PCM rate of the protocol."""
CONNECTING_S = 15.0
CLOSING_S = 3.0
MAX_MESSAGE = 32 << 20

AUDIO_DELTAS = ("response.output_audio.delta", "response.audio.delta")
TEXT_DELTAS = (
    "response.output_audio_transcript.delta",
    "response.audio_transcript.delta",
    "response.output_text.delta",
    "response.text.delta",
)


class RealtimePeer:
    """A server at a URL. One conversation is one connection.

    :param instructions: the system prompt of each session.
    :param turn_detection: which one is asked for, with the server's own defaults.
    :param environ: where the key is.
    """

    finished_recording = False
    tells_turns = True

    def __init__(
        self,
        url: str,
        *,
        instructions: str,
        language: str | None = None,
        allow_network: bool = False,
        turn_detection: str = "server_vad",
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.name = f"realtime {urlsplit(url).netloc.rpartition('@')[2]}"
        self.pids: tuple[int, ...] = ()
        """Those that listen at the URL, where it is on this machine and the system tells."""
        self.settings = {"url": shown_url(url), "turn_detection": f"{turn_detection}, the server's defaults"}
        self.versions: dict[str, str] = {}
        self._url = check_url(url, allow_network=allow_network)
        self._key = environ.get(KEY_VARIABLE, "")
        self._instructions = instructions
        self._language = language
        self._turn_detection = turn_detection

    async def __aenter__(self) -> RealtimePeer:
        """
        :raises EngineUnavailable: the package websockets is missing.
        :raises PeerFailed: the server cannot be reached, or refuses the session.
        """
        session = await self.open(Listener())
        await session.close()
        self.pids = await asyncio.to_thread(listening_pids, self._url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing of the server's is ours."""

    async def open(self, listener: Listener) -> RealtimeSession:
        """:raises PeerFailed: the server cannot be reached, or refuses the session."""
        try:
            from websockets.asyncio.client import connect
            from websockets.exceptions import WebSocketException
        except ImportError as error:
            raise EngineUnavailable(
                "measuring a Realtime server needs the Python package websockets", hint='pip install "antiphon[server]"'
            ) from error
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        session: RealtimeSession | None = None
        try:
            async with asyncio.timeout(CONNECTING_S):
                socket = await connect(
                    self._url, additional_headers=headers, max_size=MAX_MESSAGE, compression=None, proxy=None
                )
                session = RealtimeSession(socket, listener)
                await session.begin(self._instructions, self._language, self._turn_detection)
                return session
        except (OSError, TimeoutError, WebSocketException, OfflineForbidden) as error:
            raise self._unreachable(error) from error
        finally:
            if session is not None and not session.begun:
                await session.close()

    def _unreachable(self, error: Exception) -> PeerFailed:
        if isinstance(error, TimeoutError):
            why, hint = f"no session within {CONNECTING_S:g} s", ""
        elif isinstance(error, OfflineForbidden):
            why, hint = "the configuration forbids the network", "measure it with --set session.offline=false"
        else:
            why, hint = str(error) or type(error).__name__, ""
        if not hint and not self._key:
            hint = f"if it wants a key: put it in the variable {KEY_VARIABLE}"
        return PeerFailed(f"{self.settings['url']}: {why}", peer=self.name, hint=hint)


class RealtimeSession:
    """One connection."""

    def __init__(self, socket: Any, listener: Listener) -> None:
        self.begun = False
        self._socket = socket
        self._listener = listener
        self._story = Story(listener)
        self._updated = asyncio.get_running_loop().create_future()
        self._broken: PeerFailed | None = None
        self._closing = False
        # The quickest of soxr's filters: the others hold audio back, some for 30 ms.
        self._resampler = soxr.ResampleStream(RATE_HZ, WIRE_HZ, 1, dtype="float32", quality="QQ")
        self._sent = 0
        """Samples at 16 kHz."""
        self._turns: dict[str, int] = {}
        """Which turn an item or a response belongs to."""
        self._spoke: set[str] = set()
        """Responses that have given text."""
        self._sounded: set[str] = set()
        """Responses that have given audio."""
        self._reading = asyncio.create_task(self._read(), name="realtime-reader")

    async def begin(self, instructions: str, language: str | None, turn_detection: str = "server_vad") -> None:
        """Configure the session and wait until the server has taken it."""
        transcription = {"model": "gpt-4o-mini-transcribe", **({"language": language} if language else {})}
        pcm = {"type": "audio/pcm", "rate": WIRE_HZ}
        await self._send(
            type="session.update",
            session={
                "type": "realtime",
                "instructions": instructions,
                "output_modalities": ["audio"],
                "audio": {
                    "input": {
                        "format": pcm,
                        "transcription": transcription,
                        "turn_detection": {"type": turn_detection},
                    },
                    "output": {"format": pcm},
                },
            },
        )
        await self._updated
        self.begun = True

    async def hear(self, samples: Samples) -> None:
        """:raises PeerFailed: the connection has ended."""
        if self._broken is not None:
            raise self._broken
        self._sent += len(samples)
        pcm = to_pcm16(np.asarray(self._resampler.resample_chunk(samples), np.float32)).astype("<i2").tobytes()
        if pcm:
            await self._send(type="input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    async def close(self) -> None:
        self._closing = True
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._socket.close()
        except (TimeoutError, OSError):
            self._socket.transport.abort()
        self._reading.cancel()
        await asyncio.wait({self._reading})
        if self._updated.done() and not self._updated.cancelled():
            self._updated.exception()  # nobody waits for it any more

    # -------------------------------------------------------------------------------------- inside

    async def _send(self, **event: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(json.dumps(event))
        except ConnectionClosed as error:
            raise self._broken or PeerFailed("the server closed the connection", peer="realtime") from error

    async def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        why = "the server closed the connection"
        try:
            async for text in self._socket:
                self._take(json.loads(text))
        except ConnectionClosed as error:
            why = f"{why}: {error}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"the server sent what cannot be read: {type(error).__name__}: {error}"
            self._socket.transport.abort()  # nobody reads on: a closing handshake would never end
        if not self._closing:
            self._break(why)

    def _break(self, why: str) -> None:
        self._broken = PeerFailed(why, peer="realtime")
        if not self._updated.done():
            self._updated.set_exception(self._broken)

    def _take(self, event: dict[str, Any]) -> None:
        """What the server sent, now."""
        kind = event["type"]
        if kind in AUDIO_DELTAS:
            self._hear_audio(str(event.get("response_id", "")), event["delta"])
        elif kind in TEXT_DELTAS:
            self._read_text(str(event.get("response_id", "")), kind, event["delta"])
        elif kind == "session.updated":
            if not self._updated.done():
                self._updated.set_result(None)
        elif kind == "error":
            self._fail(event.get("error") or {})
        else:
            self._turn(kind, event)

    def _turn(self, kind: str, event: dict[str, Any]) -> None:
        match kind:
            case "input_audio_buffer.speech_started":
                self._listener.sink.clear()
                self._story.started(event["audio_start_ms"] / 1000, self._sent / RATE_HZ)
            case "input_audio_buffer.speech_stopped":
                self._story.tell("vad_stop")
            case "input_audio_buffer.committed":
                self._story.tell("commit")
                self._turns[event["item_id"]] = self._story.turn
            case "conversation.item.input_audio_transcription.completed":
                self._story.hear(event["transcript"], self._turns.get(event["item_id"]))
            case "response.created":
                self._turns[event["response"]["id"]] = self._story.turn
            case "response.done":
                self._done(event["response"])

    def _done(self, response: dict[str, Any]) -> None:
        if response.get("status") == "failed":
            self._story.fail(_why(response))
        status: TurnStatus = "interrupted" if response.get("status") == "cancelled" else "completed"
        self._story.end(status, self._turns.get(response.get("id", "")))

    def _hear_audio(self, response: str, delta: str) -> None:
        try:
            pcm = np.frombuffer(base64.b64decode(delta, validate=True), "<i2")
        except binascii.Error as error:
            raise ValueError(f"audio that is not base64: {error}") from error
        if response not in self._sounded:
            self._sounded.add(response)
            self._story.tell("first_audio")
        self._listener.audio(pcm.astype(np.float32) / 32768.0, WIRE_HZ)

    def _read_text(self, response: str, kind: str, delta: str) -> None:
        if response not in self._spoke:
            self._spoke.add(response)
            self._story.tell("first_token")
        self._story.say(delta)

    def _fail(self, error: dict[str, Any]) -> None:
        message = str(error.get("message") or error.get("code") or "the server reports an error")
        if not self._updated.done():
            self._break(f"the server refuses the session: {message}")
        else:
            self._story.fail(message, ends=False)


def _why(response: Mapping[str, Any]) -> str:
    details = response.get("status_details") or {}
    error = details.get("error") or {}
    return str(error.get("message") or error.get("code") or details.get("reason") or "the response failed")
