"""Speculation in sessions: what is kept, what is dropped, what is taken back, and what nobody must ever notice."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sessions import Rig

from antiphon.engines.errors import EngineFailed
from antiphon.engines.host import Priority, current_ticket
from antiphon.engines.protocols import EndpointPolicy, ToolCall
from antiphon.engines.testing import Heard, Reply, ScriptedSTT, ScriptedTTS, Speak, STTCall, run_virtual
from antiphon.pipeline.session_settings import SessionSettings
from antiphon.pipeline.workflow import ToolResult, TurnContext, WorkflowEvent

QUICK = EndpointPolicy(silence_ms=200)


def quiet(**more: Any) -> SessionSettings:
    return SessionSettings(on_error="", **more)


# ------------------------------------------------------------------------------------------ hearing ahead


def test_the_turn_is_heard_from_its_first_silent_window_on() -> None:
    rig = Rig([(0.512, 1.504)], seconds=3.0, stt=[Heard("Hello?", 0.1)], llm=[Reply(["Hi."])])
    run_virtual(rig.run())
    (call,) = rig.stt.calls
    assert call.began_s == pytest.approx(1.504 + 0.032, abs=0.021)  # the window, and the chunk that it came with
    assert call.ticket.priority is Priority.SPECULATION
    assert rig.of("speculated")[0].t_s > call.began_s


def test_a_growing_turn_is_heard_again_and_again() -> None:
    words = "one two three four five six".split()
    heard = [Heard(" ".join(words[: count + 1]), 0.05) for count in range(4)]
    rig = Rig(
        [(0.5, 3.0)], seconds=5.0, stt=[*heard, Heard("One two three.", 0.05)], llm=[Reply(["Yes."])],
        settings=quiet(speculation_rerun_ms=600),
    )  # fmt: skip
    run_virtual(rig.run())
    assert [call.ticket.priority for call in rig.stt.calls] == [Priority.RERUN] * 4 + [Priority.SPECULATION]
    shown = [event.to_dict() for event in rig.of("transcript") if event.to_dict()["role"] == "user"]
    assert [event["text"] for event in shown if not event["final"]][:4] == [step.text for step in heard]
    assert [event["text"] for event in shown if event["final"]] == ["One two three."]
    # Words that two transcripts agree on are evaluated ahead; so is the system prompt at the start.
    said = [call.messages[-1].content for call in rig.llm.prefills]
    assert said == ["Be brief.", "Be brief.", "one", "one two", "one two three"]
    assert all(call.ticket.priority is Priority.PREFILL for call in rig.llm.prefills)
    report = rig.of("turn_ended")[0].to_dict()["speculation"]
    assert (report["reruns"], report["hit"], report["dropped"]) == (4, True, 0)
    assert report["wasted_s"] == pytest.approx(0.2)


def test_nothing_is_heard_ahead_without_a_free_core() -> None:
    rig = Rig([(0.5, 3.0)], seconds=5.0, stt=[Heard("Hm.")], llm=[Reply(["Yes."])], cores_free=lambda: False,
              settings=quiet(speculation_rerun_ms=600))  # fmt: skip
    run_virtual(rig.run())
    assert len(rig.stt.calls) == 1


def test_the_budget_bounds_the_waste() -> None:
    def calls(budget: float) -> int:
        rig = Rig([(0.5, 10.5)], seconds=13.0, stt=lambda _: Heard("Hm.", 0.5), llm=[Reply(["Yes."])],
                  settings=quiet(speculation_rerun_ms=100, speculation_budget=budget))  # fmt: skip
        run_virtual(rig.run())
        return len(rig.stt.calls)

    assert calls(0.0) == 1
    assert calls(0.1) <= 1 + (10 * 0.1 + 0.4) / 0.5 + 1
    assert calls(10.0) > 12


def test_useful_work_does_not_use_the_budget_up() -> None:
    """A slow STT and a small budget: every turn is answered from its one transcription, so each may be begun early."""
    turns = [(at, at + 2.0) for at in range(1, 60, 6)]
    rig = Rig(turns, seconds=62.0, stt=lambda _: Heard("Hm.", 0.3), llm=[Reply(["Yes."])] * 10,
              settings=quiet(speculation_budget=0.1))  # fmt: skip
    run_virtual(rig.run())
    hits = [event.to_dict()["speculation"]["hit"] for event in rig.of("turn_ended")]
    assert hits == [True] * 10


def test_an_stt_that_fails_again_and_again_uses_the_budget_up() -> None:
    def hear(call: STTCall) -> Heard | Exception:
        return EngineFailed("ear")

    rig = Rig([(0.5, 20.5)], seconds=24.0, stt=hear, settings=quiet(speculation_rerun_ms=100, speculation_budget=0.1))
    rig.stt = SlowToFail(hear)
    run_virtual(rig.run())
    assert len(rig.stt.calls) <= 1 + (20 * 0.1 + 0.4) / 0.5 + 2


class SlowToFail(ScriptedSTT):
    """Works for half a second before it fails."""

    async def transcribe(self, audio: Any, options: Any = None) -> Any:
        meter = current_ticket.get().meter
        await asyncio.sleep(0.5)
        if meter is not None:
            meter.add(0.5)
        return await super().transcribe(audio, options)


def test_a_failed_rerun_is_no_failure_of_the_turn() -> None:
    rig = Rig([(0.5, 1.5)], seconds=3.0, stt=[EngineFailed("busy"), Heard("Hel"), Heard("Hello?")],
              llm=[Reply(["Hi."])], settings=quiet(speculation_rerun_ms=600))  # fmt: skip
    run_virtual(rig.run())
    assert rig.said == ["Hi."] and not rig.of("error")


# ------------------------------------------------------------------------------------- the same words


def test_a_cough_after_the_turn_does_not_cost_the_answer() -> None:
    rig = Rig(
        [(0.5, 1.5), (1.7, 1.83)], seconds=4.0, stt=[Heard("What time is it", 0.02), Heard("What time is it?", 0.02)],
        llm=[Reply(["Noon."], first_delay_s=0.05)],
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.said == ["Noon."] and len(rig.llm.calls) == 1
    assert not rig.of("dropped")
    assert [event.revision for event in rig.of("committed")] == [1]
    assert {event.revision for event in rig.of("text_delta", "audio_started", "turn_ended")} == {1}
    report = rig.of("turn_ended")[0].to_dict()["speculation"]
    assert (report["started"], report["kept"], report["dropped"], report["hit"]) == (2, 1, 0, True)


def test_a_cough_while_the_answer_is_not_yet_known_to_fit() -> None:
    """The commit comes before the second transcript: the answer is held until the words are known to be the same."""
    rig = Rig(
        [(0.5, 1.5), (1.7, 1.83)], seconds=5.0, stt=[Heard("What time is it", 0.02), Heard("What time is it?", 0.9)],
        llm=[Reply(["Noon."], first_delay_s=0.05)],
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.said == ["Noon."] and len(rig.llm.calls) == 1
    times = rig.of("turn_ended")[0].to_dict()["timings"]
    assert times["audible_s"] >= times["stt_s"] > times["commit_s"]


def test_other_words_drop_the_answer() -> None:
    rig = Rig(
        [(0.5, 1.5), (1.7, 1.95)], seconds=4.0, stt=[Heard("Turn it on", 0.02), Heard("Turn it on now", 0.02)],
        llm=[Reply(["First."], first_delay_s=0.05), Reply(["Second."])],
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.said == ["Second."]
    assert [event.revision for event in rig.of("dropped")] == [0]


def test_a_failed_transcription_after_a_cough_drops_the_answer() -> None:
    """Nobody knows what was said then; and the failed turn must not wait for an answer that is never released."""
    rig = Rig(
        [(0.5, 1.5), (1.7, 1.83)], seconds=4.0, llm=[Reply(["Noon."], first_delay_s=0.05)],
        stt=[Heard("What time is it", 0.02), EngineFailed("ear"), EngineFailed("ear")],
    )  # fmt: skip
    run_virtual(rig.run())
    assert [event.to_dict()["status"] for event in rig.of("turn_ended")] == ["failed"]
    assert [event.revision for event in rig.of("dropped")] == [0]


def test_more_speech_drops_the_answer_before_it_is_transcribed() -> None:
    rig = Rig(
        [(0.5, 1.5), (1.7, 3.5)], seconds=6.0, stt=[Heard("Turn it", 0.02), Heard("Turn it on", 0.02)],
        llm=[Reply(["First."] * 40, first_delay_s=0.05, delta_delay_s=0.1), Reply(["Second."])],
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.of("dropped")[0].t_s < 2.4
    assert rig.llm.calls[0].outcome == "cancelled"
    assert rig.said == ["Second."]


# ------------------------------------------------------------------------------------------- reopening


def test_speech_just_after_the_commit_is_one_turn_with_one_transcript() -> None:
    rig = Rig(
        [(0.5, 1.5), (1.9, 3.0)], seconds=6.0, policy=QUICK, stt=[Heard("I would like"), Heard("I would like a tea.")],
        llm=[Reply.of("What is it that you would like to have now?"), Reply(["Tea."])],
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.heard == ["I would like a tea."] and rig.said == ["Tea."]
    (dropped,) = rig.of("dropped")
    assert (dropped.turn, dropped.revision, dropped.to_dict()["reason"]) == (1, 0, "reopened")
    assert [(event.turn, event.revision) for event in rig.of("committed")] == [(1, 0), (1, 1)]
    assert [event.revision for event in rig.of("turn_ended")] == [1]
    # The whole turn went to the second transcription: both stretches of speech and what was between them.
    assert rig.stt.calls[1].audio_s == pytest.approx(3.0 + 0.05 - 0.5 + 0.3, abs=0.07)
    assert rig.of("turn_ended")[0].to_dict()["speculation"]["dropped"] == 1


@pytest.mark.parametrize("resumes_s", [2.2, 2.3, 2.4])
def test_reopening_while_nobody_knows_whether_the_first_answer_fits(resumes_s: float) -> None:
    """A cough, a commit, more speech, all before the transcript of the cough is there: nothing may wait for ever."""
    rig = Rig(
        [(0.5, 1.5), (1.7, 1.86), (resumes_s, resumes_s + 1.0)], seconds=9.0, policy=EndpointPolicy(silence_ms=300),
        stt=lambda call: Heard("a b" if call.audio_s > 2.2 else "a", 0.02 if call.audio_s < 1.5 else 0.9),
        llm=lambda call: Reply([f"To {call.messages[-1].content}."], first_delay_s=0.05),
    )  # fmt: skip
    run_virtual(rig.run())
    assert {event.turn for event in rig.of("turn_ended")} == {event.turn for event in rig.of("speech_started")}
    assert rig.said


def test_a_failed_turn_that_goes_on_is_not_remembered_twice() -> None:
    rig = Rig(
        [(0.5, 1.5), (1.9, 3.0)], seconds=8.0, policy=QUICK, stt=lambda _: Heard("I would like"),
        llm=[EngineFailed("mind"), Reply(["Tea."])], settings=SessionSettings(on_error="Sorry, say that again."),
    )  # fmt: skip
    run_virtual(rig.run())
    users = [item.turn for item in rig.session.conversation if item.role == "user"]
    assert users == sorted(set(users))
    assert [event.to_dict()["status"] for event in rig.of("turn_ended")] == ["failed", "completed"]


def test_what_was_not_yet_heard_of_a_void_answer_is_never_heard() -> None:
    rig = Rig([(0.5, 1.5), (1.9, 3.0)], seconds=6.0, policy=QUICK, stt=[Heard("I would like"), Heard("Tea.")],
              llm=[Reply(["A long answer that goes on and on, for ever and ever."]), Reply(["Tea."])])  # fmt: skip
    run_virtual(rig.run())
    voided_s = rig.of("dropped")[0].t_s
    # The recording's clock began at 0 with the loop's: what plays on after that moment is the second answer.
    first = [piece for piece in rig.transport.played if piece.start_s < 2.9]
    assert first and max(piece.start_s + piece.frame.duration_s for piece in first) <= voided_s + 0.001


def test_later_speech_is_a_turn_of_its_own() -> None:
    rig = Rig([(0.5, 1.5), (2.3, 3.0)], seconds=6.0, policy=QUICK, stt=[Heard("One."), Heard("Two.")],
              llm=[Reply(["First."]), Reply(["Second."])])  # fmt: skip
    run_virtual(rig.run())
    assert rig.heard == ["One.", "Two."] and rig.said == ["First.", "Second."]


class Tools:
    """A speculative workflow that runs a tool, and notes when."""

    speculative = True

    def __init__(self) -> None:
        self.ran: list[tuple[int, int]] = []

    async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        await asyncio.sleep(0.01)
        await turn.committed()
        self.ran.append((turn.turn, turn.revision))
        yield ToolCall(f"c{turn.turn}", "lamp", "{}")
        await asyncio.sleep(0.05)
        yield ToolResult(f"c{turn.turn}", "lamp", "on")
        yield "Done."


def test_a_turn_whose_tool_ran_is_not_reopened() -> None:
    tools = Tools()
    rig = Rig([(0.5, 1.5), (1.9, 3.0)], seconds=6.0, policy=QUICK, stt=[Heard("Lamp on"), Heard("and the radio")],
              workflow=tools)  # fmt: skip
    run_virtual(rig.run())
    assert tools.ran == [(1, 0), (2, 0)]
    assert rig.heard == ["Lamp on", "and the radio"] and not rig.of("dropped")


def test_a_plain_workflow_is_not_asked_twice() -> None:
    asked: list[str] = []

    class Plain:
        speculative = False

        async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
            asked.append(turn.transcript)
            yield "Yes."

    rig = Rig([(0.5, 1.5), (1.9, 3.0)], seconds=6.0, policy=QUICK, stt=[Heard("One"), Heard("two")], workflow=Plain())
    run_virtual(rig.run())
    assert asked == ["One", "two"]


# ----------------------------------------------------------------------------------------------- cloud


def test_the_commit_does_not_look_at_whether_the_answer_is_ready() -> None:
    def committed_s(delay_s: float) -> float:
        rig = Rig([(0.5, 1.5)], seconds=14.0, stt=[Heard("Hello?", delay_s)],
                  llm=[Reply(["Hi."], first_delay_s=delay_s)],
                  tts=ScriptedTTS([Speak(first_delay_s=delay_s)]), settings=quiet())  # fmt: skip
        run_virtual(rig.run())
        assert rig.said == ["Hi."]
        return rig.of("committed")[0].t_s

    assert committed_s(0.0) == committed_s(0.3) == committed_s(3.0)


@pytest.mark.parametrize("cloud", [False, True])
def test_nothing_leaves_the_machine_before_commit(cloud: bool) -> None:
    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("Hello?", 0.05)], llm=[Reply(["Hi."])], answer_local=False,
              settings=quiet(speculate_in_cloud=cloud, speculation_rerun_ms=300))  # fmt: skip
    rig.stt = type(rig.stt)(lambda _: Heard("Hello?", 0.05))
    run_virtual(rig.run())
    committed_s = rig.of("committed")[0].t_s
    assert rig.stt.calls[0].began_s < committed_s  # hearing is local
    assert (rig.llm.calls[0].began_s < committed_s) is cloud
    assert bool(rig.llm.prefills) is cloud


def test_audio_does_not_leave_before_commit() -> None:
    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("Hello?")], llm=[Reply(["Hi."])], stt_local=False,
              settings=quiet(speculation_rerun_ms=300))  # fmt: skip
    run_virtual(rig.run())
    assert rig.stt.calls[0].began_s >= rig.of("committed")[0].t_s
    assert not rig.of("speculated")


# ------------------------------------------------------------------------------ whatever order it comes in


class Recorder(Tools):
    """Also answers in words before its tool, for some turns, and fails for some."""

    def __init__(self, kinds: list[str]) -> None:
        super().__init__()
        self.kinds = kinds
        self.answered: list[tuple[int, int]] = []

    async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        kind = self.kinds[turn.revision % len(self.kinds)]
        await asyncio.sleep(0.03)
        if kind == "fails":
            raise EngineFailed("mind")
        yield f"Answer {turn.turn}.{turn.revision} to {turn.transcript}. "
        if kind == "tool":
            async for piece in super().respond(turn):
                yield piece
        self.answered.append((turn.turn, turn.revision))


pieces_of_speech = st.lists(
    st.tuples(st.floats(0.06, 1.4), st.floats(0.1, 1.2)), min_size=1, max_size=6
)  # (pause before, length)


@settings(max_examples=100, deadline=None)
@example([(0.796875, 0.25), (0.46875, 1.0)], ["tool"], [("a", 0.5)], 0.0, False)  # reopened as a tool is about to run
@given(
    pieces_of_speech,
    st.lists(st.sampled_from(["words", "tool", "fails"]), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(["a", "a b", "a b c", "", "!"]), st.floats(0, 0.6)), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.booleans(),
)
def test_whatever_happens(
    speech: list[tuple[float, float]],
    kinds: list[str],
    heard: list[tuple[str, float]],
    tts_delay_s: float,
    reruns: bool,
) -> None:
    """Never two answers to a turn, never one to a dropped revision, no leak before commit, no silence for ever."""
    at_s, intervals = 0.3, []
    for pause_s, length_s in speech:
        intervals.append((at_s + pause_s, at_s + pause_s + length_s))
        at_s += pause_s + length_s
    workflow = Recorder(kinds)
    count = iter(range(10_000))

    def hear(_: object) -> Heard | Exception:
        text, delay_s = heard[next(count) % len(heard)]
        return EngineFailed("ear") if text == "!" else Heard(text, delay_s)

    rig = Rig(intervals, seconds=at_s + 12.0, policy=QUICK, stt=hear, workflow=workflow,
              tts=ScriptedTTS(lambda _: Speak(first_delay_s=tts_delay_s)),
              settings=quiet(speculation_rerun_ms=250 if reruns else 0))  # fmt: skip
    run_virtual(rig.run())

    events = [(event.type, event.turn, event.revision, event.to_dict()) for event in rig.events]
    committed: set[tuple[int, int]] = set()
    dropped: set[tuple[int, int]] = set()
    ended: list[int] = []
    for kind, turn, revision, fields in events:
        key = (turn, revision)
        if kind == "committed":
            assert key not in committed and key not in dropped
            committed.add(key)
        elif kind == "dropped":
            dropped.add(key)
        elif kind == "turn_ended":
            ended.append(turn)
        leaks = kind in ("text_delta", "audio_started", "spoken", "tool_call", "tool_result", "turn_ended")
        if leaks or (kind == "transcript" and fields["final"]):
            assert key in committed, f"{kind} before commit"
            silent = fields.get("status") in ("no_speech", "dismissed")
            assert key not in dropped or silent, f"{kind} of a dropped revision"
    assert ended == sorted(set(ended)), "two ends of one turn, or out of order"
    opened = {event.turn for event in rig.of("speech_started")}
    dismissed = {turn for kind, turn, _, fields in events
                 if kind == "dropped" and fields["reason"] in ("backchannel", "no_speech")}  # fmt: skip
    assert set(ended) <= opened and opened - set(ended) <= dismissed, "a turn without an end"
    # Of the turn, not of the revision: an answer may be kept when the words of the next one are the same.
    assert {turn for turn, _ in workflow.ran} <= {turn for turn, _ in committed}
    assert len({turn for turn, _ in workflow.ran}) == len(workflow.ran), "a tool ran twice for one turn"
    first_commit_s = min((event.t_s for event in rig.of("committed")), default=math.inf)
    assert all(piece.start_s >= first_commit_s - 1e-6 for piece in rig.transport.played), "sound before any commit"
    said = [item.turn for item in rig.session.conversation if item.role == "assistant" and item.kind == "message"]
    assert said == sorted(set(said)), "two answers to one turn in the history"
    users = [item.turn for item in rig.session.conversation if item.role == "user" and item.kind == "message"]
    assert users == sorted(set(users)), "one turn stands twice in the history"


def test_prefill_can_be_left_off() -> None:
    rig = Rig([(0.5, 3.0)], seconds=5.0, stt=lambda _: Heard("One two."), llm=[Reply(["Yes."])],
              settings=quiet(speculation_rerun_ms=600, prefill=False))  # fmt: skip
    run_virtual(rig.run())
    assert rig.said == ["Yes."] and not rig.llm.prefills


def test_the_endpointing_can_be_changed_in_a_live_session() -> None:
    rig = Rig([(0.5, 1.5), (4.0, 5.0)], seconds=8.0, stt=[Heard("One."), Heard("Two.")],
              llm=[Reply(["First."]), Reply(["Second."])])  # fmt: skip

    async def main() -> None:
        running = asyncio.create_task(rig.run())
        await asyncio.sleep(3.5)
        assert rig.session.policy.silence_ms == 400
        rig.session.policy = EndpointPolicy(silence_ms=900)
        await running

    run_virtual(main())
    delays = [event.t_s - end_s for event, end_s in zip(rig.of("committed"), (1.5, 5.0), strict=True)]
    assert delays == [pytest.approx(0.4, abs=0.04), pytest.approx(0.9, abs=0.04)]
