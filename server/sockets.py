"""Conversations over WebSockets: who may begin one, how long it lasts, and how it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from antiphon.server.access.principal import Denied, Principal, Scope, principal_of
from antiphon.server.outbox import Message, SlowClient
from antiphon.server.peer import Peer
from antiphon.server.rest import errors
from antiphon.server.service import Refused, Service

logger = logging.getLogger(__name__)

NORMAL, GOING_AWAY, POLICY, BROKEN = 1000, 1001, 1008, 1011
"""Codes with which a WebSocket is closed (RFC 6455, 7.4.1)."""


class Connection(Protocol):
    """A conversation over a WebSocket."""

    async def run(self) -> None:
        """Serve until the client goes, or the conversation is over and everything was sent."""
        ...

    def close(self) -> None:
        """End it: what is being said is said to its end."""
        ...


class Stalled(Exception):
    """The client is connected, and says nothing."""


async def converse(
    websocket: WebSocket,
    make: Callable[[Principal, Peer], Connection],
    *,
    scope: Scope = "realtime",
    subprotocol: str | None = None,
    stall_s: float | None = None,
) -> None:
    """Take a client in, or say why not, and hold one conversation.

    :param make: of whoever is behind it, and of the way to the client.
    :param subprotocol: the one that is agreed to.
    :param stall_s: a client that has sent nothing for so long is left; None: as configured; inf: never.
    """
    service: Service = websocket.app.state.service
    if _from_elsewhere(websocket, service):
        message = f"pages of {websocket.headers['origin']} may not connect; allow them with server.allowed_origins"
        return await websocket.send_denial_response(errors.error_response(403, "origin", message))
    try:
        principal = principal_of(websocket, scope)
        service.admit()
    except Denied as why:
        return await websocket.send_denial_response(errors.denial(why))
    except Refused as why:
        return await websocket.send_denial_response(errors.refusal(why))
    peer = _peer(websocket, service.settings.stall_s if stall_s is None else stall_s)
    connection = make(principal, peer)
    async with service.conversation(connection):  # before the first await: the next client must see it counted
        await websocket.accept(subprotocol)
        code, reason = await _hold(connection, service)
        if websocket.application_state is WebSocketState.CONNECTED and (
            websocket.client_state is WebSocketState.CONNECTED
        ):
            await websocket.close(code, reason)


async def _hold(connection: Connection, service: Service) -> tuple[int, str]:
    """Returns with which code and words the WebSocket is to be closed."""
    try:
        async with asyncio.timeout(service.settings.max_session_s):
            await connection.run()
    except TimeoutError:
        return POLICY, f"a conversation may last {service.settings.max_session_s:g} s"
    except (SlowClient, Stalled) as error:
        return POLICY, str(error)
    except Exception:
        logger.exception("a conversation broke")
        return BROKEN, "the conversation broke; the server's log says why"
    return (GOING_AWAY, "the server is shutting down") if service.draining else (NORMAL, "")


def _from_elsewhere(websocket: WebSocket, service: Service) -> bool:
    """Whether a page of another site is behind it: browsers let any page connect, and send along where it is from."""
    origin = websocket.headers.get("origin")
    if origin is None or origin in service.settings.allowed_origins:
        return False
    return urlsplit(origin).netloc != websocket.headers.get("host")


def _peer(websocket: WebSocket, stall_s: float) -> Peer:
    async def receive() -> Message | None:
        try:
            async with asyncio.timeout(stall_s if stall_s < float("inf") else None):
                message = await websocket.receive()
        except TimeoutError:
            raise Stalled(f"nothing was received for {stall_s:g} s") from None
        if message["type"] != "websocket.receive":
            return None
        data: bytes | None = message.get("bytes")
        text: str | None = message.get("text")
        return data if data is not None else text

    async def send(message: Message) -> None:
        try:
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError):
            if websocket.client_state is WebSocketState.CONNECTED:
                raise  # else the reader says so

    return Peer(receive, send)
