"""For whom the running code works: log lines tell it without being told each time."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("antiphon_request_id", default="")
"""Of the HTTP request or WebSocket that is being answered."""
session_id: ContextVar[str] = ContextVar("antiphon_session_id", default="")
"""Of the conversation."""
