"""Why a call cannot be taken. (Apart from the rest, which needs aiortc.)"""

from __future__ import annotations


class BadOffer(Exception):
    """An offer that no call can be made of; the text says why."""


class NoPort(Exception):
    """There is no UDP port to take a call at."""
