"""Conversations over WebSockets: who may begin one, how long it lasts, and how it is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from antiphon.server.access import answers
from antiphon.server.access.access import Limited
from antiphon.server.access.principal import Denied, Principal, Scope, principal_of
from antiphon.server.outbox import Message, SlowClient
from antiphon.server.peer import Peer
from antiphon.server.rest import errors
from antiphon.server.service import Refused, Service

logger = logging.getLogger(__name__)

NORMAL, GOING_AWAY, POLICY, BROKEN = 1000, 1001, 1008, 1011
"""Codes with which a WebSocket is closed (RFC 6455, 7.4.1)."""
REALTIME = "realtime"
_CLOSE_S = 5.0


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
    :param subprotocol: the one that is agreed to; None: "realtime", where the client offers it.
    :param stall_s: a client that has sent nothing for so long is left; None: as configured; inf: never.
    """
    service: Service = websocket.app.state.service
    time_limit = _TimeLimit(service.settings.max_session_s)
    with ExitStack() as held:
        try:
            principal = principal_of(websocket, scope)
            held.enter_context(service.access.holding(principal, time_limit.revoke))
            service.admit()
        except Denied as why:
            return await websocket.send_denial_response(errors.denial(why))
        except Limited as why:
            return await websocket.send_denial_response(answers.limitation(why))
        except Refused as why:
            return await websocket.send_denial_response(errors.refusal(why))
        connection = make(principal, peer_of(websocket, service.settings.stall_s if stall_s is None else stall_s))
        async with service.conversation(connection):  # before the first await: the next client must see it counted
            await websocket.accept(subprotocol or _offered(websocket))
            await close_socket(websocket, *await _hold(connection, service, time_limit))


def _offered(websocket: WebSocket) -> str | None:
    """A browser that shows its key among subprotocols hangs up unless one of them is agreed to; not the key."""
    return REALTIME if REALTIME in websocket.scope.get("subprotocols", ()) else None


class _TimeLimit:
    """How long a conversation may last: so long, or until its key is revoked."""

    def __init__(self, seconds: float) -> None:
        self.reason = f"a conversation may last {seconds:g} s"
        self._seconds = seconds
        self._revoked = False
        self._timeout: asyncio.Timeout | None = None

    def revoke(self) -> None:
        self._revoked = True
        self.reason = "the key was revoked"
        if self._timeout is not None:
            with suppress(RuntimeError):  # its time is over already
                self._timeout.reschedule(asyncio.get_running_loop().time())

    def over(self) -> None:
        """Nothing runs any more that could be cut off."""
        self._timeout = None

    def running(self) -> asyncio.Timeout:
        """A context; what runs inside is cut off when the time is over."""
        self._timeout = asyncio.timeout(0 if self._revoked else self._seconds)
        return self._timeout


async def _hold(connection: Connection, service: Service, time_limit: _TimeLimit) -> tuple[int, str]:
    """Returns with which code and words the WebSocket is to be closed."""
    limit = time_limit.running()
    try:
        async with limit:
            await connection.run()
    except (SlowClient, Stalled) as error:
        return POLICY, str(error)
    except Exception as error:
        if isinstance(error, TimeoutError) and limit.expired():
            return POLICY, time_limit.reason
        logger.exception("a conversation broke")
        return BROKEN, "the conversation broke; the server's log says why"
    finally:
        time_limit.over()
    return (GOING_AWAY, "the server is shutting down") if service.draining else (NORMAL, "")


async def close_socket(websocket: WebSocket, code: int, reason: str) -> None:
    """Close it, where it is still open."""
    open_on_both_sides = WebSocketState.CONNECTED is websocket.application_state is websocket.client_state
    if open_on_both_sides:
        with suppress(TimeoutError, WebSocketDisconnect):  # one that takes nothing does not take this, either
            async with asyncio.timeout(_CLOSE_S):
                await websocket.close(code, reason)


def peer_of(websocket: WebSocket, stall_s: float) -> Peer:
    """A WebSocket as two functions.

    :param stall_s: a client that has sent nothing for so long is :class:`Stalled`; inf: never.
    """

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
        if websocket.application_state is not WebSocketState.CONNECTED:
            return  # it was found gone before
        try:
            if isinstance(message, str):
                await websocket.send_text(message)
            else:
                await websocket.send_bytes(message)
        except WebSocketDisconnect:
            return  # the client has gone: the reader says so
        except RuntimeError:
            if websocket.client_state is WebSocketState.CONNECTED:
                raise

    return Peer(receive, send)
