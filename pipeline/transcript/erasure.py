"""Removes sessions for good: rows, the pages that they stood on, and recordings. Needs SQLAlchemy."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from antiphon.pipeline.transcript.database import Database, reason
from antiphon.pipeline.transcript.errors import TranscriptStoreError
from antiphon.pipeline.transcript.schema import RECORD_TABLES, Audio, Erasure, Session
from antiphon.pipeline.transcript.store import Erased
from antiphon.pipeline.transcript.values import SessionInfo

logger = logging.getLogger(__name__)

Reason = Literal["erased", "pruned"]


def erase(database: Database, recordings: Path, ids: Sequence[str], why: Reason) -> Erased:
    """Remove sessions. The recordings go first: a row whose file is gone can be erased again, the reverse cannot.

    :raises TranscriptStoreError: the database cannot be changed.
    """
    rows = files = 0
    left: list[str] = []
    gone: list[str] = []
    for session in ids:
        names, stuck = _remove_files(recordings, _file_names(database, session))
        files += names
        left.extend(stuck)
        if stuck:
            continue  # its rows say where the recording is; they stay until it can be deleted
        rows += _remove_rows(database, session, why, names)
        gone.append(session)
    if gone:
        _forget_pages(database, thorough=why == "erased")
        logger.info("sessions removed", extra={"sessions": len(gone), "rows": rows, "files": files, "reason": why})
    return Erased(tuple(gone), rows, files, tuple(left))


def remove_audio(database: Database, recordings: Path, infos: Iterable[SessionInfo]) -> Erased:
    """Remove the recordings of sessions and the rows that name them; what was said stays."""
    files = rows = 0
    left: list[str] = []
    touched: list[str] = []
    for info in infos:
        names, stuck = _remove_files(recordings, info.audio_files)
        files += names
        left.extend(stuck)
        if not stuck:
            with database.changing() as connection:
                rows += connection.execute(sa.delete(Audio).where(Audio.session == info.id)).rowcount
            touched.append(info.id)
    return Erased(tuple(touched), rows, files, tuple(left))


def _file_names(database: Database, session: str) -> list[str]:
    with database.reading() as connection:
        return list(connection.execute(sa.select(Audio.file).where(Audio.session == session).distinct()).scalars())


def _remove_files(recordings: Path, names: Iterable[str]) -> tuple[int, list[str]]:
    """Delete recordings; how many there were, and which could not be deleted."""
    removed = 0
    stuck: list[str] = []
    for name in names:
        file = recordings / name
        if recordings not in file.parents or ".." in Path(name).parts:
            stuck.append(f"{name}: not in the folder of recordings")
            continue
        try:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
                removed += 1
        except OSError as error:
            stuck.append(f"{file}: {error.strerror}")
    return removed, stuck


def _remove_rows(database: Database, session: str, why: Reason, files: int) -> int:
    with database.changing() as connection:
        rows = 0
        for model in RECORD_TABLES:
            rows += connection.execute(sa.delete(model).where(model.__table__.c.session == session)).rowcount
        there = connection.execute(sa.delete(Session).where(Session.id == session)).rowcount
        if not there:
            return 0  # another process was quicker, and left the tombstone
        rows += there
        connection.execute(sa.delete(Erasure).where(Erasure.session == session))
        connection.execute(
            sa.insert(Erasure).values(session=session, at=datetime.now(UTC), reason=why, rows=rows, files=files)
        )
    return rows


def _forget_pages(database: Database, *, thorough: bool) -> None:
    """Deleted rows leave traces: in free pages (overwritten already, by `secure_delete`) and in the log.

    :param thorough: also write the whole database anew.
    """
    busy = False
    try:
        if database.is_sqlite:
            raw = database.engine.raw_connection()
            try:
                if thorough:
                    raw.cursor().execute("VACUUM")
                busy = bool(raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
            finally:
                raw.close()
        elif thorough:
            with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM")
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _not_cleaned(database, reason(error)) from error
    if busy and thorough:
        raise _not_cleaned(database, "somebody reads it")


def _not_cleaned(database: Database, why: str) -> TranscriptStoreError:
    return TranscriptStoreError(
        f"{database.place}: the rows are deleted, but their pages could not be cleaned: {why}",
        hint="close what else uses the database, then: antiphon transcripts prune",
    )
