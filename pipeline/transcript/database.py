"""The database under a store: connections, migrations at open, and writes of many rows at once. Needs SQLAlchemy."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import filelock
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError

from antiphon.pipeline.transcript import migrations
from antiphon.pipeline.transcript.errors import (
    SessionErased,
    SessionExists,
    TranscriptError,
    TranscriptStoreError,
    TranscriptWriteFailed,
)
from antiphon.pipeline.transcript.rows import SESSIONS, Row
from antiphon.pipeline.transcript.schema import TABLES, Session

logger = logging.getLogger(__name__)

Durability = Literal["normal", "full"]

_LOCK_ID = 0x416E7469
"""Of the advisory lock that migrations of a PostgreSQL database hold."""
_CONNECT_S = 10
_STATEMENT_MS = 30_000


class Database:
    """One engine. May be used from several threads."""

    def __init__(self, url: sa.URL, *, durability: Durability = "normal", busy_s: float = 5.0) -> None:
        """
        :param busy_s: how long a write waits for another process's.
        """
        self.url = url
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.place = str(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)
        """For messages; without the password."""
        if self.is_sqlite:
            arguments: dict[str, Any] = {"timeout": busy_s, "check_same_thread": False}
        else:
            options = f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout={_STATEMENT_MS}"
            if durability == "full":
                options += " -c synchronous_commit=on"
            arguments = {"connect_timeout": _CONNECT_S, "options": options, "application_name": "antiphon"}
        self.engine = sa.create_engine(
            url, connect_args=arguments, hide_parameters=True, pool_pre_ping=not self.is_sqlite
        )
        if self.is_sqlite:
            _prepare_sqlite(self.engine, durability)

    def close(self) -> None:
        self.engine.dispose()

    # ------------------------------------------------------------------------ transactions

    @contextlib.contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: one consistent state.

        :raises TranscriptStoreError: the database cannot be read.
        """
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise TranscriptStoreError(f"{self.place}: cannot be read: {reason(error)}") from error

    @contextlib.contextmanager
    def changing(self) -> Iterator[sa.Connection]:
        """A transaction that writes.

        :raises TranscriptStoreError: the database cannot be written.
        """
        try:
            with self._writing() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise TranscriptStoreError(f"{self.place}: cannot be written: {reason(error)}") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self.engine.connect() as connection:
            connection = connection.execution_options(antiphon_writes=True)
            with connection.begin():
                yield connection

    # ------------------------------------------------------------------------ migrations

    def version(self) -> str:
        """The schema's revision; "" for a database without tables."""
        with self.reading() as connection:
            return _version(connection)

    def upgrade(self) -> tuple[str, str]:
        """Bring the schema up to date. Safe while other processes do the same; all of it happens, or nothing.

        :returns: the revisions before and after.
        :raises TranscriptStoreError: the database cannot be reached or changed, or is newer than this program.
        """
        try:
            with self.engine.connect() as connection:
                before = _version(connection)
            if before != migrations.HEAD:
                with self._alone(), self._writing() as connection:
                    if not self.is_sqlite:
                        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
                    migrations.run(connection)
        except migrations.UnknownRevision as error:
            raise TranscriptStoreError(
                f"{self.place}: these transcripts were written by a newer version (schema {error})",
                hint="update antiphon, or give another database",
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise TranscriptStoreError(
                f"{self.place}: the transcript store cannot be opened: {reason(error)}", hint=self._hint(error)
            ) from error
        return before, migrations.HEAD

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; the lock of one that was killed is free."""
        if not self.is_sqlite:
            yield  # an advisory lock inside the transaction does it
            return
        with filelock.FileLock(f"{self.url.database}.upgrade.lock", timeout=60):
            yield

    def _hint(self, error: Exception) -> str:
        if not self.is_sqlite:
            return "check that the server runs, and the user, password and database in transcript.store"
        if "not a database" in str(error):
            return "the file is something else; give another path in transcript.path"
        return "check that the folder can be written and the disk has room, or give another path in transcript.path"

    # ------------------------------------------------------------------------ rows

    def write(self, rows: Sequence[Row]) -> Mapping[str, TranscriptError]:
        """Add rows in one transaction; those that are there already stay as they are, so that it can be repeated.

        :returns: sessions whose rows are refused for good, and why.
        :raises TranscriptWriteFailed: nothing was written; it may work later.
        """
        refused: dict[str, TranscriptError] = {}
        try:
            try:
                with self._writing() as connection:
                    self._write(connection, rows, refused)
            except SQLAlchemyError as error:
                if not _is_about_a_row(error):
                    raise
                with self._writing() as connection:
                    self._write_singly(connection, rows, refused)
        except SQLAlchemyError as error:
            hint = "make room on the disk" if "full" in reason(error) else ""
            raise TranscriptWriteFailed(f"{self.place}: cannot be written: {reason(error)}", hint=hint) from error
        return refused

    def _write(self, connection: sa.Connection, rows: Sequence[Row], refused: dict[str, TranscriptError]) -> None:
        tables: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row.table == SESSIONS:
                self._begin(connection, row, refused)
            elif row.session not in refused:
                tables.setdefault(row.table, []).append(dict(row.values))
        for name, values in tables.items():
            connection.execute(self._insert(TABLES[name]), values)

    def _begin(self, connection: sa.Connection, row: Row, refused: dict[str, TranscriptError]) -> None:
        connection.execute(self._insert(TABLES[SESSIONS]), dict(row.values))
        token = connection.execute(sa.select(Session.token).where(Session.id == row.session)).scalar()
        if token != row.values["token"]:
            refused[row.session] = SessionExists(
                f"the session {row.session} was recorded before", hint="continue it under a new id, or erase it first"
            )

    def _write_singly(
        self, connection: sa.Connection, rows: Sequence[Row], refused: dict[str, TranscriptError]
    ) -> None:
        """Some row is refused: find it, keep the others. Found out only now: asking each time costs every commit."""
        refused.clear()
        for row in rows:
            try:
                with connection.begin_nested():
                    self._write(connection, [row], refused)
            except SQLAlchemyError as error:
                if not _is_about_a_row(error):
                    raise
                there = connection.execute(sa.select(Session.id).where(Session.id == row.session)).scalar()
                erased = f"the session {row.session} was erased while it went on; nothing more of it is kept"
                wrong = f"a record of the session {row.session} cannot be written: {type(error).__name__}"
                refused[row.session] = TranscriptError(wrong) if there else SessionErased(erased)
                logger.warning("a record was refused", extra={"session": row.session, "table": row.table})

    def _insert(self, table: Any) -> Any:
        insert = sqlite.insert if self.is_sqlite else postgresql.insert
        return insert(table).on_conflict_do_nothing()


def _version(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or "")


def _is_about_a_row(error: SQLAlchemyError) -> bool:
    """Whether a value is wrong, or its session is gone; not the database."""
    return isinstance(error, IntegrityError | DataError) or type(error) is StatementError


def reason(error: BaseException) -> str:
    """The driver's own first line: no statement, no values, no password."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(original).strip().splitlines()
    return lines[0] if lines else type(original).__name__


def make_url(store: str, path: Path) -> sa.URL:
    """What `transcript.store` means.

    :raises TranscriptStoreError: it is neither `sqlite` nor a URL of a known database, or its driver is missing.
    """
    if store == "sqlite":
        return sa.URL.create("sqlite", database=str(path))
    try:
        url = sa.make_url(store)
    except SQLAlchemyError as error:
        raise TranscriptStoreError(
            "transcript.store is no URL of a database", hint="write sqlite, or postgresql://user:password@host/database"
        ) from error
    if url.get_backend_name() == "sqlite" and url.database:
        return sa.URL.create("sqlite", database=url.database)
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise TranscriptStoreError(
            f"transcript.store: '{url.get_backend_name()}' is no database that can be used",
            hint="write sqlite, or postgresql://user:password@host/database",
        )
    try:
        importlib.import_module("psycopg")
    except ImportError as error:
        raise TranscriptStoreError(
            f"PostgreSQL needs the package psycopg ({error})", hint='pip install "antiphon[memory,postgres]"'
        ) from error
    return url.set(drivername="postgresql+psycopg")


def _prepare_sqlite(engine: sa.Engine, durability: Durability) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where _begun says, for DDL too
        _use_wal(connection)
        for pragma in (
            f"synchronous={'FULL' if durability == 'full' else 'NORMAL'}",
            "foreign_keys=ON",
            "secure_delete=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if durability == "full":
            connection.execute("PRAGMA fullfsync=ON")  # macOS: past the drive's own cache

    @event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        # A writer takes its lock at once: one that reads first could not wait for another writer.
        writes = connection.get_execution_options().get("antiphon_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _use_wal(connection: Any) -> None:
    """Of several processes that make the file together, one sets the mode; SQLite lets the others fail, not wait."""
    for wait_s in (*[0.05] * 100, None):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if wait_s is None or "locked" not in str(error):
                raise
            time.sleep(wait_s)
