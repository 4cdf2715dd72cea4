"""What can go wrong with a peer.

AntiphonError
+-- PeerError           carries the peer's name
    +-- PeerInvalid     no such peer, or an address that cannot be used; also a ConfigError
    +-- PeerMissing     it is not installed here; also an EngineUnavailable
    +-- PeerFailed      it did not start, or broke while at work
"""

from __future__ import annotations

from antiphon.engines.errors import AntiphonError, EngineUnavailable
from antiphon.pipeline.errors import ConfigError


class PeerError(AntiphonError):
    """Raised when a peer cannot be measured."""

    def __init__(self, message: str, *, peer: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.peer = peer


class PeerInvalid(PeerError, ConfigError):
    """Raised when there is no peer of a name, or its address cannot be used."""


class PeerMissing(PeerError, EngineUnavailable):
    """Raised when a peer is not installed; `hint` has the command that installs it."""


class PeerFailed(PeerError):
    """Raised when a peer did not start, or broke while at work."""
