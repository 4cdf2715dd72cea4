"""Finding sessions by what was said and done in them. Needs SQLAlchemy.

A plain search in the tables as they are: no index to keep in step, nothing to erase twice. It reads every text of the
sessions it looks at, which is quick for the tens of thousands of turns that one machine has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from antiphon.pipeline.transcript import queries
from antiphon.pipeline.transcript.schema import Entry, Session, ToolCall, ToolResult, Turn
from antiphon.pipeline.transcript.values import SessionInfo

MAX_WORDS = 8
"""Of a search; more are left out."""
_SAID = ("transcript", "speaking", "spoken")
_HITS_EACH = 3
"""Texts that are shown of one session."""
_AROUND = 60
"""Characters on each side of what was found."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that has all the words."""

    turn: int
    who: str
    """"user", "assistant" or "tool"."""
    text: str
    """The part of it around the first word that was found."""


@dataclass(frozen=True, slots=True)
class Found:
    """A session, and where the words are in it; no hits where nothing was searched for."""

    info: SessionInfo
    hits: tuple[Hit, ...] = ()
    opening: str = ""
    """The first that the user said."""


def search(
    connection: sa.Connection,
    words: str = "",
    *,
    person: str | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int = 50,
) -> list[Found]:
    """Sessions with a text that has all the words, newest first.

    :param words: parted by spaces; each is found anywhere, in upper or lower case. A beginning of a session's id finds
        it, too. Empty: all sessions.
    :param before: only those after this one in the order: its `started_at`, and its id.
    """
    wanted = words.split()[:MAX_WORDS]
    query = sa.select(Session.id).order_by(Session.started_at.desc(), Session.id).limit(limit)
    if person is not None:
        query = query.where(Session.person == person)
    if before is not None:
        started_at, last = before
        later = (Session.started_at == started_at) & (Session.id > last)
        query = query.where((Session.started_at < started_at) | later)
    if wanted:
        query = query.where(_somewhere(wanted) | Session.id.startswith(words.strip(), autoescape=True))
    infos = [queries.session(connection, one) for one in connection.execute(query).scalars()]
    ids = [info.id for info in infos]
    hits = _hits(connection, ids, wanted) if wanted else {}
    openings = _openings(connection, ids)
    return [Found(info, tuple(hits.get(info.id, ())), openings.get(info.id, "")) for info in infos]


def _openings(connection: sa.Connection, ids: Sequence[str]) -> dict[str, str]:
    said = (Entry.session.in_(ids), Entry.kind == "transcript", Entry.role == "user", Entry.final.is_(True))
    first = (
        sa.select(Entry.session, sa.func.min(Entry.seq).label("seq")).where(*said).group_by(Entry.session).subquery()
    )
    both = (Entry.session == first.c.session) & (Entry.seq == first.c.seq)
    query = sa.select(Entry.session, Entry.text).join(first, both)
    return {session: _around(text or "", ()) for session, text in connection.execute(query)}


def _somewhere(words: Sequence[str]) -> sa.ColumnElement[bool]:
    said = sa.select(Entry.session).where(Entry.kind.in_(_SAID), *(_has(Entry.text, word) for word in words))
    called = sa.select(ToolCall.session).where(*(_has(_call_text(), word) for word in words))
    given = sa.select(ToolResult.session).where(*(_has(ToolResult.output, word) for word in words))
    meant = sa.select(Turn.session).where(*(_has(Turn.text, word) for word in words))
    return Session.id.in_(sa.union(said, called, given, meant))


def _call_text() -> Any:
    return ToolCall.name + " " + ToolCall.arguments


def _has(column: Any, word: str) -> sa.ColumnElement[bool]:
    """SQLite knows upper and lower case of ASCII alone: the usual spellings of the others are looked for one by one."""
    spellings = dict.fromkeys([word, word.lower(), word.upper(), word.capitalize()])
    return sa.or_(*(column.icontains(one, autoescape=True) for one in spellings))


def _hits(connection: sa.Connection, ids: Sequence[str], words: Sequence[str]) -> dict[str, list[Hit]]:
    found: dict[str, list[tuple[int, Hit]]] = {}
    said = (
        sa.select(Entry.session, Entry.seq, Entry.turn, Entry.role, Entry.text, Entry.kind)
        .where(Entry.session.in_(ids), Entry.kind.in_(_SAID), *(_has(Entry.text, word) for word in words))
        .order_by(Entry.seq)
    )
    heard: set[tuple[str, int, str]] = set()
    for row in connection.execute(said):
        who = "user" if row.kind == "transcript" and row.role == "user" else "assistant"
        # The assistant's words stand there up to three times: about to be played, handed over, as a whole at the end.
        if who == "user" or (row.session, row.turn, who) not in heard:
            heard.add((row.session, row.turn, who))
            found.setdefault(row.session, []).append((row.seq, Hit(row.turn, who, _around(row.text, words))))
    others: tuple[tuple[Any, Any, str], ...] = (
        (ToolCall, _call_text(), "tool"),
        (ToolResult, ToolResult.output, "tool"),
        (Turn, Turn.text, "assistant"),  # with what was written and never heard
    )
    for model, text, who in others:
        query = sa.select(model.session, model.seq, model.turn, text.label("text"))
        query = query.where(model.session.in_(ids), *(_has(text, word) for word in words))
        for row in connection.execute(query):
            if (row.session, row.turn, who) not in heard:
                found.setdefault(row.session, []).append((row.seq, Hit(row.turn, who, _around(row.text, words))))
    return {one: [hit for _, hit in sorted(some, key=_seq)][:_HITS_EACH] for one, some in found.items()}


def _seq(numbered: tuple[int, Hit]) -> int:
    return numbered[0]


def _around(text: str, words: Iterable[str]) -> str:
    """The part of a text with the first word that is found in it."""
    low = text.casefold()
    places = [at for at in (low.find(word.casefold()) for word in words) if at >= 0]
    at = min(places, default=0)
    start, end = max(0, at - _AROUND), at + _AROUND
    part = " ".join(text[start:end].split())
    return ("…" if start else "") + part + ("…" if end < len(text) else "")
