"""What the store asks its database. Needs SQLAlchemy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from antiphon.pipeline.transcript.errors import UnknownSession
from antiphon.pipeline.transcript.rows import SESSION_ENDED
from antiphon.pipeline.transcript.schema import (
    RECORD_TABLES,
    Approval,
    Audio,
    Entry,
    Erasure,
    PolicyDecision,
    Session,
    Timing,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
)
from antiphon.pipeline.transcript.values import Record, SessionInfo

_KINDS = {
    Turn.__tablename__: "turn_ended",
    ToolCall.__tablename__: "tool_call",
    ToolResult.__tablename__: "tool_result",
    Approval.__tablename__: "approval",
    PolicyDecision.__tablename__: "policy",
    Timing.__tablename__: "timing",
    Audio.__tablename__: "audio",
    Usage.__tablename__: "usage",
}
_COMMON = frozenset({"session", "seq", "at", "turn", "revision", "t_s", "audio_s", "kind", "data"})
_ORDER = {name: place for place, name in enumerate(("turn_ended", "timing", "usage"))}
"""Rows of one event: what sums it up first."""


def records(connection: sa.Connection, session: str) -> list[Record]:
    found: list[Record] = []
    for model in RECORD_TABLES:
        table = model.__table__
        for row in connection.execute(sa.select(table).where(table.c.session == session)).mappings():
            own = {key: value for key, value in row.items() if key not in _COMMON and value is not None}
            found.append(
                Record(
                    seq=row["seq"],
                    at=row["at"],
                    kind=row.get("kind") or _KINDS[model.__tablename__],
                    turn=row["turn"],
                    revision=row["revision"],
                    t_s=row["t_s"],
                    audio_s=row["audio_s"],
                    data={**(row.get("data") or {}), **own},
                )
            )
    return sorted(found, key=lambda record: (record.seq, _ORDER.get(record.kind, -1)))


def sessions(connection: sa.Connection, *, person: str | None = None, limit: int | None = None) -> list[SessionInfo]:
    wanted = sa.select(Session.__table__).order_by(Session.started_at.desc(), Session.id)
    if person is not None:
        wanted = wanted.where(Session.person == person)
    if limit is not None:
        wanted = wanted.limit(limit)
    return _infos(connection, connection.execute(wanted).mappings().all())


def known(connection: sa.Connection, session: str) -> SessionInfo | None:
    rows = connection.execute(sa.select(Session.__table__).where(Session.id == session)).mappings().all()
    return next(iter(_infos(connection, rows)), None)


def session(connection: sa.Connection, session: str) -> SessionInfo:
    """:raises UnknownSession: there is none of that id."""
    info = known(connection, session)
    if info is None:
        raise _unknown(connection, session)
    return info


def chain(connection: sa.Connection, session_id: str) -> list[str]:
    """A session and those that it continues, oldest first; one that was erased or pruned ends it.

    :raises UnknownSession: there is none of that id.
    """
    found = [session_id]
    earlier = session(connection, session_id).resumed_from
    while earlier is not None and earlier not in found:
        if (info := known(connection, earlier)) is None:
            break  # what is left is what is known
        found.insert(0, earlier)
        earlier = info.resumed_from
    return found


def continuations(connection: sa.Connection, session_id: str) -> list[str]:
    """The sessions that go on with this one, and those that go on with them."""
    found: list[str] = []
    waiting = [session_id]
    while waiting:
        query = sa.select(Session.id).where(Session.resumed_from == waiting.pop())
        new = [one for one in connection.execute(query).scalars() if one not in found and one != session_id]
        found += new
        waiting += new
    return found


def find(connection: sa.Connection, beginning: str) -> SessionInfo:
    """:raises UnknownSession: none begins so, or several do."""
    if beginning == "last":
        newest = sessions(connection, limit=1)
        if not newest:
            raise UnknownSession("no session has been recorded yet")
        return newest[0]
    if (info := known(connection, beginning)) is not None:
        return info
    like = Session.id.startswith(beginning, autoescape=True)
    ids = list(connection.execute(sa.select(Session.id).where(like).order_by(Session.id).limit(4)).scalars())
    if len(ids) > 1:
        raise UnknownSession(f"several sessions begin with '{beginning}': {', '.join(ids[:3])}", hint="give more of it")
    if not ids:
        raise _unknown(connection, beginning)
    return session(connection, ids[0])


def with_open_calls(connection: sa.Connection) -> list[str]:
    """Sessions with more calls of some id than results."""
    calls = sa.select(ToolCall.session, ToolCall.call_id, sa.func.count().label("n")).group_by(
        ToolCall.session, ToolCall.call_id
    )
    results = sa.select(ToolResult.session, ToolResult.call_id, sa.func.count().label("n")).group_by(
        ToolResult.session, ToolResult.call_id
    )
    asked, answered = calls.subquery(), results.subquery()
    same = (asked.c.session == answered.c.session) & (asked.c.call_id == answered.c.call_id)
    more = asked.c.n > sa.func.coalesce(answered.c.n, 0)
    query = sa.select(asked.c.session).select_from(asked.outerjoin(answered, same)).where(more).distinct()
    return list(connection.execute(query).scalars())


def _unknown(connection: sa.Connection, session: str) -> UnknownSession:
    tombstone = connection.execute(sa.select(Erasure.at, Erasure.reason).where(Erasure.session == session)).first()
    if tombstone is not None:
        return UnknownSession(f"the session {session} was {tombstone.reason} on {tombstone.at:%Y-%m-%d}")
    return UnknownSession(f"no session has the id '{session}'", hint="antiphon transcripts list shows what there is")


def _infos(connection: sa.Connection, rows: Sequence[Any]) -> list[SessionInfo]:
    ids = [row["id"] for row in rows]
    last = _per_session(connection, sa.select(Entry.session, sa.func.max(Entry.at)), Entry, ids)
    last_turn = _per_session(connection, sa.select(Turn.session, sa.func.max(Turn.at)), Turn, ids)
    turns = _per_session(
        connection, sa.select(Turn.session, sa.func.count(sa.distinct(Turn.turn))).where(Turn.turn > 0), Turn, ids
    )
    ended = _per_session(
        connection, sa.select(Entry.session, sa.func.count()).where(Entry.kind == SESSION_ENDED), Entry, ids
    )
    files: dict[str, list[str]] = {}
    for some in _portions(ids):
        query = sa.select(Audio.session, Audio.file).where(Audio.session.in_(some)).order_by(Audio.session, Audio.seq)
        for one, file in connection.execute(query):
            if file not in files.setdefault(one, []):
                files[one].append(file)
    return [
        SessionInfo(
            id=row["id"],
            started_at=row["started_at"],
            last_at=max(at for at in (row["started_at"], last.get(row["id"]), last_turn.get(row["id"])) if at),
            ended=row["id"] in ended,
            turns=turns.get(row["id"], 0),
            person=row["person"],
            resumed_from=row["resumed_from"],
            t_s=row["t_s"],
            config=row["config"],
            version=row["version"],
            audio_files=tuple(files.get(row["id"], ())),
        )
        for row in rows
    ]


def _per_session(connection: sa.Connection, query: Any, model: Any, ids: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for some in _portions(ids):
        for session, value in connection.execute(query.where(model.session.in_(some)).group_by(model.session)):
            found[session] = value
    return found


def _portions(ids: Sequence[str], size: int = 500) -> list[Sequence[str]]:
    return [ids[at : at + size] for at in range(0, len(ids), size)]
