"""Twilio's signature of a request: who has the account's token has made it."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signature(token: str, url: str) -> str:
    """What a request to that address (a WebSocket's, without parameters) is signed with."""
    return base64.b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode("ascii")


def signed(token: str, url: str, given: str) -> bool:
    """Whether the signature is right. An address may have been signed with and without its port and last slash."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    default = {"wss": ":443", "ws": ":80", "https": ":443", "http": ":80"}.get(scheme, "")
    hosts = {host, host.removesuffix(default)} if default else {host}
    if ":" not in host:
        hosts.add(host + default)
    paths = {f"{slash}{path}".rstrip("/") + end for end in ("", "/")}
    urls = {f"{scheme}://{one}{path}" for one in hosts for path in paths}
    # Each is compared: how long it takes tells nothing.
    return any([hmac.compare_digest(signature(token, one).encode(), given.encode()) for one in sorted(urls)])
