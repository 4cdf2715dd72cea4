"""Servers for other people's clients, the clients' programs, and the table of what worked."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from browser_calls import Browser
from interop_clients import INTEROP, PAGE, ROOT, install
from interop_desk import CONFIG, PITCHES, write_recording
from served_process import served_process

TABLE = "ANTIPHON_INTEROP_TABLE"
"""The environment variable with the path of the table to write."""

_IN_WORDS = {"spoken": "spoken turn", "interrupt": "interrupt by the page", "history": "history changed by the client"}
"""What scenarios are called in the table."""
_rows: dict[tuple[str, str], list[tuple[str, str]]] = {}
"""By client and version: what was done, and how it went."""


# ------------------------------------------------------------------------------------------ servers


@pytest.fixture(scope="session")
def desk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the scripted desk behind it."""
    path = tmp_path_factory.mktemp("desk") / "desk.yaml"
    path.write_text(f"{CONFIG}server: {{allowed_origins: ['{PAGE}'], capacity: 'off'}}\n", "utf-8")
    with served_process(path) as server:
        yield server.address


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the smallest real models behind it."""
    path = tmp_path_factory.mktemp("real") / "real.yaml"
    tiny = (ROOT / "configs" / "tiny.yaml").read_text("utf-8")
    path.write_text(f"{tiny}\nserver: {{allowed_origins: ['{PAGE}'], capacity: 'off'}}\n", "utf-8")
    with served_process(path) as server:
        yield server.address


# ------------------------------------------------------------------------------------------ clients


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each question of the desk as a recording."""
    folder = tmp_path_factory.mktemp("sounds")
    for name in PITCHES:
        write_recording(folder / f"{name}.wav", name, rate_hz=24000)
    return folder


@pytest.fixture(scope="session")
def node() -> str:
    try:
        found: str = install.node()
    except install.Missing as error:
        pytest.fail(str(error))
    if not (INTEROP / "node_modules" / "@openai" / "agents-realtime").exists():
        pytest.fail("the Node packages are missing: make interop")
    return found


@dataclass(frozen=True, slots=True)
class Installed:
    """A browser of this machine."""

    kind: str
    """chromium or firefox: the first arguments of the programs in `interop` are these two."""
    path: str

    def named(self, version: str) -> str:
        """Such as "Firefox 140"."""
        return f"{self.kind.capitalize()} {version.partition('.')[0]}"


@pytest.fixture(scope="session", params=["chromium", "firefox"])
def installed(request: pytest.FixtureRequest) -> Installed:
    """Each browser in turn."""
    try:
        return Installed(request.param, install.program(request.param))
    except install.Missing as error:
        pytest.fail(str(error))


@pytest.fixture
def browser(node: str, installed: Installed, tmp_path: Path, row: Any) -> Browser:
    return Browser(node, installed, tmp_path, row)


# ------------------------------------------------------------------------------------------ the table


@pytest.fixture
def row(record_property: Any) -> Any:
    """Puts the test into the table: row(client, version, what is done)."""

    def put(client: str, version: str, what: str) -> None:
        record_property("interop", [client, version, _IN_WORDS.get(what, what)])

    return put


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    found = dict(report.user_properties).get("interop")
    if found is not None and (report.when == "call" or report.failed):
        client, version, what = found
        _rows.setdefault((client, version), []).append((what, "works" if report.passed else "fails"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    where = os.environ.get(TABLE)
    if where and _rows:
        Path(where).write_text(_page(), "utf-8")


def _page() -> str:
    lines = [
        "# Other people's clients, as they were run",
        "",
        "Written by `make interop`, which installs these clients, unmodified, in the versions named here, and runs",
        "each against `antiphon serve` on one machine. How to point them at your server: [clients.md](clients.md).",
        "",
        f"Run on {datetime.date.today().isoformat()}, Python {platform.python_version()}.",
        "",
        "OpenAI's Python clients, likewise unmodified, are run by `make test`: spoken and typed turns, tools,",
        "handoffs, guardrails, approvals, interruptions, G.711, transcription sessions, streamed `agents.voice`.",
        f"Here they were `openai` {version('openai')} and `openai-agents` {version('openai-agents')}.",
        "",
        "| client | version | what was done | |",
        "|---|---|---|---|",
    ]
    for (client, release), done in _rows.items():
        by_result: dict[str, list[str]] = {}
        for what, result in done:
            by_result.setdefault(result, [])
            if what not in by_result[result]:
                by_result[result].append(what)
        lines += [f"| {client} | {release} | {', '.join(whats)} | {result} |" for result, whats in by_result.items()]
    return "\n".join(lines) + "\n"
