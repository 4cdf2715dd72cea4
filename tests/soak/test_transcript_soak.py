"""Two hundred processes killed with SIGKILL, on an SQLite file; some on a PostgreSQL server. Seeded.

By default a short run (twenty more are in the tests of the pipeline). `ANTIPHON_SOAK=full`: all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import NoServer, PostgresServer
from soak_report import Stopwatch, write_kills
from transcript_child import STAGES
from transcript_kills import Kills

FULL = os.environ.get("ANTIPHON_SOAK") == "full"
FIRST = 1000
KILLS = 200 if FULL else 5
POSTGRES_KILLS = 45 if FULL else 5


@pytest.mark.timeout(1800)
def test_kills_on_a_file_lose_nothing(tmp_path: Path) -> None:
    watch = Stopwatch()
    kills = Kills(tmp_path).run(range(FIRST, FIRST + KILLS))
    assert kills.missing == []
    if FULL:
        write_kills("kills_stand_in", kills, watch.seconds)
        assert sum(kills.stages.values()) >= 180
        assert set(kills.stages) == set(STAGES), "every stage was covered"
        assert kills.doubtful > 10


@pytest.mark.timeout(1800)
def test_kills_of_real_sessions_lose_nothing(tmp_path: Path) -> None:
    watch = Stopwatch()
    kills = Kills(tmp_path).run(range(FIRST, FIRST + KILLS), kind="real")
    assert kills.missing == []
    if FULL:
        write_kills("kills_real_session", kills, watch.seconds)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    try:
        with PostgresServer.start() as started:
            yield started
    except NoServer as error:
        if FULL:
            raise
        pytest.skip(str(error))


@pytest.mark.timeout(1800)
def test_kills_on_a_server_lose_nothing(tmp_path: Path, server: PostgresServer) -> None:
    watch = Stopwatch()
    kills = Kills(tmp_path, store=server.url).run(range(FIRST, FIRST + POSTGRES_KILLS))
    assert kills.missing == []
    if FULL:
        write_kills("kills_postgresql", kills, watch.seconds)
