"""A user who says nothing: spoken to after a while, a few times, then the conversation ends."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

from antiphon.pipeline.session_settings import IdleSettings


class Say(Protocol):
    def __call__(self, text: str, *, interruptible: bool = True) -> None: ...


class IdleWatcher:
    """One per session.

    :param busy: whether somebody speaks, or is about to.
    :param turn: the number of the user's newest turn.
    """

    def __init__(
        self,
        settings: IdleSettings,
        *,
        busy: Callable[[], bool],
        turn: Callable[[], int],
        say: Say,
        end: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._busy = busy
        self._turn = turn
        self._say = say
        self._end = end
        self._stirred_s = 0.0
        """When somebody was last heard, on the event loop's clock."""

    @property
    def watches(self) -> bool:
        """Whether silence means anything here."""
        return not math.isinf(self._settings.after_s)

    def stir(self) -> None:
        """Somebody was heard just now."""
        self._stirred_s = asyncio.get_running_loop().time()

    async def watch(self) -> None:
        """Speak to a user who says nothing; after the last prompt, end the conversation and return."""
        loop, settings = asyncio.get_running_loop(), self._settings
        self.stir()
        asked = turn_when_asked = 0
        while True:
            await asyncio.sleep(max(0.0, self._stirred_s + settings.after_s - loop.time()))
            if self._busy():
                self.stir()
                continue
            if loop.time() < self._stirred_s + settings.after_s - 1e-6:
                continue
            if self._turn() != turn_when_asked:
                turn_when_asked, asked = self._turn(), 0
            if asked < len(settings.prompts):
                self._say(settings.prompts[asked])
                asked += 1
                self.stir()
                continue
            if settings.goodbye:
                self._say(settings.goodbye, interruptible=False)
            self._end()
            return
