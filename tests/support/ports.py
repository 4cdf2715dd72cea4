"""Ports for servers that have to be told theirs before they begin."""

from __future__ import annotations

import random
import socket

FIRST, LAST = 20000, 32000
"""Below those that the system gives to whoever asks for any: between the choice and the use nobody else gets it."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of loopback that nobody uses now. Workers of the tests choose by chance, so hardly ever the same."""
    while True:
        port = random.SystemRandom().randrange(FIRST, LAST)
        with socket.socket(socket.AF_INET, kind) as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
