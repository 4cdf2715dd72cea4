"""A small server that speaks OpenAI Realtime over WebSocket, by script: what the benchmark's client is tested against.

    async with RealtimeStandin(transcript="hi", reply="Hello there.") as server:
        ... server.url ...
        assert server.sessions[0]["instructions"] == "Be brief."

It hears by loudness. What it sends is made of the `openai` package's own event types, and what it is sent is checked
against them. `mode` makes it misbehave:

    ""            a good server
    late          transcribes after it has answered
    old           the event names of the beta protocol
    refuses       does not take the session
    silent        never says that it has taken the session
    hangs_up      closes at the first audio
    garbage       sends what is no JSON at the first audio
    bad_audio     sends audio that is no base64
    fails         its responses fail
    complains     reports an error in mid-session, and goes on
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from types import TracebackType
from typing import Any

import numpy as np
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

RATE_HZ = 24000
STOP_MS = 200

_CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
_SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
_OLD_NAMES = {
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
}


class RealtimeStandin:
    """The server; running inside `async with`, on the event loop of the test."""

    def __init__(
        self, *, transcript: str = "hi", reply: str = "Hello there.", mode: str = "", api_key: str = ""
    ) -> None:
        self.transcript, self.reply, self.mode = transcript, reply, mode
        self.url = ""
        self.sessions: list[dict[str, Any]] = []
        """As the clients configured them."""
        self.headers: list[dict[str, str]] = []
        self.heard: list[float] = []
        """Seconds of audio, by connection."""
        self.invalid: list[str] = []
        """What the `openai` package's types do not allow."""
        self._api_key = api_key
        self._server: Server | None = None

    async def __aenter__(self) -> RealtimeStandin:
        self._server = await serve(self._talk, "127.0.0.1", 0, process_request=self._let_in, close_timeout=0.5)
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v1/realtime?model=stand-in"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _let_in(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(dict(request.headers.raw_items()))
        if self._api_key and request.headers.get("Authorization") != f"Bearer {self._api_key}":
            return connection.respond(401, "no such key\n")
        return None

    async def _talk(self, socket: ServerConnection) -> None:
        try:
            await _Conversation(self, socket).run()
        except ConnectionClosed:
            return


class _Conversation:
    def __init__(self, server: RealtimeStandin, socket: ServerConnection) -> None:
        self.server, self.socket = server, socket
        self.place = len(server.heard)
        server.heard.append(0.0)
        self.ids = itertools.count(1)
        self.item = ""
        self.quiet_ms = 0.0

    async def run(self) -> None:
        await self.send("session.created", session={"type": "realtime", "model": "stand-in"})
        async for text in self.socket:
            event = json.loads(text)
            try:
                _CLIENT.validate_python(event)
            except ValueError as error:
                self.server.invalid.append(str(error))
            if event["type"] == "session.update":
                await self.update(event["session"])
            elif event["type"] == "input_audio_buffer.append":
                await self.hear(base64.b64decode(event["audio"]))

    async def send(self, type: str, **fields: Any) -> None:
        event = {"type": type, "event_id": f"event_{next(self.ids)}", **fields}
        try:
            _SERVER.validate_python(event)
        except ValueError as error:
            self.server.invalid.append(str(error))
        if self.server.mode == "old":
            event["type"] = _OLD_NAMES.get(type, type)
        await self.socket.send(json.dumps(event))

    async def error(self, message: str) -> None:
        await self.send("error", error={"type": "invalid_request_error", "message": message})

    async def update(self, session: dict[str, Any]) -> None:
        self.server.sessions.append(session)
        if self.server.mode == "refuses":
            await self.error("no such voice")
        elif self.server.mode != "silent":
            await self.send("session.updated", session=session)

    async def hear(self, pcm: bytes) -> None:
        if self.server.mode == "hangs_up":
            await self.socket.close(1011, "out of order")
            return
        if self.server.mode == "garbage":
            await self.socket.send("no JSON")
        samples = np.frombuffer(pcm, "<i2")
        seconds = len(samples) / RATE_HZ
        self.server.heard[self.place] += seconds
        if len(samples) and np.abs(samples).max() > 3000:
            if not self.item:
                self.item = f"item_{next(self.ids)}"
                at_ms = round((self.server.heard[self.place] - seconds) * 1000)
                await self.send("input_audio_buffer.speech_started", item_id=self.item, audio_start_ms=at_ms)
            self.quiet_ms = 0.0
        elif self.item:
            self.quiet_ms += seconds * 1000
            if self.quiet_ms >= STOP_MS:
                item, self.item, self.quiet_ms = self.item, "", 0.0
                await self.turn(item)

    async def turn(self, item: str) -> None:
        end_ms = round(self.server.heard[self.place] * 1000 - STOP_MS)
        await self.send("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=end_ms)
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        if self.server.mode == "complains":
            await self.error("slow down")
        if self.server.mode != "late":
            await self.transcribe(item)
        await self.answer()
        if self.server.mode == "late":
            await self.transcribe(item)

    async def transcribe(self, item: str) -> None:
        await self.send(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            content_index=0,
            transcript=self.server.transcript,
            usage={"type": "duration", "seconds": 1.0},
        )

    async def answer(self) -> None:
        response = {"id": f"resp_{next(self.ids)}", "object": "realtime.response"}
        place = {"response_id": response["id"], "item_id": "item_a", "output_index": 0, "content_index": 0}
        await self.send("response.created", response={**response, "status": "in_progress"})
        if self.server.mode == "fails":
            details = {"type": "failed", "error": {"type": "server_error", "code": "out_of_memory"}}
            await self.send("response.done", response={**response, "status": "failed", "status_details": details})
            return
        words = self.server.reply.split(" ")
        tone = (0.3 * np.sin(2 * np.pi * 200 * np.arange(RATE_HZ // 5) / RATE_HZ) * 32767).astype("<i2").tobytes()
        for number, word in enumerate(words):
            delta = word if not number else f" {word}"
            await self.send("response.output_audio_transcript.delta", delta=delta, **place)
            audio = "!!!" if self.server.mode == "bad_audio" else base64.b64encode(tone).decode()
            await self.send("response.output_audio.delta", delta=audio, **place)
            await asyncio.sleep(0)
        await self.send("response.done", response={**response, "status": "completed"})
