"""Events of one session on their way out: each gets its times and its session, and goes to every sink in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from antiphon.pipeline.events import ApprovalEvent, Event, EventSink
from antiphon.pipeline.policy import Approval

logger = logging.getLogger(__name__)


class Teller:
    """One per session.

    :param audio_s: the stream clock.
    :param before: sees each event before the sinks do.
    """

    def __init__(
        self, session: str, sinks: Sequence[EventSink], *, audio_s: Callable[[], float], before: EventSink
    ) -> None:
        self._session = session
        self._sinks = list(sinks)
        self._audio_s = audio_s
        self._before = before

    def add(self, sink: EventSink) -> Callable[[], None]:
        """One more sink, from now on. Returns what takes it away again."""
        self._sinks.append(sink)
        return lambda: self._sinks.remove(sink)

    def event(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> Event:
        """Make one, as of now (or of the `t_s` that is given)."""
        t_s = fields.pop("t_s", None)
        if t_s is None:
            t_s = asyncio.get_running_loop().time()
        return kind(t_s=t_s, audio_s=self._audio_s(), session=self._session, turn=turn, revision=revision, **fields)

    def send(self, event: Event) -> None:
        """A sink that fails harms neither the session nor the other sinks."""
        self._before(event)
        for sink in tuple(self._sinks):
            try:
                sink(event)
            except Exception:
                logger.exception("an event sink failed", extra={"event_type": event.type})

    def approval(self, approval: Approval) -> None:
        """Tell of a question that was asked, or settled."""
        self.tell(
            ApprovalEvent,
            turn=approval.turn,
            revision=0,
            approval_id=approval.id,
            state=approval.state,
            question=approval.question,
            tool=approval.tool,
            call_id=approval.call_id,
            arguments=approval.arguments,
            by=approval.decided_by or "",
        )

    def tell(self, kind: type[Event], *, turn: int, revision: int, **fields: Any) -> None:
        """Make one and send it."""
        self.send(self.event(kind, turn=turn, revision=revision, **fields))
