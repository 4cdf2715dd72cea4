"""Rules of a session that are easily broken: what cannot be talked away, taken back, lost or done twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sessions import Rig

from antiphon.engines.errors import AntiphonError, EngineFailed, EngineOutOfOrder, EngineOverloaded
from antiphon.engines.host import Priority, current_ticket
from antiphon.engines.protocols import ToolCall
from antiphon.engines.testing import Heard, Reply, ScriptedSTT, ScriptedTTS, run_virtual
from antiphon.pipeline.errors import ApprovalError
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.policy import Allow, ApprovalDesk, Ask, BoundCheck, Policy, SessionApprovals, as_check
from antiphon.pipeline.policy.verdicts import ApprovalRequest, Subject
from antiphon.pipeline.session_settings import SessionSettings
from antiphon.pipeline.transcript.errors import TranscriptError
from antiphon.pipeline.transcript.recorder import Recorder
from antiphon.pipeline.transcript.rows import Row
from antiphon.pipeline.transcript.writer import Writer
from antiphon.pipeline.workflow import ToolResult, TurnContext, WorkflowEvent

LONG = "One two three four five six seven eight nine ten eleven twelve."
APOLOGY = "Sorry."
FULL = "16 requests wait already"


def ends(rig: Rig) -> list[tuple[int, str]]:
    return [(event.turn, event.status) for event in rig.of("turn_ended")]  # type: ignore[attr-defined]


def dropped(rig: Rig) -> list[str]:
    return [event.reason for event in rig.of("dropped")]  # type: ignore[attr-defined]


def policy(**gates: Any) -> Policy:
    return Policy(**{gate: (BoundCheck(gate, as_check(check), 5.0, "closed", ""),) for gate, check in gates.items()})


async def while_running(rig: Rig, *doings: tuple[float, Any]) -> None:
    """Run it, and do things at their times."""
    task = asyncio.create_task(rig.run())
    for at_s, do in doings:
        await asyncio.sleep(at_s - asyncio.get_running_loop().time())
        do()
    await task


def is_guess() -> bool:
    return current_ticket.get().priority is not Priority.COMMITTED


# ---------------------------------------------------------------------------------------------- errors in a row


def test_the_error_limit_cannot_be_talked_away() -> None:
    goodbye = "Too much went wrong here today, so I have to say goodbye to you now."
    rig = Rig(
        [(0.5, 1.5), (4.0, 5.0), (6.5, 7.9), (12.0, 13.0)],
        seconds=30.0,
        stt=lambda call: Heard("No, wait a moment.", 0.05),
        llm=lambda call: EngineFailed("down"),
        settings=SessionSettings(on_error=APOLOGY, errors_goodbye=goodbye, max_errors=2),
    )
    run_virtual(rig.run())
    assert rig.session.end_reason == "errors" and rig.session.audio_s < 12
    assert [call.text for call in rig.tts.calls] == [APOLOGY, goodbye]
    assert ends(rig) == [(1, "failed"), (2, "failed")], "it was heard to its end"
    assert [event.fatal for event in rig.of("error")] == [False, False, True]  # type: ignore[attr-defined]


def test_an_answer_that_was_interrupted_is_no_failure_between_failures() -> None:
    rig = Rig(
        [(0.5, 1.5), (5.0, 6.0), (7.5, 8.9)],
        seconds=14.0,
        stt=lambda call: Heard("Count." if 4.0 < call.audio.start_s < 6.0 else "No, wait a moment.", 0.05),
        llm=lambda call: Reply([LONG]) if call.messages[-1].content.endswith("Count.") else EngineFailed("down"),
        settings=SessionSettings(on_error=APOLOGY, max_errors=2),
    )
    run_virtual(rig.run())
    assert ends(rig) == [(1, "failed"), (2, "interrupted"), (3, "failed")]
    assert rig.session.end_reason == "input_ended"


def test_no_apology_for_a_turn_that_was_stopped_while_it_waited() -> None:
    rig = Rig(
        [(0.5, 1.5), (3.0, 3.6)],
        seconds=12.0,
        stt=lambda call: Heard("Count.", 0.05) if call.audio.start_s < 1.0 else EngineFailed("deaf"),
        llm=lambda call: Reply([LONG]),
        settings=SessionSettings(on_error=APOLOGY, interruption=InterruptionSettings(enabled=False)),
    )
    run_virtual(while_running(rig, (4.6, lambda: rig.session.cancel())))
    assert ends(rig) == [(1, "interrupted"), (2, "failed")]
    assert [call.text for call in rig.tts.calls] == [LONG]


# ---------------------------------------------------------------------------------------------- what was said or done


def test_a_second_stop_leaves_what_was_heard_in_history() -> None:
    async def slow(subject: Subject) -> Any:
        await asyncio.sleep(1.0)
        return Allow()

    rig = Rig(
        [(0.5, 1.5), (3.0, 4.2)],
        seconds=12.0,
        stt=lambda call: Heard("Count." if call.audio.start_s < 1.0 else "No, wait a moment.", 0.05),
        llm=lambda call: Reply([LONG if call.messages[-1].content == "Count." else "All right."]),
        settings=SessionSettings(on_error=""),
        guarding=Guarding(policy=policy(turn=slow)),
    )
    run_virtual(while_running(rig, (4.0, lambda: rig.session.cancel())))
    assert ends(rig) == [(1, "interrupted"), (2, "completed")]
    assert rig.heard == ["Count.", "No, wait a moment."]
    assert rig.said[0] and LONG.startswith(rig.said[0])


def test_a_yes_cannot_be_taken_back_by_going_on(tmp_path: Path) -> None:
    class Lamp:
        speculative = True

        async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
            permit = await turn.before_call(ToolCall("c1", "lamp", "{}"))
            if permit.allowed:
                yield ToolCall("c1", "lamp", "{}")
                yield ToolResult("c1", "lamp", "done")
            yield LONG

    desk = ApprovalDesk(tmp_path / "approvals.db", timeout_s=60)
    approvals = SessionApprovals(desk)
    rig = Rig(
        [(0.5, 1.5), (5.0, 5.6), (6.15, 6.8)],
        seconds=16.0,
        stt=lambda call: Heard("Lamp on." if call.audio.start_s < 1.0 else "Yes, please.", 0.05),
        workflow=Lamp(),
        settings=SessionSettings(on_error="", interruption=InterruptionSettings(enabled=False)),
        guarding=Guarding(policy=policy(tool_call=lambda subject: Ask("Shall I?", by="voice")), approvals=approvals),
    )
    run_virtual(while_running(rig, (0.1, lambda: approvals.bind(rig.session.interject, rig.session.tell_approval))))
    desk.close()
    assert "reopened" not in dropped(rig)
    assert [event.turn for event in rig.of("committed")] == [1, 2, 3]
    assert dict(ends(rig))[2] == "dismissed"


def test_a_result_that_was_told_at_the_commit_cannot_be_taken_back() -> None:
    class Late:
        speculative = True

        async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
            yield ToolResult("c1", "search", "found")
            yield LONG

    rig = Rig(
        [(0.5, 1.5), (2.05, 2.6)],
        seconds=14.0,
        stt=lambda call: Heard("And then?", 0.05),
        workflow=Late(),
        settings=SessionSettings(on_error="", interruption=InterruptionSettings(enabled=False)),
    )
    run_virtual(rig.run())
    assert "reopened" not in dropped(rig) and [event.turn for event in rig.of("committed")] == [1, 2]


def test_an_unfinished_answer_whose_questions_cannot_be_withdrawn_costs_no_session() -> None:
    class Unfinished:
        async def pieces(self, context: Any) -> AsyncIterator[str | WorkflowEvent]:
            yield LONG

        async def withdraw(self) -> None:
            raise ApprovalError("the database is locked")

    rig = Rig(
        [(1.5, 2.9)],
        seconds=10.0,
        stt=lambda call: Heard("No, wait a moment.", 0.05),
        llm=lambda call: Reply(["All right."]),
        settings=SessionSettings(on_error=""),
        guarding=Guarding(unfinished=Unfinished()),
    )
    run_virtual(rig.run())
    assert "interrupted" in rig.types and rig.said[-1] == "All right."


@pytest.mark.parametrize("how", ["clear", "commit", "max_turn"])
def test_speech_that_a_turns_end_cuts_off_ends_all_the_same(how: str) -> None:
    rig = Rig(
        [(0.5, 3.0)],
        seconds=8.0,
        stt=lambda call: Heard("What?", 0.05),
        llm=lambda call: Reply(["Yes."]),
        settings=SessionSettings(on_error="", max_turn_s=1.2 if how == "max_turn" else 60.0),
    )
    doings = [] if how == "max_turn" else [(1.5, lambda: getattr(rig.session, how)())]
    run_virtual(while_running(rig, *doings))
    changes = [event.type for event in rig.of("speech_started", "speech_stopped")]
    assert len(changes) >= 4 and changes == ["speech_started", "speech_stopped"] * (len(changes) // 2)


# ---------------------------------------------------------------------------------------------- questions and records


def test_a_decision_at_the_desk_cuts_no_other_question_short(tmp_path: Path) -> None:
    async def story() -> None:
        said: list[str] = []
        may_end = asyncio.Event()

        async def speak(text: str) -> None:
            if text == "Shall I pay?":
                await may_end.wait()
            said.append(text)

        desk = ApprovalDesk(tmp_path / "approvals.db", poll_s=0.02, timeout_s=30)
        approvals = SessionApprovals(desk, speak=speak, waiting_line="")
        aloud = asyncio.create_task(approvals.ask(ApprovalRequest("s", 1, "Shall I pay?", by="voice")))
        while not approvals.awaits_voice:  # noqa: ASYNC110 - the code under test says no more than that
            await asyncio.sleep(0.002)
        at_desk = asyncio.create_task(approvals.ask(ApprovalRequest("s", 1, "May it?", by="desk")))
        while len(found := await desk.find(states=("pending",))) < 2:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.002)
        await desk.grant(next(one.id for one in found if one.question == "May it?"), by="ann")
        assert (await at_desk).granted
        may_end.set()
        await asyncio.sleep(0.02)
        assert said == ["Shall I pay?"] and approvals.has_asked
        assert await approvals.hear("Yes.") and (await aloud).granted
        desk.close()

    asyncio.run(asyncio.wait_for(story(), 60))


def test_a_record_that_hangs_costs_no_turn_where_sessions_go_on_without() -> None:
    class Hangs:
        def __init__(self) -> None:
            self.overdue_s: list[float] = []

        def note_speaking(self, text: str, *, turn: int, filler: bool = False) -> None: ...

        async def settled(self) -> None:
            if not self.overdue_s:
                await asyncio.Event().wait()

        def overdue(self, error: AntiphonError) -> None:
            self.overdue_s.append(asyncio.get_running_loop().time())

    journal = Hangs()
    rig = Rig(
        [(0.5, 1.5)],
        seconds=10.0,
        stt=lambda call: Heard("What?", 0.05),
        llm=lambda call: Reply(["Fine."]),
        settings=SessionSettings(on_error=APOLOGY),
        guarding=Guarding(journal=journal),
    )
    run_virtual(rig.run())
    assert rig.said == ["Fine."] and len(journal.overdue_s) == 1 and not rig.of("error")


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_a_store_that_hangs_is_waited_for_once(on_failure: Any) -> None:
    async def story() -> None:
        free = threading.Event()

        def commit(rows: Sequence[Row]) -> Mapping[str, TranscriptError]:
            free.wait(30)
            return {}

        writer = Writer(commit)
        writer.start()
        warnings: list[str] = []
        recorder = Recorder(writer, "s", on_failure=on_failure, warn=lambda code, message: warnings.append(code))
        late = EngineFailed("not on record after 5 s")
        try:
            if on_failure == "stop":
                with pytest.raises(EngineFailed):
                    recorder.overdue(late)
                return
            recorder.overdue(late)
            recorder.overdue(late)
            assert warnings == ["transcript_failed"]
            await asyncio.wait_for(recorder.settled(), 60)
            free.set()
            while not writer.is_written(1):  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0.002)
            recorder.note("thing")
            await asyncio.wait_for(recorder.settled(), 60)
            assert writer.is_written(2), "it is waited for again"
        finally:
            free.set()
            writer.close()

    asyncio.run(asyncio.wait_for(story(), 60))


# ---------------------------------------------------------------------------------------------- refused guesses


def answered(**more: Any) -> Rig:
    engines = {name: more.pop(name) for name in ("own_stt",) if name in more}
    rig = Rig(
        [(0.5, 1.5)],
        seconds=8.0,
        stt=more.pop("stt", lambda call: Heard("What?", 0.05)),
        llm=more.pop("llm", lambda call: Reply(["Yes."])),
        settings=SessionSettings(on_error=APOLOGY),
        **more,
    )
    rig.stt = engines.get("own_stt", rig.stt)
    run_virtual(rig.run())
    return rig


def test_a_guess_that_is_turned_out_after_the_commit_is_asked_again() -> None:
    class TurnsOut(ScriptedSTT):
        async def transcribe(self, audio: Any, options: Any = None) -> Any:
            if is_guess():
                await asyncio.sleep(1.0)
                raise EngineOverloaded(FULL)
            return await super().transcribe(audio)

    rig = answered(own_stt=TurnsOut(lambda call: Heard("What?", 0.05)))
    assert ends(rig) == [(1, "completed")] and rig.said == ["Yes."] and not rig.of("error")


def test_a_guess_at_an_engine_out_of_order_costs_the_turn_nothing() -> None:
    class Recovers(ScriptedSTT):
        async def transcribe(self, audio: Any, options: Any = None) -> Any:
            if is_guess():
                raise EngineOutOfOrder("tried again in 0 s", retry_after_s=0.2)
            return await super().transcribe(audio)

    rig = answered(own_stt=Recovers(lambda call: Heard("What?", 0.05)))
    assert ends(rig) == [(1, "completed")] and not rig.of("error")


def test_a_voice_that_had_no_time_for_a_guess_is_asked_again() -> None:
    class Busy(ScriptedTTS):
        async def synthesize(self, text: str, options: Any = None) -> AsyncIterator[Any]:
            if is_guess():
                raise EngineOverloaded(FULL)
            async for chunk in super().synthesize(text):
                yield chunk

    rig = answered(tts=Busy(repeat=True))
    assert ends(rig) == [(1, "completed")] and rig.said == ["Yes."] and not rig.of("error")
    assert "".join(event.text for event in rig.of("text_delta")) == "Yes."  # type: ignore[attr-defined]


def test_a_refused_guess_of_words_that_were_judged() -> None:
    judged: list[str] = []

    def allow(subject: Subject) -> Any:
        judged.append(subject.text)
        return Allow()

    rig = answered(
        llm=lambda call: Reply(["Yes."]) if call.ticket.priority is Priority.COMMITTED else EngineOverloaded(FULL),
        guarding=Guarding(policy=policy(transcript=allow)),
    )
    assert ends(rig) == [(1, "completed")] and judged == ["What?"]
    assert [event.text for event in rig.of("transcript") if event.role == "user"] == ["What?"]  # type: ignore[attr-defined]


def test_a_tool_runs_once_even_if_an_engine_has_no_time_after_it() -> None:
    ran: list[int] = []

    class Tool:
        speculative = True

        async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
            await turn.before_call(ToolCall("c1", "pay", "{}"))
            ran.append(turn.turn)
            yield ToolCall("c1", "pay", "{}")
            yield ToolResult("c1", "pay", "paid")
            raise EngineOverloaded(FULL)

    rig = answered(workflow=Tool())
    assert ran == [1] and ends(rig) == [(1, "failed")]


def test_a_turn_that_is_thrown_away_tells_what_it_used() -> None:
    class Metered(ScriptedSTT):
        async def transcribe(self, audio: Any, options: Any = None) -> Any:
            heard = await super().transcribe(audio)
            meter = current_ticket.get().meter
            assert meter is not None
            meter.use("stt", "scripted", "audio_s", audio.duration_s)
            return heard

    rig = Rig([(0.5, 1.73)], seconds=5.0, settings=SessionSettings(on_error="", speculation_rerun_ms=300))
    rig.stt = Metered(lambda call: Heard("What?", 0.3))
    run_virtual(while_running(rig, (1.7, lambda: rig.session.clear())))
    assert dropped(rig) == ["cleared"] and not rig.of("turn_ended")
    (told,) = rig.of("usage")
    (usage,) = told.usage  # type: ignore[attr-defined]
    assert told.turn == 1 and (usage.stage, usage.unit) == ("stt", "audio_s")
    assert usage.amount == usage.wasted > 0
