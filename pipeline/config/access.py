"""The keys of `server` that say who may do what: API keys, TLS, proxies, rates, the audit log."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, model_validator

from antiphon.engines.config import option


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        message = f"'{text}' is no address and no network; write it like 192.168.1.7 or 192.168.1.0/24"
        with suppress(ValueError):
            message = f"'{text}' is no network: {ipaddress.ip_network(text, strict=False)} is the one that it is in"
        raise ValueError(message) from None
    return text


Network = Annotated[str, AfterValidator(_network)]
"""An address, or a network such as 192.168.1.0/24."""


class AccessKeys(BaseModel):
    """Who may do what, and how much of it."""

    keys_file: Path | None = option(
        None,
        "The file of API keys, written by `antiphon keys`; null: `$ANTIPHON_HOME/keys.json`, or "
        "`~/.local/share/antiphon/keys.json`. Keys may also stand in the environment variable ANTIPHON_API_KEYS.",
    )
    tls_cert: Path | None = option(
        None, "Serve HTTPS: the certificate with its chain (PEM). A renewed one is taken up."
    )
    tls_key: Path | None = option(None, "The certificate's private key (PEM, without a passphrase).")
    proxy_headers: tuple[Network, ...] = option(
        (),
        "Addresses or networks of proxies in front of the server, such as `10.0.0.0/8`: from them, and nobody else, "
        "`X-Forwarded-For`, `X-Forwarded-Proto` and `X-Request-Id` are believed.",
    )
    allowed_addresses: tuple[Network, ...] = option(
        (),
        "Addresses and networks that may send requests (403 beyond), besides this machine's own; none: all. Behind a "
        "proxy of `proxy_headers` it is the address that the proxy tells.",
        examples=[["192.168.1.0/24"]],
    )
    audit_log: Literal["stderr", "off"] | Path | None = option(
        None,
        "Who did what, a JSON line each, to this file (mode 0600; can be rotated by renaming), to `stderr`, or `off`. "
        "null: to standard error as soon as others can come in (with keys, or by a port that other machines reach), "
        "and with `audit_required`.",
    )
    audit_required: bool = option(
        False,
        "While the audit log cannot be written (the disk is full, or takes nothing), nobody new is let in (503), and "
        "requests but those for health and figures are refused. False: lines wait, past some thousands they are lost "
        "and counted, and all goes on.",
    )
    sessions_per_key: int | None = option(
        None, "Conversations at the same time with one key (429 beyond); null: only `max_sessions` counts.", ge=1
    )
    requests_per_minute: int = option(
        600,
        "Requests with one key; a minute's worth may come at once (429 beyond). Not counted without keys.",
        ge=1,
    )
    sessions_per_minute: int = option(60, "Conversations begun with one key, counted likewise.", ge=1)
    max_connections: int = option(512, "Connections at the same time; one more is closed (503).", ge=4)
    max_connections_per_address: int | None = option(
        None,
        "The same for one address (a /64 of IPv6), which this machine's own and those of `proxy_headers` do not have; "
        "null: half of `max_connections`.",
        ge=1,
    )
    wrong_keys_per_minute: int = option(
        30,
        "From one address (a /64 of IPv6); past that it is told 429, whatever key it shows, but for keys that have "
        "been used from there before.",
        ge=1,
    )
    max_header_kb: int = option(16, "The longest head of a request.", unit="kB", ge=4, le=256)
    request_head_s: float = option(
        10.0,
        "A connection whose request is not complete up to its body, or that has not begun one, is closed.",
        unit="s",
        gt=0,
    )
    upload_s: float = option(300.0, "How long the body of a request may take to arrive.", unit="s", gt=0)
    slow_client_s: float = option(
        20.0, "A client that takes nothing of what is sent to it for so long is cut off.", unit="s", gt=0
    )

    client_share: float = option(
        0.05,
        "How much of the server's time (of one core) the messages of one WebSocket may take on and on; past that they "
        "are read more slowly. About 500 messages or 5 MB each second; a burst of 20 seconds' worth is taken at once.",
        gt=0,
        le=1,
    )

    @model_validator(mode="after")
    def _tls_is_a_pair(self) -> AccessKeys:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: set both, or none")
        return self

    @model_validator(mode="after")
    def _what_is_required_is_written(self) -> AccessKeys:
        if self.audit_required and self.audit_log == "off":
            raise ValueError("audit_required needs an audit log, and audit_log is off: name a file, or use stderr")
        return self
