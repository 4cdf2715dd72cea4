"""How many recordings are in memory at a time: an hour of silence is small on its way in, and large as samples."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from antiphon.server.rest.errors import ApiError

PLACES = 2
WAIT_S = 10.0
"""For a place; who has none by then is told to come again."""


class Room:
    """One for an application."""

    def __init__(self, places: int = PLACES, wait_s: float = WAIT_S) -> None:
        self._free = asyncio.Semaphore(places)
        self._wait_s = wait_s

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """While inside, a recording may be held.

        :raises ApiError: there is no place (503).
        """
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            message = "other recordings are being heard; try again in a moment"
            raise ApiError(503, "overloaded", message, retry_after_s=self._wait_s) from None
        try:
            yield
        finally:
            self._free.release()
