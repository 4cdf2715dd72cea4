"""Where a call's sound is taken: which addresses and ports of this machine the caller is told."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
from collections.abc import Iterable
from typing import Any

from aioice import Candidate
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol, get_host_addresses, server_reflexive_candidate
from aiortc import RTCConfiguration, RTCIceServer

from antiphon.engines.net import is_loopback, let_answer, network_forbidden
from antiphon.pipeline.config.webrtc import WebRtcKeys

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
BUFFER_BYTES = 1 << 19
"""Packets that may wait while the event loop is busy."""
FIRST, SECOND = 65535, 65534
"""Preferences among candidates."""


async def own_addresses(settings: WebRtcKeys, host: str) -> list[str]:
    """The addresses to take sound at: those that are configured, else where the server itself listens.

    :raises OSError: the host's name means nothing.
    """
    if settings.addresses:
        return list(settings.addresses)
    name = host.strip("[]")
    try:
        address = ipaddress.ip_address(LOOPBACK if name == "localhost" else name)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_DGRAM)
        return sorted({str(entry[4][0]) for entry in found})
    if address.is_unspecified:
        return get_host_addresses(use_ipv4=True, use_ipv6=address.version == 6) or [LOOPBACK]
    return [str(address)]


def inner_address(addresses: Iterable[str], settings: WebRtcKeys) -> str | None:
    """A second address for a server that is reached from this machine alone: another one of the machine's own.

    Firefox sends nothing from other addresses to loopback's, and does not use loopback's itself.

    :param addresses: where sound is taken.
    :returns: None: there is no need, or no such address.
    """
    if settings.addresses or settings.advertised or not all(is_loopback(one) for one in addresses):
        return None
    found = _outer_addresses()
    return next((one for one in found if ":" not in one), next(iter(found), None))


def _outer_addresses() -> list[str]:
    return [one for one in get_host_addresses(use_ipv4=True, use_ipv6=True) if not is_loopback(one)]


def expected_from(caller: str, relayed: Iterable[str]) -> list[str]:
    """The addresses that a relay of ours has to let through: relays let nobody through whom they were not told of, and
    offers often name no address at all (that of the vendor's SDK is sent before it has found any).

    :param caller: from where the call was asked for; "": not known.
    :param relayed: where our relay takes packets for us: the caller may use the same one.
    """
    found = [caller] if caller else []
    if caller and is_loopback(caller):
        found += _outer_addresses()  # browsers prefer those, on the same machine too
    return list(dict.fromkeys([*found, *relayed]))


class InnerProtocol(StunProtocol):
    """Hears this machine alone: what comes from elsewhere is dropped unread. Who pretends to be here gets no answer,
    since that goes to this machine."""

    def __init__(self, receiver: Connection) -> None:
        super().__init__(receiver)
        self._own = frozenset(_outer_addresses())

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        if addr[0] in self._own or is_loopback(addr[0]):
            super().datagram_received(data, addr)


def ice_servers(settings: WebRtcKeys) -> RTCConfiguration:
    """Only servers that are configured (the library's own default would ask one in the internet), and with
    `session.offline` those of this machine."""
    found = [
        RTCIceServer(settings.stun) if settings.stun else None,
        RTCIceServer(settings.turn, settings.turn_username, settings.turn_password) if settings.turn else None,
    ]
    servers = [one for one in found if one is not None]
    allowed = [one for one in servers if not network_forbidden() or is_loopback(_host_of(one.urls))]
    if len(allowed) < len(servers):
        logger.warning("server.webrtc.stun and turn are other machines: not asked, since session.offline is true")
    return RTCConfiguration(iceServers=allowed)


def _host_of(uri: str | list[str]) -> str:
    return str(uri).partition(":")[2].partition("?")[0]


class Gatherer:
    """Stands in for a connection's own way of finding candidates, which takes all addresses but loopback's, and any
    port."""

    def __init__(
        self, connection: Connection, addresses: Iterable[str], settings: WebRtcKeys, inner: str | None = None
    ) -> None:
        """
        :param inner: a further address, for this machine alone (:func:`inner_address`).
        """
        self._connection = connection
        self._inner = inner
        self._addresses = tuple(addresses)
        self._settings = settings

    def install(self) -> None:
        self._others = self._connection.get_component_candidates
        self._connection.get_component_candidates = self._gather  # type: ignore[method-assign]

    async def _gather(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        bound = [protocol for one in self._addresses if (protocol := await self._bind(one, component)) is not None]
        candidates = [protocol.local_candidate for protocol in bound]
        if self._inner is not None and (inside := await self._bind(self._inner, component, inner=True)) is not None:
            candidates.append(inside.local_candidate)
        server = self._connection.stun_server
        if server is not None and (askers := [one for one in bound if ":" not in one.local_candidate.host]):  # IPv4
            asking = [asyncio.create_task(server_reflexive_candidate(one, server)) for one in askers]
            done, late = await asyncio.wait(asking, timeout=timeout)
            for task in late:
                task.cancel()
            candidates += [task.result()[0] for task in done if task.exception() is None]
        return candidates + await self._others(component, [], timeout)

    async def _bind(self, address: str, component: int, *, inner: bool = False) -> StunProtocol | None:
        """A socket for one call at one address; None: there is none to be had."""
        loop, kind = asyncio.get_running_loop(), InnerProtocol if inner else StunProtocol
        first, last = self._settings.ports or (0, 0)
        for port in random.sample(range(first, last + 1), last + 1 - first):
            try:
                sock = _bound(address, port)
            except OSError:
                continue
            transport, protocol = await loop.create_datagram_endpoint(lambda: kind(self._connection), sock=sock)
            protocol.local_candidate = self._candidate(transport, component, inner)
            self._connection._protocols.append(protocol)
            return protocol
        logger.warning("no UDP port for a call", extra={"address": address, "first": first, "last": last})
        return None

    def _candidate(self, transport: asyncio.DatagramTransport, component: int, inner: bool) -> Candidate:
        address, port = transport.get_extra_info("sockname")[:2]
        told = self._settings.advertised or address
        return Candidate(
            foundation=candidate_foundation("host", "udp", address),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host", SECOND if inner else FIRST),
            host=told,
            port=port,
            type="host",
        )


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    let_answer(sock)
    return sock
