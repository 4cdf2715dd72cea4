"""The API keys that a running server knows: read when it starts, and again whenever the file has changed."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.key_file import Stamp, read_keys, stamp_of
from antiphon.server.access.keys import Key, id_in, new_key, parse_environment

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """What is different since the file was read before."""

    created: tuple[Key, ...]
    revoked: tuple[Key, ...]
    """Revoked, or gone from the file."""


class Keyring:
    """Keys of a file and of the environment.

    Once there was a key, one is asked for until the server ends, even if the last one is taken away: a file that was
    deleted or emptied by mistake opens nothing.

    :param environ: where the keys of the environment are; they are read once.
    :param clock: seconds since 1970.
    :raises ConfigError: the file or the environment cannot be used.
    """

    def __init__(
        self, path: Path, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._clock = clock
        self._environment = parse_environment(environ)
        self._stamp: Stamp | None = stamp_of(path)
        self._problem: str | None = None
        self._from_file = read_keys(path)
        _, self._decoy = new_key("decoy", (), now_s=0)
        self._index()
        self.keyed = bool(self._by_id)
        """Whether a key is asked for."""

    def _index(self) -> None:
        self._by_id = {key.id: key for key in (*self._from_file, *self._environment)}
        self._foreign = tuple(key for key in self._environment if key.id.startswith("env-"))

    def __len__(self) -> int:
        """Keys that open something now."""
        now_s = self._clock()
        return sum(key.condition(now_s) == "valid" for key in self._by_id.values())

    def find(self, token: str) -> Key | None:
        """The key that this is, whatever its condition; None: none of them."""
        claimed = id_in(token)
        if claimed is not None:
            key = self._by_id.get(claimed, self._decoy)  # an unknown key takes as long as a wrong one
            return key if key.opened_by(token) else None
        found: Key | None = None
        for key in self._foreign:  # all of them, so that the time tells nothing
            if key.opened_by(token):
                found = key
        return found

    def is_valid(self, key_id: str) -> bool:
        """Whether this key opens anything now."""
        key = self._by_id.get(key_id)
        return key is not None and key.condition(self._clock()) == "valid"

    def is_revoked(self, key_id: str) -> bool:
        """Whether it was taken back (and did not merely expire)."""
        key = self._by_id.get(key_id)
        return key is None or key.revoked_s is not None

    async def refresh(self) -> Change | None:
        """Read the file again if it is another one; None: it is not, or cannot be used, which the log says once."""
        try:
            stamp = await asyncio.to_thread(stamp_of, self.path)
            self._problem = None
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            keys = await asyncio.to_thread(read_keys, self.path)
        except ConfigError as error:
            if str(error) != self._problem:
                logger.error("the API keys were not read again; those known stay in force", extra={"error": str(error)})
            self._problem = str(error)
            return None
        before = {key.id: key for key in self._from_file}
        after = {key.id: key for key in keys}
        self._from_file = keys
        self._index()
        self.keyed = self.keyed or bool(self._by_id)
        return Change(
            created=tuple(key for key in keys if key.id not in before and key.revoked_s is None),
            revoked=tuple(
                key
                for key in before.values()
                if key.revoked_s is None and (key.id not in after or after[key.id].revoked_s is not None)
            ),
        )
