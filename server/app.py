"""The routes of the server, as an ASGI application."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from antiphon.server.access import answers
from antiphon.server.access.door import Cors, Door
from antiphon.server.access.entry import Entry
from antiphon.server.access.gate import Gate
from antiphon.server.access.principal import Principal
from antiphon.server.console import routes as console
from antiphon.server.limits import BodyLimit
from antiphon.server.observing import routes as operating
from antiphon.server.observing.http import Observed
from antiphon.server.peer import Peer
from antiphon.server.realtime import routes
from antiphon.server.realtime.socket import realtime
from antiphon.server.rest import audio, chat, errors, models, openapi
from antiphon.server.service import Service
from antiphon.server.sockets import converse
from antiphon.server.stream import MAX_RATE_HZ, MIN_RATE_HZ, StreamConnection
from antiphon.server.telephony import routes as telephony


def create_app(service: Service) -> FastAPI:
    """The application around a service, which is loaded and left by the caller."""
    app = FastAPI(
        title="Antiphon",
        version=version("antiphon"),
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=openapi.operation_name,
        middleware=[
            Middleware(Entry, service=service),
            Middleware(Observed, service=service),
            Middleware(Door, service=service),
            Middleware(Cors, service=service),
            Middleware(Gate, service=service),
            Middleware(BodyLimit, service=service),
        ],
    )
    app.state.service = service
    errors.install(app)
    answers.install(app)
    app.include_router(audio.router)
    app.include_router(chat.router)
    app.include_router(models.router)
    console.install(app)
    app.include_router(operating.router)
    app.include_router(telephony.router)
    app.add_api_route("/healthz", _health, methods=["GET"], tags=["health"], summary="Is it alive?")
    app.add_api_route("/readyz", _ready, methods=["GET"], tags=["health"], summary="Would a conversation be taken?")
    app.add_api_websocket_route("/v1/stream", _stream)
    app.add_api_websocket_route("/v1/realtime", realtime)
    routes.install(app, service)
    openapi.describe(app)
    return app


async def _health() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok"}


async def _ready(request: Request) -> JSONResponse:
    """The engines are loaded, and conversations are taken."""
    service: Service = request.app.state.service
    service.check()
    configuration = "refused" if service.reloading.refused else "taken"  # why is in the log: this is for everybody
    return JSONResponse({"status": "ready", "sessions": service.sessions, "last_configuration": configuration})


async def _stream(websocket: WebSocket) -> None:
    service: Service = websocket.app.state.service
    rate = websocket.query_params.get("sample_rate", "16000")
    if not (rate.isascii() and rate.isdigit() and MIN_RATE_HZ <= int(rate) <= MAX_RATE_HZ):
        message = f"sample_rate is a whole number of Hz from {MIN_RATE_HZ} to {MAX_RATE_HZ}"
        return await websocket.send_denial_response(errors.error_response(400, "sample_rate", message))

    def make(principal: Principal, peer: Peer) -> StreamConnection:
        new_session = partial(service.session, protocol="stream", principal=principal)
        return StreamConnection(new_session, peer, rate_hz=int(rate))

    await converse(websocket, make)
