"""What is wrong with something that a client sent."""

from __future__ import annotations

from typing import Any

from antiphon.engines.errors import AntiphonError


class ProtocolError(AntiphonError):
    """Raised when an event of a client's cannot be obeyed. The session goes on; `to_wire` is the body of `error`.

    :param message: what is wrong and what to do, for people.
    :param code: which mistake it is, for programs.
    :param param: the place in the event, such as `session.audio.output.voice`.
    :param event_id: the client's own id of the event, if it gave one.
    :param type: `invalid_request_error`, or `server_error` where it is not the client's fault.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid_value",
        param: str | None = None,
        event_id: str | None = None,
        type: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.event_id = event_id
        self.type = type

    def about(self, event_id: str | None) -> ProtocolError:
        """The same, about the event of that id; one that it has already stays."""
        if self.event_id is None:
            self.event_id = event_id
        return self

    def to_wire(self) -> dict[str, Any]:
        """What stands under `error`."""
        return {
            "type": self.type,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": self.event_id,
        }
