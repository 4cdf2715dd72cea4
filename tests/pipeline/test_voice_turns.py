"""`VoicePipeline` from end to end on scripted engines: what a user of the library sees, turn by turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from scripted_config import Script, kinds, one_turn, samples, spoken_audio, texts

from antiphon import (
    AntiphonError,
    AudioInput,
    Conversation,
    StreamedAudioInput,
    VoicePipeline,
    VoiceStreamEvent,
    VoiceWorkflowBase,
)
from antiphon.engines.errors import EngineFailed, EngineLoadFailed
from antiphon.engines.testing import Heard, Reply, ScriptedSTT, ScriptedTTS, Speak, run_virtual
from antiphon.pipeline.conversation import Item
from antiphon.pipeline.errors import SessionClosed
from antiphon.pipeline.voice_types import CallableSplitter

TWO_TURNS = ((0.2, 0.8), (3.2, 3.8))


async def answer(pipeline: VoicePipeline, audio: Any, **options: Any) -> list[VoiceStreamEvent]:
    result = await pipeline.run(audio, **options)
    return [event async for event in result.stream()]


async def feed(audio: StreamedAudioInput, seconds: float, *, chunk_s: float = 0.05) -> None:
    """Zeros in real time, then the end; what is said in them stands in the script."""
    chunk = np.zeros(round(chunk_s * audio.frame_rate), dtype=np.int16)
    for _ in range(round(seconds / chunk_s)):
        await asyncio.sleep(chunk_s)
        await audio.add_audio(chunk)
    await audio.add_audio(None)


async def talk(pipeline: VoicePipeline, seconds: float, **options: Any) -> list[VoiceStreamEvent]:
    """A live session of zeros."""
    audio = StreamedAudioInput(frame_rate=16000)
    async with asyncio.TaskGroup() as group:
        group.create_task(feed(audio, seconds))
        return await answer(pipeline, audio, **options)


def played(script: Script, audio: AudioInput | None = None, **arguments: Any) -> list[VoiceStreamEvent]:
    async def main() -> list[VoiceStreamEvent]:
        async with script.pipeline(**arguments) as pipeline:
            return await answer(pipeline, audio or spoken_audio())

    return run_virtual(main())


def talked(script: Script, seconds: float, **arguments: Any) -> list[VoiceStreamEvent]:
    async def main() -> list[VoiceStreamEvent]:
        async with script.pipeline(**arguments) as pipeline:
            return await talk(pipeline, seconds)

    return run_virtual(main())


# ------------------------------------------------------------------------------------------ one turn


def test_a_recording_is_one_turn() -> None:
    text = "It is noon on the clock of the tower. All is well here in the town below."
    events = played(one_turn("What time is it?", text))
    assert [kind for kind in kinds(events) if kind not in ("audio", "spoken")] == [
        "turn_started",
        "user",
        "assistant",
        "turn_ended",
        "session_ended",
    ]
    assert kinds(events)[2:4] == ["audio", "spoken"], "audio comes before the user's next word does"
    assert texts(events, "user") == ["What time is it?"]
    assert texts(events, "assistant") == [text]
    spoken = [event.text for event in events if event.type == "voice_stream_event_spoken"]
    assert "".join(spoken) == text and len(spoken) > 1


def test_audio_is_int16_at_24_khz() -> None:
    events = played(one_turn())
    pieces = [event for event in events if event.type == "voice_stream_event_audio"]
    assert {piece.frame_rate for piece in pieces} == {24000}
    assert samples(events).dtype == np.int16 and samples(events).ndim == 1
    assert np.abs(samples(events)).max() == pytest.approx(0.3 * 32767, rel=0.01)  # the scripted voice's tone


def test_audio_of_another_rate_is_brought_to_24_khz() -> None:
    script = Script(stt=[Heard("Hi.")], llm=[Reply(["Hello there."])], tts=ScriptedTTS(rate_hz=22050))
    assert len(samples(played(script))) == pytest.approx(len("Hello there.") * 0.06 * 24000, rel=0.001)


def test_every_event_of_a_turn_has_its_number_and_times_that_do_not_go_back() -> None:
    events = played(one_turn())
    assert {event.turn for event in events[:-1]} == {1}
    times = [event.t_s for event in events if event.t_s is not None]
    assert len(times) == len(events) - 1, "all but the end of the session carry a time"
    assert times == sorted(times)


def test_run_returns_at_once_and_text_grows() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        text = "Hello to you, whoever you are. How do you do on this fine day?"
        script = Script(stt=[Heard("Hi.", 5.0)], llm=[Reply.of(text)])
        pipeline = script.pipeline()
        result = await pipeline.run(spoken_audio())
        assert loop.time() == 0.0 and result.total_output_text == ""
        grown = [result.total_output_text async for event in result.stream() if event.type.endswith("spoken")]
        assert loop.time() >= 5.0
        assert len(grown) > 1 and all(text.startswith(part) for part in grown)
        assert len(grown[0]) < len(text) and result.total_output_text == text
        await pipeline.aclose()

    run_virtual(main())


def test_the_text_is_whole_where_a_piece_makes_no_sound() -> None:
    async def main() -> None:
        script = Script(stt=[Heard("Hi.")], llm=[Reply(["Hello there friend. ", "🙂 "])])
        async with script.pipeline() as pipeline:
            result = await pipeline.run(spoken_audio())
            events = [event async for event in result.stream()]
        assert result.total_output_text == texts(events, "assistant")[0] == "Hello there friend. 🙂 "

    run_virtual(main())


def test_three_seconds_of_zeros_end_cleanly() -> None:
    for seconds in (3.0, 0.0):
        script = Script(speech=())
        events = played(script, spoken_audio(seconds))
        assert kinds(events) == ["session_ended"]
        assert script.stt_engine.calls == [] and script.llm_engine.calls == []


def test_a_live_stream_of_zeros_ends_cleanly() -> None:
    script = Script(speech=())
    assert kinds(talked(script, 3.0)) == ["session_ended"]
    assert script.stt_engine.calls == []


def test_nothing_said_after_all_is_no_turn() -> None:
    assert kinds(played(Script(stt=[Heard("")]))) == ["session_ended"]


def test_a_recording_with_pauses_is_still_one_turn() -> None:
    script = Script(speech=((0.2, 0.8), (3.0, 3.6)), stt=[Heard("One. Two.")], llm=[Reply(["Both."])])
    events = played(script, spoken_audio(4.0))
    assert texts(events, "user") == ["One. Two."]
    assert script.stt_engine.calls[0].audio_s > 3.0


# ------------------------------------------------------------------------------------------- many turns


def test_a_live_stream_holds_many_turns() -> None:
    script = Script(
        speech=TWO_TURNS, stt=[Heard("One?", 0.1), Heard("Two?", 0.1)], llm=[Reply(["First."]), Reply(["Second."])]
    )
    events = talked(script, 6.0)
    assert texts(events, "user") == ["One?", "Two?"]
    assert texts(events, "assistant") == ["First.", "Second."]
    one = ["user", "turn_started", "user", "audio", "spoken", "assistant", "turn_ended"]
    assert [kind for kind in kinds(events) if kind != "audio"] == [
        *([kind for kind in one if kind != "audio"] * 2),
        "session_ended",
    ]
    assert [event.turn for event in events if event.type.endswith("lifecycle")] == [1, 1, 2, 2, 0]


def test_the_answer_comes_while_the_stream_is_still_open() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        script = one_turn()
        async with script.pipeline() as pipeline:
            audio = StreamedAudioInput(frame_rate=16000)
            feeding = asyncio.create_task(feed(audio, 10.0))
            result = await pipeline.run(audio)
            async for event in result.stream():
                if event.type == "voice_stream_event_audio":
                    assert loop.time() < 2.0
                    break
            feeding.cancel()

    run_virtual(main())


def test_audio_faster_than_real_time_leaves_the_loop_free() -> None:
    async def main() -> None:
        script = Script(speech=TWO_TURNS, stt=[Heard("One?"), Heard("Two?")], llm=[Reply(["1."]), Reply(["2."])])
        turns_of_the_loop = 0

        async def count() -> None:
            nonlocal turns_of_the_loop
            while True:
                turns_of_the_loop += 1
                await asyncio.sleep(0)

        async with script.pipeline() as pipeline:
            audio = StreamedAudioInput(frame_rate=16000)
            await audio.add_audio(np.zeros(16000 * 6, dtype=np.int16))
            await audio.add_audio(None)
            counting = asyncio.create_task(count())
            events = await answer(pipeline, audio)
            counting.cancel()
        assert texts(events, "user") == ["One?", "Two?"]
        assert turns_of_the_loop >= 60

    run_virtual(main())


def test_a_stream_that_ends_in_mid_word_ends_the_turn() -> None:
    script = Script(speech=((0.2, 9.0),), stt=[Heard("I was")], llm=[Reply(["Yes?"])])
    assert texts(talked(script, 1.0), "user") == ["I was"]


def test_a_stalled_stream_still_ends_its_turn() -> None:
    async def main() -> list[VoiceStreamEvent]:
        script = one_turn()
        async with script.pipeline() as pipeline:
            audio = StreamedAudioInput(frame_rate=16000)
            await audio.add_audio(np.zeros(11200, dtype=np.int16))  # 0.7 s, in mid-speech; then nothing comes
            result = await pipeline.run(audio)
            events = []
            async for event in result.stream():
                events.append(event)
                if event.type == "voice_stream_event_lifecycle" and event.event == "turn_ended":
                    await audio.add_audio(None)
            return events

    assert texts(run_virtual(main()), "assistant") == ["It is noon."]


# --------------------------------------------------------------------------------------------- history


def test_history_goes_on_from_run_to_run() -> None:
    async def main() -> Script:
        script = Script(stt=[Heard("One?"), Heard("Two?")], llm=[Reply(["First."]), Reply(["Second."])])
        async with script.pipeline() as pipeline:
            await answer(pipeline, spoken_audio())
            await answer(pipeline, spoken_audio())
            assert [item.text for item in pipeline.conversation] == ["One?", "First.", "Two?", "Second."]
        return script

    calls = run_virtual(main()).llm_engine.calls
    assert [message.content for message in calls[1].messages] == ["Be brief.", "One?", "First.", "Two?"]
    assert calls[1].messages[: len(calls[0].messages)] == calls[0].messages


def test_another_conversation_keeps_its_own_history() -> None:
    async def main() -> None:
        script = Script(stt=[Heard("One?"), Heard("Two?")], llm=[Reply(["First."]), Reply(["Second."])])
        other = Conversation([Item(id="a", role="user", text="Call me Al.")])
        async with script.pipeline() as pipeline:
            await answer(pipeline, spoken_audio())
            await answer(pipeline, spoken_audio(), conversation=other)
            assert [item.text for item in pipeline.conversation] == ["One?", "First."]
        assert [message.content for message in script.llm_engine.calls[1].messages] == [
            "Be brief.",
            "Call me Al.\nTwo?",
        ]
        assert len(other) == 3

    run_virtual(main())


def test_two_sessions_at_once_share_the_engines() -> None:
    async def main() -> None:
        script = Script(stt=lambda _: Heard("Hi.", 0.2), llm=lambda _: Reply(["Hello."]))
        async with script.pipeline() as pipeline:
            conversations = [Conversation(), Conversation()]
            found = await asyncio.gather(*(answer(pipeline, spoken_audio(), conversation=one) for one in conversations))
        assert [texts(events, "assistant") for events in found] == [["Hello."], ["Hello."]]
        assert [len(one) for one in conversations] == [2, 2]
        assert script.stt_engine.loads == 1

    run_virtual(main())


# ---------------------------------------------------------------------------------------------- faults


class Broken(Exception):
    pass


@pytest.mark.parametrize(
    ("stage", "script"),
    [
        ("stt", Script(speech=TWO_TURNS, stt=[Broken("ear"), Broken("ear"), Heard("Two?")], llm=[Reply(["Second."])])),
        (
            "workflow",
            Script(
                speech=TWO_TURNS, stt=[Heard("One?"), Heard("Two?")], llm=[EngineFailed("mind"), Reply(["Second."])]
            ),
        ),
        (
            "tts",
            Script(
                speech=TWO_TURNS,
                stt=[Heard("One?"), Heard("Two?")],
                llm=[Reply(["First."]), Reply(["Second."])],
                tts=ScriptedTTS([EngineFailed("mouth"), Speak()]),
            ),
        ),
    ],
    ids=["stt", "workflow", "tts"],
)
def test_a_failed_turn_is_an_error_event_and_the_next_turn_works(stage: str, script: Script) -> None:
    events = talked(script, 6.0)
    errors = [event for event in events if event.type == "voice_stream_event_error"]
    assert [error.turn for error in errors] == [1]
    assert stage in str(errors[0].error) and isinstance(errors[0].error, AntiphonError)
    assert texts(events, "assistant")[-1:] == ["Second."]
    assert [event.event for event in events if event.type == "voice_stream_event_lifecycle"] == [
        "turn_started",
        "turn_ended",
        "turn_started",
        "turn_ended",
        "session_ended",
    ]


def test_the_apology_is_spoken_and_is_no_answer() -> None:
    async def main() -> None:
        script = Script(stt=[Heard("One?")], llm=[EngineFailed("broken")], session={"on_error": "Sorry about that."})
        async with script.pipeline() as pipeline:
            result = await pipeline.run(spoken_audio())
            events = [event async for event in result.stream()]
        assert len(samples(events)) == round(len("Sorry about that.") * 0.06 * 24000)
        assert result.total_output_text == "" and texts(events, "assistant") == []
        assert [item.text for item in pipeline.conversation] == ["One?"]

    run_virtual(main())


def test_a_session_that_cannot_start_gives_the_error_and_raises() -> None:
    async def main() -> None:
        script = Script()
        pipeline = VoicePipeline(
            config=script.config(), stt_model=ScriptedSTT(load_errors=[EngineLoadFailed("no such file")])
        )
        result = await pipeline.run(spoken_audio())
        events: list[VoiceStreamEvent] = []
        with pytest.raises(EngineLoadFailed, match="no such file"):
            async for event in result.stream():
                events.append(event)
        assert kinds(events) == ["error", "session_ended"]
        assert not script.vad_engine.entered, "what could be loaded is freed again"
        await pipeline.aclose()

    run_virtual(main())


def test_what_a_loading_engine_raises_is_explained() -> None:
    async def main() -> None:
        pipeline = VoicePipeline(config=Script().config(), stt_model=ScriptedSTT(load_errors=[RuntimeError("boom")]))
        with pytest.raises(EngineLoadFailed, match="stt engine could not be loaded: RuntimeError: boom"):
            await answer(pipeline, spoken_audio())

    run_virtual(main())


def test_a_load_that_failed_is_tried_again() -> None:
    async def main() -> None:
        stt = ScriptedSTT([Heard("Hi.")], load_errors=[EngineLoadFailed("busy")])
        script = Script(llm=[Reply(["Hello."])])
        pipeline = VoicePipeline(config=script.config(), stt_model=stt)
        with pytest.raises(EngineLoadFailed):
            await answer(pipeline, spoken_audio())
        assert texts(await answer(pipeline, spoken_audio()), "assistant") == ["Hello."]
        await pipeline.aclose()

    run_virtual(main())


def test_a_second_reading_of_the_stream_ends_at_once() -> None:
    async def main() -> None:
        async with one_turn().pipeline() as pipeline:
            result = await pipeline.run(spoken_audio())
            assert [event async for event in result.stream()]
            assert [event async for event in result.stream()] == []

    run_virtual(main())


# ---------------------------------------------------------------------------------------------- the end


def leftovers() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


@pytest.mark.parametrize("at_s", [0.0, 0.05, 0.3, 0.9, 1.1, 1.25, 1.5, 2.0])
def test_aclose_midway_leaves_no_task(at_s: float) -> None:
    async def main() -> None:
        script = Script(
            stt=lambda _: Heard("Hi.", 0.3),
            llm=lambda _: Reply.of("Hello to you and to all.", first_delay_s=0.2, delta_delay_s=0.1),
            tts=ScriptedTTS(load_s=0.1, chunk_delay_s=0.1),
        )
        pipeline = script.pipeline()
        audio = StreamedAudioInput(frame_rate=16000)
        feeding = asyncio.create_task(feed(audio, 60.0))
        result = await pipeline.run(audio)
        reading = asyncio.create_task(drain(result))
        await asyncio.sleep(at_s)
        await pipeline.aclose()
        await reading  # the reader is told the end; it is not cancelled
        feeding.cancel()
        await asyncio.wait({feeding})
        assert leftovers() == set()
        assert not script.stt_engine.entered and not script.tts_engine.entered

    run_virtual(main())


async def drain(result: Any) -> list[VoiceStreamEvent]:
    return [event async for event in result.stream()]


def test_a_result_that_nobody_reads_holds_nothing_up() -> None:
    async def main() -> None:
        script = one_turn()
        pipeline = script.pipeline()
        await pipeline.run(spoken_audio())
        await asyncio.sleep(30)
        await pipeline.aclose()
        assert leftovers() == set()
        assert [item.text for item in pipeline.conversation] == ["What time is it?", "It is noon."]

    run_virtual(main())


def test_a_slow_reader_slows_the_voice_down() -> None:
    async def main() -> None:
        sentences = [f"This is sentence number {number} of a very long answer indeed. " for number in range(60)]
        script = Script(stt=[Heard("Talk.")], llm=[Reply(sentences)])
        async with script.pipeline() as pipeline:
            result = await pipeline.run(spoken_audio())
            await asyncio.sleep(60)
            made_s = sum(call.chunks for call in script.tts_engine.calls) * script.tts_engine.chunk_s
            assert 60 < made_s < 90
            events = [event async for event in result.stream()]
        assert texts(events, "assistant") == ["".join(sentences)]

    run_virtual(main())


def test_a_pipeline_can_be_used_again_after_aclose() -> None:
    async def main() -> None:
        script = Script(stt=lambda _: Heard("Hi."), llm=lambda _: Reply(["Hello."]))
        pipeline = script.pipeline()
        for _ in range(2):
            assert texts(await answer(pipeline, spoken_audio()), "assistant") == ["Hello."]
            await pipeline.aclose()
            await pipeline.aclose()
        assert script.stt_engine.loads == 2 and leftovers() == set()

    run_virtual(main())


def test_the_reader_may_leave_early() -> None:
    async def main() -> None:
        script = one_turn()
        async with script.pipeline() as pipeline:
            result = await pipeline.run(spoken_audio())
            async for _ in result.stream():
                break
        assert leftovers() == set()

    run_virtual(main())


def test_adding_audio_after_the_session_has_ended_says_so() -> None:
    async def main() -> None:
        async with Script(speech=()).pipeline() as pipeline:
            audio = StreamedAudioInput(frame_rate=16000, max_waiting_s=1.0)
            result = await pipeline.run(audio)
            await asyncio.sleep(0.1)
            await result.aclose()
            with pytest.raises(AntiphonError, match="session has ended"):
                await audio.add_audio(np.zeros(1600, dtype=np.int16))
            await audio.add_audio(None)

    run_virtual(main())


def test_a_waiting_producer_is_freed_when_the_session_fails() -> None:
    async def main() -> None:
        stt = ScriptedSTT(load_s=5.0, load_errors=[EngineLoadFailed("no")])
        pipeline = VoicePipeline(config=Script(speech=()).config(), stt_model=stt)
        audio = StreamedAudioInput(frame_rate=16000, max_waiting_s=1.0)
        result = await pipeline.run(audio)

        async def produce() -> None:
            while True:
                await audio.add_audio(np.zeros(16000, dtype=np.int16))

        producing = asyncio.create_task(produce())
        with pytest.raises(EngineLoadFailed):
            await drain(result)
        with pytest.raises(AntiphonError, match="session has ended"):
            await producing

    run_virtual(main())


# ------------------------------------------------------------------------------------------- workflows


class Echo(VoiceWorkflowBase):
    async def run(self, transcription: str) -> AsyncIterator[str]:
        yield "You said: "
        yield transcription

    async def on_start(self) -> AsyncIterator[str]:
        yield "Welcome."


def test_the_greeting_is_for_live_sessions_only() -> None:
    script = Script(stt=[Heard("Hi.")])
    events = talked(script, 2.5, workflow=Echo())
    assert texts(events, "assistant") == ["Welcome.", "You said: Hi."]
    assert events[0].turn == 0 and kinds(events)[0] == "audio"
    script = Script(stt=[Heard("Hi.")])
    assert texts(played(script, workflow=Echo()), "assistant") == ["You said: Hi."]


def test_a_workflow_of_ones_own_needs_no_llm() -> None:
    script = Script(stt=[Heard("Hi.")])
    played(script, workflow=Echo())
    assert script.llm_engine.loads == 0


def test_a_broken_greeting_does_not_end_the_session() -> None:
    class Grumpy(Echo):
        async def on_start(self) -> AsyncIterator[str]:
            raise Broken("no")
            yield ""

    events = talked(Script(stt=[Heard("Hi.")]), 2.5, workflow=Grumpy())
    assert "error" in kinds(events) and texts(events, "assistant") == ["You said: Hi."]


def test_no_transcript_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        played(one_turn("My secret question", "My secret answer"))
        played(Script(stt=[Heard("My secret question")], llm=[EngineFailed("broken")]))
    assert "secret" not in caplog.text


def test_closing_right_after_the_start_leaves_nobody_waiting() -> None:
    async def main() -> None:
        script = Script(speech=())
        async with script.pipeline() as pipeline:
            audio = StreamedAudioInput(frame_rate=16000)
            result = await pipeline.run(audio)
            await result.aclose()
            async with asyncio.timeout(5.0):
                assert kinds([event async for event in result.stream()]) == ["session_ended"]
                with pytest.raises(SessionClosed):
                    await audio.add_audio(np.zeros(16000, dtype=np.int16))

    run_virtual(main())


def test_a_splitter_that_strips_its_end_glues_no_words() -> None:
    def sentences(text: str) -> tuple[str, str]:
        head, mark, tail = text.strip().partition(". ")
        return (head + ".", tail.strip()) if mark else ("", text)

    splitter = CallableSplitter(sentences)
    found = [piece for delta in ["Hello there. How ", "are you? Fine ", "thanks."] for piece in splitter.push(delta)]
    assert "".join([*found, *splitter.finish()]) == "Hello there. How are you? Fine thanks."
