"""Who may connect by where they are: lists of addresses, connections of one address, and wrong keys of one."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from keyed import Keys, bearer, error_of, keyed
from network_clock import run_networked
from operated import figures, operating
from served import config, serving
from wyoming.asr import Transcribe
from wyoming.info import Describe
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming_talk import TONE, client, send_audio, speak_live, until, wyoming_config, wyoming_server

from antiphon.pipeline.config.model import ServerConfig
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.addresses import LOOPBACK, entry_for, is_own, site_of
from antiphon.server.access.guessing import MAX_KNOWN, WrongKeys
from antiphon.server.access.principal import Principal, caller, calling
from antiphon.server.connections import Limits, _Http
from antiphon.server.fronts import Fronts
from antiphon.server.service import Service
from antiphon.server.serving import _settings
from antiphon.server.tcp_front import TcpFront, listen_tcp

LOCAL_V6 = "fd12:3456:789a:1::7"


# ---------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    ("address", "allowed", "entry"),
    [
        ("192.168.1.7", ("10.0.0.0/8", "192.168.1.0/24"), "192.168.1.0/24"),
        ("192.168.2.7", ("10.0.0.0/8", "192.168.1.0/24"), None),
        ("192.168.1.7", (), None),
        ("127.0.0.1", (), LOOPBACK),
        ("127.3.2.1", ("10.0.0.0/8",), LOOPBACK),
        ("::1", (), LOOPBACK),
        ("::ffff:127.0.0.1", (), LOOPBACK),
        ("::ffff:192.168.1.7", ("192.168.1.0/24",), "192.168.1.0/24"),
        (LOCAL_V6, ("10.0.0.0/8", "fd00::/8"), "fd00::/8"),
        ("fe80::1%eth0", ("fe80::/10",), "fe80::/10"),
        ("192.168.1.20", ("192.168.1.20",), "192.168.1.20"),
        ("", ("0.0.0.0/0", "::/0"), None),
        ("testclient", ("0.0.0.0/0", "::/0"), None),
    ],
)
def test_which_entry_lets_an_address_in(address: str, allowed: tuple[str, ...], entry: str | None) -> None:
    assert entry_for(address, allowed) == entry


@given(st.ip_addresses(), st.integers(0, 32))
def test_an_address_is_on_a_list_if_it_is_in_one_of_its_networks(address: Any, bits: int) -> None:
    assume(getattr(address, "ipv4_mapped", None) is None)  # that is an IPv4 address, and in no network of IPv6
    network = ipaddress.ip_network((address, bits), strict=False)
    assert entry_for(str(address), (str(network),)) is not None
    assert is_own(str(address)) == (entry_for(str(address), ()) is not None)
    assert site_of(str(address)) == site_of(site_of(str(address)).partition("/")[0])


def test_one_site_of_ipv6_is_one_client_however_many_addresses_it_has() -> None:
    assert site_of("fd12:3456:789a:1::7") == site_of("fd12:3456:789a:1:ffff::1") == "fd12:3456:789a:1::/64"
    assert site_of("fd12:3456:789a:2::7") != site_of("fd12:3456:789a:1::7")
    assert site_of("::ffff:10.0.0.1") == site_of("10.0.0.1") == "10.0.0.1"
    assert site_of("a name") == "a name"


@pytest.mark.parametrize("section", [{}, {"wyoming": {}}, {"audiosocket": {}}])
def test_what_is_no_network_is_told_when_the_configuration_is_read(section: dict[str, Any]) -> None:
    keys: dict[str, Any] = {"allowed_addresses": ["192.168.1.7/24"]}
    with pytest.raises(ValueError, match=r"'192\.168\.1\.7/24' is no network: 192\.168\.1\.0/24 is the one"):
        ServerConfig(**({name: keys for name in section} or keys))


# ---------------------------------------------------------------------------------------- requests


def test_requests_of_addresses_that_are_on_no_list_end_at_the_door(tmp_path: Path) -> None:
    """By a proxy on this machine, which says where its clients are: so they are elsewhere without another machine."""
    keys = Keys(tmp_path / "keys.json")
    desk = keys.make("desk")
    settings = {
        "allowed_addresses": ["192.168.1.0/24", "fd00::/8"],
        "proxy_headers": ["127.0.0.1"],
        "audit_log": tmp_path / "audit.jsonl",
    }

    async def main() -> None:
        async with keyed(keys, settings) as server:

            async def get(path: str, address: str | None) -> httpx.Response:
                forwarded = {} if address is None else {"X-Forwarded-For": address}
                return await server.client.get(path, headers={**bearer(desk), **forwarded})

            for address in ("192.168.1.9", LOCAL_V6, None):
                assert (await get("/v1/models", address)).status_code == 200, address
            for address in ("192.168.2.9", "fe80::1", "unknown"):
                for path in ("/v1/models", "/console/", "/metrics"):
                    assert error_of(await get(path, address)) == (403, "address"), (address, path)
                assert (await get("/healthz", address)).status_code == 200
                headers = {"X-Forwarded-For": address}
                assert (await server.refused("/v1/stream", desk, headers=headers))[1]["code"] == "address"
            assert figures(server.service)["antiphon_requests_refused_total{reason=address}"] == 12

    run_networked(main())
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    refused = [one for one in lines if one.get("status") == 403]
    assert {one["address"] for one in refused} == {"192.168.2.9", "fe80::1", "unknown"}


def test_one_address_does_not_take_all_connections_of_the_http_port() -> None:
    proxies = ["10.9.0.1"]
    limits = Limits(
        connections=8,
        per_address=3,
        many_behind=lambda: proxies,
        head_s=5,
        slow_client_s=5,
        client_share=1,
    )
    connections: set[Any] = set()

    def reason_for(address: str) -> str:
        """As `connection_made` leaves a connection before it asks."""
        one: Any = object.__new__(_Http)
        one.client, one.connections, one.config = (address, 40000), connections, SimpleNamespace(limits=limits)
        connections.add(one)
        reason: str = one._too_many()
        if reason:
            connections.discard(one)
        return reason

    assert [reason_for("10.0.0.1") for _ in range(4)] == ["", "", "", "address_full"]
    assert reason_for("::ffff:10.0.0.1") == "address_full"
    assert [reason_for(address) for address in ("127.0.0.1", *["10.9.0.1"] * 4)] == [""] * 5
    assert reason_for("10.0.0.2") == "full"
    connections.clear()
    proxies[:] = ["10.0.0.1"]
    assert [reason_for(address) for address in [*["10.0.0.1"] * 4, *["10.9.0.1"] * 3]] == [""] * 7
    assert reason_for("10.9.0.1") == "address_full", "it is no proxy any more"


def test_the_proxies_that_spare_their_address_are_those_of_the_last_reload() -> None:
    async def main() -> None:
        before, after = config({"proxy_headers": ["10.9.0.1"]}), config({"proxy_headers": ["10.9.0.2"]})
        service = Service(before, source=lambda: after)
        many_behind = _settings(service).limits.many_behind
        async with operating(before, service):
            assert tuple(many_behind()) == ("10.9.0.1",)
            assert (await service.reloading.reload()).needs_restart == ()
            assert tuple(many_behind()) == ("10.9.0.2",)

    run_networked(main())


def test_connections_that_are_refused_at_once_are_counted_and_on_record(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"

    async def main() -> dict[str, float]:
        async with serving(config({"max_connections": 4, "audit_log": audit})) as (address, service):
            host, port = address.split(":")
            streams = [await asyncio.open_connection(host, int(port)) for _ in range(5)]
            assert b"503 Service Unavailable" in await streams[-1][0].read()
            for _, writer in streams:
                writer.close()
            return figures(service)

    found = run_networked(main())
    assert found["antiphon_connections_refused_total{front=http,reason=full}"] == 1
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    (one,) = [line for line in lines if line["event"] == "connection_refused"]
    assert (one["protocol"], one["address"], one["reason"]) == ("http", "127.0.0.1", "full")


# ---------------------------------------------------------------------------------------- ports without keys


class Silent:
    """Says nothing until it is told to end."""

    def __init__(self, seen: list[Principal]) -> None:
        seen.append(caller())
        self._over = asyncio.Event()

    async def run(self) -> None:
        await self._over.wait()

    def close(self) -> None:
        self._over.set()


class FromElsewhere:
    """A writer of a connection that came from elsewhere."""

    def __init__(self, address: str) -> None:
        self.transport = self
        self.written = b""
        self.state = "open"
        self._address = address

    def get_extra_info(self, name: str) -> Any:
        return (self._address, 40000) if name == "peername" else None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    async def wait_closed(self) -> None:
        pass


def test_a_port_without_keys_takes_who_is_on_its_list_and_so_many_of_one_address(tmp_path: Path) -> None:
    audit = tmp_path / "audit.jsonl"
    wyoming = {"port": 0, "allowed_addresses": ["192.168.1.0/24", "fd00::/8"], "max_connections_per_address": 2}
    seen: list[Principal] = []

    async def main() -> dict[str, float]:
        async with wyoming_server(wyoming_config(wyoming, {"audit_log": audit})) as (_, service):
            keys = service.settings.wyoming
            with listen_tcp(keys, 0, "server.wyoming") as listener:
                front = TcpFront(
                    listener,
                    lambda reader, writer: Silent(seen),
                    service=service,
                    name="wyoming",
                    keys=keys,
                    max_connections=4,
                    too_many=b"full",
                )
                async with front:

                    def come(address: str) -> FromElsewhere:
                        writer = FromElsewhere(address)
                        front._accept(asyncio.StreamReader(), writer)  # type: ignore[arg-type]
                        return writer

                    stranger = come("10.0.0.1")
                    assert (stranger.state, stranger.written) == ("aborted", b""), "who is not meant is told nothing"
                    assert [come("192.168.1.7").state for _ in range(3)] == ["open", "open", "closed"]
                    assert [come(f"fd00::{number}").state for number in (1, 2, 3)] == ["open", "open", "closed"]
                    last = come("192.168.1.8")
                    assert (last.state, last.written) == ("closed", b"full")
                    assert front.connections == 4
                    await front.drain()
                    assert front.connections == 0
            await asyncio.to_thread(service.access.audit.close)
            return figures(service)

    found = run_networked(main())
    assert [(one.address, one.via) for one in seen[:3:2]] == [
        ("192.168.1.7", "wyoming:192.168.1.0/24"),
        ("fd00::1", "wyoming:fd00::/8"),
    ]
    name = "antiphon_connections_refused_total{front=wyoming,reason=%s}"
    assert [found[name % reason] for reason in ("address", "address_full", "full")] == [1, 2, 1]
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    refused = [(one["address"], one["reason"]) for one in lines if one["event"] == "connection_refused"]
    assert refused == [
        ("10.0.0.1", "address"), ("192.168.1.7", "address_full"), ("fd00::3", "address_full"), ("192.168.1.8", "full"),
    ]  # fmt: skip


@pytest.mark.parametrize("section", ["wyoming", "audiosocket"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1"])
def test_a_port_without_keys_that_others_reach_needs_a_list(section: str, host: str) -> None:
    with pytest.raises(ConfigError, match="this protocol has no keys to ask for") as caught:
        Fronts(config({section: {"port": 0, "host": host}}))
    assert caught.value.key == f"server.{section}.host"
    assert f"server.{section}.allowed_addresses" in caught.value.hint


def test_what_a_client_without_a_key_uses_is_counted_by_its_entry_and_its_talk_is_on_record_with_its_address(
    tmp_path: Path,
) -> None:
    audit = tmp_path / "audit.jsonl"

    async def main() -> dict[str, float]:
        async with wyoming_server(wyoming_config(server={"audit_log": audit})) as (address, service):
            async with client(address) as one:
                await one.write_event(Describe().event())
                await until(one, "info")
                await one.write_event(Transcribe().event())
                await send_audio(one, TONE)
                await until(one, "transcript")
                await one.write_event(RunPipeline(PipelineStage.ASR, PipelineStage.TTS).event())
                await speak_live(one, 0.6)
                await speak_live(one, 0.7, loud=False)
                await until(one, "synthesize", "error")
            await asyncio.to_thread(service.access.audit.close)
            return figures(service)

    found = run_networked(main())
    assert any("key=wyoming:loopback,stage=stt" in name for name in found), found
    assert not any("key=anyone" in name for name in found)
    begun, *_ = [json.loads(line) for line in audit.read_text().splitlines()]
    assert (begun["event"], begun["via"], begun["address"], begun["protocol"]) == (
        "session_begun", "wyoming:loopback", "127.0.0.1", "wyoming",
    )  # fmt: skip


def test_the_caller_is_that_of_the_running_task() -> None:
    async def main() -> None:
        with calling(Principal("", frozenset(), via="wyoming:loopback")):
            task = asyncio.create_task(asyncio.to_thread(caller))
        assert caller().via == "" and (await task).via == "wyoming:loopback"

    run_networked(main())


# ---------------------------------------------------------------------------------------- wrong keys


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_who_shows_too_many_wrong_keys_learns_nothing_more_for_a_while() -> None:
    clock = Clock()
    guard = WrongKeys(3, clock)
    assert guard.right("10.0.0.1", "desk") is None
    assert [guard.wrong("10.0.0.1") for _ in range(3)] == [None] * 3
    refused = guard.wrong("10.0.0.1")
    assert refused is not None and refused.retry_s == pytest.approx(20)
    assert guard.right("10.0.0.1", "another") is not None, "a right guess looks like a wrong one"
    assert guard.right("10.0.0.1", "desk") is None, "who was here before goes on"
    assert guard.right("10.0.0.2", "another") is None and guard.wrong("10.0.0.2") is None, "others are others"
    clock.now_s += 20
    assert guard.right("10.0.0.1", "another") is None
    assert guard.wrong("10.0.0.1") is None and guard.wrong("10.0.0.1") is not None


def test_the_memory_of_addresses_is_bounded() -> None:
    guard = WrongKeys(3)
    for number in range(MAX_KNOWN + 50):
        assert guard.right(str(ipaddress.ip_address(0x0A000000 + number)), "desk") is None
    assert len(guard._known) == MAX_KNOWN


def test_guessing_is_answered_429_and_counted(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    desk, other = keys.make("desk"), keys.make("other")

    async def main() -> None:
        async with keyed(keys, {"wrong_keys_per_minute": 3, "audit_log": "off"}) as server:
            assert (await server.get("/v1/models", desk)).status_code == 200
            for _ in range(3):
                assert error_of(await server.get("/v1/models", "wrong")) == (401, "invalid_api_key")
            for token in ("wrong", "ek_wrong", other):
                response = await server.get("/v1/models", token)
                assert error_of(response) == (429, "too_many_wrong_keys")
                assert 1 <= int(response.headers["retry-after"]) <= 20
            assert (await server.refused("/v1/stream", other))[0] == 429
            assert error_of(await server.get("/v1/models")) == (401, "missing_api_key"), "that is no guess"
            assert (await server.get("/v1/models", desk)).status_code == 200
            found = figures(server.service)
            assert found["antiphon_requests_refused_total{reason=too_many_wrong_keys}"] == 4
            assert found["antiphon_requests_refused_total{reason=invalid_api_key}"] == 3

    run_networked(main())
