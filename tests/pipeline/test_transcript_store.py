"""The store: what is written comes back, in order, as turns, calls and a conversation; and erasure leaves nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from transcript_events import Talk, sqlite_store, tell

from antiphon.engines.testing import run_virtual
from antiphon.pipeline.events import Event, Interrupted, Spoken, Timings, TranscriptEvent
from antiphon.pipeline.transcript import (
    Recorder,
    SessionErased,
    SessionExists,
    TranscriptError,
    TranscriptStore,
    TranscriptStoreError,
    TranscriptWriteFailed,
    UnknownSession,
    migrations,
)
from antiphon.pipeline.transcript.reading import UNKNOWN_RESULT
from antiphon.pipeline.transcript.rows import Row, clean
from antiphon.pipeline.transcript.schema import Base
from antiphon.pipeline.transcript.writer import Writer


def record(store: TranscriptStore, *events: Event, session: str = "sess_a", **options: Any) -> None:
    """Write a whole session."""

    async def main() -> None:
        recorder = store.recorder(session, **options)
        tell(recorder, *events)
        await recorder.aclose()

    asyncio.run(main())


# ------------------------------------------------------------------------------------ written and read


def test_a_conversation_comes_back_as_it_was(tmp_path: Path) -> None:
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(
            store,
            *talk.asks("What time is it?"),
            talk.calls("clock", '{"zone": "here"}'),
            talk.gives("noon"),
            *talk.says("It is noon. Anything else?", heard="It is noon."),
            talk.ends("It is noon. Anything else?", status="interrupted"),
            *talk.whole_turn(2, "No.", "Goodbye."),
            person="alice",
            config={"llm": "tiny"},
        )
        first, second = store.turns("sess_a")
        info = store.session("sess_a")
        items = list(store.conversation("sess_a"))
    assert (first.user, first.heard, first.unheard) == ("What time is it?", "It is noon.", " Anything else?")
    assert (first.status, second.status, second.heard) == ("interrupted", "completed", "Goodbye.")
    assert [(call.name, call.arguments, call.output) for call in first.calls] == [("clock", '{"zone": "here"}', "noon")]
    assert {one.unit: one.amount for one in first.usage} == {"input_tokens": 40, "output_tokens": 7}
    assert first.response_ms == pytest.approx(600)
    assert (
        first.timings.keys()
        == {"speech_end_s", "commit_s", "audible_s"}
        < {field.name for field in dataclasses.fields(Timings)}
    )
    assert (info.turns, info.person, info.ended, dict(info.config)) == (2, "alice", True, {"llm": "tiny"})
    assert [(item.kind, item.role, item.text) for item in items] == [
        ("message", "user", "What time is it?"),
        ("function_call", "user", ""),
        ("function_call_output", "user", "noon"),
        ("message", "assistant", "It is noon."),
        ("message", "user", "No."),
        ("message", "assistant", "Goodbye."),
    ]
    assert items[3].unheard == " Anything else?" and items[3].interrupted and not items[5].interrupted


def test_every_record_has_its_number_and_its_time(tmp_path: Path) -> None:
    talk = Talk()
    before = datetime.now(UTC)
    with sqlite_store(tmp_path) as store:
        record(store, *talk.whole_turn(1, "Hello?", "Hi."))
        records = store.records("sess_a")
    numbers = [one.seq for one in records]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1)), "none is missing"
    assert numbers == sorted(numbers)
    assert all(before - timedelta(seconds=1) <= one.at <= datetime.now(UTC) for one in records)
    assert [one.audio_s for one in records if one.kind == "speech_started"] == [pytest.approx(0.1)]
    assert records[-1].kind == "session_ended"


def test_what_was_heard_in_mid_speech_is_kept_only_if_wanted(tmp_path: Path) -> None:
    with sqlite_store(tmp_path) as store:
        record(store, *Talk("sess_a").asks("What time?"))
        record(store, *Talk("sess_b").asks("What time?"), session="sess_b", partials=True)
        said = {
            name: [one.data["text"] for one in store.records(name) if one.kind == "transcript"]
            for name in ("sess_a", "sess_b")
        }
        assert {len(store.turns(name)) for name in said} == {1}
        assert store.turns("sess_b")[0].user == "What time?"
    assert said == {"sess_a": ["What time?"], "sess_b": ["What ", "What time?"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Novelty(Event):
    type: ClassVar[str] = "novelty"
    text: str
    things: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked(Event):
    type: ClassVar[str] = "approval"
    approval_id: str
    state: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDecided(Event):
    type: ClassVar[str] = "policy_decision"
    gate: str
    check: str
    decision: str
    detail: dict[str, Any]


def test_events_of_kinds_to_come_are_kept_too(tmp_path: Path) -> None:
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(
            store,
            talk.make(Novelty, text="new", things=(1, {"a": Path("b")}, float("nan"))),
            talk.make(ApprovalAsked, approval_id="a1", state="asked", why="money"),
            talk.make(PolicyDecided, gate="text", check="pii", decision="rewrite", detail={"n": 2}),
        )
        novelty, approval, policy, _ = store.records("sess_a")
        with store.database.reading() as connection:
            states = list(connection.execute(sa.text("SELECT approval_id, state FROM approvals")))
    assert (novelty.kind, dict(novelty.data)) == ("novelty", {"things": [1, {"a": "b"}, None], "text": "new"})
    assert (approval.kind, approval.data["why"]) == ("approval", "money")
    assert (policy.data["check"], policy.data["detail"]) == ("pii", {"n": 2})
    assert states == [("a1", "asked")]


def test_an_answer_that_was_taken_back_is_on_record_and_not_in_the_conversation(tmp_path: Path) -> None:
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(
            store,
            *talk.asks("I would like", revision=1),
            *talk.says("Yes?", revision=1),
            talk.drops("reopened", revision=1),
            *talk.asks("I would like a coffee", revision=2),
            *talk.says("With milk?", revision=2),
            talk.ends("With milk?", revision=2),
        )
        (turn,) = store.turns("sess_a")
        kept = [one.data["text"] for one in store.records("sess_a") if one.kind == "spoken"]
    assert (turn.user, turn.heard) == ("I would like a coffee", "With milk?")
    assert kept == ["Yes?", "With milk?"]


def test_what_was_about_to_be_played_when_the_process_died_counts_as_heard(tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("sess_a")
        tell(recorder, *talk.asks("Well?"))
        recorder.note_speaking("It is noon.", turn=1)
        await recorder.settled()

    with sqlite_store(tmp_path) as store:
        asyncio.run(main(store))
        (turn,) = store.turns("sess_a")
        info = store.session("sess_a")
        messages = store.conversation("sess_a").messages()
    assert (turn.heard, turn.status, info.ended) == ("It is noon.", "unfinished", False)
    assert [message.content for message in messages] == ["Well?", "It is noon."]


def test_an_interrupted_reply_is_parted_as_the_session_says(tmp_path: Path) -> None:
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(
            store,
            *talk.asks("Tell me."),
            talk.make(Spoken, text="One moment.", filler=True),
            *talk.says("One two three.")[:-1],
            talk.make(Interrupted, heard="One two three.", unheard=" Four."),
            talk.make(TranscriptEvent, role="assistant", text="One two three.", final=True),
            talk.ends("One two three. Four.", status="interrupted"),
            talk.make(Interrupted, heard="One two", unheard=" three. Four.", acknowledged=True),
        )
        (turn,) = store.turns("sess_a")
    assert (turn.heard, turn.unheard) == ("One two", " three. Four.")


def test_a_back_channel_is_on_record_and_not_in_the_conversation(tmp_path: Path) -> None:
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(
            store,
            *talk.whole_turn(1, "Tell me.", "A long story."),
            *talk.asks("Uh-huh.", turn=2),
            talk.drops("backchannel", turn=2),
            talk.ends("", turn=2, status="dismissed"),
        )
        turns = store.turns("sess_a")
        items = [item.text for item in store.conversation("sess_a")]
    assert [(turn.user, turn.status) for turn in turns] == [("Tell me.", "completed"), ("Uh-huh.", "dismissed")]
    assert items == ["Tell me.", "A long story."]


def test_an_answer_to_a_question_that_waits_is_part_of_the_conversation(tmp_path: Path) -> None:
    """Its turn is dismissed too, since nothing answers it; but nobody dropped it."""
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(store, *talk.asks("Pay."), *talk.asks("Yes.", turn=2), talk.ends("", turn=2, status="dismissed"))
        assert [item.text for item in store.conversation("sess_a")] == ["Pay.", "Yes."]


def test_what_is_said_outside_of_turns_has_its_place_among_them(tmp_path: Path) -> None:
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(
            store,
            *talk.says("Welcome.", turn=0),
            *talk.whole_turn(1, "Hello?", "Hi."),
            *talk.says("Are you there?", turn=0),
            *talk.says("Still there?", turn=0),
            *talk.whole_turn(2, "Yes.", "Good."),
        )
        items = list(store.conversation("sess_a"))
        numbers = [turn.turn for turn in store.turns("sess_a")]
    said = ["Welcome.", "Hello?", "Hi.", "Are you there?", "Still there?", "Yes.", "Good."]
    assert [item.text for item in items] == said and numbers == [0, 1, 0, 0, 2]


# ------------------------------------------------------------------------------------ tools in doubt


def test_a_call_without_a_result_is_in_doubt(tmp_path: Path) -> None:
    talk, other = Talk("sess_a"), Talk("sess_b")
    with sqlite_store(tmp_path) as store:
        record(
            store,
            *talk.asks("Pay."),
            talk.calls("pay", "{}", call_id="1"),
            talk.gives("paid", "pay", call_id="1"),
            talk.calls("pay", '{"again": true}', turn=2, call_id="1"),  # engines count anew in each turn
        )
        record(store, *other.asks("Time?"), other.calls("clock"), other.gives("noon"), session="sess_b")
        (call,) = store.in_doubt("sess_a")
        assert store.in_doubt() == [call]
        assert store.in_doubt("sess_b") == []
        outputs = [item.text for item in store.conversation("sess_a") if item.kind == "function_call_output"]
    assert (call.turn, call.arguments, call.in_doubt) == (2, '{"again": true}', True)
    assert outputs == ["paid", UNKNOWN_RESULT]


def test_a_result_that_comes_in_a_later_turn_finds_its_call(tmp_path: Path) -> None:
    talk = Talk()
    with sqlite_store(tmp_path) as store:
        record(store, talk.calls("search", turn=1), *talk.whole_turn(2, "And?", "Wait."), talk.gives("found", turn=3))
        assert store.in_doubt() == []
        assert [call.output for turn in store.turns("sess_a") for call in turn.calls] == ["found"]


# ------------------------------------------------------------------------------------ resuming


def test_a_session_goes_on_where_earlier_ones_ended(tmp_path: Path) -> None:
    first, second = Talk("one"), Talk("two")
    with sqlite_store(tmp_path) as store:
        record(store, *first.whole_turn(1, "I am Ada.", "Hello Ada."), session="one")
        record(store, *second.whole_turn(1, "Who am I?", "Ada."), session="two", resumed_from="one")
        items = list(store.conversation("two"))
        store.erase(session="one")
        rest = [item.text for item in store.conversation("two")]
    assert [(item.text, item.turn) for item in items] == [
        ("I am Ada.", 0),
        ("Hello Ada.", 0),
        ("Who am I?", 0),
        ("Ada.", 0),
    ]
    assert rest == ["Who am I?", "Ada."]


# ------------------------------------------------------------------------------------ the barrier


def test_settled_means_committed(tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore, path: Path) -> None:
        recorder = store.recorder("sess_a")
        for turn in range(1, 30):
            recorder(talk.make(TranscriptEvent, turn, role="user", text=f"number {turn}", final=True))
            await recorder.settled()
            with sqlite3.connect(path) as another:
                found = another.execute("SELECT count(*) FROM entries").fetchone()
            another.close()
            assert found == (turn,)

    with sqlite_store(tmp_path) as store:
        asyncio.run(main(store, tmp_path / "transcripts.db"))


def test_sessions_on_a_virtual_clock_wait_for_the_real_thread(tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore) -> float:
        recorder = store.recorder("sess_a")
        tell(recorder, *talk.whole_turn(1, "Hello?", "Hi."))
        async with asyncio.timeout(0.001):
            await recorder.settled()
        return asyncio.get_running_loop().time()

    with sqlite_store(tmp_path) as store:
        assert run_virtual(main(store)) == 0.0
        assert len(store.turns("sess_a")) == 1


def test_many_sessions_write_at_once(tmp_path: Path) -> None:
    async def one(store: TranscriptStore, number: int) -> None:
        talk = Talk(f"sess_{number}")
        recorder = store.recorder(talk.session)
        for turn in range(1, 6):
            tell(recorder, *talk.whole_turn(turn, f"{number}?", f"{turn}."))
            await recorder.settled()
        await recorder.aclose()

    async def main(store: TranscriptStore) -> None:
        await asyncio.gather(*(one(store, number) for number in range(20)))

    with sqlite_store(tmp_path) as store:
        asyncio.run(main(store))
        infos = store.sessions()
    assert len(infos) == 20 and {info.turns for info in infos} == {5} and all(info.ended for info in infos)


class Flaky:
    """A commit that fails while `broken`; keeps what it wrote."""

    def __init__(self) -> None:
        self.broken = True
        self.tries = 0
        self.written: list[Row] = []

    def __call__(self, rows: Any) -> dict[str, TranscriptError]:
        self.tries += 1
        if self.broken:
            raise TranscriptWriteFailed("the disk is full")
        self.written.extend(rows)
        return {}


def test_a_store_that_fails_stops_the_session_and_loses_nothing() -> None:
    flaky = Flaky()
    talk = Talk()

    async def main() -> None:
        writer = Writer(flaky, retry_s=0.01)
        writer.start()
        recorder = Recorder(writer, "sess_a")
        tell(recorder, *talk.whole_turn(1, "Hello?", "Hi."))
        with pytest.raises(TranscriptWriteFailed, match="the disk is full") as raised:
            await recorder.settled()
        assert raised.value.waiting > 5
        flaky.broken = False
        tell(recorder, *talk.whole_turn(2, "Again?", "Yes."))
        await recorder.settled()
        assert writer.close() == 0

    asyncio.run(main())
    assert flaky.tries >= 2
    numbers = [row.values["seq"] for row in flaky.written[1:]]
    assert flaky.written[0].table == "sessions" and numbers == sorted(numbers)
    assert set(numbers) == set(range(1, max(numbers) + 1))


def test_a_session_may_go_on_without_a_record_but_not_in_silence() -> None:
    flaky = Flaky()
    warnings: list[tuple[str, str]] = []
    talk = Talk()

    async def main() -> int:
        writer = Writer(flaky, retry_s=0.01)
        writer.start()
        recorder = Recorder(writer, "s", on_failure="continue", warn=lambda code, text: warnings.append((code, text)))
        for turn in range(1, 4):
            tell(recorder, *talk.asks("Hello?", turn))
            await recorder.settled()
        return writer.close()

    assert asyncio.run(main()) == 13  # the session, and four rows a turn
    assert [code for code, _ in warnings] == ["transcript_failed"] and "the disk is full" in warnings[0][1]


def test_a_session_that_goes_on_regardless_does_not_wait_for_each_try() -> None:
    tries = 0
    hanging = threading.Event()

    def commit(rows: Any) -> dict[str, TranscriptError]:
        nonlocal tries
        tries += 1
        if tries > 1:
            hanging.wait()
        if tries < 3:
            raise TranscriptWriteFailed("the server is gone")
        return {}

    async def main() -> None:
        writer = Writer(commit, retry_s=0.01)
        writer.start()
        recorder = Recorder(writer, "s", on_failure="continue")
        for _ in range(5):
            await recorder.settled()  # while the second try hangs
        hanging.set()
        while writer.failing:  # noqa: ASYNC110 (what a thread does)
            await asyncio.sleep(0.01)
        await recorder.settled()
        assert writer.close() == 0

    asyncio.run(main())


def test_what_a_store_cannot_hold_is_told() -> None:
    flaky = Flaky()
    talk = Talk()

    async def main() -> None:
        writer = Writer(flaky, max_waiting=6, retry_s=0.01)
        writer.start()
        recorder = Recorder(writer, "sess_a")
        tell(recorder, *talk.whole_turn(1, "Hello?", "Hi."))
        flaky.broken = False
        await asyncio.sleep(0.05)
        with pytest.raises(TranscriptWriteFailed, match="records of this session were lost"):
            await recorder.settled()
        writer.close()

    asyncio.run(main())


def test_a_locked_database_is_waited_for_and_then_named(tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore, other: sqlite3.Connection) -> None:
        recorder = store.recorder("sess_a")
        await recorder.settled()
        other.execute("BEGIN IMMEDIATE")
        tell(recorder, *talk.asks("Hello?"))
        with pytest.raises(TranscriptWriteFailed, match=r"transcripts\.db: cannot be written: database is locked"):
            await recorder.settled()
        other.execute("ROLLBACK")
        await recorder.settled()

    with sqlite_store(tmp_path, busy_s=0.1) as store:
        other = sqlite3.connect(tmp_path / "transcripts.db", isolation_level=None)
        asyncio.run(main(store, other))
        other.close()
        assert store.turns("sess_a")[0].user == "Hello?"


def test_a_disk_that_is_full_is_named_and_lets_go_on_when_there_is_room(tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("sess_a")
        await recorder.settled()
        assert store._writer is not None
        limit = asyncio.Event()

        def shrink(on: bool) -> None:
            for raw in connections:
                raw.execute(f"PRAGMA max_page_count={1 if on else 1_000_000}")

        shrink(True)
        tell(recorder, *talk.asks("x" * 100_000))
        with pytest.raises(TranscriptWriteFailed, match="full"):
            await recorder.settled()
        shrink(False)
        await recorder.settled()
        limit.set()

    with sqlite_store(tmp_path) as store:
        connections: list[Any] = []
        sa.event.listen(store.database.engine, "checkout", lambda raw, *_: connections.append(raw))
        asyncio.run(main(store))
        assert len(store.turns("sess_a")[0].user) == 100_000


def test_an_id_that_was_recorded_before_is_refused(tmp_path: Path) -> None:
    talk = Talk()

    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("sess_a")
        tell(recorder, *talk.whole_turn(1, "Mine?", "No."))
        with pytest.raises(SessionExists, match="sess_a was recorded before"):
            await recorder.settled()

    with sqlite_store(tmp_path) as store:
        record(store, *talk.whole_turn(1, "First?", "Yes."))
        asyncio.run(main(store))
        assert [turn.user for turn in store.turns("sess_a")] == ["First?"]


def test_text_that_no_database_takes_is_mended() -> None:
    assert clean("a\x00b\ud800c") == "a\N{REPLACEMENT CHARACTER}b?c"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()), st.lists))
def test_whatever_comes_can_be_written_as_json(value: Any) -> None:
    json.dumps(clean(value), allow_nan=False).encode("ascii")


# ------------------------------------------------------------------------------------ opening


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    with sqlite_store(tmp_path):
        assert stat.S_IMODE((tmp_path / "transcripts.db").stat().st_mode) == 0o600


def test_the_store_writes_ahead_and_syncs_as_asked(tmp_path: Path) -> None:
    def pragma(store: TranscriptStore, name: str) -> Any:
        with store.database.reading() as connection:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

    with sqlite_store(tmp_path) as store:
        assert (pragma(store, "journal_mode"), pragma(store, "synchronous")) == ("wal", 1)
    with sqlite_store(tmp_path, durability="full") as store:
        assert pragma(store, "synchronous") == 2


def test_several_processes_make_the_store_together(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from antiphon.pipeline.transcript import open_store\n"
        "open_store(path=pathlib.Path(sys.argv[1])).close()\n"
    )
    path = tmp_path / "new" / "transcripts.db"
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    errors = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0] * 4, errors
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrations.HEAD,)]
    connection.close()


def test_threads_of_one_process_make_the_store_together(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            sqlite_store(tmp_path).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_migrations_make_what_the_models_say(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with sqlite_store(tmp_path) as store, store.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_revision_is_known_without_alembic() -> None:
    from alembic.script import ScriptDirectory

    assert ScriptDirectory.from_config(migrations.settings()).get_current_head() == migrations.HEAD


def test_a_store_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    sqlite_store(tmp_path).close()
    code = (
        "import sys, pathlib\n"
        "from antiphon.pipeline.transcript import open_store\n"
        "open_store(path=pathlib.Path(sys.argv[1])).close()\n"
        "assert 'sqlalchemy' in sys.modules and 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "transcripts.db")], check=True, timeout=300)


def test_a_newer_store_is_not_touched(tmp_path: Path) -> None:
    sqlite_store(tmp_path).close()
    with sqlite3.connect(tmp_path / "transcripts.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(TranscriptStoreError, match=r"newer version \(schema 9999\)"):
        sqlite_store(tmp_path)


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "transcripts.db").write_bytes(b"not a database, but long enough to look at" * 50)
    with pytest.raises(TranscriptStoreError, match=r"transcripts\.db: .*not a database"):
        sqlite_store(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TranscriptStoreError, match="cannot be made"):
        sqlite_store(tmp_path / "file")


def test_importing_needs_no_database_package() -> None:
    code = (
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('sqlalchemy', 'alembic', 'cryptography', 'psycopg'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from antiphon.pipeline.transcript import open_store\n"
        "from antiphon.engines.errors import EngineUnavailable\n"
        "try:\n    open_store()\nexcept EngineUnavailable as error:\n    print(error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == 'pip install "antiphon[memory]"\n'


# ------------------------------------------------------------------------------------ erasing


def traces(folder: Path, secret: bytes) -> list[str]:
    return [str(file) for file in folder.rglob("*") if file.is_file() and secret in file.read_bytes()]


def test_erasing_a_person_leaves_no_trace_of_what_was_said(tmp_path: Path) -> None:
    mine, theirs = Talk("mine"), Talk("theirs")
    with sqlite_store(tmp_path) as store:
        record(store, *mine.whole_turn(1, "My code is XYZZY-PLUGH.", "Noted."), session="mine", person="lovelace")
        record(store, *theirs.whole_turn(1, "Hello?", "Hi."), session="theirs", person="bob")
        recording = tmp_path / "recordings" / "mine.flac"
        recording.parent.mkdir()
        recording.write_bytes(b"sound")

        async def name_it() -> None:
            recorder = store.recorder("more", person="lovelace")
            recorder.note_audio("opened", "mine.flac", rate_hz=24000)
            await recorder.aclose()

        asyncio.run(name_it())
        assert traces(tmp_path, b"XYZZY")
        erased = store.erase(person="lovelace")
        assert not traces(tmp_path, b"XYZZY"), "before the store is closed"
        assert (set(erased.sessions), erased.files, erased.left) == ({"mine", "more"}, 1, ())
        assert erased.rows > 8 and not recording.exists()
        assert [info.id for info in store.sessions()] == ["theirs"]
        with pytest.raises(UnknownSession, match="the session mine was erased on 2"):
            store.session("mine")
        with store.database.reading() as connection:
            tombstones = connection.execute(sa.text("SELECT session, reason FROM erasures ORDER BY session")).all()
    assert tombstones == [("mine", "erased"), ("more", "erased")]
    assert not traces(tmp_path, b"XYZZY") and not traces(tmp_path, b"lovelace")


def test_a_session_that_is_erased_while_it_goes_on_stays_erased(tmp_path: Path) -> None:
    mine, other = Talk("mine"), Talk("other")

    async def main(store: TranscriptStore) -> None:
        recorder, second = store.recorder("mine"), store.recorder("other")
        tell(recorder, *mine.asks("Hello?"))
        await recorder.settled()
        store.erase(session="mine")
        tell(recorder, *mine.says("Hi."))
        tell(second, *other.asks("Me too?"))
        with pytest.raises(SessionErased, match="nothing more of it is kept"):
            await recorder.settled()
        await second.settled()

    with sqlite_store(tmp_path) as store:
        asyncio.run(main(store))
        assert [info.id for info in store.sessions()] == ["other"]
        assert store.turns("other")[0].user == "Me too?"


def test_a_recording_that_cannot_be_deleted_keeps_its_session(tmp_path: Path) -> None:
    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("mine")
        recorder.note_audio("opened", "stuck.flac", rate_hz=24000)
        recorder.note_audio("opened", "../outside.flac", rate_hz=24000)
        await recorder.aclose()

    (tmp_path / "outside.flac").write_bytes(b"not ours")
    with sqlite_store(tmp_path) as store:
        (store.recordings / "stuck.flac").mkdir(parents=True)
        asyncio.run(main(store))
        erased = store.erase(session="mine")
        assert erased.sessions == () and len(erased.left) == 2
        assert store.session("mine").audio_files == ("stuck.flac", "../outside.flac")
    assert (tmp_path / "outside.flac").exists()


def test_what_is_older_than_asked_goes(tmp_path: Path) -> None:
    with sqlite_store(tmp_path) as store:
        record(store, *Talk("old").whole_turn(1, "Old?", "Yes."), session="old")
        later = datetime.now(UTC) + timedelta(days=31)
        assert store.prune(timedelta(days=32), now=later).sessions == ()
        assert store.prune(timedelta(days=30), now=later).sessions == ("old",)
        with pytest.raises(UnknownSession, match="pruned"):
            store.session("old")


def test_recordings_may_go_before_the_words(tmp_path: Path) -> None:
    async def main(store: TranscriptStore) -> None:
        recorder = store.recorder("mine")
        tell(recorder, *Talk("mine").whole_turn(1, "Hello?", "Hi."))
        recorder.note_audio("opened", "mine.flac", rate_hz=24000)
        await recorder.aclose()

    with sqlite_store(tmp_path) as store:
        store.recordings.mkdir()
        (store.recordings / "mine.flac").write_bytes(b"sound")
        asyncio.run(main(store))
        gone = store.prune(timedelta(0), audio_only=True, now=datetime.now(UTC) + timedelta(seconds=1))
        assert (gone.files, os.listdir(store.recordings)) == (1, [])
        assert store.session("mine").audio_files == () and len(store.turns("mine")) == 1


def test_a_session_is_found_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    with sqlite_store(tmp_path) as store:
        for name in ("sess_abc", "sess_abd", "sess_x%"):
            record(store, session=name)
        assert store.find("sess_abc").id == "sess_abc"
        assert store.find("sess_x").id == "sess_x%"
        assert store.find("last").id == "sess_x%"
        with pytest.raises(UnknownSession, match="several sessions begin with 'sess_ab'"):
            store.find("sess_ab")
        with pytest.raises(UnknownSession, match="no session has the id 'sess_%'"):
            store.find("sess_%")
