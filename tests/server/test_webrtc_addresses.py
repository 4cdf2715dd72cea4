"""Where a call's sound is taken: addresses, ports, what is told, and that nobody else is asked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun
from aioice.ice import Connection
from aiortc import RTCIceGatherer
from pydantic import ValidationError
from served import config
from webrtc_call import Phone, on_the_phone
from webrtc_caller import Caller

from antiphon.engines.net import forbid_network
from antiphon.pipeline.config.webrtc import WebRtcKeys
from antiphon.server.realtime.webrtc import candidates
from antiphon.server.realtime.webrtc.candidates import (
    Gatherer,
    InnerProtocol,
    expected_from,
    ice_servers,
    inner_address,
    own_addresses,
)


def keys(**given: Any) -> WebRtcKeys:
    return WebRtcKeys(**given)


@pytest.mark.parametrize(
    ("host", "given", "expected"),
    [
        ("127.0.0.1", {}, ["127.0.0.1"]),
        ("localhost", {}, ["127.0.0.1"]),
        ("[::1]", {}, ["::1"]),
        ("192.0.2.10", {}, ["192.0.2.10"]),
        ("0.0.0.0", {"addresses": ("192.0.2.10", "2001:db8::1")}, ["192.0.2.10", "2001:db8::1"]),
    ],
)
def test_sound_is_taken_where_the_server_listens(host: str, given: dict[str, Any], expected: list[str]) -> None:
    assert asyncio.run(own_addresses(keys(**given), host)) == expected


@pytest.mark.parametrize(("found", "expected"), [(["192.0.2.7"], ["192.0.2.7"]), ([], ["127.0.0.1"])])
def test_every_address_means_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, found: list[str], expected: list[str]
) -> None:
    monkeypatch.setattr(candidates, "get_host_addresses", lambda use_ipv4, use_ipv6: found)
    assert asyncio.run(own_addresses(keys(), "0.0.0.0")) == expected


@pytest.mark.parametrize(
    ("found", "where", "given", "expected"),
    [
        (["fd00::2", "192.0.2.7", "192.0.2.8"], ["127.0.0.1"], {}, "192.0.2.7"),
        (["127.0.0.2", "fd00::2"], ["::1"], {}, "fd00::2"),
        ([], ["127.0.0.1"], {}, None),
        (["192.0.2.7"], ["192.0.2.7"], {}, None),
        (["192.0.2.7"], ["127.0.0.1"], {"addresses": ("127.0.0.1",)}, None),
        (["192.0.2.7"], ["127.0.0.1"], {"advertised": "192.0.2.99"}, None),
    ],
)
def test_firefox_on_this_machine_gets_another_address_than_loopbacks(
    monkeypatch: pytest.MonkeyPatch, found: list[str], where: list[str], given: dict[str, Any], expected: str | None
) -> None:
    monkeypatch.setattr(candidates, "get_host_addresses", lambda use_ipv4, use_ipv6: found)
    assert inner_address(where, keys(**given)) == expected


def test_at_that_address_this_machine_alone_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of loopback's stands for it here; who is heard does not depend on the address."""
    monkeypatch.setattr(candidates, "get_host_addresses", lambda use_ipv4, use_ipv6: ["192.0.2.7", "fd00::2"])
    heard: list[str] = []

    async def main() -> list[Any]:
        connection = Connection(ice_controlling=False)
        Gatherer(connection, ["127.0.0.1"], keys(), "127.0.0.2").install()
        await connection.gather_candidates()
        first, inner = connection.local_candidates
        kinds = [type(protocol) for protocol in connection._protocols]
        receiver: Any = SimpleNamespace(data_received=lambda data, component: heard.append(data.decode()))
        protocol = InnerProtocol(receiver)
        protocol.local_candidate = inner
        for host in ("127.0.0.1", "192.0.2.7", "fd00::2", "192.0.2.8", "198.51.100.1", "fd00::3"):
            protocol.datagram_received(f"from {host}".encode(), (host, 5000))
        await connection.close()
        return [first, inner, kinds]

    first, inner, kinds = asyncio.run(main())
    assert (first.host, inner.host) == ("127.0.0.1", "127.0.0.2") and first.priority > inner.priority
    assert kinds[1] is InnerProtocol and kinds[0] is not InnerProtocol
    assert heard == ["from 127.0.0.1", "from 192.0.2.7", "from fd00::2"]


@pytest.mark.parametrize(
    ("caller", "relayed", "expected"),
    [
        ("198.51.100.4", ["203.0.113.5"], ["198.51.100.4", "203.0.113.5"]),
        ("203.0.113.5", ["203.0.113.5"], ["203.0.113.5"]),
        ("", ["203.0.113.5"], ["203.0.113.5"]),
        ("127.0.0.1", [], ["127.0.0.1", "192.0.2.7"]),
    ],
)
def test_a_relay_lets_in_whoever_asked_for_the_call(
    monkeypatch: pytest.MonkeyPatch, caller: str, relayed: list[str], expected: list[str]
) -> None:
    monkeypatch.setattr(candidates, "get_host_addresses", lambda use_ipv4, use_ipv6: ["192.0.2.7"])
    assert expected_from(caller, relayed) == expected


def test_nobody_else_is_asked_where_this_machine_is() -> None:
    assert ice_servers(keys()).iceServers == []
    assert RTCIceGatherer.getDefaultIceServers() != [], "which the library would do by itself"
    closed = keys(stun="stun:stun.test:3478", turn="turn:turn.test:3478", turn_username="u", turn_password="p")
    servers = ice_servers(closed).iceServers
    assert servers is not None and [one.urls for one in servers] == ["stun:stun.test:3478", "turn:turn.test:3478"]


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def gathered(settings: WebRtcKeys, *addresses: str) -> list[Any]:
    async def main() -> list[Any]:
        connection = Connection(ice_controlling=False)
        Gatherer(connection, addresses, settings).install()
        await connection.gather_candidates()
        found = connection.local_candidates
        await connection.close()
        return found

    return asyncio.run(main())


def test_ports_are_of_the_range_and_free(taken: int) -> None:
    if taken > 65_000:
        pytest.skip("no room above the port that is taken")
    found = gathered(keys(ports=(taken, taken + 20)), "127.0.0.1")
    assert len(found) == 1 and taken < found[0].port <= taken + 20
    assert gathered(keys(ports=(taken, taken)), "127.0.0.1") == []


def test_callers_are_told_the_address_outside() -> None:
    found = gathered(keys(advertised="192.0.2.99"), "127.0.0.1", "127.0.0.2")
    assert {one.host for one in found} == {"192.0.2.99"} and len({one.port for one in found}) == 2


def test_an_address_that_is_not_here_is_left_out() -> None:
    assert [one.host for one in gathered(keys(), "192.0.2.1", "127.0.0.1")] == ["127.0.0.1"]


class Stun(asyncio.DatagramProtocol):
    """Says where packets come from, to whoever asks."""

    def __init__(self, answers: bool = True) -> None:
        self._answers = answers
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        if self._answers:
            answer = stun.Message(
                message_method=stun.Method.BINDING,
                message_class=stun.Class.RESPONSE,
                transaction_id=stun.parse_message(data).transaction_id,
            )
            answer.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.55", addr[1])
            self.transport.sendto(bytes(answer), addr)


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_of_ones_own_is_asked_where_this_machine_is(answers: bool) -> None:
    async def main() -> tuple[list[Any], int]:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(lambda: Stun(answers), local_addr=("127.0.0.1", 0))
        address = ("127.0.0.1", transport.get_extra_info("sockname")[1])
        connection = Connection(ice_controlling=False, stun_server=address)
        gatherer = Gatherer(connection, ["127.0.0.1"], keys())
        gatherer.install()
        found = await connection.get_component_candidates(component=1, addresses=[], timeout=1)
        await connection.close()
        transport.close()
        return found, server.asked

    found, asked = asyncio.run(main())
    assert asked >= 1
    assert [(one.type, one.host) for one in found] == [("host", "127.0.0.1"), ("srflx", "192.0.2.55")][: 1 + answers]


def test_offline_no_other_machine_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    far, near = keys(stun="stun:192.0.2.1:3478"), keys(stun="stun:127.0.0.1:3478")
    with forbid_network():
        assert ice_servers(far).iceServers == [] and "session.offline" in caplog.text
        servers = ice_servers(near).iceServers
        assert servers is not None and len(servers) == 1


def test_an_answer_names_only_what_was_configured() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            told = [line.split()[4] for line in caller.peer.remoteDescription.sdp.splitlines() if "candidate:" in line]
            assert set(told) == {"127.0.0.1"}
        async with Caller() as caller:
            answer = await phone.ask(await caller.offer())
            await phone.hang_up(answer.headers["Location"].rpartition("/")[2])

    on_the_phone(talk, config(server={"webrtc": {"addresses": ("127.0.0.1",)}}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"addresses": ("localhost",)}, "addresses"),
        ({"advertised": "phone.example"}, "advertised"),
        ({"ports": (80, 90)}, "at least 1024"),
        ({"ports": (6000, 5000)}, "not before the first"),
        ({"stun": "stun.example:3478"}, "stun:HOST:PORT"),
        ({"turn": "turn:turn.example"}, "turn_username and turn_password"),
        ({"connect_s": 0}, "connect_s"),
        ({"sdp": 1}, "sdp"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        keys(**given)
