"""The keys that a caller presses: each one an event; a number that is complete, a turn of the caller's."""

from __future__ import annotations

import asyncio
import logging

from antiphon.pipeline.config.model import SessionConfig
from antiphon.pipeline.errors import SessionClosed
from antiphon.pipeline.events import KeyPressed
from antiphon.pipeline.session import Session

logger = logging.getLogger(__name__)

KEYS = frozenset("0123456789*#ABCD")
"""The sixteen tones there are."""
MAX_DIGITS = 64
"""A longer number is taken for complete."""


class Keypad:
    """One for a call. Nothing here waits."""

    def __init__(self, session: Session, settings: SessionConfig) -> None:
        self._session = session
        self._tells = settings.keys == "tell"
        self._words = settings.keys_text
        self._pause_s = settings.keys_pause_s
        self._digits = ""
        self._timer: asyncio.TimerHandle | None = None

    def press(self, key: str) -> bool:
        """A key was pressed. Returns whether it is one.

        The agent falls silent at the first key of a number: the caller has understood. `#` completes it and is no part
        of it, unless it is all of it.
        """
        key = key.upper()
        if key not in KEYS:
            return False
        session = self._session
        session.send(session.event(KeyPressed, turn=0, revision=0, key=key))
        if not self._tells:
            return True
        if not self._digits:
            session.cancel()
        self._stop_timer()
        if key == "#" and self._digits:
            self._complete()
        else:
            self._digits += key
            if key == "#" or len(self._digits) >= MAX_DIGITS:
                self._complete()
            else:
                self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._complete)
        return True

    def close(self) -> None:
        """The call is over: a number that is not complete never will be."""
        self._stop_timer()

    def _complete(self) -> None:
        self._timer = None
        digits, self._digits = self._digits, ""
        try:
            self._session.ask(self._words.replace("{keys}", digits))
        except SessionClosed:
            logger.info("keys were pressed after the end of the conversation", extra={"session": self._session.id})

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
