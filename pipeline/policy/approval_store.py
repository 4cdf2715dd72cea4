"""Where approvals are kept: one SQLite file, for any number of processes. Blocking; needs `sqlalchemy`.

Every change is one conditional UPDATE in one transaction, so of any number of deciders exactly one wins, in whatever
process it is. A question that nobody decided in time is decided by the first one who looks, with the default that was
written down when it was asked: a late yes loses, even if the process that asked is gone.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    case,
    create_engine,
    delete,
    event,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Row
from sqlalchemy.exc import SQLAlchemyError

from antiphon.pipeline.errors import AlreadyDecided, ApprovalError, UnknownApproval
from antiphon.pipeline.policy.approval import Approval, Channel, State
from antiphon.pipeline.policy.verdicts import ApprovalRequest, Fallback

SCHEMA_VERSION = 1

_BUSY_S = 10.0

_metadata = MetaData()
_approvals = Table(
    "approvals",
    _metadata,
    Column("id", String, primary_key=True),
    Column("session", String, nullable=False, index=True),
    Column("turn", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("question", String, nullable=False),
    Column("tool", String, nullable=False),
    Column("call_id", String, nullable=False),
    Column("arguments", String, nullable=False),
    Column("decides", String, nullable=False),
    Column("on_timeout", String, nullable=False),
    Column("run_state", String, nullable=False),
    Column("asked_s", Float, nullable=False),
    Column("expires_s", Float, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("decided_s", Float),
    Column("decided_by", String, nullable=False, default=""),
    Column("note", String, nullable=False, default=""),
    Column("claimed_s", Float),
)


class ApprovalStore:
    """One file. Safe to use from several threads."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """
        :param clock: seconds since 1970; shared by all processes.
        :raises ApprovalError: the file cannot be used.
        """
        self.path = path
        self._clock = clock
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Nobody else may read it: questions and arguments of calls are in it.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._engine = _engine(path)
            self._migrate()
        except (OSError, SQLAlchemyError) as error:
            raise _unusable(path, error) from error

    def close(self) -> None:
        self._engine.dispose()

    def open(self, request: ApprovalRequest, *, timeout_s: float, on_timeout: Fallback) -> Approval:
        """Write a new question down; it is on the disk when this returns."""
        now_s = self._clock()
        row = {
            "id": f"appr_{uuid.uuid4().hex[:12]}",
            "session": request.session,
            "turn": request.turn,
            "kind": request.kind,
            "question": request.question,
            "tool": request.tool,
            "call_id": request.call_id,
            "arguments": request.arguments,
            "decides": request.by,
            "on_timeout": request.on_timeout or on_timeout,
            "run_state": request.run_state,
            "asked_s": now_s,
            "expires_s": now_s + (request.timeout_s if request.timeout_s is not None else timeout_s),
            "state": "pending",
        }
        with self._transaction() as connection:
            connection.execute(_approvals.insert().values(row))
        return self.get(str(row["id"]))

    def get(self, approval_id: str) -> Approval:
        """:raises UnknownApproval: there is none of that id."""
        now_s = self._clock()
        with self._transaction(write=False) as connection:
            found = connection.execute(select(_approvals).where(_approvals.c.id == approval_id)).one_or_none()
        if found is None:
            raise UnknownApproval(f"there is no approval '{approval_id}'", hint="antiphon approvals list shows them")
        approval = _approval(found)
        if approval.state == "pending" and approval.expires_s <= now_s:
            self._expire()
            return self.get(approval_id)
        return approval

    def find(self, *, states: Sequence[State] = (), session: str | None = None, limit: int = 1000) -> list[Approval]:
        """The newest, oldest first."""
        self._expire()
        query = select(_approvals).order_by(_approvals.c.asked_s.desc()).limit(limit)
        if states:
            query = query.where(_approvals.c.state.in_(states))
        if session is not None:
            query = query.where(_approvals.c.session == session)
        with self._transaction(write=False) as connection:
            return [_approval(row) for row in reversed(connection.execute(query).all())]

    def decide(self, approval_id: str, granted: bool, *, by: str, channel: Channel, note: str = "") -> Approval:
        """Decide a question that is open.

        :raises UnknownApproval: there is none of that id.
        :raises AlreadyDecided: somebody was first, or its time is over.
        :raises ApprovalError: it is not for this channel to decide.
        """
        now_s = self._clock()
        state = "granted" if granted else "refused"
        with self._transaction() as connection:
            won = connection.execute(
                update(_approvals)
                .where(
                    _approvals.c.id == approval_id,
                    _approvals.c.state == "pending",
                    _approvals.c.expires_s > now_s,
                    _approvals.c.decides.in_(("any", channel)),
                )
                .values(state=state, decided_s=now_s, decided_by=by, note=note)
            ).rowcount
        approval = self.get(approval_id)
        if won:
            return approval
        if approval.state == "pending":
            raise ApprovalError(
                f"'{approval_id}' is not for the {channel} to decide",
                hint="it waits for the user's spoken answer" if approval.decides == "voice" else "use the desk",
            )
        raise AlreadyDecided(
            f"'{approval_id}' was {approval.state} before, by {approval.decided_by or 'nobody'}", state=approval.state
        )

    def cancel(self, *, by: str, approval_id: str | None = None, session: str = "", turn: int = 0) -> int:
        """Withdraw questions whose turn is over: one, or all of a turn. Also a yes that nobody has acted on yet.

        :returns: how many were withdrawn.
        """
        mine = (
            _approvals.c.id == approval_id
            if approval_id is not None
            else and_(_approvals.c.session == session, _approvals.c.turn == turn)
        )
        still = or_(
            _approvals.c.state == "pending",
            and_(_approvals.c.state == "granted", _approvals.c.claimed_s.is_(None)),
        )
        with self._transaction() as connection:
            return connection.execute(
                update(_approvals)
                .where(mine, still)
                .values(state="cancelled", decided_s=self._clock(), decided_by=by, note="")
            ).rowcount

    def claim(self, approval_id: str) -> bool:
        """Take a decision, to act on it now. True exactly once for each, whoever asks, also after a restart."""
        with self._transaction() as connection:
            claimed = connection.execute(
                update(_approvals)
                .where(
                    _approvals.c.id == approval_id,
                    _approvals.c.state.in_(("granted", "refused")),
                    _approvals.c.claimed_s.is_(None),
                )
                .values(claimed_s=self._clock())
            ).rowcount
        return claimed == 1

    def forget(self, sessions: Sequence[str]) -> int:
        """Delete all questions of these sessions, for good: their pages are overwritten, and the log is emptied.

        :returns: how many there were.
        """
        gone = 0
        with self._transaction() as connection:
            for at in range(0, len(sessions), 500):
                some = list(sessions[at : at + 500])
                gone += connection.execute(delete(_approvals).where(_approvals.c.session.in_(some))).rowcount
        if gone:
            try:
                with self._engine.connect() as connection:
                    connection.exec_driver_sql("VACUUM")
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            except SQLAlchemyError as error:
                raise _unusable(self.path, error) from error
        return gone

    # ------------------------------------------------------------------------ inside

    def _expire(self) -> None:
        now_s = self._clock()
        due = and_(_approvals.c.state == "pending", _approvals.c.expires_s <= now_s)
        with self._transaction(write=False) as connection:
            if connection.execute(select(_approvals.c.id).where(due).limit(1)).first() is None:
                return  # nearly always: no write lock for nothing
        outcome = case((_approvals.c.on_timeout == "grant", "granted"), else_="refused")
        with self._transaction() as connection:
            connection.execute(
                update(_approvals)
                .where(due)
                .values(state=outcome, decided_s=_approvals.c.expires_s, decided_by="timeout")
            )

    def _migrate(self) -> None:
        """:raises ApprovalError: a newer version has written the file."""
        with self._transaction() as connection:
            version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
            if version > SCHEMA_VERSION:
                raise ApprovalError(
                    f"'{self.path}' was written by a newer version of antiphon", hint="upgrade, or set approvals.store"
                )
            if version < 1:
                _metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _transaction(self, *, write: bool = True) -> _Transaction:
        return _Transaction(self._engine, write, self.path)


class _Transaction:
    """A transaction; one that writes holds the write lock from the start, so that it never fails half-way."""

    def __init__(self, engine: Engine, write: bool, path: Path) -> None:
        self._engine = engine
        self._write = write
        self._path = path

    def __enter__(self) -> Connection:
        try:
            self._connection = self._engine.connect()
            self._connection.exec_driver_sql("BEGIN IMMEDIATE" if self._write else "BEGIN")
        except SQLAlchemyError as error:
            raise _unusable(self._path, error) from error
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                self._connection.commit()
            else:
                self._connection.rollback()
        finally:
            self._connection.close()
        if isinstance(error, SQLAlchemyError):
            raise _unusable(self._path, error) from error


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun by us, not by the driver's guess
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_S * 1000)}")
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")  # a yes that was told is on the disk
        connection.execute("PRAGMA secure_delete = ON")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Change a new file over to a write-ahead log. SQLite does not wait for another process that does the same."""
    give_up_s = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.01)


def _unusable(path: Path, error: Exception) -> ApprovalError:
    return ApprovalError(
        f"the approvals in '{path}' cannot be used: {getattr(error, 'orig', None) or error}",
        hint="set approvals.store, or ANTIPHON_HOME, to a place that can be written",
    )


def _approval(row: Row[Any]) -> Approval:
    return Approval(**row._mapping)
