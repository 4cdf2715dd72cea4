"""Fault injection: each engine breaks in each way at each point of a turn, with and without the user speaking into it.

Whatever breaks, the session goes on, the user hears something sensible within the time that docs/reliability.md
states, nothing is left running, history and events agree, and the next turn works.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from faults import (
    RUBBISH_CHUNKS,
    RUBBISH_DELTAS,
    RUBBISH_PROBABILITIES,
    RUBBISH_TRANSCRIPTS,
    Fault,
    FaultyDetector,
    FaultyJournal,
    FaultyLLM,
    FaultySTT,
    FaultyTool,
    FaultyTTS,
    FaultyVAD,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions import RATE_HZ, Rig

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed, EngineOverloaded
from antiphon.engines.host import Priority
from antiphon.engines.testing import Heard, Reply, ScriptedVAD, run_virtual
from antiphon.pipeline.gate import VADBroken
from antiphon.pipeline.guarding import Guarding
from antiphon.pipeline.policy import Policy
from antiphon.pipeline.policy.checks import BoundCheck, as_check
from antiphon.pipeline.reply import ReplySettings
from antiphon.pipeline.session_settings import SessionSettings
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames

FIRST, LAST = (0.3, 0.9), (15.0, 15.6)
BARGE_INS = {"alone": None, "while it thinks": (1.5, 2.5), "while it speaks": (3.0, 4.0)}
"""When the user speaks again; the last turn comes when all is long over."""

STT_S, LLM_S, GAP_S, TTS_S, RECORD_S = 1.5, 2.0, 1.5, 1.2, 1.0
ENDPOINT_S = 1.6
"""Silence after which a turn is over, whatever the detector does."""

APOLOGY, ANSWER, LATER = (
    "Sorry.",
    "First of all it is so. And then it goes on.",
    "And now again.",
)
PREPARED = AudioFrame(np.full(12000, 0.25, dtype=np.float32), 24000)

SETTINGS = SessionSettings(
    on_error=APOLOGY,
    stt_timeout_s=STT_S,
    record_timeout_s=RECORD_S,
    reply=ReplySettings(workflow_timeout_s=LLM_S, workflow_gap_s=GAP_S, tts_timeout_s=TTS_S),
)


def heard(call: Any) -> Heard:
    if call.audio.start_s > 14:
        return Heard("And now?", 0.05)
    return Heard("What is it?" if call.audio.start_s < 1.2 else "No, wait.", 0.05)


def answered(call: Any) -> Reply:
    asked = call.messages[-1].content
    return Reply.of(LATER if asked.endswith("And now?") else ANSWER, first_delay_s=0.2, delta_delay_s=0.02)


def long_frames(seconds: float) -> AsyncIterator[AudioFrame]:
    """Silence in pieces of 60 ms: three times as fast to run as what a microphone gives."""
    silence = AudioFrame(np.zeros(round(seconds * RATE_HZ), dtype=np.float32), RATE_HZ)
    return recording_frames(silence, paced=True, chunk_ms=60.0)


def make_rig(barge_in: str = "alone", *, seconds: float = 19.0, **parts: Any) -> Rig:
    """A session of two turns, and perhaps one between them, with some of its parts replaced."""
    more = BARGE_INS[barge_in]
    speech = [FIRST, *([more] if more else []), LAST]
    rig = Rig(
        speech,
        seconds=seconds,
        source=long_frames(seconds),
        stt=heard,
        llm=answered,
        settings=parts.pop("settings", SETTINGS),
        prepared={APOLOGY: [PREPARED]},
        **{key: parts.pop(key) for key in ("detector", "workflow", "guarding", "tts") if key in parts},
    )
    for name, part in parts.items():
        setattr(rig, name, part)
    return rig


def carry_out(rig: Rig) -> list[str]:
    """Run it; returns the names of tasks that are left."""

    async def main() -> list[str]:
        async with asyncio.TaskGroup() as group:
            before = asyncio.all_tasks()
            if rig.detector is not None:
                await rig.detector.__aenter__()
            await group.create_task(rig.run())
            await asyncio.sleep(5.0)
            return [task.get_name() for task in asyncio.all_tasks() - before]

    return run_virtual(main())


def sounds(rig: Rig) -> list[tuple[float, float]]:
    """From when to when something was to be heard, on the input's clock."""
    return [
        (piece.start_s, piece.start_s + piece.frame.duration_s)
        for piece in rig.transport.played
        if np.max(np.abs(piece.frame.samples)) > 0.01
    ]


def check(rig: Rig, left: list[str], *, within_s: float) -> None:
    """What holds after every fault."""
    assert not left, f"left running: {left}"
    check_history(rig)
    turns = {event.turn: event.to_dict() for event in rig.of("turn_ended")}
    committed = [event.turn for event in rig.of("committed")]
    reopened = {event.turn for event in rig.of("dropped") if event.to_dict()["reason"] == "reopened"}
    assert sorted(turns) == sorted(set(committed)) or reopened, (turns, committed)
    last = max(turns)
    assert turns[last]["status"] == "completed", turns
    assert rig.heard[-1] == "And now?" and rig.said[-1] == LATER, (rig.heard, rig.said)
    check_promptness(rig, within_s)
    assert rig.session.end_reason == "input_ended"


def check_history(rig: Rig) -> None:
    """What is remembered, and what was told of it, agree."""
    ended = [event.turn for event in rig.of("turn_ended")]
    assert len(ended) == len(set(ended)), "a turn ends once"
    for event in rig.of("turn_ended"):
        told = [other for other in rig.of("error") if other.turn == event.turn and other.to_dict()["stage"] != "vad"]
        assert bool(told) == (event.to_dict()["status"] == "failed"), (event, told)
    told_user = [event.to_dict()["text"] for event in rig.of("transcript") if event.to_dict()["role"] == "user"]
    for item in rig.session.conversation:
        item.text.encode()  # can be stored
        if item.role == "user" and item.kind == "message":
            assert item.text in told_user
    for before, after in itertools.pairwise(rig.events):
        assert after.t_s >= before.t_s - 10.0  # audio_started tells of a moment to come
    pieces = rig.transport.played
    for one, other in itertools.pairwise(pieces):
        assert other.start_s >= one.start_s + one.frame.duration_s - 1e-6, "two sound at once"


def check_promptness(rig: Rig, within_s: float) -> None:
    """After each thing that the user said, something is heard in time; unless the user spoke again before that."""
    heard_s = sounds(rig)
    noises = {event.turn for event in rig.of("turn_ended") if event.to_dict()["status"] in ("no_speech", "dismissed")}
    stops = [event.to_dict()["at_s"] for event in rig.of("speech_stopped") if event.turn not in noises]
    starts = [event.to_dict()["at_s"] for event in rig.of("speech_started")]
    for stop_s in stops:
        spoke_again_s = min((at_s for at_s in starts if at_s > stop_s), default=float("inf"))
        sounding = [begin_s for begin_s, end_s in heard_s if end_s > stop_s]
        first_s = max(stop_s, min(sounding, default=float("inf")))
        assert first_s <= stop_s + within_s or spoke_again_s <= stop_s + within_s, (stop_s, first_s, within_s)


WAYS = ("fails", "raises", "hangs", "stubborn", "slow", "cancels")
ALONE = ("alone",)
ALL_BARGE_INS = tuple(BARGE_INS)

# The time until something is heard: the endpoint, and the deadlines that the fault lets pass.
ANSWER_S = 1.5
"""A whole answer begins within that of the end of the turn, if nothing is wrong."""
AUDIO_S = 1.5
"""The longest thing that the user says, pre-roll included: a transcription may take that much longer."""
GRACE_S = 1.0
"""Until an engine that hangs on when it is cancelled has been cancelled three times."""


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("calls", [(0,), (0, 1), (1,), (0, 1, 2, 3)], ids=["first", "both", "second", "four"])
@pytest.mark.parametrize("how", [*WAYS, *RUBBISH_TRANSCRIPTS])
def test_stt(how: str, calls: tuple[int, ...], barge_in: str) -> None:
    rig = make_rig(barge_in, stt=FaultySTT(heard, Fault(how, calls=calls)))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + STT_S + AUDIO_S + GRACE_S + ANSWER_S)


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("at", ["first", "mid", "end"])
@pytest.mark.parametrize("how", [*WAYS, *RUBBISH_DELTAS])
def test_llm(how: str, at: str, barge_in: str) -> None:
    rig = make_rig(barge_in, llm=FaultyLLM(answered, Fault(how, at, calls=(0,))))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + LLM_S + ANSWER_S)


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("how", WAYS)
def test_prefill(how: str, barge_in: str) -> None:
    rig = make_rig(barge_in, llm=FaultyLLM(answered, Fault(how, "prefill")))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + ANSWER_S)


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("at", ["first", "mid", "end"])
@pytest.mark.parametrize("how", [*WAYS, *RUBBISH_CHUNKS, "silent"])
def test_tts(how: str, at: str, barge_in: str) -> None:
    rig = make_rig(barge_in, tts=FaultyTTS(Fault(how, at, calls=(0, 1))))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + TTS_S + ANSWER_S + 1.0)


@pytest.mark.parametrize("barge_in", ["alone", "while it speaks"])
def test_a_voice_that_does_not_stop_is_stopped(barge_in: str) -> None:
    speech = [FIRST, *([BARGE_INS[barge_in]] if BARGE_INS[barge_in] else []), (40.0, 40.6)]
    rig = make_rig(barge_in, seconds=44.0, vad=ScriptedVAD(speech), tts=FaultyTTS(Fault("without end", calls=(0,))))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + ANSWER_S)
    assert sum(piece.frame.duration_s for piece in rig.transport.played) < 30.0


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("how", [*WAYS, *RUBBISH_PROBABILITIES])
def test_detector(how: str, barge_in: str) -> None:
    rig = make_rig(barge_in, detector=FaultyDetector(Fault(how)))
    left = carry_out(rig)
    check(rig, left, within_s=ENDPOINT_S + ANSWER_S)
    assert [event.to_dict()["code"] for event in rig.of("warning")] or how == "slow"


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("broken_s", [(0.0, 0.3), (0.4, 0.7), (0.8, 1.2), (1.4, 1.9), (2.9, 3.5)])
@pytest.mark.parametrize("how", ["fails", *RUBBISH_PROBABILITIES, "no new stream"])
def test_vad(how: str, broken_s: tuple[float, float], barge_in: str) -> None:
    speech = [FIRST, *([BARGE_INS[barge_in]] if BARGE_INS[barge_in] else []), LAST]
    rig = make_rig(barge_in, vad=FaultyVAD(speech, how, broken_s))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + ANSWER_S + 1.0)


@pytest.mark.parametrize("from_s", [0.0, 0.6, 0.95, 2.0])
@pytest.mark.parametrize("how", ["fails", *RUBBISH_PROBABILITIES, "no new stream"])
def test_a_vad_that_stays_broken_ends_the_session_with_words(how: str, from_s: float) -> None:
    rig = make_rig(vad=FaultyVAD([FIRST, LAST], how, (from_s, 1e9)))
    rig._settings = SessionSettings(on_error=APOLOGY, errors_goodbye="Goodbye.")
    with pytest.raises(ExceptionGroup) as caught:
        carry_out(rig)
    assert caught.group_contains(VADBroken)
    assert rig.tts.calls[-1].text == "Goodbye." and rig.session.end_reason == "vad_failed"
    assert [event.to_dict()["fatal"] for event in rig.of("error")][-1] is True


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("at", ["first", "mid"])
@pytest.mark.parametrize("how", [*WAYS, "arguments are None", "output is a number"])
def test_tool(how: str, at: str, barge_in: str) -> None:
    tool = FaultyTool(Fault(how, at, calls=(0,)))
    rig = make_rig(barge_in, workflow=tool)
    left = carry_out(rig)
    assert not left
    check_history(rig)
    assert rig.of("turn_ended")[-1].to_dict()["status"] == "completed" and rig.said[-1] == "It is on now."
    check_promptness(rig, ENDPOINT_S + LLM_S + ANSWER_S)


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("calls", [(0,), (1,), (0, 1), (0, 1, 2)], ids=["first", "second", "two", "three"])
@pytest.mark.parametrize("how", WAYS)
def test_transcript_store(how: str, calls: tuple[int, ...], barge_in: str) -> None:
    rig = make_rig(barge_in, guarding=Guarding(journal=FaultyJournal(Fault(how, calls=calls))))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + 3 * RECORD_S + ANSWER_S + 1.0)


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
@pytest.mark.parametrize("gate", ["transcript", "speech", "turn"])
@pytest.mark.parametrize("how", [*WAYS, "rubbish"])
def test_policy_check(how: str, gate: str, barge_in: str) -> None:
    fault, asked = Fault(how), itertools.count()

    async def judge(subject: Any) -> Any:
        if next(asked) == 0:
            await fault.strike()
            if how == "rubbish":
                return 7
        return None

    check_ = BoundCheck("faulty", as_check(judge), 1.0, "open", "")
    rig = make_rig(barge_in, guarding=Guarding(policy=Policy(**{gate: (check_,)})))
    check(rig, carry_out(rig), within_s=ENDPOINT_S + 1.0 + LLM_S + ANSWER_S)


@pytest.mark.parametrize("speculate", [True, False])
@pytest.mark.parametrize("at", ["first", "mid", "end"])
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("stage", ["stt", "llm", "tts"])
def test_every_call_breaks_and_then_none(stage: str, how: str, at: str, speculate: bool) -> None:
    """One stage is wholly out of order for two turns, and comes back."""
    calls = tuple(range(6 if stage == "stt" else 2))
    fault = Fault(how, at, calls=calls)
    made: dict[str, Any] = {
        "stt": FaultySTT(heard, fault),
        "llm": FaultyLLM(answered, fault),
        "tts": FaultyTTS(fault),
    }
    rig = make_rig("while it speaks", settings=replace(SETTINGS, speculate=speculate), **{stage: made[stage]})
    check(rig, carry_out(rig), within_s=ENDPOINT_S + max(STT_S + AUDIO_S, LLM_S, TTS_S) + GRACE_S + ANSWER_S)


class FaultyTransport(RecordingTransport):
    how = "fails"

    async def play(self, frame: AudioFrame, mark: int) -> float:
        if len(self.played) >= 3:
            raise ConnectionResetError("gone")
        return await super().play(frame, mark)


@pytest.mark.parametrize("barge_in", ALL_BARGE_INS)
def test_a_transport_that_breaks_ends_the_session_and_leaves_nothing(barge_in: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("sessions.RecordingTransport", FaultyTransport)
    rig = make_rig(barge_in)

    async def main() -> set[asyncio.Task[Any]]:
        before = asyncio.all_tasks()
        with pytest.raises(ExceptionGroup) as caught:
            await rig.run()
        assert caught.group_contains(ConnectionResetError)
        await asyncio.sleep(5.0)
        return asyncio.all_tasks() - before

    assert not run_virtual(main())


def test_too_many_errors_end_the_session_with_words() -> None:
    speech = [(1.0 + 5 * at, 2.0 + 5 * at) for at in range(5)]
    rig = Rig(
        speech,
        seconds=30.0,
        stt=lambda call: Heard("What?", 0.05),
        llm=lambda call: EngineFailed("down"),
        settings=SessionSettings(on_error=APOLOGY, errors_goodbye="Goodbye.", max_errors=3),
    )
    run_virtual(rig.run())
    assert [event.to_dict()["status"] for event in rig.of("turn_ended")] == ["failed"] * 3
    assert [call.text for call in rig.tts.calls] == [APOLOGY, APOLOGY, "Goodbye."]
    assert rig.session.end_reason == "errors" and rig.session.audio_s < 20, "it ended before its input"
    last = rig.of("error")[-1].to_dict()
    assert (last["stage"], last["code"], last["fatal"]) == ("session", "TooManyErrors", True)


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_overload_is_told_in_its_own_words(stage: str) -> None:
    busy = EngineOverloaded("16 requests wait already")
    rig = Rig(
        [FIRST],
        seconds=6.0,
        stt=lambda call: busy if stage == "stt" else Heard("What?", 0.05),
        llm=lambda call: busy,
        settings=SessionSettings(on_error=APOLOGY, on_overload="One moment, please."),
    )
    run_virtual(rig.run())
    assert [call.text for call in rig.tts.calls] == ["One moment, please."]


@pytest.mark.parametrize("stage", ["stt", "llm"])
def test_a_guess_that_is_refused_costs_the_turn_nothing(stage: str) -> None:
    def no_time_for_guesses(call: Any) -> Any:
        if call.ticket.priority is not Priority.COMMITTED:
            return EngineOverloaded("16 requests wait already")
        return Heard("What?", 0.05) if stage == "stt" else Reply(["Yes."])

    rig = Rig(
        [FIRST, (3.0, 3.6)],
        seconds=8.0,
        stt=no_time_for_guesses if stage == "stt" else lambda call: Heard("What?", 0.05),
        llm=no_time_for_guesses if stage == "llm" else lambda call: Reply(["Yes."]),
        settings=SessionSettings(on_error=APOLOGY),
    )
    left = carry_out(rig)
    assert not left and rig.said == ["Yes.", "Yes."] and not rig.of("error")
    assert [event.to_dict()["reason"] for event in rig.of("dropped")] == (["refused"] * 2 if stage == "stt" else [])


def test_a_goodbye_is_heard_even_if_the_voice_is_what_broke() -> None:
    goodbye = AudioFrame(np.full(12000, 0.125, dtype=np.float32), 24000)
    rig = Rig(
        [(0.5, 1.0), (3.0, 3.5)],
        seconds=12.0,
        stt=lambda call: Heard("What?", 0.05),
        llm=lambda call: Reply(["Yes."]),
        tts=FaultyTTS(Fault("fails", until_s=1e9)),
        settings=SessionSettings(on_error=APOLOGY, errors_goodbye="Goodbye.", max_errors=2),
        prepared={APOLOGY: [PREPARED], "Goodbye.": [goodbye]},
    )
    run_virtual(rig.run())
    assert [float(piece.frame.samples[0]) for piece in rig.transport.played] == [0.25, 0.125]
    assert rig.session.end_reason == "errors"


def test_an_answer_between_errors_is_a_new_beginning() -> None:
    speech = [(1.0 + 5 * at, 2.0 + 5 * at) for at in range(5)]
    outcomes = iter(
        [EngineFailed("down"), Reply(["Yes."]), EngineFailed("down"), Reply(["Yes."]), EngineFailed("down")]
    )
    rig = Rig(
        speech,
        seconds=30.0,
        stt=lambda call: Heard("What?", 0.05),
        llm=lambda call: next(outcomes),
        settings=SessionSettings(on_error=APOLOGY, errors_goodbye="Goodbye.", max_errors=2),
    )
    run_virtual(rig.run())
    assert len(rig.of("turn_ended")) == 5 and rig.session.end_reason == "input_ended"


FAULTS = st.builds(
    Fault,
    st.sampled_from([*WAYS, "text is None", "half a surrogate", "not a number"]),
    st.sampled_from(["first", "mid", "end"]),
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
)


@given(
    stt=FAULTS,
    llm=FAULTS,
    tts=FAULTS,
    store=FAULTS,
    detector=FAULTS,
    barge_ins=st.lists(st.floats(0.2, 4.0), max_size=3),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_faults_in_any_combination(
    stt: Fault, llm: Fault, tts: Fault, store: Fault, detector: Fault, barge_ins: list[float]
) -> None:
    speech, at_s = [FIRST], FIRST[1]
    for wait_s in barge_ins:
        speech.append((at_s + wait_s, at_s + wait_s + 0.9))
        at_s += wait_s + 0.9
    speech += [(50.0, 50.6), (65.0, 65.6)]
    rig = make_rig(
        seconds=68.0,
        vad=ScriptedVAD(speech),
        settings=replace(SETTINGS, max_errors=None),
        stt=FaultySTT(heard, stt),
        llm=FaultyLLM(answered, llm),
        tts=FaultyTTS(tts),
        detector=FaultyDetector(detector),
        guarding=Guarding(journal=FaultyJournal(store)),
    )
    left = carry_out(rig)
    assert not left
    check_history(rig)
    assert rig.session.end_reason == "input_ended"
    worst_s = ENDPOINT_S + (STT_S + 2) * 2 + RECORD_S * 2 + LLM_S + TTS_S + ANSWER_S + 10.0
    check_promptness(rig, worst_s)
