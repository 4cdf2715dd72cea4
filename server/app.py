"""The routes of the server, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from antiphon.server.limits import BodyLimit
from antiphon.server.outbox import Message, SlowClient
from antiphon.server.rest import audio, chat, errors, models
from antiphon.server.service import Refused, Service
from antiphon.server.stream import MAX_RATE_HZ, MIN_RATE_HZ, Peer, StreamConnection

logger = logging.getLogger(__name__)

LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")
NORMAL, GOING_AWAY, POLICY, BROKEN = 1000, 1001, 1008, 1011
"""Codes with which a WebSocket is closed (RFC 6455, 7.4.1)."""


def create_app(service: Service) -> FastAPI:
    """The application around a service, which is loaded and left by the caller."""
    names = [*LOCAL_NAMES, service.settings.host, *service.settings.allowed_hosts]
    app = FastAPI(
        title="Antiphon",
        version=version("antiphon"),
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False),
            Middleware(BodyLimit, max_bytes=service.settings.max_upload_mb * 1_000_000),
        ],
    )
    app.state.service = service
    errors.install(app)
    app.include_router(audio.router)
    app.include_router(chat.router)
    app.include_router(models.router)
    app.add_api_route("/healthz", _health, methods=["GET"], tags=["health"])
    app.add_api_route("/readyz", _ready, methods=["GET"], tags=["health"])
    app.add_api_websocket_route("/v1/stream", _stream)
    return app


async def _health() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


async def _ready(request: Request) -> JSONResponse:
    """The engines are loaded, and conversations are taken."""
    service: Service = request.app.state.service
    service.admit()
    return JSONResponse({"status": "ready", "sessions": service.sessions})


def _from_elsewhere(websocket: WebSocket, service: Service) -> bool:
    """Whether a page of another site is behind it: browsers let any page connect, and send along where it is from."""
    origin = websocket.headers.get("origin")
    if origin is None or origin in service.settings.allowed_origins:
        return False
    return urlsplit(origin).netloc != websocket.headers.get("host")


async def _stream(websocket: WebSocket) -> None:
    service: Service = websocket.app.state.service
    rate = websocket.query_params.get("sample_rate", "16000")
    if _from_elsewhere(websocket, service):
        message = f"pages of {websocket.headers['origin']} may not connect; allow them with server.allowed_origins"
        return await websocket.send_denial_response(errors.error_response(403, "origin", message))
    if not (rate.isascii() and rate.isdigit() and MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ):
        message = f"sample_rate is a whole number of Hz from {MIN_RATE_HZ} to {MAX_RATE_HZ}"
        return await websocket.send_denial_response(errors.error_response(400, "sample_rate", message))
    try:
        service.admit()
    except Refused as why:
        return await websocket.send_denial_response(errors.refusal(why))
    connection = StreamConnection(service.assembly, _peer(websocket, service.settings.stall_s), rate_hz=int(rate))
    async with service.conversation(connection):  # before the first await: the next client must see it counted
        await websocket.accept()
        code, reason = NORMAL, ""
        try:
            async with asyncio.timeout(service.settings.max_session_s):
                await connection.run()
        except TimeoutError:
            code, reason = POLICY, f"a conversation may last {service.settings.max_session_s:g} s"
        except (SlowClient, Stalled) as error:
            code, reason = POLICY, str(error)
        except Exception:
            logger.exception("a conversation broke")
            code, reason = BROKEN, "the conversation broke; the server's log says why"
        if service.draining and code == NORMAL:
            code, reason = GOING_AWAY, "the server is shutting down"
        if websocket.application_state is WebSocketState.CONNECTED and (
            websocket.client_state is WebSocketState.CONNECTED
        ):
            await websocket.close(code, reason)


class Stalled(Exception):
    """The client is connected, and says nothing."""


def _peer(websocket: WebSocket, stall_s: float) -> Peer:
    async def receive() -> Message | None:
        try:
            async with asyncio.timeout(stall_s):
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
