"""The outermost layer: every request gets an id, an address that can be believed, and a line in the audit log."""

from __future__ import annotations

import logging
import re
import uuid
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from antiphon.server.access import answers
from antiphon.server.access.access import RATES
from antiphon.server.access.routes import route_of, rule_for
from antiphon.server.observing.context import request_id
from antiphon.server.service import Service

logger = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ALWAYS = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
"""What is sent is what it says it is, and no page of another site shows or embeds it."""
_GONE = 499
"""For the log alone: the client went before there was an answer."""


class Entry:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._trusted = service.settings.proxy_headers
        self._by_proxy = _proxied(self._serve, self._trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        trusted = self._service.settings.proxy_headers
        if trusted != self._trusted:  # another configuration was loaded
            self._trusted, self._by_proxy = trusted, _proxied(self._serve, trusted)
        client = scope.get("client")
        believed = bool(trusted) and client is not None and client[0] in self._by_proxy.trusted_hosts
        scope.setdefault("state", {})["request_id"] = _id_of(scope, believed)
        await (self._by_proxy if believed else self._serve)(scope, receive, send)  # type: ignore[arg-type]

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        this_id: str = scope["state"]["request_id"]
        token = request_id.set(this_id)
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            if message["type"] in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                answered = True
                headers = MutableHeaders(raw=list(message.get("headers", [])))
                headers["x-request-id"] = this_id
                for name, value in {**_ALWAYS, **scope.get(RATES, {})}.items():
                    headers.setdefault(name, value)
                message = {**message, "headers": headers.raw}
                self._note(scope, message.get("status", 101))
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            logger.info("a client went before it had sent everything")
        except Exception:
            if answered:
                raise  # the server closes the connection, and logs it
            logger.exception("a request broke", extra={"request": this_id})
            await answers.broken(this_id)(scope, receive, answer)
        finally:
            if not answered:
                self._note(scope, _GONE)
            request_id.reset(token)

    def _note(self, scope: Scope, status: int) -> None:
        """On record is who did what; whoever asks whether the server is alive, or fetches figures, did nothing."""
        rule = rule_for(scope["path"])
        if rule.needs == "public" or (rule.needs == "metrics" and status < 400):
            return
        self._service.access.note(
            HTTPConnection(scope),
            "request",
            route=route_of(scope),
            method=scope.get("method", "WEBSOCKET"),
            scope=rule.needs,
            status=status,
        )


def _proxied(app: Any, trusted: tuple[str, ...]) -> ProxyHeadersMiddleware:
    return ProxyHeadersMiddleware(app, list(trusted))


def _id_of(scope: Scope, believed: bool) -> str:
    """The id that a proxy gave, else a new one: what a client chose would let it hide among the lines of others."""
    if believed:
        for name, value in scope["headers"]:
            text = value.decode("latin-1")
            if name == b"x-request-id" and _ID.fullmatch(text):
                return str(text)
    return f"req_{uuid.uuid4().hex}"
