"""An approval outlives its process: killed while the question is open, decided meanwhile, gone on with once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("agents", reason="needs the package openai-agents")

from antiphon.pipeline.cli import app
from antiphon.pipeline.transcript import open_store

pytestmark = pytest.mark.interop

SUPPORT = Path(__file__).parents[1] / "support"


class Bank:
    """One folder: the bank's journal, the approvals, the transcripts."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind
        self.journal = folder / "journal.txt"
        self.journal.touch()

    @property
    def done(self) -> list[str]:
        return self.journal.read_text("utf-8").split("\n")[:-1]

    def start(self, session: str, *resumed: str, takes_s: float = 0.0) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(SUPPORT / "bank_parts.py"), str(self.folder), self.kind, session, *resumed],
            stdout=subprocess.PIPE,
            text=True,
            cwd=SUPPORT,
            env={**os.environ, "BANK_JOURNAL": str(self.journal), "BANK_TAKES_S": str(takes_s)},
        )

    def resume(self, session: str, resumed: str) -> dict[str, Any]:
        child = self.start(session, resumed)
        printed, _ = child.communicate(timeout=300)
        assert child.returncode == 0
        result: dict[str, Any] = json.loads(printed)
        return result

    def approvals(self, *arguments: str) -> str:
        result = CliRunner().invoke(app, ["approvals", *arguments, "--store", str(self.folder / "approvals.db")])
        assert result.exit_code == 0, result.output
        return result.output

    def open_at_desk(self) -> list[dict[str, Any]]:
        if not (self.folder / "approvals.db").exists():
            return []
        return [one for one in json.loads(self.approvals("list", "--json")) if one["decides"] != "voice"]


def wait_until(true: Callable[[], Any]) -> Any:
    until_s = time.monotonic() + 120
    while not (found := true()):
        assert time.monotonic() < until_s, "it did not come"
        time.sleep(0.05)
    return found


def killed(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    assert child.stdout is not None
    child.stdout.close()


@pytest.fixture(params=["policy", "run"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Bank:
    return Bank(tmp_path, request.param)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("granted", [True, False])
def test_a_killed_process_leaves_a_question_that_is_decided_and_acted_on_once(bank: Bank, granted: bool) -> None:
    child = bank.start("one")
    (question,) = wait_until(bank.open_at_desk)
    killed(child)
    assert bank.done == []
    (still,) = bank.open_at_desk()
    assert still["id"] == question["id"] and still["session"] == "one" and "Anna" in still["arguments"]
    assert bank.approvals("grant" if granted else "refuse", question["id"], "--by", "ann")
    assert bank.done == [], "nobody is there to act"

    after = bank.resume("two", "one")
    told = "100 euros are on their way to Anna." if granted else "This was not approved"
    assert bank.done == (["began", "100 to Anna"] if granted else [])
    assert told in " ".join(after["spoken"])
    assert not any("Shall I" in text for text in after["spoken"]), "the user has said yes already"
    calls = [item for item in after["items"] if item[0] != "message"]
    assert [item[0] for item in calls] == ["function_call", "function_call_output"] and told in calls[1][3]

    again = bank.resume("three", "two")
    assert bank.done == (["began", "100 to Anna"] if granted else []) and again["spoken"] == []
    calls = [item for item in again["items"] if item[0] != "message"]
    assert [item[0] for item in calls] == ["function_call", "function_call_output"] and told in calls[1][3]
    with open_store("sqlite", path=bank.folder / "transcripts.db") as store:
        assert store.in_doubt() == []


@pytest.mark.timeout(900)
def test_a_call_that_was_begun_is_in_doubt_and_not_begun_again(tmp_path: Path) -> None:
    bank = Bank(tmp_path, "run")
    child = bank.start("one", takes_s=60.0)
    (question,) = wait_until(bank.open_at_desk)
    bank.approvals("grant", question["id"])
    wait_until(lambda: bank.done)
    killed(child)
    after = bank.resume("two", "one")
    assert bank.done == ["began"] and after["spoken"] == []
    with open_store("sqlite", path=bank.folder / "transcripts.db") as store:
        (call,) = store.in_doubt()
    assert call.name == "make_transfer"


@pytest.mark.timeout(900)
def test_a_question_whose_time_ran_out_is_told(bank: Bank) -> None:
    import sqlite3

    child = bank.start("one")
    wait_until(bank.open_at_desk)
    killed(child)
    with sqlite3.connect(bank.folder / "approvals.db") as connection:
        connection.execute("UPDATE approvals SET expires_s = asked_s + 0.001 WHERE state = 'pending'")
    connection.close()
    after = bank.resume("two", "one")
    assert bank.done == []
    assert ("in time" if bank.kind == "policy" else "not approved") in " ".join(after["spoken"])
