"""A WebSocket beside a call: `/v1/realtime?call_id=`. It gets every event of the call, and may steer it."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket

from antiphon.server.access.principal import Denied, principal_of
from antiphon.server.outbox import Outbox, SlowClient
from antiphon.server.peer import Peer
from antiphon.server.realtime.calls import Calls, NoSuchCall
from antiphon.server.realtime.protocol import ServerEvent
from antiphon.server.rest import errors
from antiphon.server.sockets import BROKEN, NORMAL, POLICY, close_socket, peer_of

if TYPE_CHECKING:
    from antiphon.server.realtime.webrtc.call import Call

logger = logging.getLogger(__name__)

MAX_UNSENT = 500
"""Events that may wait to be sent; past that, what comes from there is not read."""
SUBPROTOCOL = "realtime"


async def sideband(websocket: WebSocket, call_id: str) -> None:
    """Follow a call until it is over, or the WebSocket is."""
    calls: Calls = websocket.app.state.calls
    try:
        call = calls.find(call_id, principal_of(websocket, "realtime"))
    except Denied as why:
        return await websocket.send_denial_response(errors.denial(why))
    except NoSuchCall as why:
        response = errors.error_response(404, "call_not_found", str(why), param="call_id")
        return await websocket.send_denial_response(response)
    if call.sidebands >= call.max_sidebands:
        message = f"{call.sidebands} WebSockets follow this call, no more are allowed (server.webrtc.max_sidebands)"
        return await websocket.send_denial_response(errors.error_response(429, "too_many_sidebands", message))
    call.sidebands += 1
    try:
        offered = websocket.scope.get("subprotocols", [])
        await websocket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        await close_socket(websocket, *await _follow(call, peer_of(websocket, float("inf"))))
    finally:
        call.sidebands -= 1


async def _follow(call: Call, peer: Peer) -> tuple[int, str]:
    """Returns with which code and words the WebSocket is to be closed."""
    outbox = Outbox(peer.send)

    def send(event: ServerEvent) -> None:
        outbox.put(json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")))

    async def read() -> None:
        while (message := await peer.receive()) is not None:
            await outbox.few(MAX_UNSENT)
            await call.connection.receive(message, send)

    stop = call.connection.listen(send)
    sending, reading, over = (asyncio.ensure_future(one) for one in (outbox.run(), read(), call.over.wait()))
    try:
        done, _ = await asyncio.wait({sending, reading, over}, return_when=asyncio.FIRST_COMPLETED)
        if over in done:
            flushing = asyncio.create_task(outbox.flushed())
            await asyncio.wait({sending, flushing}, return_when=asyncio.FIRST_COMPLETED)
            flushing.cancel()
        for task in done:
            task.result()  # raises what went wrong
        return NORMAL, "the call is over" if over in done else ""
    except SlowClient as error:
        return POLICY, str(error)
    except Exception:
        logger.exception("what follows a call broke", extra={"call": call.id})
        return BROKEN, "the server broke here; its log says how"
    finally:
        stop()
        outbox.close()
        for task in (sending, reading, over):
            task.cancel()
        await asyncio.wait({sending, reading, over})
