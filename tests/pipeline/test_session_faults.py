"""What a session does when a stage fails, hangs or gives rubbish: the turn ends, the session goes on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import numpy as np
import pytest
from sessions import RATE_HZ, Rig

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.errors import EngineFailed, EngineOverloaded
from antiphon.engines.protocols import EndpointPolicy, VADStream
from antiphon.engines.testing import (
    Answer,
    Heard,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedTurnDetector,
    ScriptedVAD,
    run_virtual,
)
from antiphon.pipeline.gate import VADBroken
from antiphon.pipeline.interruption import InterruptionSettings
from antiphon.pipeline.reply import ReplySettings
from antiphon.pipeline.session_settings import SessionSettings
from antiphon.pipeline.workflow import TurnContext

TWO_TURNS = [(0.5, 1.5), (6.0, 7.0)]
APOLOGY = SessionSettings(on_error="Sorry.")


def statuses(rig: Rig) -> list[str]:
    return [event.to_dict()["status"] for event in rig.of("turn_ended")]


def errors(rig: Rig) -> list[tuple[str, str]]:
    return [(event.to_dict()["stage"], event.to_dict()["code"]) for event in rig.of("error")]


@pytest.mark.parametrize("speculate", [True, False])
def test_a_failed_transcription(speculate: bool) -> None:
    failures = [EngineFailed("broken")] * (2 if speculate else 1)  # what failed at the first silence is tried again
    rig = Rig(
        TWO_TURNS, seconds=9.0, stt=[*failures, Heard("Two?")], llm=[Reply(["Yes."])],
        settings=SessionSettings(on_error="Sorry.", speculate=speculate),
    )  # fmt: skip
    run_virtual(rig.run())
    assert statuses(rig) == ["failed", "completed"]
    assert errors(rig) == [("stt", "EngineFailed")]
    assert [call.text for call in rig.tts.calls] == ["Sorry.", "Yes."]
    assert rig.heard == ["Two?"]


def test_a_failed_llm_before_its_first_word() -> None:
    rig = Rig(
        TWO_TURNS, seconds=9.0, stt=[Heard("One?"), Heard("Two?")],
        llm=[EngineOverloaded("busy", retry_after_s=3.0), Reply(["Yes."])], settings=APOLOGY,
    )  # fmt: skip
    run_virtual(rig.run())
    assert statuses(rig) == ["failed", "completed"]
    assert errors(rig) == [("workflow", "EngineOverloaded")] or errors(rig) == [("llm", "EngineOverloaded")]
    assert [call.text for call in rig.tts.calls] == ["Sorry.", "Yes."]
    assert rig.heard == ["One?", "Two?"], "what the user said is kept: the next answer may refer to it"


def test_an_llm_that_breaks_off_is_heard_up_to_there() -> None:
    rig = Rig(
        TWO_TURNS, seconds=12.0, stt=[Heard("One?"), Heard("Two?")],
        llm=[Reply(["First part. ", "Second"], error=EngineFailed("broke off"), error_after=2), Reply(["Yes."])],
        settings=APOLOGY,
    )  # fmt: skip
    run_virtual(rig.run())
    assert statuses(rig) == ["failed", "completed"]
    assert [call.text for call in rig.tts.calls] == ["First part.", "Second", "Sorry.", "Yes."]
    assert rig.said[0] == "First part. Second"


def test_a_failed_tts_says_the_prepared_apology() -> None:
    prepared = AudioFrame(np.full(2400, 0.5, dtype=np.float32), 24000)
    rig = Rig(
        [(0.5, 1.5)], seconds=4.0, stt=[Heard("One?")], llm=[Reply(["Yes."])],
        tts=ScriptedTTS([EngineFailed("no voice")]), settings=APOLOGY, prepared={"Sorry.": [prepared]},
    )  # fmt: skip
    run_virtual(rig.run())
    assert statuses(rig) == ["failed"]
    assert errors(rig) == [("tts", "EngineFailed")]
    assert np.array_equal(rig.transport.replies(), prepared.samples)
    assert rig.said == [""] and [item.unheard for item in rig.session.conversation if item.unheard] == ["Yes."]


def test_when_even_the_apology_fails_the_session_goes_on() -> None:
    rig = Rig(
        TWO_TURNS, seconds=9.0, stt=[Heard("One?"), Heard("Two?")], llm=[Reply(["A."]), Reply(["B."])],
        tts=ScriptedTTS([EngineFailed("no"), EngineFailed("no"), EngineFailed("no"), EngineFailed("no")]),
        settings=APOLOGY,
    )  # fmt: skip
    run_virtual(rig.run())
    assert statuses(rig) == ["failed", "failed"]
    assert not rig.transport.played


def test_a_workflow_that_raises() -> None:
    async def broken(text: str) -> AsyncIterator[str]:
        yield "I will "
        raise KeyError("oops")

    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("One?")], workflow=workflow_of(broken), settings=APOLOGY)
    run_virtual(rig.run())
    assert statuses(rig) == ["failed"]
    assert errors(rig) == [("workflow", "KeyError")]
    assert rig.tts.calls[-1].text == "Sorry."


def workflow_of(function: object) -> object:
    from antiphon.pipeline.workflow import as_workflow

    return as_workflow(function)


def test_a_workflow_that_hangs_is_given_up() -> None:
    async def hangs(text: str) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    settings = SessionSettings(on_error="Sorry.", reply=ReplySettings(workflow_timeout_s=5.0))
    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("One?")], workflow=workflow_of(hangs), settings=settings)
    run_virtual(rig.run())
    assert statuses(rig) == ["failed"]
    assert errors(rig) == [("workflow", "EngineTimeout")]


def test_an_stt_that_hangs_is_given_up() -> None:
    settings = SessionSettings(on_error="", stt_timeout_s=3.0)
    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("late", delay_s=100.0)], settings=settings)
    run_virtual(rig.run())
    assert errors(rig) == [("stt", "EngineTimeout")]


def test_a_detector_that_hangs_leaves_it_to_silence() -> None:
    policy = EndpointPolicy(silence_ms=700, steps=((0.5, 200),), check_at_ms=(100,), max_silence_ms=1500)
    detector = ScriptedTurnDetector([Answer(1.0, delay_s=60.0)], policy=policy)
    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("One?")], llm=[Reply(["Yes."])], detector=detector)

    async def main() -> None:
        async with detector:
            await rig.run()

    run_virtual(main())
    assert statuses(rig) == ["completed"]
    times = rig.of("turn_ended")[0].to_dict()["timings"]
    assert times["commit_s"] - times["speech_end_s"] == pytest.approx(0.7, abs=0.03)
    assert [event.to_dict()["code"] for event in rig.of("warning")] == ["turn_detector_failed"]


def test_a_failed_sink_does_not_matter(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig([(0.5, 1.5)], seconds=4.0, stt=[Heard("One?")], llm=[Reply(["Yes."])])

    def broken(event: object) -> None:
        raise RuntimeError("sink")

    rig.events = type("Broken", (list,), {"append": lambda self, event: broken(event)})()  # type: ignore[assignment]
    run_virtual(rig.run())
    assert rig.said == ["Yes."]
    assert "an event sink failed" in caplog.text


def test_answers_come_in_order_and_do_not_overlap() -> None:
    rig = Rig(
        [(0.5, 1.5), (2.5, 3.5)], seconds=6.0,
        stt=[Heard("One?"), Heard("Two?")],
        llm=[Reply(["A long first answer that goes on for a while."]), Reply(["B."])],
        tts=ScriptedTTS(repeat=True, seconds_per_char=0.1),
        settings=SessionSettings(on_error="", interruption=InterruptionSettings(enabled=False)),
    )  # fmt: skip
    run_virtual(rig.run())
    pieces = rig.transport.played
    assert [piece.mark for piece in pieces] == sorted(piece.mark for piece in pieces)
    for before, after in itertools.pairwise(pieces):
        assert after.start_s >= before.start_s + before.frame.duration_s - 1e-6
    assert [message.content for message in rig.llm.calls[1].messages][1:] == ["One?", rig.said[0], "Two?"]


def test_a_plain_workflow_starts_at_commit_only() -> None:
    started: list[float] = []

    class Plain:
        speculative = False

        async def respond(self, turn: TurnContext) -> AsyncIterator[str]:
            started.append(asyncio.get_running_loop().time())
            assert turn.is_committed
            yield "Done."

    rig = Rig(
        [(0.5, 1.5), (1.7, 2.5)], seconds=5.0, stt=[Heard("Turn"), Heard("Turn on.")], workflow=Plain(),
    )  # fmt: skip
    run_virtual(rig.run())
    assert len(started) == 1 and rig.heard == ["Turn on."]


def test_no_voice_for_the_language_is_a_text_only_reply() -> None:
    rig = Rig(
        [(0.5, 1.5)], seconds=4.0, stt=[Heard("Guten Tag.", language="de")], llm=[Reply(["Hallo."])],
        voices={"en": "joe"},
    )  # fmt: skip
    run_virtual(rig.run())
    assert statuses(rig) == ["text_only"]
    assert rig.said == ["Hallo."] and not rig.transport.played
    assert [event.to_dict()["code"] for event in rig.of("warning")] == ["no_voice_for_language"]


def test_the_greeting_is_spoken_and_remembered() -> None:
    rig = Rig(
        [(3.0, 4.0)], seconds=6.0, stt=[Heard("One?")], llm=[Reply(["Yes."])],
        settings=SessionSettings(on_error="", greeting="Welcome."),
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.said == ["Welcome.", "Yes."]
    assert rig.llm.calls[0].messages[1].content == "Welcome."


def test_the_longest_turn_is_answered_and_the_voice_goes_on() -> None:
    rig = Rig(
        [(0.5, 7.5)], seconds=10.0, stt=[Heard("One"), Heard("Two")], llm=[Reply(["A."]), Reply(["B."])],
        settings=SessionSettings(on_error="", max_turn_s=5.0),
    )  # fmt: skip
    run_virtual(rig.run())
    assert [event.to_dict()["reason"] for event in rig.of("committed")] == ["max_turn", "silence"]
    lengths = [call.audio_s for call in rig.stt.calls]
    assert sum(lengths) == pytest.approx(7.0, abs=1.2), "no speech is lost at the cut"


def test_commit_and_clear_by_hand() -> None:
    async def scripted() -> AsyncIterator[AudioFrame]:
        loop = asyncio.get_running_loop()
        for index in range(400):
            at_s = index * 0.02
            await asyncio.sleep(max(0.0, at_s + 0.02 - loop.time()))
            yield AudioFrame(np.zeros(RATE_HZ // 50, dtype=np.float32), RATE_HZ, at_s)
            if index == 110:
                rig.session.clear()
            if index == 310:
                rig.session.commit()

    rig = Rig(
        [(0.5, 2.0), (5.0, 6.0)], seconds=8.0, stt=[Heard("Two?")], llm=[Reply(["Yes."])], source=scripted(),
        settings=SessionSettings(on_error="", speculate=False),
    )  # fmt: skip
    run_virtual(rig.run())
    assert rig.of("dropped")[0].to_dict()["reason"] == "cleared"
    assert "manual" in [event.to_dict()["reason"] for event in rig.of("committed")]


@pytest.mark.parametrize("at_s", [0.3, 1.0, 1.55, 1.7, 2.0, 2.05, 2.2, 2.6, 3.0])
def test_cancelling_a_session_leaves_nothing_behind(at_s: float) -> None:
    rig = Rig(
        [(0.5, 1.5)], seconds=20.0, stt=[Heard("One?", 0.2)] * 2, tts=ScriptedTTS(repeat=True, seconds_per_char=0.2),
        llm=[Reply(["A long answer. ", "It goes on."], delta_delay_s=0.3)] * 2,
    )  # fmt: skip

    async def main() -> None:
        task = asyncio.create_task(rig.run())
        await asyncio.sleep(at_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


class BreakingVAD(ScriptedVAD):
    """Fails on the windows that begin between two times."""

    def __init__(self, speech: list[tuple[float, float]], broken: tuple[float, float]) -> None:
        super().__init__(speech)
        self._broken = broken

    def stream(self) -> VADStream:
        inner = super().stream()
        broken, at = self._broken, self

        class Stream:
            def probability(self, window: Samples) -> float:
                start_s = at.windows * at.window_samples / at.rate_hz
                at.windows += 1
                speaks = any(first <= start_s < last for first, last in TWO_TURNS)
                if broken[0] <= start_s < broken[1]:
                    raise RuntimeError("vad broke")
                return 1.0 if speaks else 0.0

            def reset(self) -> None:
                inner.reset()

        return Stream()

    windows = 0


def test_a_vad_that_fails_for_a_moment_costs_no_turn() -> None:
    rig = Rig(TWO_TURNS, seconds=9.0, stt=[Heard("One?"), Heard("Two?")], llm=[Reply(["A."]), Reply(["B."])])
    rig.vad = BreakingVAD(TWO_TURNS, (0.9, 1.2))
    run_virtual(rig.run())
    assert rig.heard == ["One?", "Two?"]
    assert errors(rig) == [("vad", "RuntimeError")], "told once, not for every window"


def test_a_vad_that_only_fails_ends_the_session_with_its_reason() -> None:
    rig = Rig(TWO_TURNS, seconds=9.0)
    rig.vad = BreakingVAD(TWO_TURNS, (2.0, 100.0))
    rig.stt, rig.llm = ScriptedSTT([Heard("One?")]), ScriptedLLM([Reply(["A."])])
    with pytest.raises(ExceptionGroup) as caught:
        run_virtual(rig.run())
    assert caught.group_contains(VADBroken, match="30 windows in a row")
