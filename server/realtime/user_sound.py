"""The user's sound, as the client orders it: appended in events, committed, cleared."""

from __future__ import annotations

from collections.abc import Callable

from antiphon.pipeline.session import Session
from antiphon.server.realtime.audio import EventTransport, from_wire
from antiphon.server.realtime.buffer import InputBuffer
from antiphon.server.realtime.commands import Commands
from antiphon.server.realtime.protocol import (
    InputAudioAppend,
    ProtocolError,
    ServerEvent,
    SessionConfig,
    server_events,
)

LATE_S = 0.2
"""The sound of a call comes so much later than an event that was sent with it."""


class UserSound:
    """One per connection."""

    def __init__(
        self,
        buffer: InputBuffer,
        client: EventTransport | None,
        session: Session,
        commands: Commands,
        emit: Callable[[ServerEvent], None],
        *,
        config: Callable[[], SessionConfig],
    ) -> None:
        """
        :param buffer: what is said while the client itself ends its turns.
        :param client: takes sound that comes in events; None: it comes another way.
        """
        self._buffer = buffer
        self._client = client
        self._session = session
        self._commands = commands
        self._emit = emit
        self._config = config

    async def append(self, event: InputAudioAppend) -> None:
        """
        :raises ProtocolError: it is no sound, or too much.
        """
        form = self._config().input_format
        data = event.decoded()
        try:
            samples = from_wire(data, form)
        except ValueError:
            raise ProtocolError(
                f"{len(data)} bytes are no PCM16: an odd number.", code="invalid_audio", param="audio"
            ) from None
        if not len(samples):
            return
        if self._config().turn_detection is None:
            if not self._buffer:
                self._session.requests.prepare()
            self._buffer.add(samples, form.rate_hz)
        elif self._client is not None:
            await self._client.push(samples, form.rate_hz)
        else:
            raise ProtocolError("The audio of this session comes by the call, not in events.", code="invalid_event")

    def commit(self, event_id: str | None, reply: Callable[[ServerEvent], None]) -> None:
        """The turn is over.

        :param reply: the way to whoever says so, should it turn out later that nothing was said.
        :raises ProtocolError: nothing was said.
        """
        if self._config().turn_detection is None:
            self._buffer.check()
            # Events overtake the sound of a call: the last of what was said is still on its way.
            self._commands.commit_audio(self._buffer, after_s=0.0 if self._client is not None else LATE_S)
        elif self._client is not None:
            self._client.when_heard(lambda: self._commit_turn(event_id, reply))
        else:
            self._commit_turn(event_id, reply)

    def _commit_turn(self, event_id: str | None, reply: Callable[[ServerEvent], None]) -> None:
        """End the turn that the user speaks now."""
        if self._session.listening:
            self._session.commit()
        else:
            reply(server_events.error(self._buffer.nothing().about(event_id)))

    def clear(self) -> None:
        """Nothing was said, and the client is told so."""
        self.drop()
        self._emit(server_events.input_cleared())

    def drop(self) -> None:
        """What was said and is no item yet never was."""
        self._buffer.clear()
        if self._client is not None:
            self._client.forget_unheard()
        self._session.clear()
