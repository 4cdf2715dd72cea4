"""Requests to MCP servers: none leaves what is allowed, however it came about, and no answer is longer than it may be.

Needs `httpx2`, which comes with the package `mcp`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass

import httpx2

from antiphon.server.realtime.mcp.allowing import Target, is_below

MAX_REDIRECTS = 3


class Strayed(httpx2.RequestError):
    """Raised instead of a request that would leave what is allowed."""


class TooLong(httpx2.RequestError):
    """Raised in the middle of an answer that is longer than it may be."""


@dataclass(slots=True)
class Course:
    """What happened to the requests of one call: its library tells less."""

    refusal: int | None = None
    """The last HTTP status that was an error."""
    trouble: str = ""
    """Why a request was stopped here."""


course: ContextVar[Course] = ContextVar("antiphon_mcp_course", default=Course())  # noqa: B039 - of nobody's calls
"""Of the call that a request is made for: its library sends it in the context of whoever calls."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """All requests of a client go through here, those after a redirect too."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, *, within: str, max_bytes: int) -> None:
        """
        :param within: an address; requests to what is not below its path are not made.
        :param max_bytes: the longest answer.
        """
        self._inner = inner
        self._within = within
        self._max_bytes = max_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        address = str(request.url.copy_with(query=None, fragment=None))
        if not is_below(address, self._within):
            raise Strayed(_noted("it redirects to an address that is not allowed"), request=request)
        request.headers["accept-encoding"] = "identity"  # packed, it could be of any length
        response = await self._inner.handle_async_request(request)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            raise TooLong(_noted("its answer is packed, which it was not asked to be"), request=request)
        if response.status_code >= 400:
            course.get().refusal = response.status_code
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, request, self._max_bytes)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer; a stream of events has one body for all that comes in it."""

    def __init__(self, inner: httpx2.AsyncByteStream, request: httpx2.Request, max_bytes: int) -> None:
        self._inner = inner
        self._request = request
        self._left = max_bytes
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._left -= len(piece)
            if self._left < 0:
                raise TooLong(_noted(f"its answer is longer than {self._max_bytes} bytes"), request=self._request)
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


def _noted(trouble: str) -> str:
    course.get().trouble = trouble
    return trouble


def make_client(target: Target, *, max_bytes: int, timeout_s: float, tls: ssl.SSLContext | None) -> httpx2.AsyncClient:
    """A client for one MCP server. It takes no proxies and no passwords from the environment of this process.

    :param tls: None for addresses without TLS.
    """
    inner = httpx2.AsyncHTTPTransport(verify=tls or False, trust_env=False)
    guard = GuardedTransport(inner, within=target.within, max_bytes=max_bytes)
    return httpx2.AsyncClient(
        transport=guard,
        headers=dict(target.headers),
        timeout=httpx2.Timeout(timeout_s),
        max_redirects=MAX_REDIRECTS,
        trust_env=False,
    )
