"""Sockets that listen, and what it means when they cannot."""

from __future__ import annotations

import errno
import socket

from antiphon.pipeline.errors import ConfigError


def listen_at(host: str, port: int, *, section: str, backlog: int) -> socket.socket:
    """
    :param host: an address of this machine, or a name of one; IPv6 with or without brackets.
    :param section: where `host` and `port` stand in the configuration, such as `server`.
    :raises ConfigError: it cannot be listened there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=backlog)
    except (OSError, UnicodeError) as error:
        raise _explained(error, host, port, section) from error


def _explained(error: Exception, host: str, port: int, section: str) -> ConfigError:
    if isinstance(error, socket.gaierror | UnicodeError):
        hint = "127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses"
        return ConfigError(f"'{host}' is no address, and no name that is known here", key=f"{section}.host", hint=hint)
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRNOTAVAIL:
        hint = "0.0.0.0 is all of its addresses; `ip address` lists them"
        return ConfigError(f"'{host}' is no address of this machine", key=f"{section}.host", hint=hint)
    option = ", or with --port" if section == "server" else ""
    if number == errno.EADDRINUSE:
        message = f"port {port} of {host} is taken by another program"
        hint = f"choose another with {section}.port{option}; `ss -ltnp` says who has it"
    elif number in (errno.EACCES, errno.EPERM):
        message = f"port {port} of {host} may not be listened at by this user"
        hint = f"ports below 1024 need the right to (CAP_NET_BIND_SERVICE): choose another with {section}.port{option}"
    else:
        what = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        message, hint = f"cannot listen at {host} port {port}: {what}", ""
    return ConfigError(message, key=f"{section}.port", hint=hint)
