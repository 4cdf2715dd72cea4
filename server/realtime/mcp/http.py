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
MAX_STREAMS = 16
"""So often a stream of events that ends early is asked for again: the library above would never stop."""


class TooLong(httpx2.StreamError):
    """Raised in the middle of an answer that is longer than it may be."""


class BrokenOff(httpx2.StreamError):
    """Raised in the middle of an answer of which the rest does not come."""


@dataclass(slots=True)
class Course:
    """What happened to the requests of one call: its library tells less."""

    refusal: int | None = None
    """The HTTP status with which a message was refused last. (Streams are asked for again by their library: that one
    is refused says nothing of the message before.)"""
    taken: bool = False
    """The server has taken a message: it may have done what that asked for."""
    streams: int = 0
    """So many streams were asked for."""
    trouble: str = ""
    """Why a request was stopped here."""


course: ContextVar[Course] = ContextVar("antiphon_mcp_course", default=Course())  # noqa: B039 - of nobody's calls
"""Of the call that a request is made for: its library sends it in the context of whoever calls."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """All requests of a client go through here, those after a redirect too.

    One that fails gets an answer that says so: the library above takes an exception for the end of the connection, and
    all other calls would end with it.
    """

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
            return _failed("it redirects to an address that is not allowed")
        if request.method == "GET":
            course.get().streams += 1
            if course.get().streams > MAX_STREAMS:
                return _failed("its answer breaks off again and again")
        request.headers["accept-encoding"] = "identity"  # packed, it could be of any length
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            return _failed(f"it cannot be reached ({type(error).__name__})")
        except httpx2.RequestError as error:
            return _failed(f"it did not answer ({type(error).__name__})")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await response.aclose()
            return _failed("its answer is packed, which it was not asked to be")
        if 300 <= response.status_code < 400:
            return await _redirected(response)
        if request.method == "POST" and response.status_code >= 400:
            course.get().refusal = response.status_code
        elif request.method == "POST":
            course.get().taken = True
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, self._max_bytes)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer; a stream of events has one body for all that comes in it."""

    def __init__(self, inner: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._inner = inner
        self._left = max_bytes
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._inner:
                self._left -= len(piece)
                if self._left < 0:
                    raise TooLong(_noted(f"its answer is longer than {self._max_bytes} bytes"))
                yield piece
        except httpx2.RequestError as error:
            raise BrokenOff(_noted(f"its answer broke off ({type(error).__name__})")) from error

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _redirected(response: httpx2.Response) -> httpx2.Response:
    """Where an answer leads to, and no more of it: the library above would read the rest to its end."""
    await response.aclose()
    location = response.headers.get("location")
    if location is None:
        return httpx2.Response(response.status_code)
    if not _is_address(location):
        return _failed("it redirects to what is no address")
    return httpx2.Response(response.status_code, headers={"location": location})


def _is_address(location: str) -> bool:
    """Whether the library above can tell where it leads; it would raise an error."""
    try:
        return location.isascii() and httpx2.URL(location).scheme in ("", "http", "https")
    except httpx2.InvalidURL:
        return False


def _failed(trouble: str) -> httpx2.Response:
    """In place of an answer that there is not, or that is not taken."""
    _noted(trouble)
    return httpx2.Response(502)


def _noted(trouble: str) -> str:
    course.get().trouble = trouble
    return trouble


def make_client(target: Target, *, max_bytes: int, timeout_s: float, tls: ssl.SSLContext | None) -> httpx2.AsyncClient:
    """A client for one MCP server. It takes no proxies and no passwords from the environment of this process.

    :param timeout_s: of a call; a request has longer than that, so that it is the call that ends first.
    :param tls: None for addresses without TLS.
    """
    inner = httpx2.AsyncHTTPTransport(verify=tls or False, trust_env=False)
    guard = GuardedTransport(inner, within=target.within, max_bytes=max_bytes)
    return httpx2.AsyncClient(
        transport=guard,
        headers=dict(target.headers),
        timeout=httpx2.Timeout(2 * timeout_s),
        max_redirects=MAX_REDIRECTS,
        trust_env=False,
    )
