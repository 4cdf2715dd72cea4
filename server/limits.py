"""A bound on what one request may send, and on how long it may take over it."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antiphon.server.service import Service


class BodyLimit:
    """ASGI middleware: a body that is longer, announced or not, is answered with 413; one that takes too long, 408."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = _Body(scope, receive, self._service.settings.max_upload_mb * 1_000_000, self._service.settings.upload_s)
        await self._app(scope, body.receive, send)


class _Body:
    """The body of one request."""

    def __init__(self, scope: Scope, receive: Receive, max_bytes: int, max_s: float) -> None:
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        self._announced = int(announced) if announced.isdigit() else 0  # a nonsensical length is the server's to refuse
        self._receive = receive
        self._max_bytes = max_bytes
        self._max_s = max_s
        self._until_s = asyncio.get_running_loop().time() + max_s
        self._received = 0
        self._complete = False

    async def receive(self) -> Message:
        if max(self._announced, self._received) > self._max_bytes:
            raise self._too_long()
        try:
            async with asyncio.timeout_at(None if self._complete else self._until_s):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {self._max_s:g} s") from None
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._received > self._max_bytes:
            raise self._too_long()
        return message

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"the body is longer than {self._max_bytes} bytes")
