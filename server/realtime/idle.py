"""A user who says nothing for as long as the client's `idle_timeout_ms`: the assistant speaks again."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from antiphon.pipeline.errors import SessionClosed
from antiphon.pipeline.session import Session
from antiphon.server.realtime.answers import Answers
from antiphon.server.realtime.commands import Commands
from antiphon.server.realtime.protocol import ProtocolError

logger = logging.getLogger(__name__)

LOOK_S = 0.1
"""So often it is looked whether anything goes on."""


class IdleTimeout:
    """One per connection. Armed by an answer; the time counts from when that was heard to its end."""

    def __init__(self, after_s: Callable[[], float], session: Session, answers: Answers, commands: Commands) -> None:
        """
        :param after_s: the limit, as it is now; inf: none.
        """
        self._after_s = after_s
        self._session = session
        self._answers = answers
        self._commands = commands
        self._stirred = asyncio.Event()

    def stir(self) -> None:
        """The client did something: settings may be others, or the time begins anew."""
        self._stirred.set()

    async def watch(self) -> None:
        """Runs as long as the session."""
        loop = asyncio.get_running_loop()
        answered, quiet_from_s = False, math.inf
        while True:
            if math.isinf(self._after_s()):
                self._stirred.clear()
                await self._stirred.wait()
                continue
            await asyncio.sleep(LOOK_S)
            if self._session.busy:
                answered, quiet_from_s = True, math.inf
            elif answered and self._answers.spoke:
                quiet_from_s = min(quiet_from_s, loop.time())
                if loop.time() >= quiet_from_s + self._after_s():
                    answered = False
                    try:
                        self._commands.time_out(loop.time() - quiet_from_s)
                    except (ProtocolError, SessionClosed) as error:
                        about = {"session": self._session.id, "code": type(error).__name__}
                        logger.info("a silent user could not be spoken to again", extra=about)
