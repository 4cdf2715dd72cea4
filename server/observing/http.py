"""What is seen of every HTTP request: counted, its engines kept while it lasts, what it uses booked to its key."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.engines.host import Meter, Ticket, current_ticket
from antiphon.pipeline.usage import usage_of
from antiphon.server.access.principal import ANYONE, PRINCIPAL, Principal
from antiphon.server.access.routes import route_of
from antiphon.server.service import Service

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observed:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status = 500  # of a request that raises before it has an answer
        meter = Meter()
        current_ticket.set(Ticket(meter=meter))
        began_s = asyncio.get_running_loop().time()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with self._service.using():
                await self._app(scope, receive, noted)
        finally:
            self._note(scope, status, asyncio.get_running_loop().time() - began_s)
            principal: Principal = scope.get(PRINCIPAL) or ANYONE
            self._service.metrics.use(principal.counted_as, usage_of([meter]))

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        path = route_of(scope)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        metrics = self._service.metrics
        metrics.count("antiphon_http_requests_total", method=method, route=path, status=str(status))
        metrics.observe("antiphon_http_request_seconds", took_s, route=path)
