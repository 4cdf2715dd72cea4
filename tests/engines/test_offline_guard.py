"""The offline guard: loopback works, everything else is refused, in every thread and through every library."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_sources import serve_hub

from antiphon.engines.errors import OfflineForbidden
from antiphon.engines.net import OFFLINE_ENVIRONMENT, forbid_network, is_loopback, let_answer, network_forbidden

FAR = ("203.0.113.1", 80)  # TEST-NET-3: reserved, never routed


@pytest.fixture
def offline() -> Iterator[None]:
    with forbid_network():
        yield


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        yield sock


@pytest.mark.usefixtures("offline")
def test_connects_are_refused() -> None:
    with closing(socket.socket()) as sock, pytest.raises(OfflineForbidden, match=r"'203\.0\.113\.1' refused: offline"):
        sock.connect(FAR)
    with closing(socket.socket()) as sock, pytest.raises(OfflineForbidden):
        sock.connect_ex(FAR)
    with closing(socket.socket(socket.AF_INET6)) as sock, pytest.raises(OfflineForbidden):
        sock.connect(("2001:db8::1", 80))


@pytest.mark.usefixtures("offline")
def test_datagrams_are_refused(udp: socket.socket) -> None:
    with pytest.raises(OfflineForbidden):
        udp.sendto(b"x", FAR)
    with pytest.raises(OfflineForbidden):
        udp.sendmsg([b"x"], [], 0, FAR)
    with pytest.raises(OfflineForbidden):
        udp.connect(FAR)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("host", ["example.com", "huggingface.co", b"example.com"])
def test_name_lookups_are_refused(host: str | bytes) -> None:
    with pytest.raises(OfflineForbidden, match=r"example\.com|huggingface\.co"):
        socket.getaddrinfo(host, 443)
    if isinstance(host, str):
        with pytest.raises(OfflineForbidden):
            socket.gethostbyname(host)
        with pytest.raises(OfflineForbidden):
            socket.gethostbyname_ex(host)


@pytest.mark.usefixtures("offline")
def test_reverse_lookups_are_refused() -> None:
    with pytest.raises(OfflineForbidden):
        socket.gethostbyaddr("203.0.113.1")
    with pytest.raises(OfflineForbidden):
        socket.getnameinfo(FAR, 0)
    assert socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == ("127.0.0.1", "80")


@pytest.mark.usefixtures("offline")
def test_libraries_are_refused_with_the_same_error() -> None:
    with pytest.raises(OfflineForbidden):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open("https://example.com/", timeout=5)
    with pytest.raises(OfflineForbidden):
        socket.create_connection(("example.com", 443), timeout=5)
    with pytest.raises(OfflineForbidden):
        asyncio.run(asyncio.wait_for(asyncio.open_connection("example.com", 443), 5))
    with pytest.raises(OfflineForbidden):
        asyncio.run(asyncio.wait_for(asyncio.open_connection(*FAR), 5))


def test_other_threads_are_refused_too() -> None:
    caught: list[BaseException] = []

    def work() -> None:
        with closing(socket.socket()) as sock:
            try:
                sock.connect(FAR)
            except OfflineForbidden as error:
                caught.append(error)

    with forbid_network():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(caught) == 1 and "session.offline" in str(caught[0])


@pytest.mark.usefixtures("offline")
def test_loopback_works() -> None:
    with serve_hub() as hub:
        hub.files["/x"] = b"here"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{hub.url}/x") as answer:
            assert answer.read() == b"here"
        with opener.open(f"{hub.url}/x".replace("127.0.0.1", "localhost")) as answer:
            assert answer.read() == b"here"


@pytest.mark.usefixtures("offline")
def test_datagrams_on_loopback_and_unix_sockets_work(tmp_path: Path, udp: socket.socket) -> None:
    udp.bind(("127.0.0.1", 0))
    udp.sendto(b"self", udp.getsockname())
    assert udp.recv(10) == b"self"
    with closing(socket.socket(socket.AF_UNIX)) as server, closing(socket.socket(socket.AF_UNIX)) as client:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client.connect(str(tmp_path / "s"))
    left, right = socket.socketpair()
    with left, right:
        left.sendmsg([b"x"])
        assert right.recv(1) == b"x"


@pytest.mark.usefixtures("offline")
def test_servers_for_all_interfaces_can_start() -> None:
    async def serve() -> None:
        server = await asyncio.start_server(lambda r, w: None, "0.0.0.0", 0)
        server.close()
        await server.wait_closed()

    asyncio.run(serve())


def test_guard_ends_nests_and_restores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    assert not network_forbidden()
    with forbid_network():
        with forbid_network():
            assert {key: os.environ[key] for key in OFFLINE_ENVIRONMENT} == OFFLINE_ENVIRONMENT
        assert network_forbidden() and os.environ["HF_HUB_OFFLINE"] == "1"
        with closing(socket.socket()) as sock, pytest.raises(OfflineForbidden):
            sock.connect(FAR)
    assert not network_forbidden()
    assert os.environ["HF_HUB_OFFLINE"] == "0" and "TRANSFORMERS_OFFLINE" not in os.environ
    with closing(socket.socket()) as sock:
        sock.setblocking(False)
        try:
            sock.connect(FAR)
        except OSError:
            return  # in progress, or no network here: in any case the guard let it through


@pytest.mark.parametrize(
    "place",
    [
        "localhost", "LOCALHOST", "localhost:8080", "127.0.0.1", "127.1.2.3:80", "::1", "[::1]:80", "::ffff:127.0.0.1",
        "http://localhost:8000/v1", "https://127.0.0.1", "http://[::1]:8080/x", "ws://user:pw@localhost/", "unix:///s",
    ],
)  # fmt: skip
def test_places_on_this_machine(place: str) -> None:
    assert is_loopback(place)


@pytest.mark.parametrize(
    "place",
    [
        "", "example.com", "localhost.example.com", "127.0.0.1.example.com", "http://localhost@example.com/", "0.0.0.0",
        "10.0.0.1", "192.168.1.2:80", "2001:db8::1", "[2001:db8::1]:80", "https://api.openai.com/v1", "http://",
        "http://127.0.0.1.nip.io", "https://example.com/?u=localhost", "http://[::1", "::ffff:10.0.0.1",
    ],
)  # fmt: skip
def test_places_beyond_this_machine(place: str) -> None:
    assert not is_loopback(place)


@given(st.ip_addresses())
def test_only_loopback_addresses_are_loopback(address: object) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    expected = address.is_loopback or (mapped is not None and mapped.is_loopback)  # type: ignore[attr-defined]
    assert is_loopback(str(address)) == expected


@pytest.mark.usefixtures("offline")
def test_a_socket_that_answers_callers_may_send_where_they_are(udp: socket.socket) -> None:
    def about_to_send(sock: socket.socket) -> None:
        sys.audit("socket.sendto", sock, FAR)  # what sending asks before it sends

    with pytest.raises(OfflineForbidden):
        about_to_send(udp)
    let_answer(udp)
    about_to_send(udp)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other, pytest.raises(OfflineForbidden):
        about_to_send(other)
