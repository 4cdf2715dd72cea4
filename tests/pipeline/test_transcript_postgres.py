"""The same store on a real PostgreSQL server."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgres_server import PASSWORD, NoServer, PostgresServer
from transcript_events import Talk, tell

from antiphon.pipeline.transcript import (
    SessionErased,
    TranscriptStore,
    TranscriptStoreError,
    TranscriptWriteFailed,
    open_store,
)
from antiphon.pipeline.transcript.schema import Base


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    try:
        with PostgresServer.start() as started:
            yield started
    except NoServer as error:
        pytest.skip(f"needs a PostgreSQL server: {error}")


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    """A database of its own."""
    admin = sa.create_engine(server.url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS fresh WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE fresh"))
    admin.dispose()
    yield server.url.removesuffix("/postgres") + "/fresh"


def store_at(url: str, folder: Path) -> TranscriptStore:
    return open_store(url, recordings=folder)


def test_a_conversation_on_a_server_comes_back(url: str, tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("sess_a", person="lovelace")
        tell(recorder, *talk.asks("What time is it?\x00"), talk.calls("clock"), talk.gives("noon"))
        tell(recorder, *talk.says("Noon."), talk.ends("Noon."), talk.calls("pay", turn=2))
        await recorder.settled()
        with store_at(url, tmp_path) as another:
            assert [turn.heard for turn in another.turns("sess_a")] == ["Noon.", ""]
        await recorder.aclose()

    with store_at(url, tmp_path) as store:
        asyncio.run(main(store))
        first, _ = store.turns("sess_a")
        assert (first.user, first.calls[0].output) == ("What time is it?\N{REPLACEMENT CHARACTER}", "noon")
        assert [call.name for call in store.in_doubt()] == ["pay"]
        assert [item.text for item in store.conversation("sess_a")][2:4] == ["noon", "Noon."]
        assert store.sessions(person="lovelace")[0].ended
        assert store.erase(person="lovelace").sessions == ("sess_a",)
        assert store.sessions() == []


def test_the_servers_tables_are_what_the_models_say(url: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store_at(url, tmp_path) as store, store.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_several_make_the_servers_tables_together(url: str, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            store_at(url, tmp_path).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_an_erased_session_stays_erased_on_a_server(url: str, tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("sess_a")
        tell(recorder, *talk.asks("Hello?"))
        await recorder.settled()
        store.erase(session="sess_a")
        tell(recorder, *talk.says("Hi."))
        with pytest.raises(SessionErased):
            await recorder.settled()

    with store_at(url, tmp_path) as store:
        asyncio.run(main(store))
        assert store.sessions() == []


def test_a_server_that_goes_away_is_waited_for(url: str, tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("sess_a")
        tell(recorder, *talk.asks("Hello?"))
        await recorder.settled()
        lose = _connections_lost(store)
        lose(True)
        tell(recorder, *talk.says("Hi."))
        with pytest.raises(TranscriptWriteFailed, match="cannot be written"):
            await recorder.settled()
        lose(False)
        await recorder.settled()

    with store_at(url, tmp_path) as store:
        asyncio.run(main(store))
        assert store.turns("sess_a")[0].heard == "Hi."


def _connections_lost(store: TranscriptStore) -> Any:
    """A switch: while on, every new connection is to a port where nobody is."""
    dead = {"on": False}

    @sa.event.listens_for(store.database.engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, parameters: dict[str, Any]) -> None:
        if dead["on"]:
            parameters["port"] = 1

    def switch(on: bool) -> None:
        dead["on"] = on
        store.database.engine.dispose()

    return switch


def test_no_message_shows_the_password(
    server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for wrong in (
        server.url.replace(str(server.port), "1"),
        server.url.replace("antiphon:", "nobody:"),
        server.url.replace("/postgres", "/nowhere"),
    ):
        with pytest.raises(TranscriptStoreError) as raised:
            store_at(wrong, tmp_path)
        assert PASSWORD not in str(raised.value) and "127.0.0.1" in str(raised.value)
    assert PASSWORD not in caplog.text
