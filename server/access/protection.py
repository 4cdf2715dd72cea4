"""What protects a server: checked before it listens, and said in a line."""

from __future__ import annotations

from antiphon.engines.net import is_loopback
from antiphon.pipeline.config.model import ServerConfig
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.audit import Target
from antiphon.server.access.key_file import keys_path
from antiphon.server.access.keyring import Keyring
from antiphon.server.access.tls import Tls


def check_address(settings: ServerConfig, keyring: Keyring | None = None) -> None:
    """
    :param keyring: of a server that runs; None: the keys that `settings` name.
    :raises ConfigError: others reach this address and there is no key to ask them for; or pages of any site could use
        a server that asks for none.
    """
    if keyring is None:
        keyring = Keyring(keys_path(settings.keys_file))
    create = "make a key: antiphon keys create NAME --scope realtime"
    if not is_loopback(settings.host) and len(keyring) == 0:
        raise ConfigError(
            f"'{settings.host}' can be reached from other machines, and there are no keys to ask for",
            key="server.host",
            hint=f"{create}; or use 127.0.0.1",
        )
    for name in ("allowed_hosts", "allowed_origins"):
        anybody = {"*", "null"} & set(getattr(settings, name))  # any page can make itself a frame of origin "null"
        if anybody and not keyring.keyed:
            raise ConfigError(
                f"without keys, '{min(anybody)}' would let any web page use the server that is open in a browser here",
                key=f"server.{name}",
                hint=f"name them one by one; or {create}",
            )


def tls_of(settings: ServerConfig) -> Tls | None:
    """
    :raises ConfigError: the files cannot be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    return Tls(cert, key) if cert is not None and key is not None else None


def audit_target(settings: ServerConfig, keyring: Keyring) -> Target:
    """Where it is written who did what: as configured, else to standard error where others can come in, or where
    it is required."""
    if settings.audit_log is not None:
        return settings.audit_log
    ports = [(one.port, one.host) for one in (settings.wyoming, settings.audiosocket)]
    open_ports = any(port is not None and not is_loopback(host) for port, host in ports)
    others = keyring.keyed or open_ports or not is_loopback(settings.host)
    return "stderr" if others or settings.audit_required else "off"


def protection(settings: ServerConfig, keyring: Keyring, tls: Tls | None) -> str:
    """For whoever starts it: "keys: 2; TLS: on, 80 days left; audit log: stderr; reached from 10.0.0.0/8"."""
    local = is_loopback(settings.host)
    keys = f"keys: {len(keyring)}" if keyring.keyed else "keys: none, any program of this machine may enter"
    allowed = ", ".join(settings.allowed_addresses)
    reach = "this machine only" if local else allowed or f"the network ({settings.host})"
    if tls is not None:
        left = tls.days_left()
        shown = "TLS: on" if left is None else f"TLS: on, {left:.0f} days left" if left >= 0 else "TLS: on, EXPIRED"
    elif local or settings.proxy_headers:
        shown = "TLS: off"
    else:
        shown = "TLS: OFF, keys and voices cross the network in the clear"
    return f"{keys}; {shown}; audit log: {audit_target(settings, keyring)}; reached from {reach}"
