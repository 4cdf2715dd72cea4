"""What can go wrong with a peer.

AntiphonError
+-- PeerError           carries the peer's name
    +-- PeerMissing     it is not installed here
    +-- PeerFailed      it did not start, or broke while at work
"""

from __future__ import annotations

from antiphon.engines.errors import AntiphonError


class PeerError(AntiphonError):
    """Raised when a peer cannot be measured."""

    def __init__(self, message: str, *, peer: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.peer = peer


class PeerMissing(PeerError):
    """Raised when a peer is not installed; `hint` has the command that installs it."""


class PeerFailed(PeerError):
    """Raised when a peer did not start, or broke while at work."""
