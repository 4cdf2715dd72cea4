"""The first tables.

The definitions stand here once more, on purpose: this file must go on making what it makes today.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _record(name: str, *columns: "sa.Column[object]", key: tuple[str, ...] = ()) -> None:
    op.create_table(
        name,
        sa.Column("session", sa.String(200), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("t_s", sa.Double(), nullable=True),
        sa.Column("audio_s", sa.Double(), nullable=True),
        *columns,
        sa.PrimaryKeyConstraint("session", "seq", *key, name=f"pk_{name}"),
        sa.ForeignKeyConstraint(["session"], ["sessions.id"], name=f"fk_{name}_session", ondelete="CASCADE"),
    )


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=nullable)


def _data() -> "sa.Column[object]":
    return sa.Column("data", sa.JSON(), nullable=False)


def upgrade() -> None:
    op.create_table(
        "sessions",
        _text("id", 200),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        _text("token"),
        _text("person", 200, nullable=True),
        _text("resumed_from", 200, nullable=True),
        sa.Column("t_s", sa.Double(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=False),
        _text("version"),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    for column in ("started_at", "person", "resumed_from"):
        op.create_index(f"ix_sessions_{column}", "sessions", [column])
    _record(
        "entries",
        _text("kind", 60),
        _text("role", 20, nullable=True),
        _text("text", nullable=True),
        sa.Column("final", sa.Boolean(), nullable=True),
        _text("language", 20, nullable=True),
        _data(),
    )
    _record("turns", _text("status", 40), _text("text"), _data())
    _record("tool_calls", _text("call_id"), _text("name"), _text("arguments"), _data())
    op.create_index("ix_tool_calls_call", "tool_calls", ["session", "call_id"])
    _record("tool_results", _text("call_id"), _text("name"), _text("output"), _data())
    _record(
        "approvals",
        _text("kind", 60),
        _text("approval_id", nullable=True),
        _text("call_id", nullable=True),
        _text("state", nullable=True),
        _data(),
    )
    _record(
        "policy_decisions",
        _text("kind", 60),
        _text("gate", nullable=True),
        _text("check", nullable=True),
        _text("decision", nullable=True),
        _data(),
    )
    _record("timings", _text("step", 60), sa.Column("at_s", sa.Double(), nullable=True), key=("step",))
    _record(
        "audio",
        _text("state", 20),
        _text("file"),
        sa.Column("rate_hz", sa.Integer(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("encrypted", sa.Boolean(), nullable=False),
    )
    _record(
        "usage",
        _text("unit", 40),
        _text("stage", 40),
        _text("engine"),
        sa.Column("amount", sa.Double(), nullable=False),
        key=("unit", "stage"),
    )
    op.create_table(
        "erasures",
        _text("session", 200),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        _text("reason", 40),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("session", name="pk_erasures"),
    )


def downgrade() -> None:
    raise NotImplementedError("transcripts are not downgraded: restore a copy from before the upgrade")
