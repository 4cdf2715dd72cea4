"""Wrong keys, counted by the address that shows them.

A key of :mod:`antiphon.server.access.keys` cannot be guessed; one that an operator has set in the environment perhaps
could. Who has shown too many wrong ones is told nothing more about any, right or wrong, for a while. Others who share
the address (an office, a proxy) and have used their keys from there before go on.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from antiphon.server.access.addresses import site_of
from antiphon.server.access.rates import Allowance, Rates

MAX_KNOWN = 10_000


class WrongKeys:
    """Of all addresses; those least lately seen are forgotten past a bound.

    :param limit: wrong keys a minute from one address; so many at once.
    :param clock: seconds, of any beginning.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = Rates(limit, clock=clock)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Addresses, and keys that were right there."""

    def set_limit(self, limit: int) -> None:
        self._rates.set_limit(limit)

    def right(self, address: str, key_id: str) -> Allowance | None:
        """A right key was shown. None: it may be used; else when to try again."""
        one = (site_of(address), key_id)
        if one not in self._known:
            allowance = self._rates.look(one[0])
            if not allowance.allowed:
                return allowance
            self._known[one] = None
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(one)
        return None

    def wrong(self, address: str) -> Allowance | None:
        """A wrong one was shown. None: it may be said so; else when to try again."""
        allowance = self._rates.take(site_of(address))
        return None if allowance.allowed else allowance
