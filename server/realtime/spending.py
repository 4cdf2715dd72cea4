"""Responses count as requests of the key that they are made with, and its client is told what is left."""

from __future__ import annotations

import math
from collections.abc import Callable

from antiphon.server.access.access import Access
from antiphon.server.access.principal import Principal
from antiphon.server.realtime.protocol import ProtocolError, ServerEvent, server_events


class Spending:
    """One per connection. Without keys nothing is counted, and nothing told."""

    def __init__(self, access: Access, principal: Principal, emit: Callable[[ServerEvent], None]) -> None:
        self._access = access
        self._principal = principal
        self._emit = emit

    def check(self) -> None:
        """Before a response that the client asks for. (Answers to speech are counted, and given in any case: nobody
        speaks that fast, and there would be nobody to ask again.)

        :raises ProtocolError: the key has had as many requests as it may have.
        """
        left = self._access.left(self._principal)
        if left is not None and not left.allowed:
            raise ProtocolError(
                f"Rate limit reached: {left.limit} requests per minute, responses among them. "
                f"Try again in {math.ceil(left.retry_s * 10) / 10:g} s.",
                code="rate_limit_exceeded",
            )

    def spent(self) -> None:
        """A response was created. Tells what is left."""
        left = self._access.spend(self._principal)
        if left is not None:
            limits = {"requests": (left.limit, left.remaining, round(left.reset_s, 3))}
            self._emit(server_events.rate_limits_updated(limits))
