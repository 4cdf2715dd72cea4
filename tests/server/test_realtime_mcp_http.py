"""Requests to MCP servers stay where they may go, and answers have a bound, whatever the library above them does."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from antiphon.server.realtime.mcp.allowing import Target
from antiphon.server.realtime.mcp.http import Course, GuardedTransport, Strayed, TooLong, course, make_client

ALLOWED = "http://127.0.0.1:9/mcp"


class Endless(httpx2.AsyncByteStream):
    def __init__(self) -> None:
        self.sent = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent += 1
            yield b"x" * 1000

    async def aclose(self) -> None:
        self.closed = True


def fetch(answer: Callable[[httpx2.Request], httpx2.Response], url: str = ALLOWED) -> tuple[bytes, Course]:
    async def main() -> tuple[bytes, Course]:
        happened = Course()
        course.set(happened)
        guard = GuardedTransport(httpx2.MockTransport(answer), within=ALLOWED, max_bytes=10_000)
        async with httpx2.AsyncClient(transport=guard, follow_redirects=True) as client:
            try:
                response = await client.post(url)
            except httpx2.RequestError as error:
                raise type(error)(happened.trouble, request=error.request) from error
            return response.content, happened

    return asyncio.run(main())


def test_what_is_allowed_goes_through_unpacked() -> None:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, content=b"x" * 10_000)

    content, happened = fetch(answer, f"{ALLOWED}/deeper?key=1")
    assert len(content) == 10_000 and happened == Course()
    assert sent[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("to", ["http://127.0.0.1:9/admin", "http://127.0.0.1:10/mcp", "https://127.0.0.1:9/mcp", "/"])
def test_a_redirect_is_held_against_what_is_allowed(to: str) -> None:
    """Whatever the library above would follow."""
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(str(request.url))
        return httpx2.Response(307, headers={"location": to})

    with pytest.raises(Strayed, match="an address that is not allowed"):
        fetch(answer)
    assert sent == [ALLOWED]


def test_an_answer_without_end_is_cut_off() -> None:
    endless = Endless()
    with pytest.raises(TooLong, match="longer than 10000 bytes"):
        fetch(lambda request: httpx2.Response(200, stream=endless))
    assert endless.sent == 11 and endless.closed


def test_a_packed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 10_000_000)
    with pytest.raises(TooLong, match="is packed"):
        fetch(lambda request: httpx2.Response(200, content=packed, headers={"content-encoding": "gzip"}))


def test_a_refusal_is_known_of_the_call_that_it_belongs_to() -> None:
    _, happened = fetch(lambda request: httpx2.Response(403))
    assert happened.refusal == 403 and not happened.trouble


def test_a_client_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:11")
    target = Target(ALLOWED, ALLOWED, {"Authorization": "Bearer a"})
    client = make_client(target, max_bytes=1, timeout_s=3, tls=None)
    assert not client.trust_env and client.headers["authorization"] == "Bearer a" and client.timeout.read == 3
    assert isinstance(client._transport_for_url(httpx2.URL(ALLOWED)), GuardedTransport)
