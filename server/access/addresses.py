"""Addresses of clients: which may connect, and which count as one."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from functools import lru_cache

LOOPBACK = "loopback"
"""The entry of this machine's own programs, in every list."""
_V6_SITE_BITS = 64
"""What one site has of IPv6: whoever has one address of it has all of them."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=4096)
def _parsed(text: str) -> _Address | None:
    """None: this is no address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=64)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text)


def entry_for(address: str, allowed: Collection[str]) -> str | None:
    """The entry of a list by which an address may come in; None: there is none.

    :param allowed: networks and addresses, checked before. This machine's own programs need no entry.
    """
    parsed = _parsed(address)
    if parsed is None:
        return None
    if parsed.is_loopback:
        return LOOPBACK
    return next((one for one in allowed if parsed in _network(one)), None)


def is_own(address: str) -> bool:
    """Whether this machine itself is behind it."""
    parsed = _parsed(address)
    return parsed is not None and parsed.is_loopback


@lru_cache(maxsize=4096)
def site_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 one."""
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _V6_SITE_BITS), strict=False))
    return address if parsed is None else str(parsed)
