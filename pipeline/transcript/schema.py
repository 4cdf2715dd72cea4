"""The store's tables. Rows are added and, by erasure and retention, deleted; never changed.

Needs SQLAlchemy; imported by :mod:`antiphon.pipeline.transcript.database` alone. A change here needs a migration in
`migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, ForeignKey, Index, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcTime(TypeDecorator[datetime]):
    """Times with a zone in, UTC out; databases without zones hold UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's way)
        str: Text(),
        float: Double(),
        datetime: UtcTime(),
        dict[str, Any]: JSON(),
    }


class Session(Base):
    """A conversation."""

    __tablename__ = "sessions"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(index=True)
    token: Mapped[str]
    """Random: tells two recordings of one session id apart."""
    person: Mapped[str | None] = mapped_column(String(200), index=True)
    resumed_from: Mapped[str | None] = mapped_column(String(200), index=True)
    t_s: Mapped[float | None]
    """The session's monotonic clock at `started_at`."""
    config: Mapped[dict[str, Any]]
    version: Mapped[str]


class Record(Base):
    """What the rows of a session have in common."""

    __abstract__ = True
    session: Mapped[str] = mapped_column(
        String(200), ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True, sort_order=-10
    )
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, sort_order=-9)
    """Rises with each event of the session, across all tables."""
    at: Mapped[datetime] = mapped_column(sort_order=-8)
    turn: Mapped[int] = mapped_column(sort_order=-7)
    """0: none (a greeting)."""
    revision: Mapped[int] = mapped_column(sort_order=-6)
    t_s: Mapped[float | None] = mapped_column(sort_order=-5)
    audio_s: Mapped[float | None] = mapped_column(sort_order=-4)


class Entry(Record):
    """What was said, and every event that has no table of its own."""

    __tablename__ = "entries"
    kind: Mapped[str] = mapped_column(String(60))
    """The event's type; "speaking": this text is about to be played."""
    role: Mapped[str | None] = mapped_column(String(20))
    text: Mapped[str | None]
    final: Mapped[bool | None]
    language: Mapped[str | None] = mapped_column(String(20))
    data: Mapped[dict[str, Any]]


class Turn(Record):
    """A turn that has ended."""

    __tablename__ = "turns"
    status: Mapped[str] = mapped_column(String(40))
    text: Mapped[str]
    """All that the assistant meant to say; what of it was heard stands in the entries."""
    data: Mapped[dict[str, Any]]


class ToolCall(Record):
    """A tool is about to run. Without a result it is in doubt."""

    __tablename__ = "tool_calls"
    call_id: Mapped[str]
    name: Mapped[str]
    arguments: Mapped[str]
    data: Mapped[dict[str, Any]]


class ToolResult(Record):
    """What a tool gave back."""

    __tablename__ = "tool_results"
    call_id: Mapped[str]
    name: Mapped[str]
    output: Mapped[str]
    data: Mapped[dict[str, Any]]


class Approval(Record):
    """An approval was asked for, given, refused, or timed out."""

    __tablename__ = "approvals"
    kind: Mapped[str] = mapped_column(String(60))
    approval_id: Mapped[str | None]
    call_id: Mapped[str | None]
    state: Mapped[str | None]
    data: Mapped[dict[str, Any]]


class PolicyDecision(Record):
    """What a check of a policy gate decided."""

    __tablename__ = "policy_decisions"
    kind: Mapped[str] = mapped_column(String(60))
    gate: Mapped[str | None]
    check: Mapped[str | None]
    decision: Mapped[str | None]
    data: Mapped[dict[str, Any]]


class Timing(Record):
    """When a step of a turn was done, on the session's monotonic clock."""

    __tablename__ = "timings"
    step: Mapped[str] = mapped_column(String(60), primary_key=True)
    at_s: Mapped[float | None]


class Audio(Record):
    """A recording was opened or closed. `file` is relative to the folder of recordings."""

    __tablename__ = "audio"
    state: Mapped[str] = mapped_column(String(20))
    file: Mapped[str]
    rate_hz: Mapped[int]
    channels: Mapped[int]
    duration_s: Mapped[float | None]
    encrypted: Mapped[bool]


class Usage(Record):
    """What an engine used for a turn."""

    __tablename__ = "usage"
    unit: Mapped[str] = mapped_column(String(40), primary_key=True)
    stage: Mapped[str] = mapped_column(String(40), primary_key=True)
    engine: Mapped[str]
    amount: Mapped[float]


class Erasure(Base):
    """A tombstone: that something was erased, and nothing of what it was."""

    __tablename__ = "erasures"
    session: Mapped[str] = mapped_column(String(200), primary_key=True)
    at: Mapped[datetime]
    reason: Mapped[str] = mapped_column(String(40))
    """"erased" (a person's data) or "pruned" (retention)."""
    rows: Mapped[int]
    files: Mapped[int]


RECORD_TABLES: tuple[type[Record], ...] = (
    Entry, Turn, ToolCall, ToolResult, Approval, PolicyDecision, Timing, Audio, Usage,
)  # fmt: skip
TABLES: dict[str, Any] = {Session.__tablename__: Session.__table__} | {
    table.__tablename__: table.__table__ for table in RECORD_TABLES
}

Index("ix_tool_calls_call", ToolCall.session, ToolCall.call_id)
