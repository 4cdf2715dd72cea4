"""Realtime over a WebSocket: `/v1/realtime?model=`. Events both ways as JSON text; audio inside of them."""

from __future__ import annotations

import asyncio
import json
from functools import partial

from starlette.websockets import WebSocket

from antiphon.server.access.principal import Principal
from antiphon.server.outbox import Outbox
from antiphon.server.peer import Peer
from antiphon.server.realtime.connection import RealtimeConnection
from antiphon.server.realtime.protocol import ProtocolError, ServerEvent, server_events
from antiphon.server.realtime.protocol.session import Kind
from antiphon.server.rest import errors
from antiphon.server.service import Service
from antiphon.server.sockets import converse

MAX_UNSENT = 500
"""Messages that may wait to be sent; past that, the client's are not read."""
SUBPROTOCOL = "realtime"


class _Line:
    """Events to one client, in order; audio that it has not got yet can be taken back."""

    def __init__(self, peer: Peer) -> None:
        self.outbox = Outbox(peer.send)

    def send(self, event: ServerEvent) -> None:
        message = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if event["type"] == "response.output_audio.delta":
            self.outbox.put_audio(message)
        else:
            self.outbox.put(message)

    def drop(self) -> None:
        self.outbox.drop_audio()

    async def room(self) -> None:
        await self.outbox.room()


class RealtimeSocket:
    """One client on a WebSocket. Await :meth:`run` once."""

    def __init__(self, service: Service, principal: Principal, peer: Peer, *, model: str | None, intent: str) -> None:
        """
        :param intent: "transcription" for a session that only transcribes.
        """
        self._peer = peer
        self._line = _Line(peer)
        make = partial(RealtimeConnection, service, principal, send=self._line.send, room=self._line)
        bound = (principal.session or {}).get("type")
        kind: Kind = "transcription" if "transcription" in (intent, bound) else "realtime"
        self._problem: ProtocolError | None = None
        self._connection: RealtimeConnection | None = None
        try:
            self._connection = make(model=model, kind=kind)
        except ProtocolError as problem:
            self._problem = problem

    async def run(self) -> None:
        """Serve until the client goes, or the conversation is over and everything was sent.

        :raises SlowClient: the client takes nothing any more.
        :raises Exception: what the peer's functions raise.
        :raises BaseExceptionGroup: the session broke.
        """
        outbox = self._line.outbox
        if self._connection is None:
            assert self._problem is not None
            self._line.send(server_events.error(self._problem))
        sending = asyncio.create_task(outbox.run())
        talking = asyncio.create_task(self._talk())
        reading = asyncio.create_task(self._read())
        try:
            done, _ = await asyncio.wait({sending, talking, reading}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what went wrong
            if talking in done and reading not in done:
                flushing = asyncio.create_task(outbox.flushed())
                await asyncio.wait({sending, flushing}, return_when=asyncio.FIRST_COMPLETED)
                flushing.cancel()
        finally:
            outbox.close()
            for task in (reading, talking, sending):
                task.cancel()
            await asyncio.wait({reading, talking, sending})

    def close(self) -> None:
        """End the conversation: what is being said is said to its end."""
        if self._connection is not None:
            self._connection.close()

    async def _talk(self) -> None:
        if self._connection is not None:
            await self._connection.run()

    async def _read(self) -> None:
        if self._connection is None:  # what was wrong is told, then it is over
            await asyncio.Event().wait()
            return
        while (message := await self._peer.receive()) is not None:
            await self._line.outbox.few(MAX_UNSENT)
            await self._connection.receive(message)


async def realtime(websocket: WebSocket) -> None:
    """The route. A client that says nothing is no dead one (push-to-talk, text): the server's pings find those."""
    asked = websocket.query_params
    if call_id := asked.get("call_id"):
        from antiphon.server.realtime.sideband import sideband

        return await sideband(websocket, call_id)
    intent = asked.get("intent", "")
    if intent not in ("", "transcription"):
        message = f"intent is 'transcription' or not there, and not '{intent[:100]}'"
        return await websocket.send_denial_response(errors.error_response(400, "intent", message))
    service: Service = websocket.app.state.service
    offered = websocket.scope.get("subprotocols", [])
    await converse(
        websocket,
        lambda principal, peer: RealtimeSocket(service, principal, peer, model=asked.get("model"), intent=intent),
        subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None,
        stall_s=float("inf"),
    )
