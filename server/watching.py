"""Everything that watches the sessions of a server: figures, traces, the audit log, who is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.pipeline.events import Event, EventSink
from antiphon.server.access.principal import Principal
from antiphon.server.observing.context import session_id
from antiphon.server.observing.watch import Watch
from antiphon.server.talks import Talk

if TYPE_CHECKING:
    from antiphon.server.service import Service


class Later:
    """A sink for those who know the session only once it is made."""

    def __init__(self) -> None:
        self.sinks: list[EventSink] = []

    def __call__(self, event: Event) -> None:
        for sink in self.sinks:
            sink(event)


class Watching:
    """One for a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def begin(self, session: Any, later: Later, protocol: str, principal: Principal) -> None:
        """A session was made: watch it until it is over, or its conversation is.

        :param later: among its sinks.
        """
        service = self._service
        session_id.set(session.id)
        watch = Watch(
            service.metrics,
            session=session.id,
            protocol=protocol,
            key=principal.key_id,
            counted_as=principal.counted_as,
            address=principal.address,
            on_ttfa=service.admission.answered,
        )
        later.sinks.append(watch)
        trace = service.tracing.conversation(session.id, protocol=protocol, key=principal.key_id)
        if trace is not None:
            later.sinks.append(trace)
            watch.at_end.append(trace.close)
        service.access.session_begun(principal, protocol, session.id)
        watch.at_end.append(lambda: service.access.session_ended(session.id, **watch.summary()))
        talk = service.talks.current
        if talk is not None:
            talk.sessions[session.id] = (session, watch)

        async def end() -> None:
            if talk is not None:
                talk.forget(session.id)  # others may follow in the same conversation
            _close(session, watch)

        session.at_end(end)

    @staticmethod
    def end(talk: Talk) -> None:
        """A conversation is over, and with it the sessions that never ran."""
        for session, watch in talk.sessions.values():
            _close(session, watch)


def _close(session: Any, watch: Watch) -> None:
    watch.close(getattr(session, "end_reason", ""))
