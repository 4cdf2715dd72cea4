"""Requests to MCP servers stay where they may go, and answers have a bound, whatever the library above them does."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from antiphon.server.realtime.mcp.allowing import Target
from antiphon.server.realtime.mcp.http import BrokenOff, Course, GuardedTransport, TooLong, course, make_client

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


def fetch(
    answer: Callable[[httpx2.Request], httpx2.Response], url: str = ALLOWED, method: str = "POST"
) -> tuple[httpx2.Response, Course]:
    """The answer as the library above gets it; that it was stopped there is a `trouble`."""

    async def main() -> tuple[httpx2.Response, Course]:
        happened = Course()
        course.set(happened)
        guard = GuardedTransport(httpx2.MockTransport(answer), within=ALLOWED, max_bytes=10_000)
        async with httpx2.AsyncClient(transport=guard, follow_redirects=True) as client:
            return await client.request(method, url), happened

    return asyncio.run(main())


def test_what_is_allowed_goes_through_unpacked() -> None:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, content=b"x" * 10_000)

    response, happened = fetch(answer, f"{ALLOWED}/deeper?key=1")
    assert len(response.content) == 10_000 and happened == Course(taken=True)
    assert sent[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("to", ["http://127.0.0.1:9/admin", "http://127.0.0.1:10/mcp", "https://127.0.0.1:9/mcp", "/"])
def test_a_redirect_is_held_against_what_is_allowed(to: str) -> None:
    """Whatever the library above would follow."""
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(str(request.url))
        return httpx2.Response(307, headers={"location": to})

    response, happened = fetch(answer)
    assert (response.status_code, happened.trouble) == (502, "it redirects to an address that is not allowed")
    assert sent == [ALLOWED] and not happened.taken


@pytest.mark.parametrize(
    ("location", "status", "trouble"),
    [
        ("http://a:b", 502, "it redirects to what is no address"),
        ("mailto:a", 502, "it redirects to what is no address"),
        (b"http://\xe9/", 502, "it redirects to what is no address"),
        (None, 307, ""),
    ],
)
def test_of_a_redirect_nothing_is_read_but_where_it_leads_to(
    location: str | bytes | None, status: int, trouble: str
) -> None:
    """The library above would read it to its end, and end with what it cannot read."""
    endless = Endless()
    headers: Any = {} if location is None else {"location": location}
    response, happened = fetch(lambda request: httpx2.Response(307, headers=headers, stream=endless))
    assert (response.status_code, happened.trouble, endless.sent, endless.closed) == (status, trouble, 0, True)


def test_an_answer_without_end_is_cut_off() -> None:
    endless = Endless()
    with pytest.raises(TooLong, match="longer than 10000 bytes"):
        fetch(lambda request: httpx2.Response(200, stream=endless))
    assert endless.sent == 11 and endless.closed


def test_a_packed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 10_000_000)
    _, happened = fetch(lambda request: httpx2.Response(200, content=packed, headers={"content-encoding": "gzip"}))
    assert happened.trouble == "its answer is packed, which it was not asked to be"


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (httpx2.ConnectError("no"), "it cannot be reached (ConnectError)"),
        (httpx2.ReadTimeout("no"), "it did not answer (ReadTimeout)"),
    ],
)
def test_a_request_that_fails_is_no_exception(error: httpx2.RequestError, trouble: str) -> None:
    """One would end the connection, and all calls with it."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        raise error

    response, happened = fetch(answer)
    assert (response.status_code, happened.trouble) == (502, trouble)


def test_an_answer_that_breaks_off() -> None:
    class Broken(Endless):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"x"
            raise httpx2.ReadError("gone")

    with pytest.raises(BrokenOff, match=r"broke off \(ReadError\)"):
        fetch(lambda request: httpx2.Response(200, stream=Broken()))


def test_a_refusal_is_known_of_the_call_that_it_belongs_to() -> None:
    _, happened = fetch(lambda request: httpx2.Response(403))
    assert happened == Course(refusal=403)


def test_what_becomes_of_a_stream_says_nothing_of_the_message() -> None:
    for status in (200, 404):
        _, happened = fetch(lambda request, status=status: httpx2.Response(status), method="GET")  # type: ignore[misc]
        assert happened == Course(streams=1)


def test_a_client_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:11")
    target = Target(ALLOWED, ALLOWED, {"Authorization": "Bearer a"})
    client = make_client(target, max_bytes=1, timeout_s=3, tls=None)
    assert not client.trust_env and client.headers["authorization"] == "Bearer a" and client.timeout.read == 6
    assert isinstance(client._transport_for_url(httpx2.URL(ALLOWED)), GuardedTransport)
