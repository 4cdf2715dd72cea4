"""`antiphon approvals`."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transcript_events import Talk, sqlite_store, tell
from typer.testing import CliRunner, Result

from antiphon.pipeline.cli import app
from antiphon.pipeline.config.transcript import TranscriptKeys
from antiphon.pipeline.policy import ApprovalRequest
from antiphon.pipeline.policy.approval_store import ApprovalStore
from antiphon.pipeline.policy.desk import forget_sessions
from antiphon.pipeline.transcript import TranscriptService


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


def test_erasing_a_session_erases_its_questions(store: ApprovalStore, home: Path) -> None:
    approval_id, other = ask(store), store.open(
        ApprovalRequest("sess_2", 1, "Open the door?"), timeout_s=600, on_timeout="refuse"
    ).id  # fmt: skip

    async def write() -> None:
        with sqlite_store(home) as transcripts:
            recorder = transcripts.recorder("sess_1", person="anna")
            tell(recorder, *Talk("sess_1").whole_turn(1, "Pay Anna.", "Shall I?"))
            await recorder.aclose()

    asyncio.run(write())
    erased = CliRunner().invoke(app, ["transcripts", "erase", "--person", "anna", "--yes"])
    assert erased.exit_code == 0 and "1 question(s) of approvals" in erased.stdout
    assert [approval.id for approval in store.find()] == [other]
    assert approval_id not in run("list", "--all").stdout
    store.close()
    left = b"".join(file.read_bytes() for file in home.glob("approvals.db*"))
    assert b"Pay 5 to Anna?" not in left and b"Open the door?" in left


def test_sessions_that_are_too_old_take_their_questions_along(store: ApprovalStore, home: Path) -> None:
    ask(store)
    assert forget_sessions(None, ["sess_9"]) == 0 and len(store.find()) == 1

    async def main() -> None:
        keys = TranscriptKeys(store="sqlite", path=home / "transcripts.db", keep="1m")
        removed: list[str] = []

        def forget(sessions: Any) -> None:
            removed.extend(sessions)
            forget_sessions(None, sessions)

        async with TranscriptService(keys, on_removed=forget) as service:
            assert service.store is not None
            recorder = service.store.recorder("sess_1")
            await recorder.aclose()
            with service.store.database.changing() as connection:
                for table, column in (("entries", "at"), ("sessions", "started_at")):
                    connection.exec_driver_sql(f"UPDATE {table} SET {column} = '2020-01-01 00:00:00.000000'")
            # The service prunes by itself as it starts: two rounds at once report what is gone once.
            await asyncio.gather(asyncio.to_thread(service.prune), asyncio.to_thread(service.prune))
        assert removed == ["sess_1"]

    asyncio.run(main())
    assert store.find() == []
