"""The main path of a session, on scripted engines and a virtual clock."""

from __future__ import annotations

import pytest
from sessions import Rig

from antiphon.engines.protocols import EndpointPolicy
from antiphon.engines.testing import Answer, Heard, Reply, ScriptedTurnDetector, run_virtual
from antiphon.pipeline.session_settings import SessionSettings


def test_one_question_one_answer() -> None:
    rig = Rig([(0.5, 1.5)], seconds=3.0, stt=[Heard("What time is it?", 0.1)], llm=[Reply(["It is ", "noon."])])
    run_virtual(rig.run())
    assert rig.heard == ["What time is it?"]
    assert rig.said == ["It is noon."]
    assert rig.types == [
        "speech_started",
        "speech_stopped",
        "speculated",
        "transcript",
        "committed",
        "transcript",
        "text_delta",
        "text_delta",
        "audio_started",
        "spoken",
        "transcript",
        "turn_ended",
    ]
    heard = [event.to_dict() for event in rig.of("transcript")][:2]
    assert [(event["text"], event["final"]) for event in heard] == [
        ("What time is it?", False),
        ("What time is it?", True),
    ]
    assert rig.transport.played
    ended = rig.of("turn_ended")[0].to_dict()
    assert ended["status"] == "completed"
    times = [ended["timings"][key] for key in ("speech_end_s", "vad_stop_s", "commit_s", "audible_s")]
    assert times == sorted(times)


def test_speculation_hides_the_work_behind_the_commit_delay() -> None:
    def ttfa_s(speculate: bool) -> float:
        rig = Rig(
            [(0.5, 1.5)],
            seconds=3.0,
            stt=[Heard("Hello?", 0.1)],
            llm=[Reply(["Hi."], first_delay_s=0.1)],
            settings=SessionSettings(on_error="", speculate=speculate),
        )
        run_virtual(rig.run())
        times = rig.of("turn_ended")[0].to_dict()["timings"]
        return float(times["audible_s"] - times["commit_s"])

    assert ttfa_s(True) < 0.01
    assert ttfa_s(False) == pytest.approx(0.2, abs=0.05)


def test_a_pause_inside_a_turn_drops_the_speculation() -> None:
    rig = Rig(
        [(0.5, 1.5), (1.7, 2.5)],
        seconds=4.0,
        stt=[Heard("Turn on", 0.05), Heard("Turn on the lamp.", 0.05)],
        llm=[Reply(["What?"], first_delay_s=0.05), Reply(["Done."])],
        workflow=None,
    )
    run_virtual(rig.run())
    assert rig.heard == ["Turn on the lamp."]
    assert rig.said == ["Done."]
    assert [event.revision for event in rig.of("dropped")] == [0]
    assert [event.revision for event in rig.of("committed")] == [1]


def test_the_detector_shortens_and_lengthens_the_silence() -> None:
    policy = EndpointPolicy(silence_ms=700, steps=((0.9, 200), (0.5, 400)), check_at_ms=(100,), max_silence_ms=1500)

    def delay_s(answer: Answer | Exception) -> float:
        detector = ScriptedTurnDetector([answer], policy=policy)

        async def main() -> Rig:
            async with detector:
                return await rig.run()

        rig = Rig([(0.5, 1.5)], seconds=5.0, stt=[Heard("Hello.")], llm=[Reply(["Hi."])], detector=detector)
        run_virtual(main())
        times = rig.of("turn_ended")[0].to_dict()["timings"]
        return float(times["commit_s"] - times["speech_end_s"])

    assert delay_s(Answer(0.95)) == pytest.approx(0.2, abs=0.03)
    assert delay_s(Answer(0.6)) == pytest.approx(0.4, abs=0.03)
    assert delay_s(Answer(0.1)) == pytest.approx(1.5, abs=0.03)
    assert delay_s(RuntimeError("broken")) == pytest.approx(0.7, abs=0.03)


def test_nothing_said_is_no_turn() -> None:
    rig = Rig([(0.5, 1.5)], seconds=3.0, stt=[Heard("")])
    run_virtual(rig.run())
    assert rig.heard == []
    assert rig.of("turn_ended")[0].to_dict()["status"] == "no_speech"
    assert not rig.transport.played


def test_silence_calls_no_engine() -> None:
    rig = Rig([], seconds=60.0)
    run_virtual(rig.run())
    assert rig.events == []


def test_the_stream_clock_gives_the_same_turns() -> None:
    rig = Rig(
        [(0.5, 1.5), (4.0, 5.0)],
        seconds=7.0,
        stt=[Heard("One?", 2.0), Heard("Two?", 2.0)],
        llm=[Reply(["First."], first_delay_s=3.0), Reply(["Second."])],
        paced=False,
    )
    run_virtual(rig.run())
    assert rig.heard == ["One?", "Two?"]
    assert rig.said == ["First.", "Second."]
    assert [message.content for message in rig.llm.calls[1].messages] == ["Be brief.", "One?", "First.", "Two?"]
