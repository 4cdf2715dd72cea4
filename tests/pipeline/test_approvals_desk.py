"""Exactly one decision wins, in threads and in processes; questions survive a restart."""

import asyncio
import itertools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from antiphon.pipeline.errors import AlreadyDecided, ApprovalError, UnknownApproval
from antiphon.pipeline.policy import Approval, ApprovalDesk, ApprovalRequest, Decision
from antiphon.pipeline.policy.approval_store import ApprovalStore
from antiphon.pipeline.policy.desk import default_path

REQUEST = ApprovalRequest("s", 1, "Really?", tool="pay", arguments='{"n": 1}', run_state="kept")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "approvals.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[ApprovalStore]:
    opened = ApprovalStore(path, clock=clock)
    yield opened
    opened.close()


def ask(store: ApprovalStore, **more: Any) -> Approval:
    fields = {name: getattr(REQUEST, name) for name in REQUEST.__slots__} | more
    return store.open(ApprovalRequest(**fields), timeout_s=60, on_timeout="refuse")


def desk_in(path: Path, **more: Any) -> ApprovalDesk:
    return ApprovalDesk(path, **{"poll_s": 0.02, **more})


# ------------------------------------------------------------------------------------------- store


def test_a_question_is_kept_as_it_was_asked(store: ApprovalStore, path: Path) -> None:
    asked = ask(store)
    assert (asked.state, asked.expires_s, asked.decision) == ("pending", 1060.0, None)
    other = ApprovalStore(path, clock=lambda: 1000.0)
    assert other.get(asked.id) == asked
    other.close()
    assert asked.run_state == "kept" and "run_state" not in asked.to_dict()
    assert path.stat().st_mode & 0o077 == 0


def test_the_first_decision_stays(store: ApprovalStore) -> None:
    asked = ask(store)
    assert store.decide(asked.id, False, by="ann", channel="desk", note="no money").decision == Decision(
        False, "ann", "no money", asked.id
    )
    with pytest.raises(AlreadyDecided, match="refused before, by ann") as caught:
        store.decide(asked.id, True, by="bob", channel="desk")
    assert caught.value.state == "refused"
    assert store.claim(asked.id) and not store.claim(asked.id), "a decision is taken once"
    with pytest.raises(UnknownApproval):
        store.decide("appr_nope", True, by="bob", channel="desk")


@pytest.mark.parametrize(("default", "state"), [("refuse", "refused"), ("grant", "granted")])
def test_a_late_yes_loses_even_if_nobody_waits(store: ApprovalStore, clock: Clock, default: Any, state: str) -> None:
    asked = ask(store, timeout_s=5, on_timeout=default)
    clock.now_s += 5
    with pytest.raises(AlreadyDecided):
        store.decide(asked.id, True, by="ann", channel="desk")
    settled = store.get(asked.id)
    assert (settled.state, settled.decided_by, settled.decided_s) == (state, "timeout", 1005.0)


def test_listing_settles_what_is_due(store: ApprovalStore, clock: Clock) -> None:
    first, second = ask(store, timeout_s=5), ask(store, session="t")
    clock.now_s += 6
    assert [a.id for a in store.find(states=("pending",))] == [second.id]
    assert [a.id for a in store.find(session="s")] == [first.id]
    assert {a.state for a in store.find()} == {"pending", "refused"}


def test_who_may_decide(store: ApprovalStore) -> None:
    voice = ask(store, by="voice")
    with pytest.raises(ApprovalError, match="not for the desk"):
        store.decide(voice.id, True, by="ann", channel="desk")
    assert store.decide(voice.id, True, by="voice", channel="voice").state == "granted"
    with pytest.raises(ApprovalError, match="not for the voice"):
        store.decide(ask(store, by="desk").id, True, by="voice", channel="voice")


def test_cancelling_takes_back_a_yes_that_nobody_took(store: ApprovalStore) -> None:
    open_, granted, taken, other = ask(store), ask(store), ask(store), ask(store, turn=2)
    for approval in (granted, taken):
        store.decide(approval.id, True, by="ann", channel="desk")
    assert store.claim(taken.id)
    assert store.cancel(by="barge_in", session="s", turn=1) == 2
    states = [store.get(a.id).state for a in (open_, granted, taken, other)]
    assert states == ["cancelled", "cancelled", "granted", "pending"]
    assert not store.claim(granted.id)
    assert store.cancel(by="admin", approval_id=other.id) == 1


def test_a_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    bad = tmp_path / "bad.db"
    bad.write_bytes(b"this is no database, " * 100)
    with pytest.raises(ApprovalError, match=r"bad\.db' cannot be used") as caught:
        ApprovalStore(bad)
    assert "approvals.store" in caught.value.hint


def test_a_newer_file_is_left_alone(path: Path, store: ApprovalStore) -> None:
    with store._transaction() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 99")
    with pytest.raises(ApprovalError, match="newer version"):
        ApprovalStore(path)


def test_of_many_threads_one_wins(store: ApprovalStore) -> None:
    for round_ in range(10):
        asked = ask(store)
        start = threading.Barrier(8)

        def decide(number: int, asked: Approval = asked, start: threading.Barrier = start) -> str | None:
            start.wait()
            try:
                if number == 7:
                    return "cancelled" if store.cancel(by="barge_in", approval_id=asked.id) else None
                return store.decide(asked.id, number % 2 == 0, by=str(number), channel="desk").state
            except AlreadyDecided:
                return None

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(decide, range(8)))
        final = store.get(asked.id).state
        won = [result for result in results if result is not None]
        # A cancellation may take back a yes that nobody has acted on; it is then the one that stays.
        assert won in ([final], ["granted", "cancelled"]), (round_, results)
        assert final == won[-1]


def test_of_many_that_take_a_yes_or_cancel_it_one_wins(store: ApprovalStore) -> None:
    for _ in range(10):
        asked = ask(store)
        store.decide(asked.id, True, by="ann", channel="desk")
        start = threading.Barrier(6)

        def act(number: int, asked: Approval = asked, start: threading.Barrier = start) -> bool:
            start.wait()
            return store.cancel(by="barge_in", approval_id=asked.id) == 1 if number == 0 else store.claim(asked.id)

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(act, range(6))) == 1


_CHILD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from antiphon.pipeline.errors import AlreadyDecided
    from antiphon.pipeline.policy.approval_store import ApprovalStore
    store = ApprovalStore(Path(sys.argv[1]))
    print("ready", flush=True)
    for approval_id in sys.stdin.readline().split():
        try:
            state = store.decide(approval_id, sys.argv[2] == "yes", by=sys.argv[2], channel="desk").state
        except AlreadyDecided:
            state = "lost"
        print(state, "took" if store.claim(approval_id) else "-", flush=True)
    """
)


def children(path: Path, answers: list[str]) -> list["subprocess.Popen[str]"]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path), answer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        for answer in answers
    ]


def test_of_several_processes_one_decides_and_one_acts(path: Path) -> None:
    """They also all open a file that is not there yet."""
    running = children(path, ["yes", "no", "yes"])
    for child in running:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    store = ApprovalStore(path)
    ids = [ask(store).id for _ in range(20)]
    for child in running:
        assert child.stdin is not None
        child.stdin.write(" ".join(ids) + "\n")
        child.stdin.flush()
    lines = [child.communicate(timeout=300)[0].splitlines() for child in running]
    for index, approval_id in enumerate(ids):
        answers = [line[index].split() for line in lines]
        assert sorted(state != "lost" for state, _ in answers) == [False, False, True]
        final = store.get(approval_id)
        assert [state for state, _ in answers if state != "lost"] == [final.state]
        assert sum(took == "took" for _, took in answers) == 1
        assert final.claimed_s is not None, "a refusal is acted on too: it is told"
    store.close()


# -------------------------------------------------------------------------------------------- desk


async def open_question(desk: ApprovalDesk) -> str:
    while True:
        if found := await desk.find(states=("pending",)):
            return found[0].id
        await asyncio.sleep(0.005)


def test_a_grant_in_this_process_wakes_the_one_who_waits(path: Path) -> None:
    async def check() -> None:
        desk = desk_in(path, poll_s=30.0)  # polling alone would be too late
        asking = asyncio.create_task(desk.ask(REQUEST))
        approval_id = await open_question(desk)
        await desk.grant(approval_id, by="ann", note="fine")
        assert await asyncio.wait_for(asking, 60) == Decision(True, "ann", "fine", approval_id)
        assert (await desk.get(approval_id)).claimed_s is not None
        desk.close()

    asyncio.run(check())


def test_a_refusal_in_another_process_is_seen(path: Path) -> None:
    async def check() -> None:
        desk = desk_in(path)
        asking = asyncio.create_task(desk.ask(REQUEST))
        approval_id = await open_question(desk)
        (child,) = children(path, ["no"])
        await asyncio.to_thread(child.communicate, f"{approval_id}\n", 60)
        decision = await asyncio.wait_for(asking, 60)
        assert (decision.granted, decision.by, decision.approval_id) == (False, "no", approval_id)
        desk.close()

    asyncio.run(check())


def test_time_decides_by_the_default(path: Path) -> None:
    async def check() -> None:
        desk = desk_in(path, timeout_s=0.03)
        refused = await desk.ask(REQUEST)
        assert (refused.granted, refused.by) == (False, "timeout")
        granted = await desk.ask(ApprovalRequest("s", 1, "?", on_timeout="grant"))
        assert (granted.granted, granted.by) == (True, "timeout")
        desk.close()

    asyncio.run(check())


@pytest.mark.parametrize(("answer", "granted"), [(True, True), (False, False)])
def test_a_callback_decides(path: Path, answer: bool, granted: bool) -> None:
    async def decide(approval: Approval) -> bool:
        assert approval.arguments == '{"n": 1}'
        return answer

    async def check() -> None:
        desk = desk_in(path, callback=decide)
        decision = await desk.ask(REQUEST)
        assert (decision.granted, decision.by) == (granted, "callback")
        desk.close()

    asyncio.run(check())


def test_a_callback_that_breaks_or_does_not_know_leaves_it_open(path: Path) -> None:
    answers: Iterator[Any] = itertools.cycle([None, ValueError("broken")])

    def decide(approval: Approval) -> None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer

    async def check() -> None:
        desk = desk_in(path, callback=decide, timeout_s=0.05)
        assert [(await desk.ask(REQUEST)).by for _ in range(2)] == ["timeout", "timeout"]
        desk.close()

    asyncio.run(check())


def test_a_cancelled_turn_refuses_and_a_late_grant_loses(path: Path) -> None:
    async def check() -> None:
        desk = desk_in(path)
        asking = asyncio.create_task(desk.ask(REQUEST))
        approval_id = await open_question(desk)
        assert await desk.cancel_turn("s", 1, by="barge_in") == 1
        decision = await asyncio.wait_for(asking, 60)
        assert (decision.granted, decision.by) == (False, "barge_in")
        with pytest.raises(AlreadyDecided):
            await desk.grant(approval_id, by="ann")
        desk.close()

    asyncio.run(check())


def test_grant_against_barge_in_has_one_winner(path: Path) -> None:
    async def check() -> None:
        desk = desk_in(path)
        seen = set()
        for round_ in range(30):
            asking = asyncio.create_task(desk.ask(REQUEST))
            approval_id = await open_question(desk)
            steps = [desk.grant(approval_id, by="ann"), desk.cancel_turn("s", 1, by="barge_in")]
            if round_ % 2:
                steps.reverse()
            await asyncio.gather(*steps, return_exceptions=True)
            decision = await asyncio.wait_for(asking, 60)
            final = await desk.get(approval_id)
            # What the asker was told is what is written, and it acts only if the yes is its own.
            assert decision.granted == (final.state == "granted") == (final.claimed_s is not None)
            seen.add(final.state)
        assert seen <= {"granted", "cancelled"}
        desk.close()

    asyncio.run(check())


def test_after_a_restart_the_question_is_still_there_and_is_acted_on_once(path: Path) -> None:
    async def before() -> str:
        desk = desk_in(path)
        asking = asyncio.create_task(desk.ask(REQUEST))
        approval_id = await open_question(desk)
        asking.cancel()  # the process ends: nobody withdrew the question
        await asyncio.wait([asking])
        desk.close()
        return approval_id

    approval_id = asyncio.run(before())
    (child,) = children(path, ["later"])  # a third word: refuses at the desk
    child.kill()
    child.communicate()

    async def after() -> None:
        desk = desk_in(path)
        (left,) = await desk.unfinished("s")
        assert (left.id, left.run_state, left.state) == (approval_id, "kept", "pending")
        await desk.grant(approval_id, by="ann")
        assert [a.id for a in await desk.unfinished("s")] == [approval_id]
        decisions = await asyncio.gather(desk.settled(approval_id), desk.settled(approval_id))
        assert sorted(decision.granted for decision in decisions) == [False, True]
        assert await desk.unfinished("s") == []
        desk.close()

    asyncio.run(after())


def test_looking_for_nothing_makes_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    assert ApprovalDesk().path == default_path() == tmp_path / "approvals.db"
    assert not default_path().exists()


def test_without_its_package_the_desk_names_the_extra(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.delitem(sys.modules, "antiphon.pipeline.policy.approval_store", raising=False)
    with pytest.raises(ApprovalError) as caught:
        asyncio.run(ApprovalDesk(path).open(REQUEST))
    assert caught.value.hint == 'pip install "antiphon[memory]"'
