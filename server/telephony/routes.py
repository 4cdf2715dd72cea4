"""`ws /v1/telephony/twilio`: who may begin a call by a media stream."""

from __future__ import annotations

import logging
from functools import partial

from fastapi import APIRouter
from starlette.websockets import WebSocket

from antiphon.server.access.principal import PRINCIPAL, Denied, Principal, check_scope
from antiphon.server.access.tokens import token_of
from antiphon.server.peer import Peer
from antiphon.server.rest import errors
from antiphon.server.service import Service
from antiphon.server.sockets import converse
from antiphon.server.telephony.signature import signed
from antiphon.server.telephony.twilio import TwilioConnection

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

    def make(principal: Principal, peer: Peer) -> TwilioConnection:
        new_session = partial(service.session, protocol="twilio", principal=principal)
        return TwilioConnection(new_session, peer, service.config.session)

    await converse(websocket, make)


def _check(websocket: WebSocket, service: Service) -> None:
    """Whether the network may call: by its signature, or by a key like anybody.

    :raises Denied: it may not.
    """
    telephony = service.settings.telephony
    if telephony.twilio_auth_token is not None:
        given = websocket.headers.get("x-twilio-signature", "")
        if not signed(telephony.twilio_auth_token, _called_url(websocket, telephony.public_url), given):
            logger.warning("a media stream with a wrong signature was refused")
            raise Denied(403, "invalid_signature", "the signature of this media stream is not right")
        return
    keyring = service.access.keyring
    if not keyring.keyed:
        return
    token = token_of(websocket)
    key = keyring.find(token) if token is not None else None
    if key is None:
        raise Denied(401, "invalid_api_key", "a key is needed, or server.telephony.twilio_auth_token on the server")
    principal = Principal(key.id, key.scopes)
    check_scope(principal, "realtime")
    websocket.scope[PRINCIPAL] = principal


def _called_url(websocket: WebSocket, public_url: str | None) -> str:
    """The address that was signed."""
    if public_url is not None:
        return public_url.rstrip("/") + websocket.url.path
    return str(websocket.url.replace(query="", fragment=""))
