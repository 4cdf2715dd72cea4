"""The keys of `transcript`: what is kept of conversations, and where."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, Field, field_validator

from antiphon.engines.config import option

_UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_SPAN = re.compile(r"\s*(\d{1,6}(?:\.\d{1,3})?)\s*([mhdwy])\s*")

Span = Annotated[str, Field(pattern=r"^\s*\d{1,6}(\.\d{1,3})?\s*[mhdwy]\s*$")]


def span(text: str) -> timedelta:
    """ "30d", "12h", "90m", "6w", "2y" as a length of time.

    :raises ValueError: it is none of these.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is no length of time: write a number and m, h, d, w or y, for example 30d")
    return timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])


class TranscriptKeys(BaseModel):
    """What is kept of conversations."""

    store: str = option(
        "none",
        "Where conversations are written down, each step before it is acted on: `none`; `sqlite` (a file); or the URL "
        "of a PostgreSQL database, with its password from the environment.",
        examples=["none", "sqlite", "postgresql://antiphon:${PGPASSWORD}@db.example/antiphon"],
    )
    path: Path | None = option(
        None, "The SQLite file; null: `$ANTIPHON_HOME/transcripts.db`, or `~/.local/share/antiphon/transcripts.db`."
    )
    durability: Literal["normal", "full"] = option(
        "normal",
        "`normal`: what is committed survives the process, however it ends; after a power cut the last moments may be "
        "missing. `full`: it survives a power cut too, at some milliseconds before each reply.",
    )
    on_failure: Literal["stop", "continue"] = option(
        "stop",
        "What to do when nothing can be written (disk full, database locked, server gone): `stop`: the turn fails "
        "before anything is said or done that is not on record; `continue`: warn, and go on.",
    )
    partials: bool = option(False, "Also keep what was heard while the user was still speaking.")
    person: str | None = option(
        None, "Whose data the sessions are, as a label: `antiphon transcripts erase --person` finds them by it."
    )
    keep: Span | None = option(
        None,
        "How long a session is kept after its last record, as a number and m, h, d, w or y (30d); null: for ever.",
        examples=["30d"],
    )
    keep_audio: Span | None = option(None, "The same for its recording alone; null: as long as the session.")
    record_audio: bool = option(
        False, "Record both sides of each session: stereo FLAC, left the user, right the assistant."
    )
    recordings: Path | None = option(None, "The folder of the recordings; null: `recordings` beside the SQLite file.")
    encrypt: bool = option(
        False,
        "Encrypt the recordings (AES-256-GCM). The key, 32 bytes in base64, comes from `key_file` or from the "
        "environment variable ANTIPHON_RECORDING_KEY.",
    )
    key_file: Path | None = option(None, "A file with the key for `encrypt`.")

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, store: str) -> str:
        """The messages name nothing of a URL: it may hold a password."""
        if store in ("none", "sqlite"):
            return store
        try:
            url = urlsplit(store)
            keys = {key.lower() for key, _ in parse_qsl(url.query)}
        except ValueError:
            raise ValueError("no URL of a database") from None
        if url.scheme.partition("+")[0] not in ("postgresql", "postgres"):
            raise ValueError("allowed: none, sqlite, or postgresql://user:password@host/database")
        if "password" in keys:
            raise ValueError("write the password before the host (user:password@host): there it is never shown")
        return store
