"""Keys, scopes and rates, before any routing: what is behind it has a principal."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.server.access import answers
from antiphon.server.access.access import Limited
from antiphon.server.access.principal import Denied
from antiphon.server.access.routes import rule_for
from antiphon.server.rest.errors import denial, refusal
from antiphon.server.service import Refused, Service

UNRECORDED = ("public", "metrics")
"""What needs no audit log: whoever asks whether the server is alive, or for figures, must learn what is wrong."""


class Gate:
    """ASGI middleware: who has no key (401), not the right one (403), or asks too often (429) goes no further."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        service = self._service
        try:
            service.access.admit(HTTPConnection(scope))
            if rule_for(scope["path"]).needs not in UNRECORDED:
                service.must_be_on_record()
        except Denied as why:
            return await self._refuse(why.code, denial(why))(scope, receive, send)
        except Limited as why:
            return await self._refuse(why.code, answers.limitation(why))(scope, receive, send)
        except Refused as why:
            return await self._refuse(why.code, refusal(why))(scope, receive, send)
        await self._app(scope, receive, send)

    def _refuse(self, code: str, answer: Response) -> Response:
        self._service.metrics.count("antiphon_requests_refused_total", reason=code)
        return answer
