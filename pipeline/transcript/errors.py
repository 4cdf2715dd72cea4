"""What can go wrong with transcripts.

AntiphonError
+-- TranscriptError            the store cannot do what was asked
    +-- TranscriptStoreError     it cannot be opened: path, server, version
    +-- TranscriptWriteFailed    records could not be committed; they are kept and tried again
    +-- TranscriptKeyError       a recording's key is missing, malformed or another one
    +-- RecordingDamaged         a recording cannot be read
    +-- UnknownSession           no session has that id
    +-- SessionErased            the session was erased while it was written
    +-- SessionExists            another recording of a session has that id
"""

from __future__ import annotations

from antiphon.engines.errors import AntiphonError


class TranscriptError(AntiphonError):
    """Raised when the transcript store cannot do what was asked."""


class TranscriptStoreError(TranscriptError):
    """Raised when the store cannot be opened, read or upgraded. Never shows a password."""


class TranscriptWriteFailed(TranscriptError):
    """Raised when records could not be committed (disk full, database locked, server gone).

    They are kept in memory and tried again; `waiting` is how many there are.
    """

    def __init__(self, message: str, *, hint: str = "", waiting: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.waiting = waiting


class TranscriptKeyError(TranscriptError):
    """Raised when the key of encrypted recordings is missing, is no key, or is another one. Never shows it."""


class RecordingDamaged(TranscriptError):
    """Raised when a recording cannot be read, or is not what was written."""


class UnknownSession(TranscriptError):
    """Raised when no recorded session has that id."""


class SessionErased(TranscriptError):
    """Raised when a session was erased while it was still being written; what comes after is not kept."""


class SessionExists(TranscriptError):
    """Raised when a session's id was recorded before; a session is continued under a new id (`resumed_from`)."""
