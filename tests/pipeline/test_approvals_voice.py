"""Questions that are asked aloud, and what the answers mean."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from antiphon.pipeline.agent.contracts import ApprovalNeeded
from antiphon.pipeline.policy import Approval, ApprovalDesk, ApprovalRequest, Decision, SessionApprovals
from antiphon.pipeline.policy.spoken_answer import READERS, read_answer, read_english


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Yes.", "yes"),
        ("Yeah, go ahead.", "yes"),
        ("Sure, please do.", "yes"),
        ("okay", "yes"),
        ("Mm-hmm.", "yes"),
        ("Absolutely, thank you.", "yes"),
        ("Of course.", "yes"),
        ("That's right.", "yes"),
        ("No problem, go ahead.", "yes"),
        ("Go ahead and make the transfer", "yes"),
        ("No.", "no"),
        ("No, don't.", "no"),
        ("Don't do it.", "no"),
        ("Please do not go ahead", "no"),
        ("Not now.", "no"),
        ("Wait, no.", "no"),
        ("Of course not.", "no"),
        ("Cancel that.", "no"),
        ("I don't think so.", "no"),
        ("You can't do that", "no"),
        ("Yes, but change the amount.", "unclear"),
        ("Yes, two hundred.", "unclear"),
        ("Yes, to Berta.", "unclear"),
        ("Yes no.", "unclear"),
        ("No, I mean yes", "unclear"),
        ("Yes?", "unclear"),
        ("I don't know.", "unclear"),
        ("I'm not sure.", "unclear"),
        ("What?", "unclear"),
        ("If you think so", "unclear"),
        ("What's the weather like?", "unclear"),
        ("Hmm.", "unclear"),
        ("", "unclear"),
        ("yes " * 20, "unclear"),
    ],
)
def test_english_answers(text: str, meaning: str) -> None:
    assert read_english(text) == meaning
    assert read_answer(text, "en-US") == read_answer(text) == meaning


def test_other_languages_have_a_hook() -> None:
    assert read_answer("Ja.", "de") == "unclear"
    readers = {**READERS, "de": lambda text: "yes" if text.startswith("Ja") else "unclear"}
    assert read_answer("Ja.", "de-AT", readers) == "yes"


@dataclass
class Scene:
    """A session's side of the desk: what it said, and what changed."""

    desk: ApprovalDesk
    spoken: list[str] = field(default_factory=list)
    changes: list[tuple[str, str]] = field(default_factory=list)
    approvals: SessionApprovals = None  # type: ignore[assignment]

    async def speak(self, text: str) -> None:
        self.spoken.append(text)

    def on_change(self, approval: Approval) -> None:
        self.changes.append((approval.id, approval.state))

    async def said(self, count: int) -> None:
        while len(self.spoken) < count:  # noqa: ASYNC110 - the words come from the code under test
            await asyncio.sleep(0.002)


Story = Callable[[Scene], Coroutine[Any, Any, None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def inside() -> None:
            scene = Scene(ApprovalDesk(tmp_path / "approvals.db", poll_s=0.02, timeout_s=30))
            scene.approvals = SessionApprovals(
                scene.desk,
                speak=scene.speak,
                unclear_line="Yes or no?",
                waiting_line="Wait.",
                on_change=scene.on_change,
            )
            async with asyncio.timeout(60):
                await story(scene)
            scene.desk.close()

        asyncio.run(inside())

    return run


def request(by: Any = "any", **more: Any) -> ApprovalRequest:
    return ApprovalRequest("s", 1, "Shall I pay?", by=by, **more)


@pytest.mark.parametrize(("answer", "granted"), [("Yes, please.", True), ("No!", False)])
def test_the_next_words_decide(play: Any, answer: str, granted: bool) -> None:
    async def story(scene: Scene) -> None:
        asking = asyncio.create_task(scene.approvals.ask(request("voice")))
        await scene.said(1)
        assert scene.spoken == ["Shall I pay?"] and scene.approvals.awaits_voice
        assert await scene.approvals.hear(answer)
        decision = await asking
        assert (decision.granted, decision.by) == (granted, "voice")
        assert not scene.approvals.awaits_voice
        assert not await scene.approvals.hear("Yes.")
        assert [state for _, state in scene.changes] == ["pending", "granted" if granted else "refused"]

    play(story)


def test_an_unclear_answer_is_asked_about_once(play: Any) -> None:
    async def story(scene: Scene) -> None:
        asking = asyncio.create_task(scene.approvals.ask(request("voice")))
        await scene.said(1)
        assert await scene.approvals.hear("What's the time?")
        await scene.said(2)
        assert scene.spoken == ["Shall I pay?", "Yes or no?"]
        assert not await scene.approvals.hear("What's the time?")  # a turn like any other
        decision = await asking
        assert (decision.granted, decision.note) == (False, "the answer was unclear")

    play(story)


def test_where_the_desk_may_decide_too_it_stays_open_after_unclear_answers(play: Any) -> None:
    async def story(scene: Scene) -> None:
        asking = asyncio.create_task(scene.approvals.ask(request()))
        await scene.said(1)
        assert await scene.approvals.hear("hm")
        assert not await scene.approvals.hear("hm")
        (open_,) = await scene.desk.find(states=("pending",))
        await scene.desk.grant(open_.id, by="ann")
        assert (await asking).by == "ann"

    play(story)


def test_the_desk_alone_decides_where_policy_says_so(play: Any) -> None:
    async def story(scene: Scene) -> None:
        asking = asyncio.create_task(scene.approvals.ask(request("desk")))
        await scene.said(1)
        assert scene.spoken == ["Wait."] and not scene.approvals.awaits_voice
        assert not await scene.approvals.hear("Yes.")
        (open_,) = await scene.desk.find(states=("pending",))
        await scene.desk.refuse(open_.id, by="ann")
        assert not (await asking).granted

    play(story)


def test_a_spoken_yes_after_the_desks_no_changes_nothing(play: Any) -> None:
    async def story(scene: Scene) -> None:
        asking = asyncio.create_task(scene.approvals.ask(request()))
        await scene.said(1)
        (open_,) = await scene.desk.find(states=("pending",))
        _, taken = await asyncio.gather(scene.desk.refuse(open_.id, by="ann"), scene.approvals.hear("Hm"))
        assert taken
        await scene.approvals.hear("Yes.")
        assert (await asking).by == "ann" and (await scene.desk.get(open_.id)).state == "refused"

    play(story)


def test_one_question_aloud_at_a_time(play: Any) -> None:
    async def story(scene: Scene) -> None:
        first = asyncio.create_task(scene.approvals.ask(request("voice")))
        await scene.said(1)
        second = asyncio.create_task(scene.approvals.ask(ApprovalRequest("s", 1, "And the rest?", by="voice")))
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert scene.spoken == ["Shall I pay?"]
        await scene.approvals.hear("Yes.")
        assert (await first).granted
        await scene.said(2)
        await scene.approvals.hear("No.")
        assert not (await second).granted and scene.spoken[1] == "And the rest?"

    play(story)


def test_an_interrupted_turn_withdraws_its_question(play: Any) -> None:
    async def story(scene: Scene) -> None:
        asking = asyncio.create_task(scene.approvals.ask(request("voice")))
        await scene.said(1)
        await scene.approvals.interrupted(1, "s")
        decision = await asking
        assert (decision.granted, decision.by) == (False, "barge_in")
        assert scene.changes[-1][1] == "cancelled"

    play(story)


def test_a_session_that_ends_leaves_its_question_open(play: Any) -> None:
    async def story(scene: Scene) -> None:
        asking = asyncio.create_task(scene.approvals.ask(request()))
        await scene.said(1)
        asking.cancel()
        await asyncio.wait([asking])
        assert not scene.approvals.awaits_voice
        (left,) = await scene.desk.unfinished("s")
        resumed = asyncio.create_task(scene.approvals.resume(left.id))
        await scene.said(2)
        assert scene.spoken[1] == "Shall I pay?"
        await scene.approvals.hear("Yes, go ahead.")
        assert (await resumed).granted

    play(story)


def test_an_agents_call_is_stored_with_its_runs_state(play: Any) -> None:
    def call(state: Callable[[], Any]) -> ApprovalNeeded:
        return ApprovalNeeded("c1", "make_transfer", '{"n": 1}', "Bank", "s", 1, state)

    def broken() -> Any:
        raise TypeError("no JSON")

    async def story(scene: Scene) -> None:
        for state, kept in ((lambda: {"step": 3}, {"step": 3}), (broken, None)):
            asking = asyncio.create_task(scene.approvals.approve(call(state)))
            await scene.said(len(scene.spoken) + 1)
            (open_,) = await scene.desk.find(states=("pending",))
            assert (open_.tool, open_.call_id, open_.arguments) == ("make_transfer", "c1", '{"n": 1}')
            assert open_.question == scene.spoken[-1] == "Shall I go ahead with make transfer?"
            assert (json.loads(open_.run_state) if open_.run_state else None) == kept
            await scene.approvals.hear("yes")
            assert await asking is True

    play(story)


def test_without_a_voice_only_the_desk_decides(tmp_path: Path) -> None:
    async def run() -> None:
        desk = ApprovalDesk(tmp_path / "a.db", callback=lambda approval: True)
        assert (await SessionApprovals(desk).ask(request())).granted
        desk.close()

    asyncio.run(run())


def test_a_yes_from_before_a_restart_holds_once_and_for_its_own_call_alone(play: Any) -> None:
    same = request("voice", call_id="c1", arguments='{"n": 5}')
    other = request("voice", call_id="c1", arguments='{"n": 500}')

    async def asked(scene: Scene, what: ApprovalRequest, answer: str) -> Decision:
        before = len(scene.spoken)
        asking = asyncio.create_task(scene.approvals.ask(what))
        await scene.said(before + 1)
        assert await scene.approvals.hear(answer)
        return await asking

    async def story(scene: Scene) -> None:
        first = await asked(scene, same, "Yes.")
        scene.approvals.vouch(await scene.desk.find())
        assert not (await asked(scene, other, "No.")).granted
        assert (await scene.approvals.ask(same)).approval_id == first.approval_id and len(scene.spoken) == 2
        assert not (await asked(scene, same, "No.")).granted, "another call with the same words"

    play(story)
