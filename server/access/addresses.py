"""Hosts and addresses as they stand in settings and headers."""

from __future__ import annotations

import ipaddress
import re

_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str | None:
    """The name in a `Host` header, in lower case and without the port; None: it is none."""
    match = _HOST.fullmatch(header)
    return match[1].lower() if match else None
