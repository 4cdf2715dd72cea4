"""The transcript store: sessions written down as they happen, and read again."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from antiphon.engines.errors import EngineUnavailable
from antiphon.engines.models.store import antiphon_home
from antiphon.pipeline.conversation import Conversation
from antiphon.pipeline.transcript import reading
from antiphon.pipeline.transcript.errors import TranscriptError, TranscriptStoreError, TranscriptWriteFailed
from antiphon.pipeline.transcript.recorder import OnFailure, Recorder, Warn
from antiphon.pipeline.transcript.values import Call, Record, SessionInfo, TurnView
from antiphon.pipeline.transcript.writer import Writer
from antiphon.pipeline.usage import EngineUsage

if TYPE_CHECKING:
    from antiphon.pipeline.transcript.database import Database
    from antiphon.pipeline.transcript.searching import Found

logger = logging.getLogger(__name__)


def default_path() -> Path:
    """`$ANTIPHON_HOME/transcripts.db`, or `~/.local/share/antiphon/transcripts.db`."""
    return antiphon_home() / "transcripts.db"


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure or a pruning removed."""

    sessions: tuple[str, ...] = ()
    rows: int = 0
    files: int = 0
    left: tuple[str, ...] = ()
    """Recordings that could not be deleted, each with the reason."""


class TranscriptStore:
    """One database. Make it with :func:`open_store`; close it, or use it as a context manager.

    All methods but :meth:`recorder` wait for the database: call them in a thread where a session runs.
    """

    def __init__(self, database: Database, recordings: Path) -> None:
        """
        :param recordings: the folder of audio recordings.
        """
        self.database = database
        self.recordings = recordings
        self._writer: Writer | None = None

    def __enter__(self) -> TranscriptStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, and let the database go.

        :raises TranscriptWriteFailed: some records could not be written, and are lost.
        """
        left = self._writer.close() if self._writer is not None else 0
        self._writer = None
        self.database.close()
        if left:
            logger.error("records are lost", extra={"records": left})
            raise TranscriptWriteFailed(f"{left} records could not be written to {self.database.place}", waiting=left)

    # ------------------------------------------------------------------------ writing

    def recorder(
        self,
        session: str,
        *,
        person: str | None = None,
        resumed_from: str | None = None,
        config: Mapping[str, Any] | None = None,
        version: str = "",
        partials: bool = False,
        on_failure: OnFailure = "stop",
        warn: Warn | None = None,
    ) -> Recorder:
        """Begin to record a session; see :class:`Recorder`. Returns at once."""
        if self._writer is None:
            self._writer = Writer(self.database.write)
            self._writer.start()
        return Recorder(
            self._writer,
            session,
            person=person,
            resumed_from=resumed_from,
            config=config,
            version=version,
            partials=partials,
            on_failure=on_failure,
            warn=warn,
        )

    # ------------------------------------------------------------------------ reading

    def sessions(self, *, person: str | None = None, limit: int | None = None) -> list[SessionInfo]:
        """The recorded sessions, newest first."""
        from antiphon.pipeline.transcript import queries

        with self.database.reading() as connection:
            return queries.sessions(connection, person=person, limit=limit)

    def search(
        self,
        words: str = "",
        *,
        person: str | None = None,
        before: tuple[datetime, str] | None = None,
        limit: int = 50,
    ) -> list[Found]:
        """Sessions in which all the words stand in one text, newest first.

        :param before: only those that come after this one: its `started_at` and its id.
        """
        from antiphon.pipeline.transcript import searching

        with self.database.reading() as connection:
            return searching.search(connection, words, person=person, before=before, limit=limit)

    def session(self, session: str) -> SessionInfo:
        """:raises UnknownSession: there is none of that id; the message says if it was erased."""
        from antiphon.pipeline.transcript import queries

        with self.database.reading() as connection:
            return queries.session(connection, session)

    def find(self, beginning: str) -> SessionInfo:
        """A session by its id or the beginning of it; "last" is the newest one.

        :raises UnknownSession: none begins so, or several do.
        """
        from antiphon.pipeline.transcript import queries

        with self.database.reading() as connection:
            return queries.find(connection, beginning)

    def records(self, session: str) -> list[Record]:
        """All that happened in a session, in order.

        :raises UnknownSession: there is none of that id.
        """
        from antiphon.pipeline.transcript import queries

        with self.database.reading() as connection:
            queries.session(connection, session)
            return queries.records(connection, session)

    def turns(self, session: str) -> list[TurnView]:
        """A session's turns, in order.

        :raises UnknownSession: there is none of that id.
        """
        return reading.turns(self.records(session), session)

    def usage(self, session: str) -> tuple[EngineUsage, ...]:
        """What each engine used in a session, beside its turns too (greetings, summaries).

        :raises UnknownSession: there is none of that id.
        """
        return reading.usage(self.records(session))

    def in_doubt(self, session: str | None = None) -> list[Call]:
        """Tool calls without a recorded result, oldest first. Nothing here runs them again.

        In a session that is still going on, a tool that is running now is among them.

        :param session: None: of all sessions.
        """
        from antiphon.pipeline.transcript import queries

        found: list[Call] = []
        with self.database.reading() as connection:
            ids = queries.with_open_calls(connection) if session is None else [session]
            for one in ids:
                calls = [call for call in reading.calls(queries.records(connection, one), one) if call.in_doubt]
                later = (queries.records(connection, other) for other in queries.continuations(connection, one))
                finished = reading.finished_later(later) if calls else frozenset()
                found += [call for call in calls if reading.what_was_called(call) not in finished]
        return sorted(found, key=lambda call: call.at)

    def conversation(self, session: str, *, compacted: bool = True) -> Conversation:
        """What an agent that goes on with a session is to know, from the earlier sessions that it continues on.

        :param compacted: summaries stand for the turns that they were made of.
        :raises UnknownSession: there is none of that id.
        """
        from antiphon.pipeline.transcript import queries

        with self.database.reading() as connection:
            parts = [(one, queries.records(connection, one)) for one in queries.chain(connection, session)]
        return reading.conversation(parts, compacted=compacted)

    def chain(self, session: str) -> list[str]:
        """A session and those that it continues, oldest first.

        :raises UnknownSession: there is none of that id.
        """
        from antiphon.pipeline.transcript import queries

        with self.database.reading() as connection:
            return queries.chain(connection, session)

    # ------------------------------------------------------------------------ erasing

    def erase(self, *, session: str | None = None, person: str | None = None) -> Erased:
        """Remove sessions for good: their rows, and their recordings; a tombstone of each id stays.

        :param session: one session; `person`: all with this label. One of the two.
        :raises UnknownSession: there is no such session.
        :raises TranscriptStoreError: the database cannot be changed; recordings that are gone stay gone.
        """
        from antiphon.pipeline.transcript import erasure

        if (session is None) == (person is None):
            raise TranscriptError("name either a session or a person")
        if session is not None:
            ids = [self.session(session).id]
        else:
            ids = [info.id for info in self.sessions(person=person)]
        return erasure.erase(self.database, self.recordings, ids, "erased")

    def prune(self, keep: timedelta, *, audio_only: bool = False, now: datetime | None = None) -> Erased:
        """Remove what is older: sessions whose last record is that old, or only their recordings."""
        from antiphon.pipeline.transcript import erasure

        before = (now or datetime.now(UTC)) - keep
        old = [info for info in self.sessions() if info.last_at < before]
        if audio_only:
            return erasure.remove_audio(self.database, self.recordings, [info for info in old if info.audio_files])
        return erasure.erase(self.database, self.recordings, [info.id for info in old], "pruned")


def open_store(
    store: str = "sqlite",
    *,
    path: Path | None = None,
    recordings: Path | None = None,
    durability: Literal["normal", "full"] = "normal",
    busy_s: float = 5.0,
    must_exist: bool = False,
) -> TranscriptStore:
    """Open a store; make it, or bring it up to date, where needed. Safe while other processes do the same.

    :param store: "sqlite", or a URL: postgresql://user:password@host/database.
    :param path: of the SQLite file; None: :func:`default_path`.
    :param recordings: folder of audio recordings; None: `recordings` beside the SQLite file, or in the home folder.
    :param durability: "full": a commit is on the disk when it returns, at some milliseconds each.
    :param must_exist: do not make an SQLite file that is not there.
    :raises EngineUnavailable: a package is missing.
    :raises TranscriptStoreError: the database cannot be opened.
    """
    try:
        from antiphon.pipeline.transcript.database import Database, make_url
    except ImportError as error:
        raise EngineUnavailable(
            f"transcripts need the packages sqlalchemy and alembic ({error})", hint='pip install "antiphon[memory]"'
        ) from error
    file = (path or default_path()).expanduser().absolute()
    url = make_url(store, file)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or file).absolute()
        if must_exist and not file.exists():
            raise TranscriptStoreError(
                f"{file}: there are no transcripts yet", hint="conversations are kept where transcript.store is sqlite"
            )
        _make_private(file)
    database = Database(url, durability=durability, busy_s=busy_s)
    try:
        database.upgrade()
    except BaseException:
        database.close()
        raise
    beside = file.parent if database.is_sqlite else antiphon_home()
    return TranscriptStore(database, (recordings or beside / "recordings").expanduser().absolute())


def _make_private(file: Path) -> None:
    """What people said is for the file's owner alone.

    :raises TranscriptStoreError: the file cannot be made.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise TranscriptStoreError(
            f"{file}: the transcript store cannot be made: {error.strerror}", hint="give another path"
        ) from error


__all__ = ["Erased", "TranscriptStore", "default_path", "open_store"]
