"""`antiphon approvals`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from antiphon.pipeline.cli import app
from antiphon.pipeline.policy import ApprovalRequest
from antiphon.pipeline.policy.approval_store import ApprovalStore


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def store(home: Path) -> Iterator[ApprovalStore]:
    opened = ApprovalStore(home / "approvals.db")
    yield opened
    opened.close()


def ask(store: ApprovalStore, **more: Any) -> str:
    request = ApprovalRequest(
        "sess_1", 1, "Pay 5 to Anna?", tool="pay", arguments='{"n": 5}', run_state="inner", **more
    )
    return store.open(request, timeout_s=600, on_timeout="refuse").id


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["approvals", *arguments])


def test_nothing_to_list_makes_no_file(home: Path) -> None:
    result = run("list")
    assert (result.exit_code, result.stdout) == (0, "No question is open.\n")
    assert run("list", "--json").stdout.strip() == "[]"
    assert not (home / "approvals.db").exists()


def test_a_question_is_listed_shown_and_granted(store: ApprovalStore) -> None:
    approval_id = ask(store)
    listed = run("list").stdout
    assert all(word in listed for word in (approval_id, "pending", "Pay 5 to Anna?", 'pay {"n": 5}', "10 min"))
    assert [entry["id"] for entry in json.loads(run("list", "--json", "--session", "sess_1").stdout)] == [approval_id]
    assert json.loads(run("list", "--json", "--session", "other").stdout) == []
    shown = run("show", approval_id).stdout
    assert "Pay 5 to Anna?" in shown and "inner" not in shown
    granted = run("grant", approval_id, "--by", "ann", "--note", "fine")
    assert (granted.exit_code, granted.stdout) == (0, f"{approval_id}: granted by ann\n")
    assert store.get(approval_id).note == "fine"
    assert run("list").stdout == "No question is open.\n"
    assert "granted" in run("list", "--all").stdout
    assert json.loads(run("show", approval_id, "--json").stdout)["decided_by"] == "ann"


def test_a_second_decision_fails_and_says_who_was_first(store: ApprovalStore) -> None:
    approval_id = ask(store)
    assert run("refuse", approval_id, "--by", "ann").exit_code == 0
    second = run("grant", approval_id, "--by", "bob")
    assert second.exit_code == 1 and "was refused before, by ann" in second.stderr
    assert store.get(approval_id).state == "refused"


def test_what_is_not_there_or_not_for_the_desk(store: ApprovalStore) -> None:
    unknown = run("grant", "appr_nope")
    assert unknown.exit_code == 1 and "there is no approval" in unknown.stderr
    voice = run("grant", ask(store, by="voice"))
    assert voice.exit_code == 1 and "spoken answer" in voice.stderr


def test_another_file(tmp_path: Path, home: Path) -> None:
    store = ApprovalStore(tmp_path / "other.db")
    approval_id = ask(store)
    store.close()
    assert approval_id in run("list", "--store", str(tmp_path / "other.db")).stdout
    assert run("list").stdout == "No question is open.\n"
