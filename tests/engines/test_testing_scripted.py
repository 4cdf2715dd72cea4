"""The scripted engines: they follow their script, and complain when it is not followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineError, EngineFailed, EngineOverloaded
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import (
    LLM,
    STT,
    TTS,
    VAD,
    Finish,
    Message,
    SpeechChunk,
    TextDelta,
    ToolCall,
    TTSOptions,
    TurnDetector,
    Usage,
)
from antiphon.engines.testing import (
    Answer,
    Heard,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedTurnDetector,
    ScriptedVAD,
    Speak,
    UnexpectedCall,
    UnusedStep,
    run_virtual,
)

# These assignments are the test: mypy checks that the scripted engines satisfy the contracts.
AS_VAD: VAD = ScriptedVAD()
AS_TURN: TurnDetector = ScriptedTurnDetector()
AS_STT: STT = ScriptedSTT()
AS_LLM: LLM = ScriptedLLM()
AS_TTS: TTS = ScriptedTTS()

ASK = [Message("user", "hi")]


def audio(seconds: float = 1.0) -> AudioFrame:
    return AudioFrame(np.zeros(round(16000 * seconds), np.float32), 16000)


async def spoken(tts: TTS, text: str, options: TTSOptions | None = None) -> list[SpeechChunk]:
    return [chunk async for chunk in tts.synthesize(text, options or TTSOptions())]


def test_vad_follows_stream_time_per_stream_with_hangover() -> None:
    async def main() -> None:
        async with ScriptedVAD([(0.5, 1.0)], hidden_hangover_ms=100) as vad:
            first, second = vad.stream(), vad.stream()
            window = np.zeros(512, np.float32)
            heard = [first.probability(window) > vad.threshold for _ in range(50)]
            middles = [(index + 0.5) * 0.032 for index in range(50)]
            assert heard == [0.5 <= middle < 1.1 for middle in middles]
            assert second.probability(window) < vad.release_threshold
            with pytest.raises(EngineError, match="512"):
                second.probability(window[:100])

    run_virtual(main())


def test_vad_can_have_another_script_for_each_stream() -> None:
    async def main() -> list[float]:
        async with ScriptedVAD(lambda number: [(0.0, 1.0)] if number else []) as vad:
            return [vad.stream().probability(np.zeros(512, np.float32)) for _ in range(2)]

    first, second = run_virtual(main())
    assert first < 0.5 < second


def test_turn_detector_gives_answers_and_errors_in_order() -> None:
    async def main() -> None:
        async with ScriptedTurnDetector([Answer(0.3, 0.04), EngineFailed("broken")]) as turn:
            assert await turn.end_probability(audio(2.0), "so") == 0.3
            with pytest.raises(EngineFailed, match="broken"):
                await turn.end_probability(audio(2.5), None)
            assert [(call.audio_s, call.text, call.ended_s, call.outcome) for call in turn.calls] == [
                (2.0, "so", 0.04, "done"),
                (2.5, None, 0.04, "failed"),
            ]

    run_virtual(main())


def test_stt_records_what_it_was_given_and_by_whom() -> None:
    async def main() -> None:
        async with ScriptedSTT([Heard("how old", 0.25, language="en")]) as stt:
            token = current_ticket.set(Ticket("s", 3, 1, Priority.SPECULATION))
            transcript = await stt.transcribe(audio(1.5))
            current_ticket.reset(token)
            assert (transcript.text, transcript.language, transcript.final) == ("how old", "en", True)
            assert (await stt.transcribe(audio(0))).text == ""
            call = stt.calls[0]
            assert (call.audio_s, call.began_s, call.ended_s) == (1.5, 0.0, 0.25)
            assert call.ticket.revision == 1

    run_virtual(main())


def test_llm_streams_its_deltas_at_their_times_then_tools_usage_finish() -> None:
    async def main() -> None:
        call = ToolCall("1", "clock", "{}")
        reply = Reply(["Hel", "lo."], first_delay_s=0.5, delta_delay_s=0.1, tool_calls=[call], usage=Usage(3, 2))
        async with ScriptedLLM([reply]) as llm:
            loop = asyncio.get_running_loop()
            await llm.prefill(ASK, "key")
            events = [(loop.time(), event) async for event in llm.stream(ASK, session_key="key")]
            assert [event for _, event in events] == [
                TextDelta("Hel"),
                TextDelta("lo."),
                call,
                Usage(3, 2),
                Finish("tool_calls"),
            ]
            assert [at for at, _ in events[:2]] == pytest.approx([0.5, 0.6])
            assert llm.calls[0].messages == tuple(ASK) and llm.calls[0].text == "Hello."
            assert llm.prefills[0].session_key == "key"

    run_virtual(main())


def test_llm_breaks_where_it_is_told() -> None:
    async def main() -> None:
        steps = [Reply(["a", "b"], error_after=1), Reply(error_after=0, error=EngineOverloaded("busy"))]
        async with ScriptedLLM(steps) as llm:
            got: list[object] = []
            with pytest.raises(EngineFailed):
                async for event in llm.stream(ASK):
                    got.append(event)
            assert got == [TextDelta("a")]
            with pytest.raises(EngineOverloaded):
                await anext(aiter(llm.stream(ASK)))

    run_virtual(main())


def test_closing_a_stream_is_recorded_as_cancelled() -> None:
    async def main() -> None:
        async with ScriptedLLM([Reply.of("one two three", delta_delay_s=1)]) as llm:
            stream = cast("AsyncGenerator[object, None]", llm.stream(ASK))
            assert await anext(stream) == TextDelta("one ")
            await stream.aclose()
            assert llm.calls[0].outcome == "cancelled" and llm.calls[0].ended_s == 0.0

        async with ScriptedSTT([Heard("late", 10)]) as stt:
            task = asyncio.create_task(stt.transcribe(audio()))
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.wait([task])
            assert stt.calls[0].outcome == "cancelled" and stt.calls[0].ended_s == 1.0

    run_virtual(main())


@settings(deadline=None)
@given(
    text=st.text(st.characters(codec="ascii", categories=["L", "N", "Zs", "P"]), min_size=1, max_size=60),
    chunk_s=st.floats(0.01, 1.0),
    speed=st.sampled_from([None, 0.5, 2.0]),
)
def test_tts_chunks_join_without_gap_in_samples_characters_and_words(text: str, chunk_s: float, speed: float) -> None:
    async def main() -> None:
        async with ScriptedTTS(chunk_s=chunk_s) as tts:
            chunks = await spoken(tts, text, TTSOptions(speed=speed))
            if not any(character.isalnum() for character in text):
                assert chunks == []
                return
            assert chunks[0].char_start == 0 and chunks[-1].char_end == len(text)
            samples = 0
            for before, after in zip([None, *chunks], chunks, strict=False):
                assert before is None or before.char_end == after.char_start
                assert after.frame.start_s == pytest.approx(samples / tts.rate_hz)
                samples += len(after.frame.samples)
            assert samples == round(len(text) * 0.06 / (speed or 1) * tts.rate_hz)
            assert [word.text for chunk in chunks for word in chunk.words or ()] == text.split()

    run_virtual(main())


def test_tts_is_audible_from_the_first_sample_and_recognisable_by_its_tone() -> None:
    async def main() -> None:
        async with ScriptedTTS(tone_hz=600, rate_hz=8000) as tts:
            samples = np.concatenate([chunk.frame.samples for chunk in await spoken(tts, "A steady tone.")])
            assert abs(samples[0]) > 0.01
            spectrum = np.abs(np.fft.rfft(samples))
            assert np.argmax(spectrum) * 8000 / len(samples) == pytest.approx(600, abs=2)

    run_virtual(main())


def test_tts_takes_its_time_and_breaks_where_it_is_told() -> None:
    async def main() -> None:
        async with ScriptedTTS([Speak("hello there", 0.5, 0.1, error_after=2)], chunk_s=0.1) as tts:
            loop = asyncio.get_running_loop()
            times = []
            with pytest.raises(EngineFailed):
                async for _ in tts.synthesize("hello there"):
                    times.append(loop.time())
            assert times == pytest.approx([0.5, 0.6])
            assert tts.calls[0].chunks == 2

    run_virtual(main())


def test_a_call_beyond_the_script_fails_there_and_again_at_the_end() -> None:
    async def main() -> None:
        async with ScriptedSTT([Heard("only one")]) as stt:
            await stt.transcribe(audio())
            with pytest.raises(UnexpectedCall, match="no step for call 2"):
                await stt.transcribe(audio())

    with pytest.raises(UnexpectedCall, match="1 calls beyond the script"):
        run_virtual(main())


def test_speaking_another_text_than_scripted_fails() -> None:
    async def main() -> None:
        async with ScriptedTTS([Speak("yes")]) as tts:
            with pytest.raises(UnexpectedCall, match=r"'yes'.*'no'"):
                await spoken(tts, "no")

    with pytest.raises(UnexpectedCall):
        run_virtual(main())


def test_an_unused_step_fails_at_a_clean_exit_only() -> None:
    async def clean() -> None:
        async with ScriptedLLM([Reply(["never"])]):
            pass

    async def broken() -> None:
        async with ScriptedLLM([Reply(["never"])]):
            raise LookupError("the real reason")

    with pytest.raises(UnusedStep, match="never"):
        run_virtual(clean())
    with pytest.raises(LookupError):
        run_virtual(broken())


def test_repeat_starts_over_and_a_function_answers_anything() -> None:
    async def main() -> list[str]:
        async with (
            ScriptedSTT([Heard("a"), Heard("b")], repeat=True) as stt,
            ScriptedSTT(lambda call: Heard(f"{call.audio_s:g} s")) as any_stt,
        ):
            texts = [(await stt.transcribe(audio())).text for _ in range(3)]
            return [*texts, (await any_stt.transcribe(audio(2.5))).text]

    assert run_virtual(main()) == ["a", "b", "a", "2.5 s"]


def test_loading_takes_time_and_can_fail_first() -> None:
    async def main() -> None:
        tts = ScriptedTTS(load_s=2, load_errors=[EngineFailed("no luck")])
        with pytest.raises(EngineFailed, match="no luck"):
            async with tts:
                pass
        async with tts:
            assert asyncio.get_running_loop().time() == 4
        assert tts.loads == 1

    run_virtual(main())
