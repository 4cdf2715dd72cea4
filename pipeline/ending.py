"""Why a session ends, and when: somebody ends it, or too many of its turns have failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from antiphon.pipeline.errors import StageError, TooManyErrors
from antiphon.pipeline.events import ErrorEvent
from antiphon.pipeline.telling import Teller

logger = logging.getLogger(__name__)


class Ending:
    """One per session. Decides that it is over; to bring it to its end is the session's own work.

    :param max_errors: so many failed turns in a row are one too many; None: no number is.
    :param turn: the number of the user's newest turn.
    """

    def __init__(self, session: str, max_errors: int | None, teller: Teller, *, turn: Callable[[], int]) -> None:
        self._session = session
        self._max_errors = max_errors
        self._teller = teller
        self._turn = turn
        self._over = asyncio.Event()
        self._failures = 0
        """Turns in a row that have failed."""
        self.reason = ""
        """The first one that was given; "" before."""

    def end(self, reason: str = "ended") -> None:
        """The conversation is over once everything that is being said has been heard."""
        self.because(reason)
        self._over.set()

    def because(self, reason: str) -> None:
        """The session is at its end anyway, for this reason if for no other."""
        self.reason = self.reason or reason

    async def wait(self) -> None:
        """Until somebody ends the conversation."""
        await self._over.wait()

    def turn_worked(self) -> None:
        """A turn was answered."""
        self._failures = 0

    def turn_failed(self, error: StageError) -> bool:
        """A turn has failed. Returns whether that was one too many: then the session ends."""
        self._failures += 1
        if self._max_errors is None or self._failures < self._max_errors or self._over.is_set():
            return False
        self.broken("session", TooManyErrors(f"{self._failures} turns in a row have failed"))
        self.end("errors")
        return True

    def broken(self, stage: str, error: Exception) -> None:
        """Tell what makes it impossible to go on."""
        code = type(error).__name__
        logger.error("the session ends", extra={"session": self._session, "stage": stage, "code": code})
        fields = {"stage": stage, "code": code, "message": str(error), "fatal": True}
        self._teller.tell(ErrorEvent, turn=self._turn(), revision=0, **fields)
