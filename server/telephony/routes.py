"""`ws /v1/telephony/twilio`: who may begin a call by a media stream."""

from __future__ import annotations

import logging
from functools import partial

from fastapi import APIRouter
from starlette.websockets import WebSocket

from antiphon.server.access import answers
from antiphon.server.access.access import Limited
from antiphon.server.access.principal import Denied, Principal
from antiphon.server.peer import Peer
from antiphon.server.rest import errors
from antiphon.server.service import Service
from antiphon.server.sockets import POLICY, converse
from antiphon.server.telephony.signature import signed
from antiphon.server.telephony.twilio import BadStream, TwilioConnection

logger = logging.getLogger(__name__)

router = APIRouter()


@router.websocket("/v1/telephony/twilio")
async def twilio(websocket: WebSocket) -> None:
    """A call, as a bidirectional media stream."""
    service: Service = websocket.app.state.service
    try:
        _check(websocket, service)
    except Denied as why:
        return await websocket.send_denial_response(errors.denial(why))
    except Limited as why:
        return await websocket.send_denial_response(answers.limitation(why))

    def make(principal: Principal, peer: Peer) -> _Call:
        new_session = partial(service.session, protocol="twilio", principal=principal)
        return _Call(websocket, TwilioConnection(new_session, peer, service.config.session))

    await converse(websocket, make)


class _Call:
    """A call; a stream that cannot be one is closed with the reason."""

    def __init__(self, websocket: WebSocket, connection: TwilioConnection) -> None:
        self._websocket = websocket
        self._connection = connection
        self.close = connection.close

    async def run(self) -> None:
        try:
            await self._connection.run()
        except BadStream as error:
            await self._websocket.close(POLICY, str(error))


def _check(websocket: WebSocket, service: Service) -> None:
    """Whether the network may call: by its signature where there is a token for it, else by a key like anybody.

    :raises Denied: it may not.
    :raises Limited: not so often.
    """
    telephony = service.settings.telephony
    if telephony.twilio_auth_token is None:
        service.access.admit_as(websocket, "realtime")
        return
    given = websocket.headers.get("x-twilio-signature", "")
    if not signed(telephony.twilio_auth_token, _called_url(websocket, telephony.public_url), given):
        logger.warning("a media stream with a wrong signature was refused")
        raise Denied(403, "invalid_signature", "the signature of this media stream is not right")


def _called_url(websocket: WebSocket, public_url: str | None) -> str:
    """The address that was signed."""
    if public_url is not None:
        return public_url.rstrip("/") + websocket.url.path
    return str(websocket.url.replace(query="", fragment=""))
