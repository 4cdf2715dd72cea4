"""The record and the policy around a session's answers: scripted engines, a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sessions import Rig

from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Heard, Reply, ScriptedTTS, run_virtual
from antiphon.pipeline.events import Event
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.policy import Allow, ApprovalDesk, Ask, BoundCheck, Policy, SessionApprovals, as_check
from antiphon.pipeline.policy.verdicts import Block, Rewrite, Subject
from antiphon.pipeline.session_settings import SessionSettings
from antiphon.pipeline.workflow import ToolResult, TurnContext, WorkflowEvent


class Pen:
    """A journal on the virtual clock: what was noted is safe `lag_s` later."""

    def __init__(self, lag_s: float = 0.05, fails: bool = False) -> None:
        self.safe: list[str] = []
        self._noted: list[str] = []
        self._lag_s, self._fails = lag_s, fails

    def __call__(self, event: Event) -> None:
        if event.type in ("transcript", "tool_call", "tool_result"):
            self._noted.append(f"{event.type} {getattr(event, 'text', '') or getattr(event, 'name', '')}".strip())

    def note_speaking(self, text: str, *, turn: int, filler: bool = False) -> None:
        self._noted.append(f"speaking {text}")

    def overdue(self, error: AntiphonError) -> None:
        raise error

    async def settled(self) -> None:
        if self._fails:
            raise AntiphonError("the disk is full")
        noted, self._noted = self._noted, []
        await asyncio.sleep(self._lag_s)
        self.safe += noted


class Tool:
    """Calls one tool, then speaks of its result."""

    speculative = True

    def __init__(self, pen: Pen) -> None:
        self.pen = pen
        self.ran: list[tuple[str, list[str]]] = []
        self.refused: list[str] = []

    async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        call = ToolCall("c1", "lamp", '{"on": true}')
        permit = await turn.before_call(call)
        if permit.allowed:
            self.ran.append((permit.arguments, list(self.pen.safe)))
            yield call
            yield ToolResult("c1", "lamp", "done")
            yield "It is on."
        else:
            self.refused.append(permit.reason)
            yield "It stays off."


def session(
    *, guarding: Guarding, workflow: Any = None, llm: Any = "Fine.", said: str = "Lamp on.", **more: Any
) -> Rig:
    rig = Rig(
        [(0.5, 1.5)],
        seconds=6.0,
        stt=lambda call: Heard(said, 0.05),
        llm=lambda call: Reply([llm] if isinstance(llm, str) else llm),
        workflow=workflow,
        settings=SessionSettings(on_error="Sorry."),
        guarding=guarding,
        **more,
    )
    run_virtual(rig.run())
    return rig


def policy(**gates: Any) -> Policy:
    def bound(function: Any) -> tuple[BoundCheck, ...]:
        return (BoundCheck(function.__name__, as_check(function), 5.0, "closed", ""),)

    checks = {gate: bound(value) for gate, value in gates.items() if gate not in ("hold", "blocked_line")}
    return Policy(**checks, **{key: gates[key] for key in ("hold", "blocked_line") if key in gates})


def test_a_call_is_on_record_before_the_tool_runs_and_is_told_once() -> None:
    pen = Pen()
    tool = Tool(pen)
    rig = session(guarding=Guarding(journal=pen), workflow=tool, sinks=[pen])
    ((_, safe),) = tool.ran
    assert safe == ["transcript Lamp on.", "transcript Lamp on.", "tool_call lamp"]
    assert rig.types.count("tool_call") == 1 and rig.types.count("tool_result") == 1


def test_words_are_on_record_before_they_sound() -> None:
    pen = Pen(lag_s=0.3)
    rig = session(guarding=Guarding(journal=pen), sinks=[pen])
    commit_s = rig.of("committed")[0].t_s
    assert rig.of("audio_started")[0].t_s == pytest.approx(commit_s + 0.3, abs=0.02)
    assert "speaking Fine." in pen.safe


def test_what_cannot_be_recorded_is_not_said_or_done() -> None:
    pen = Pen(fails=True)
    tool = Tool(pen)
    rig = session(guarding=Guarding(journal=pen), workflow=tool)
    assert not tool.ran and [call.text for call in rig.tts.calls] == ["Sorry."], "that much may be said off the record"
    assert [event.status for event in rig.of("turn_ended")] == ["failed"]  # type: ignore[attr-defined]
    rig = session(guarding=Guarding(journal=Pen(fails=True)))
    assert "audio_started" not in rig.types and "disk is full" in rig.of("error")[0].message  # type: ignore[attr-defined]


def test_the_agent_and_the_record_see_what_the_policy_lets_through() -> None:
    def hide(subject: Subject) -> Any:
        return Rewrite(subject.text.replace("4111", "[card]"))

    rig = session(guarding=Guarding(policy=policy(transcript=hide)), said="My card is 4111.")
    assert rig.heard == ["My card is [card]."]
    assert rig.llm.calls[0].messages[-1].content == "My card is [card]."
    assert not any("4111" in str(event.to_dict()) for event in rig.events)
    assert [(event.gate, event.decision) for event in rig.of("policy")] == [("transcript", "rewrite")]  # type: ignore[attr-defined]


def test_a_blocked_question_is_answered_with_the_line_and_the_agent_is_not_asked() -> None:
    def no(subject: Subject) -> Any:
        return Block("We do not talk about that.")

    rig = session(guarding=Guarding(policy=policy(transcript=no)))
    assert rig.said == ["We do not talk about that."] and not rig.llm.calls


def test_a_tool_runs_with_what_the_policy_made_of_its_arguments_or_not_at_all() -> None:
    def dim(subject: Subject) -> Any:
        return Rewrite('{"on": false}')

    def never(subject: Subject) -> Any:
        return Block("The lamp is not yours.", reason="rule 7")

    tool = Tool(Pen())
    session(guarding=Guarding(policy=policy(tool_call=dim)), workflow=tool)
    assert [arguments for arguments, _ in tool.ran] == ['{"on": false}']
    tool = Tool(Pen())
    rig = session(guarding=Guarding(policy=policy(tool_call=never)), workflow=tool)
    assert not tool.ran and "The lamp is not yours." in tool.refused[0]
    assert "rule 7" not in tool.refused[0], "why, the agent need not know"
    assert rig.said == ["It stays off."]


def test_held_in_full_not_one_sample_exists_before_approval() -> None:
    tts = ScriptedTTS(repeat=True)
    approved_s: list[float] = []

    async def wait(subject: Subject) -> Any:
        assert not tts.calls, "nothing was synthesised before"
        await asyncio.sleep(1.0)
        approved_s.append(asyncio.get_running_loop().time())
        return Allow()

    rig = session(guarding=Guarding(policy=policy(speech=wait, hold="full")), llm=["One. ", "Two."], tts=tts)
    assert rig.said == ["One. Two."]
    assert len(approved_s) == 1 and min(call.began_s for call in tts.calls) >= approved_s[0]


def test_a_sentence_that_is_blocked_is_never_spoken() -> None:
    def check(subject: Subject) -> Any:
        return Block("I may not say that.") if "secret" in subject.text else Allow()

    rig = session(guarding=Guarding(policy=policy(speech=check)), llm=["It is fine. ", "The secret is 7. ", "Bye."])
    spoken = " ".join(call.text for call in rig.tts.calls)
    assert "secret" not in spoken and "I may not say that." in spoken
    assert not any("secret" in item.text for item in rig.session.conversation)


def test_history_keeps_what_the_gate_after_the_turn_leaves() -> None:
    def forget(subject: Subject) -> Any:
        return Rewrite("(removed)")

    rig = session(guarding=Guarding(policy=policy(turn=forget)))
    assert rig.said == ["(removed)"]
    assert rig.tts.calls[0].text == "Fine."


def asked(tmp_path: Path, answer: str) -> tuple[Rig, Tool]:
    """The tool needs a spoken yes; the user says `answer`."""

    def ask(subject: Subject) -> Any:
        return Ask("Shall I switch it on?", by="voice")

    desk = ApprovalDesk(tmp_path / "approvals.db", timeout_s=20.0)
    approvals = SessionApprovals(desk)
    tool = Tool(Pen(lag_s=0.0))
    rig = Rig(
        [(0.5, 1.5), (5.0, 5.6)],
        seconds=12.0,
        stt=lambda call: Heard("Lamp on." if call.audio.start_s < 1.0 else answer, 0.05),
        workflow=tool,
        settings=SessionSettings(on_error=""),
        guarding=Guarding(policy=policy(tool_call=ask), approvals=approvals),
    )

    async def go() -> None:
        task = asyncio.create_task(rig.run())
        await asyncio.sleep(0.1)
        approvals.bind(rig.session.interject, rig.session.tell_approval)
        await task

    run_virtual(go())
    desk.close()
    return rig, tool


class SaysFirst(Tool):
    """Asked for the first time, it only talks; the second time it takes a while and calls its tool."""

    speculative = False

    async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        if turn.transcript == "Talk.":
            yield "Let me look."
            return
        await asyncio.sleep(2.0)
        async for piece in super().respond(turn):
            yield piece


def test_an_answer_that_began_behind_another_one_may_ask(tmp_path: Path) -> None:
    def ask(subject: Subject) -> Any:
        return Ask("Shall I switch it on?", by="voice")

    desk = ApprovalDesk(tmp_path / "approvals.db", timeout_s=20.0)
    approvals = SessionApprovals(desk)
    tool = SaysFirst(Pen(lag_s=0.0))
    rig = Rig(
        [(7.0, 7.6)],
        seconds=12.0,
        stt=lambda call: Heard("Yes.", 0.05),
        workflow=tool,
        settings=SessionSettings(on_error=""),
        guarding=Guarding(policy=policy(tool_call=ask), approvals=approvals),
        tts=ScriptedTTS(repeat=True),
        queues=True,
    )

    async def go() -> None:
        task = asyncio.create_task(rig.run())
        await asyncio.sleep(0.1)
        approvals.bind(rig.session.interject, rig.session.tell_approval)
        rig.session.requests.respond("Talk.")
        rig.session.requests.respond("Lamp on.")
        await task

    run_virtual(go())
    desk.close()
    spoken = [call.text for call in rig.tts.calls]
    assert spoken == ["Let me look.", "Shall I switch it on?", "It is on."] and len(tool.ran) == 1


@pytest.mark.parametrize(("answer", "runs"), [("Yes, please.", True), ("No, leave it.", False)])
def test_a_spoken_yes_lets_the_tool_run(tmp_path: Path, answer: str, runs: bool) -> None:
    rig, tool = asked(tmp_path, answer)
    assert bool(tool.ran) is runs
    assert rig.said == ["It is on." if runs else "It stays off."]
    assert rig.heard == ["Lamp on."]
    assert next(event.text for event in rig.of("spoken")) == "Shall I switch it on?"  # type: ignore[attr-defined]
    assert [event.state for event in rig.of("approval")] == ["pending", "granted" if runs else "refused"]  # type: ignore[attr-defined]
    assert "interrupted" not in rig.types, "an answer to a question interrupts nothing"
    assert [(event.turn, event.status) for event in rig.of("turn_ended")] == [(1, "completed"), (2, "dismissed")]  # type: ignore[attr-defined]


def test_calls_and_what_they_gave_are_part_of_the_history() -> None:
    rig = session(guarding=Guarding(), workflow=Tool(Pen(lag_s=0.0)))
    kinds = [(item.kind, item.name, item.text) for item in rig.session.conversation]
    assert kinds == [
        ("message", "", "Lamp on."),
        ("function_call", "lamp", ""),
        ("function_call_output", "lamp", "done"),
        ("message", "", "It is on."),
    ]
    roles = [message.role for message in rig.session.conversation.messages()]
    assert roles == ["user", "assistant", "tool", "assistant"]


def interrupted(**gates: Any) -> Rig:
    rig = Rig(
        [(0.5, 1.5), (3.0, 4.2)],
        seconds=10.0,
        stt=lambda call: Heard("My card is 4111.", 2.2) if call.audio.start_s < 1.0 else Heard("And now?", 0.05),
        llm=lambda call: Reply(["One two three four five six seven eight nine ten."]),
        settings=SessionSettings(on_error=""),
        guarding=Guarding(policy=policy(**gates)),
    )
    run_virtual(rig.run())
    return rig


def test_words_that_an_interruption_cut_short_are_judged_all_the_same() -> None:
    def hide(subject: Subject) -> Any:
        return Rewrite(subject.text.replace("4111", "[card]"))

    rig = interrupted(transcript=hide)
    assert rig.heard == ["My card is [card].", "And now?"]
    assert not any("4111" in str(event.to_dict()) for event in rig.events)


def test_what_was_rewritten_to_nothing_or_blocked_is_in_no_prompt() -> None:
    def nothing(subject: Subject) -> Any:
        return Rewrite("")

    def no(subject: Subject) -> Any:
        return Block("No.")

    for check in (nothing, no):
        rig = session(guarding=Guarding(policy=policy(transcript=check)), said="The secret.")
        assert not any("secret" in item.text for item in rig.session.conversation)
        assert not any("secret" in str(event.to_dict()) for event in rig.events)


def test_a_broken_desk_does_not_end_the_session(tmp_path: Path) -> None:
    class Broken(SessionApprovals):
        async def interrupted(self, turn: int, session: str, *, by: str = "barge_in") -> None:
            raise OSError("disk full")

    desk = ApprovalDesk(tmp_path / "approvals.db")
    rig = Rig(
        [(0.5, 1.5), (3.0, 4.2)],
        seconds=10.0,
        stt=lambda call: Heard("Count." if call.audio.start_s < 1.0 else "And now?", 0.05),
        llm=lambda call: Reply(["One two three four five six seven eight nine ten eleven twelve."]),
        settings=SessionSettings(on_error=""),
        guarding=Guarding(approvals=Broken(desk)),
    )
    run_virtual(rig.run())
    assert [event.status for event in rig.of("turn_ended")] == ["interrupted", "completed"]  # type: ignore[attr-defined]
