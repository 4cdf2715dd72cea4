"""The offline guard: with `offline: true` nothing in this process reaches beyond this machine.

The guard is an audit hook of the interpreter (PEP 578), not a patched `socket` module: every Python-level connect,
datagram and name lookup passes it, whichever library makes it, in whichever thread, and nothing can import its way
around. A hook cannot be taken out again, so it is put in once and asks a counter.

An engine's own process (`isolation: process`), and one in which `antiphon doctor` tries an engine, has the same guard:
it is put in there before the engine is imported.

What it cannot see: sockets that native code opens by itself (none of the built-in engines does), and processes that
others start; those inherit the environment variables that tell model libraries to stay offline. A host *name* given
straight to `socket.connect` is looked up before the hook is asked and refused after; libraries call `getaddrinfo`
first, which is refused before any packet leaves.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from antiphon.engines.errors import OfflineForbidden

OFFLINE_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}
"""Set while the network is forbidden: hub clients ask the hub even for models that they have, unless told not to."""

_LOCAL_FAMILIES = frozenset(
    getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK", "AF_ALG") if hasattr(socket, name)
)


class _Guard:
    """How often the network is forbidden now, and the environment as it was before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.hooked = False
        self.saved: dict[str, str | None] = {}

    def forbid(self) -> None:
        with self.lock:
            if not self.hooked:
                sys.addaudithook(_audit)
                self.hooked = True
            if self.depth == 0:
                self.saved = {key: os.environ.get(key) for key in OFFLINE_ENVIRONMENT}
                os.environ.update(OFFLINE_ENVIRONMENT)
            self.depth += 1

    def allow(self) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth > 0:
                return
            for key, value in self.saved.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


_guard = _Guard()
_answering: weakref.WeakSet[socket.socket] = weakref.WeakSet()


@contextmanager
def forbid_network() -> Iterator[None]:
    """While inside, every non-loopback connection, datagram or name lookup of this process raises OfflineForbidden.

    Holds for all threads and tasks; may be nested and entered by several sessions at once. Loopback and unix sockets
    work, and so does listening for others.
    """
    _guard.forbid()
    try:
        yield
    finally:
        _guard.allow()


def let_answer(sock: socket.socket) -> None:
    """Let a datagram socket answer beyond this machine, whatever is forbidden: that is how one listens for others
    without a connection. Whoever uses it sends only to those that it has heard from.
    """
    _answering.add(sock)


def network_forbidden() -> bool:
    """Whether some :func:`forbid_network` is in force: for code that would start another process to use the network."""
    return _guard.depth > 0


def is_loopback(url_or_host: str) -> bool:
    """Whether a URL, a `host`, or a `host:port` stays on this machine. A name other than localhost does not."""
    text = url_or_host.strip()
    if "://" in text:
        try:
            parts = urlsplit(text)
            host = parts.hostname or ""
        except ValueError:
            return False
        if parts.scheme in ("unix", "http+unix", "file"):
            return True
    elif text.startswith("["):
        host = text[1:].partition("]")[0]
    else:
        host = text if text.count(":") > 1 else text.partition(":")[0]
    return _is_loopback_host(host)


def _is_loopback_host(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    address = _address(host)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _guard.depth == 0 or not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        _check_peer(arguments[0], arguments[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _check_lookup(arguments[0])
    elif event == "socket.gethostbyaddr":
        _check_reverse_lookup(arguments[0])
    elif event == "socket.getnameinfo":
        _check_reverse_lookup(arguments[0][0])


def _check_peer(sock: Any, address: Any) -> None:
    if address is None or sock.family in _LOCAL_FAMILIES:
        return  # sendmsg on a connected socket: its connect was checked
    if sock in _answering:
        return
    host = address[0] if isinstance(address, tuple) and address else None
    if not isinstance(host, str):
        _refuse(repr(address))
    elif host not in ("", "0.0.0.0", "::") and not _is_loopback_host(host):  # the unspecified address is this machine
        _refuse(host)


def _check_lookup(host: Any) -> None:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "") or _address(str(host)) is not None or _is_loopback_host(str(host)):
        return  # an address needs no name server; connecting to it is another question
    _refuse(str(host))


def _check_reverse_lookup(address: Any) -> None:
    host = address.decode("ascii", "replace") if isinstance(address, bytes) else str(address)
    if not _is_loopback_host(host) and host not in ("0.0.0.0", "::"):
        _refuse(host)


def _refuse(where: str) -> None:
    raise OfflineForbidden(
        f"connection to '{where}' refused: offline is true",
        hint="Set session.offline to false to allow it, or choose an engine that runs on this machine.",
    )
