"""Asks the turn detector whether the user is done. What it does not answer in time, silence decides alone."""

from __future__ import annotations

import logging
from collections.abc import Callable

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import AntiphonError, EngineFailed
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import TurnDetector
from antiphon.pipeline import turns
from antiphon.pipeline.events import WarningEvent
from antiphon.pipeline.line import Line
from antiphon.pipeline.patience import within
from antiphon.pipeline.telling import Teller

logger = logging.getLogger(__name__)


class Detecting:
    """One per session.

    :param detector: None: silence alone decides.
    """

    def __init__(
        self,
        detector: TurnDetector | None,
        *,
        session: str,
        timeout_s: float,
        line: Line,
        teller: Teller,
        feed: Callable[[turns.TurnInput], None],
    ) -> None:
        self._detector = detector
        self._session = session
        self._timeout_s = timeout_s
        self._line = line
        self._teller = teller
        self._feed = feed

    def ask(self, turn: int, revision: int, audio: AudioFrame, text: str | None) -> None:
        """Ask in the background; the answer goes to the turn machine.

        :param text: what was heard of the turn so far, where that is known.
        """
        if self._detector is not None:
            self._line.spawn(self._ask(self._detector, turn, revision, audio, text))

    async def _ask(self, detector: TurnDetector, turn: int, revision: int, audio: AudioFrame, text: str | None) -> None:
        probability: float | None = None
        current_ticket.set(Ticket(self._session, turn, revision, Priority.COMMITTED, self._timeout_s))
        try:
            given = float(await within(self._timeout_s, detector.end_probability(audio, text)))
            if not 0.0 <= given <= 1.0:
                raise EngineFailed(f"it gave {given:g}, not a probability", stage="turn")
            probability = given
        except TimeoutError:
            self._warn(turn, revision, "it gave no answer in time")
        except AntiphonError as error:
            self._warn(turn, revision, error.message)
        except Exception as error:
            logger.exception("turn detector broke")
            self._warn(turn, revision, type(error).__name__)
        self._feed(turns.EndEstimated(turn, revision, probability))

    def _warn(self, turn: int, revision: int, why: str) -> None:
        message = f"the turn detector failed ({why}); silence alone ends this turn"
        self._teller.tell(WarningEvent, turn=turn, revision=revision, code="turn_detector_failed", message=message)
