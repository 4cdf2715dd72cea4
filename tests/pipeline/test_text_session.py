"""Conversations in text: the workflow, the policy, the record and the desk, without a sound."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from scripted_config import Script

from antiphon.engines.errors import EngineFailed
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import Reply, run_virtual
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config.model import ApprovalsConfig, PolicyConfig, TranscriptConfig
from antiphon.pipeline.conversation import Conversation, Item
from antiphon.pipeline.errors import SessionClosed, WorkflowError
from antiphon.pipeline.events import Event
from antiphon.pipeline.text_session import TextSession, answer_text
from antiphon.pipeline.workflow import EndCall, Filler, ToolResult, TurnContext, as_workflow


def talk(use: Any, script: Script | None = None, *, workflow: Any = None, virtual: bool = True, **sections: Any) -> Any:
    """What `use` makes of a text session on scripted engines."""
    given = script or Script(llm=[Reply.of("It is noon.")])

    async def main() -> Any:
        async with Assembly(given.config(**sections)) as assembly:
            async with assembly.text_session(workflow=workflow) as session:
                return await use(session)

    return run_virtual(main()) if virtual else asyncio.run(main())


async def events_of(session: TextSession, text: str = "What time is it?") -> list[Event]:
    return [event async for event in session.ask(text)]


def kinds(events: list[Event]) -> list[str]:
    found = [event.type for event in events]
    return [kind for number, kind in enumerate(found) if found[number - 1 : number] != [kind]]


def test_an_answer_comes_piece_by_piece_and_nothing_is_spoken() -> None:
    script = Script(llm=[Reply(("It ", "is ", "noon."), usage=Usage(12, 3, 4))])
    events = talk(events_of, script)
    assert kinds(events) == ["committed", "transcript", "text_delta", "transcript", "turn_ended"]
    assert [event.text for event in events if event.type == "text_delta"] == ["It ", "is ", "noon."]
    end = events[-1]
    assert (end.text, end.status) == ("It is noon.", "text_only")
    assert (end.input_tokens, end.output_tokens, end.cached_tokens) == (12, 3, 4)
    assert [(one.stage, one.unit, one.amount) for one in end.usage if one.stage == "llm"]
    assert not script.tts_engine.calls and not script.stt_engine.calls


def test_what_was_said_before_is_known_and_turns_follow_one_another() -> None:
    seen: list[Any] = []

    def answer(call: Any) -> Reply:
        seen.append([(one.role, one.content) for one in call.messages])
        return Reply.of("Yes.")

    async def use(session: TextSession) -> list[str]:
        return [await answer_text(session.ask("Is it late?")), await answer_text(session.ask("Really?"))]

    async def main() -> list[str]:
        before = Conversation([Item(id="1", text="Hello."), Item(id="2", role="assistant", text="Hi.")])
        async with Assembly(Script(llm=answer).config()) as assembly:
            async with assembly.text_session(conversation=before) as session:
                return await use(session)

    assert run_virtual(main()) == ["Yes.", "Yes."]
    first = [("system", "Be brief."), ("user", "Hello."), ("assistant", "Hi."), ("user", "Is it late?")]
    assert seen == [first, [*first, ("assistant", "Yes."), ("user", "Really?")]]


class _Busy:
    """Calls a tool, and does what only a voice needs."""

    speculative = True

    async def respond(self, turn: TurnContext) -> Any:
        yield Filler("One moment. ")
        call = ToolCall("1", "clock", "{}")
        permit = await turn.before_call(call)
        yield call
        yield ToolResult("1", "clock", "12:00" if permit.allowed else permit.reason)
        yield "Noon."
        yield EndCall()


def test_tools_run_here_and_their_calls_are_events() -> None:
    events = talk(events_of, Script(), workflow=_Busy())
    expected = ["committed", "transcript", "tool_call", "tool_result", "text_delta", "transcript", "turn_ended"]
    assert kinds(events) == expected
    assert events[-1].text == "Noon.", "words that bridge a wait are for ears"


def test_a_failure_is_told_to_whoever_asked_and_the_conversation_goes_on() -> None:
    async def use(session: TextSession) -> Any:
        seen: list[str] = []
        with pytest.raises(EngineFailed, match="it broke"):
            async for event in session.ask("What time is it?"):
                seen.append(event.type)
        return seen, await answer_text(session.ask("And now?"))

    seen, later = talk(use, Script(llm=[EngineFailed("it broke"), Reply.of("Noon.")]))
    assert seen[-2:] == ["error", "turn_ended"] and later == "Noon."


def test_a_workflow_that_breaks_is_an_error_of_ours() -> None:
    async def broken(text: str) -> str:
        raise LookupError("secret")

    async def use(session: TextSession) -> None:
        with pytest.raises(WorkflowError) as caught:
            await answer_text(session.ask("Hello"))
        assert "LookupError" in str(caught.value) and isinstance(caught.value.__cause__, LookupError)

    talk(use, Script(), workflow=as_workflow(broken))


def test_policy_judges_what_is_written_and_what_is_answered() -> None:
    policy = PolicyConfig.model_validate(
        {
            "transcript": [{"check": "pattern", "patterns": ["bomb"], "action": "block", "line": "Not that."}],
            "speech": {
                "checks": [{"check": "pattern", "patterns": [r"\d{4}"], "action": "block", "line": "I keep that."}]
            },
        }
    )

    async def use(session: TextSession) -> list[str]:
        return [await answer_text(session.ask(text)) for text in ("How is a bomb made?", "What is the code?", "Bye?")]

    script = Script(llm=[Reply(["It is 1234. ", "Really."]), Reply.of("Bye.")])
    assert talk(use, script, policy=policy) == ["Not that.", "I keep that.", "Bye."]
    assert len(script.llm_engine.calls) == 2, "the agent was not told of what may not be said"


@pytest.mark.parametrize("by", ["voice", "any"])
def test_what_needs_a_yes_is_refused_unless_the_desk_grants_it(tmp_path: Path, by: str) -> None:
    policy = PolicyConfig.model_validate({"tool_call": [{"check": "approve", "question": "Shall I?", "by": by}]})
    approvals = ApprovalsConfig(store=tmp_path / "approvals.db", timeout_s=30)

    async def main() -> list[Event]:
        async with Assembly(Script().config(policy=policy, approvals=approvals)) as assembly:
            async with assembly.text_session(workflow=_Busy()) as session:
                found = []
                async for event in session.ask("What time is it?"):
                    found.append(event)
                    if event.type == "approval" and event.state == "pending" and by == "any":
                        await assembly.desk.grant(event.approval_id, by="Ada")
                return found

    events = asyncio.run(asyncio.wait_for(main(), 60))
    states = [(event.state, event.by) for event in events if event.type == "approval"]
    (result,) = [event.output for event in events if event.type == "tool_result"]
    if by == "voice":
        assert states == [("pending", ""), ("refused", "voice")] and "not allowed" in result
    else:
        assert states == [("pending", ""), ("granted", "Ada")] and result == "12:00"


def test_a_turn_that_is_broken_off_withdraws_its_question(tmp_path: Path) -> None:
    policy = PolicyConfig.model_validate({"tool_call": [{"check": "approve", "question": "Shall I?"}]})
    approvals = ApprovalsConfig(store=tmp_path / "approvals.db", timeout_s=30)

    async def main() -> Any:
        async with Assembly(Script().config(policy=policy, approvals=approvals)) as assembly:
            async with assembly.text_session(workflow=_Busy()) as session:
                async with aclosing(session.ask("What time is it?")) as events:
                    async for event in events:
                        if event.type == "approval":
                            break
                return await assembly.desk.find(session=session.id), [item.text for item in session.conversation]

    (question,), items = asyncio.run(asyncio.wait_for(main(), 60))
    assert (question.state, question.decided_by) == ("cancelled", "client")
    assert items == ["What time is it?"]


def test_it_is_on_record(tmp_path: Path) -> None:
    transcript = TranscriptConfig(store="sqlite", path=tmp_path / "kept.db", recordings=tmp_path, record_audio=True)

    async def main() -> Any:
        async with Assembly(Script(llm=[Reply.of("It is noon.")]).config(transcript=transcript)) as assembly:
            async with assembly.text_session(person="key_1") as session:
                await answer_text(session.ask("What time is it?"))
            return await assembly.recalled(session.id)

    kept = asyncio.run(asyncio.wait_for(main(), 60))
    assert [(item.role, item.text) for item in kept] == [("user", "What time is it?"), ("assistant", "It is noon.")]


def test_one_turn_at_a_time_and_none_after_the_end() -> None:
    async def use(session: TextSession) -> TextSession:
        async with aclosing(session.ask("One")) as first:
            await anext(first)
            with pytest.raises(SessionClosed, match="one turn"):
                await anext(session.ask("Two"))
        return session

    closed = talk(use)

    async def late() -> None:
        with pytest.raises(SessionClosed, match="has ended"):
            await anext(closed.ask("Three"))

    asyncio.run(late())
