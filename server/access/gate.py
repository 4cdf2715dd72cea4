"""Keys, scopes and rates, before any routing: what is behind it has a principal."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.server.access import answers
from antiphon.server.access.access import Limited
from antiphon.server.access.principal import Denied
from antiphon.server.rest.errors import denial
from antiphon.server.service import Service


class Gate:
    """ASGI middleware: who has no key (401), not the right one (403), or asks too often (429) goes no further."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        try:
            self._service.access.admit(HTTPConnection(scope))
        except Denied as why:
            return await denial(why)(scope, receive, send)
        except Limited as why:
            return await answers.limitation(why)(scope, receive, send)
        await self._app(scope, receive, send)
