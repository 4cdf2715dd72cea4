"""What is under way on a set of engines: they may be freed when all that had begun before is over."""

from __future__ import annotations

import asyncio


class Uses:
    """Counts nothing by name: a use is any object, begun and ended once."""

    def __init__(self) -> None:
        self._under_way: set[object] = set()
        self._waiting: list[tuple[set[object], asyncio.Future[None]]] = []

    def begin(self, use: object) -> None:
        """It may look at the engines from now on."""
        self._under_way.add(use)

    def end(self, use: object) -> None:
        """It will not any more. A second time nothing happens."""
        self._under_way.discard(use)
        for left, over in list(self._waiting):
            left.discard(use)
            if not left and not over.done():
                over.set_result(None)

    async def those_of_now(self) -> None:
        """Wait until everything that is under way at this moment is over; what begins later is not waited for."""
        left = set(self._under_way)
        if not left:
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (left, over)
        self._waiting.append(waiter)
        try:
            await over
        finally:
            self._waiting.remove(waiter)
