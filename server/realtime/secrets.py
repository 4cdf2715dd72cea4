"""Ephemeral keys: `POST /v1/realtime/client_secrets`.

A backend that holds a real key makes one for a browser. It opens conversations and nothing else, for some minutes, with
the settings that were bound to it as their defaults. They are kept in memory: a restart ends them all.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.server.access.principal import Principal

PREFIX = "ek_"
MIN_LIFE_S, DEFAULT_LIFE_S, MAX_LIFE_S = 10, 600, 7200
MAX_KEYS = 10_000
MAX_KEYS_EACH = 1000
"""Of one real key."""
MAX_SETTINGS_BYTES = 65_536
"""Of the settings that are bound to a key, as JSON."""
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """A key as it is told once."""

    value: str
    expires_at: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class _Kept:
    ends_s: float
    """On the clock."""
    principal: Principal


class EphemeralKeys:
    """Makes keys, and knows those that are still valid; only their hashes are kept.

    A key is looked up by its hash. How long that takes says something of the hash of a guess at most, and so nothing of
    a key.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        """
        :param clock: seconds; never goes back.
        :param wall_clock: seconds since 1970.
        """
        self._clock = clock
        self._wall_clock = wall_clock
        self._kept: dict[bytes, _Kept] = {}
        """By hash; the oldest first."""

    def __len__(self) -> int:
        """Keys in memory, some perhaps run out."""
        return len(self._kept)

    def make(self, parent: Principal, *, life_s: int = DEFAULT_LIFE_S, session: Mapping[str, Any]) -> Ephemeral:
        """A new key for who holds `parent`. Where there are too many, the oldest of the same holder goes, or of all.

        :param life_s: :data:`MIN_LIFE_S` to :data:`MAX_LIFE_S`.
        :param session: settings of the conversations that are begun with it.
        """
        now_s = self._clock()
        self._forget(lambda kept: kept.ends_s <= now_s)
        same = [digest for digest, kept in self._kept.items() if kept.principal.key_id == parent.key_id]
        if len(same) >= MAX_KEYS_EACH:
            del self._kept[same[0]]
        if len(self._kept) >= MAX_KEYS:
            del self._kept[next(iter(self._kept))]
        value = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        principal = Principal(
            parent.key_id, parent.scopes & frozenset({"realtime"}), session=dict(session), ephemeral=True
        )
        self._kept[_digest(value)] = _Kept(now_s + life_s, principal)
        return Ephemeral(value, int(self._wall_clock()) + life_s)

    def resolve(self, value: str) -> Principal | None:
        """Who holds that key; None: it is none, or has run out."""
        kept = self._kept.get(_digest(value))
        if kept is None or kept.ends_s <= self._clock():
            return None
        return kept.principal

    def forget(self, key_id: str) -> None:
        """A real key is no longer valid: nor are those made with it."""
        self._forget(lambda kept: kept.principal.key_id == key_id)

    def _forget(self, which: Callable[[_Kept], bool]) -> None:
        self._kept = {digest: kept for digest, kept in self._kept.items() if not which(kept)}


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()
