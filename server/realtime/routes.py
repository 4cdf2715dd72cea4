"""The HTTP side of Realtime: calls over WebRTC, and ephemeral keys for those who make them."""

from __future__ import annotations

import json
import secrets
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile

from antiphon.server.access.principal import Denied, Principal, principal_of
from antiphon.server.realtime.beginning import first_config
from antiphon.server.realtime.calls import Calls, NoSuchCall, Unavailable
from antiphon.server.realtime.protocol import ProtocolError, parse_session
from antiphon.server.realtime.protocol.reading import read_object
from antiphon.server.realtime.secrets import (
    DEFAULT_LIFE_S,
    MAX_LIFE_S,
    MAX_SETTINGS_BYTES,
    MIN_LIFE_S,
    EphemeralKeys,
)
from antiphon.server.realtime.webrtc.faults import BadOffer, NoPort
from antiphon.server.rest.access import AnyService, Ready
from antiphon.server.rest.errors import ApiError
from antiphon.server.service import Service

SDP = "application/sdp"
MAX_BODY_BYTES = 1 << 20
"""Of an offer and its settings."""
router = APIRouter(prefix="/v1/realtime", tags=["realtime"])


def install(app: FastAPI, service: Service) -> None:
    """The routes, and what they share: `app.state.calls`, `app.state.ephemeral`."""
    app.state.calls = Calls()
    app.state.ephemeral = EphemeralKeys()
    service.access.add_resolver("ek_", app.state.ephemeral.resolve)
    app.include_router(router)


# ---------------------------------------------------------------------------- ephemeral keys


class ExpiresAfter(BaseModel):
    """When a key runs out."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(default=DEFAULT_LIFE_S, ge=MIN_LIFE_S, le=MAX_LIFE_S)


class ClientSecretRequest(BaseModel):
    """A key for a client, and the settings of the conversations that it begins."""

    model_config = ConfigDict(extra="forbid")

    expires_after: ExpiresAfter | None = None
    session: dict[str, Any] | None = None
    """As in `session.update`."""


@router.post("/client_secrets", summary="Make an ephemeral key")
async def client_secrets(request: Request, service: Ready, wanted: ClientSecretRequest | None = None) -> JSONResponse:
    """A key for one client (a browser) that begins conversations, for some minutes, and nothing else."""
    principal = principal_of(request, "realtime")
    if principal.ephemeral:
        raise Denied(403, "insufficient_permissions", "an ephemeral key cannot make another")
    wanted = wanted or ClientSecretRequest()
    session = wanted.session or {}
    kind = session.get("type", "realtime")
    if kind not in ("realtime", "transcription"):
        message = "session.type is 'realtime' or 'transcription'"
        raise ApiError(400, "invalid_value", message, param="session.type")
    if len(json.dumps(session)) > MAX_SETTINGS_BYTES:
        message = (
            f"the settings of a key are at most {MAX_SETTINGS_BYTES} bytes of JSON; send longer ones with the call"
        )
        raise ApiError(413, "too_large", message, param="session")
    life_s = (wanted.expires_after or ExpiresAfter()).seconds
    keys: EphemeralKeys = request.app.state.ephemeral
    try:
        config = first_config(service, id=f"sess_{secrets.token_hex(12)}", kind=kind, settings=[session])
    except ProtocolError as error:
        raise _bad_settings(error) from None
    made = keys.make(principal, life_s=life_s, session=session)
    service.access.note(request, "ephemeral_key_made", life_s=life_s)
    told = {"value": made.value, "expires_at": made.expires_at, "session": config.to_wire()}
    return JSONResponse(told, headers={"Cache-Control": "no-store"})


# ---------------------------------------------------------------------------- calls


@router.post(
    "/calls",
    summary="Begin a call (WebRTC)",
    status_code=201,
    response_class=Response,
    responses={201: {"content": {SDP: {"schema": {"type": "string"}}}, "description": "The answer (SDP)"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                SDP: {"schema": {"type": "string"}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["sdp"],
                        "properties": {"sdp": {"type": "string"}, "session": {"type": "string"}},
                    }
                },
            },
        }
    },
)
async def begin(request: Request, service: Ready, model: str | None = None) -> Response:
    """An offer (SDP), alone or as `sdp` beside `session` in a form; the answer, and where the call is."""
    principal = principal_of(request, "realtime")
    offer, session = await _offer_and_session(request)
    calls: Calls = request.app.state.calls
    try:
        call_id, answer = await calls.begin(service, principal, offer, model=model, session=session)
    except ProtocolError as error:
        raise _bad_settings(error) from None
    except BadOffer as error:
        raise ApiError(400, "invalid_offer", str(error), param="sdp") from error
    except NoPort as error:
        raise ApiError(503, "no_port", str(error)) from error
    except Unavailable as error:
        raise ApiError(501, "webrtc_unavailable", str(error)) from error
    service.access.note(request, "call_begun", call=call_id)
    return Response(answer, 201, media_type=SDP, headers={"Location": f"/v1/realtime/calls/{call_id}"})


@router.post("/calls/{call_id}/hangup", summary="End a call")
async def hangup(request: Request, service: AnyService, call_id: str) -> Response:
    """Ends it at once."""
    _find(request, call_id, principal_of(request, "realtime")).hang_up()
    service.access.note(request, "call_hung_up", call=call_id)
    return Response(status_code=200)


@router.post("/calls/{call_id}/accept", summary="Not for calls over WebRTC")
@router.post("/calls/{call_id}/reject", summary="Not for calls over WebRTC")
@router.post("/calls/{call_id}/refer", summary="Not for calls over WebRTC")
async def telephone_only(request: Request, service: AnyService, call_id: str) -> Response:
    """These are for calls of the telephone network (SIP), which this server does not take."""
    _find(request, call_id, principal_of(request, "realtime"))
    what = request.url.path.rpartition("/")[2]
    message = (
        f"a call over WebRTC cannot be the subject of '{what}': that is for SIP. It is under way; hang up to end it"
    )
    raise ApiError(400, "not_a_sip_call", message)


def _find(request: Request, call_id: str, principal: Principal) -> Any:
    calls: Calls = request.app.state.calls
    try:
        return calls.find(call_id, principal)
    except NoSuchCall as error:
        raise ApiError(404, "call_not_found", str(error), param="call_id") from None


async def _offer_and_session(request: Request) -> tuple[str, dict[str, Any] | None]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == SDP:
        return _text(await request.body(), "the offer"), None
    if kind != "multipart/form-data":
        message = f"a call begins with an offer: a body of the type {SDP}, or a form (multipart/form-data) with `sdp`"
        raise ApiError(415, "unsupported_media_type", message)
    async with request.form(max_files=2, max_fields=4, max_part_size=MAX_BODY_BYTES) as form:
        offer, session = await _part(form, "sdp"), await _part(form, "session")
    if offer is None:
        raise ApiError(400, "missing_sdp", "the form has no part `sdp`", param="sdp")
    if session is None:
        return offer, None
    try:
        parse_session(session)
        return offer, dict(read_object(session))
    except ProtocolError as error:
        raise _bad_settings(error) from None


async def _part(form: FormData, name: str) -> str | None:
    part = form.get(name)
    if isinstance(part, UploadFile):
        return _text(await part.read(MAX_BODY_BYTES + 1), f"the part `{name}`")
    return part


def _text(body: bytes, what: str) -> str:
    if len(body) > MAX_BODY_BYTES:
        raise ApiError(413, "too_large", f"{what} is longer than {MAX_BODY_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "invalid_sdp", f"{what} is no text (UTF-8)") from None


def _bad_settings(error: ProtocolError) -> ApiError:
    status = 404 if error.code == "model_not_found" else 400
    return ApiError(status, error.code, error.message, param=error.param)
