"""The address of a Realtime server: what may be reached, and what of it may be shown."""

from __future__ import annotations

import importlib
import os
from typing import Any
from urllib.parse import urlsplit

from antiphon.benchmarks.peers.errors import PeerInvalid
from antiphon.engines.net import is_loopback

KEY_VARIABLE = "ANTIPHON_REALTIME_API_KEY"
"""Environment variable of the key; never OPENAI_API_KEY, which would go to whatever server the URL names."""


def check_url(url: str, *, allow_network: bool) -> str:
    """The URL, if it can be used.

    :raises PeerInvalid: it is no WebSocket URL, carries a password, or leads off this machine and that was not allowed.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise PeerInvalid(
            f"'{shown_url(url)}' is no WebSocket URL",
            hint="for example --peer realtime=ws://127.0.0.1:8080/v1/realtime",
        )
    if parts.username or parts.password:
        raise PeerInvalid(f"'{shown_url(url)}' carries a password", hint=f"give the key in the variable {KEY_VARIABLE}")
    if not allow_network and not is_loopback(url):
        raise PeerInvalid(
            f"'{shown_url(url)}' is not on this machine",
            hint="The clips would be sent there. If that is meant: --allow-network, and session.offline=false.",
        )
    return url


def listening_pids(url: str) -> tuple[int, ...]:
    """The processes of this machine that listen at a URL's port; none if that cannot be known."""
    try:
        psutil: Any = importlib.import_module("psutil")
    except ImportError:
        return ()
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    if not is_loopback(url):
        return ()
    try:
        found = [link for link in psutil.net_connections("tcp") if link.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return ()
    return tuple(
        sorted({link.pid for link in found if link.laddr.port == port and link.pid not in (None, os.getpid())})
    )


def shown_url(url: str) -> str:
    """A URL without what may be secret in it: no user, no query but the model."""
    parts = urlsplit(url)
    model = [word for word in parts.query.split("&") if word.startswith("model=")]
    host = (parts.hostname or "") + (f":{parts.port}" if _has_port(url) else "")
    return f"{parts.scheme}://{host}{parts.path}" + (f"?{model[0]}" if model else "")


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False
