"""Fallback chains: who is asked when, and that nothing is said twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import (
    EngineError,
    EngineFailed,
    EngineLoadFailed,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
    ModelMissing,
    StaleRequest,
)
from antiphon.engines.fallback import FallbackEvent, FallbackLLM, FallbackSTT, FallbackTTS
from antiphon.engines.protocols import (
    LLM,
    STT,
    TTS,
    Finish,
    LLMCapabilities,
    LLMOptions,
    Message,
    SpeechChunk,
    STTCapabilities,
    STTOptions,
    TextDelta,
    ToolCall,
    ToolSpec,
    TTSOptions,
)
from antiphon.engines.testing import (
    Heard,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    Speak,
    STTCall,
    run_virtual,
)

ASK = [Message("user", "hi")]
SECOND = AudioFrame(np.zeros(16000, np.float32), 16000)

# mypy checks that the chains satisfy the contracts.
AS_STT: STT = FallbackSTT([("a", ScriptedSTT(), None)])
AS_LLM: LLM = FallbackLLM([("a", ScriptedLLM(), None)])
AS_TTS: TTS = FallbackTTS([("a", ScriptedTTS(), None)])


class Heeded:
    """Collects the events of a chain as short texts."""

    def __init__(self) -> None:
        self.events: list[FallbackEvent] = []

    def __call__(self, event: FallbackEvent) -> None:
        self.events.append(event)

    @property
    def texts(self) -> list[str]:
        return [f"{e.kind} {e.engine}" + (f" -> {e.to}" if e.to else "") for e in self.events]


async def heard(stt: STT, audio: AudioFrame = SECOND) -> str:
    return (await stt.transcribe(audio)).text


async def said(llm: LLM, **kwargs: Any) -> str:
    return "".join([event.text async for event in llm.stream(ASK, **kwargs) if isinstance(event, TextDelta)])


async def spoken(tts: TTS, text: str, options: TTSOptions | None = None) -> list[SpeechChunk]:
    return [chunk async for chunk in tts.synthesize(text, options or TTSOptions())]


# ------------------------------------------------------------------------------------------ any stage


def test_on_error_the_same_request_goes_to_the_next_once() -> None:
    async def main() -> None:
        events = Heeded()
        first, second = ScriptedSTT([EngineFailed("broken")]), ScriptedSTT([Heard("hello", 0.1)])
        async with FallbackSTT([("a", first, None), ("b", second, None)], on_event=events) as stt:
            assert await heard(stt) == "hello"
        assert first.calls[0].audio is second.calls[0].audio
        assert events.texts == ["switched a -> b"]
        assert isinstance(events.events[0].error, EngineFailed)

    run_virtual(main())


def test_past_its_deadline_an_engine_is_cancelled_and_the_next_one_asked() -> None:
    async def main() -> None:
        events = Heeded()
        slow, second = ScriptedSTT([Heard("late", 5)]), ScriptedSTT([Heard("hello")])
        async with FallbackSTT([("slow", slow, 1.5), ("b", second, None)], on_event=events) as stt:
            assert await heard(stt) == "hello"
            assert asyncio.get_running_loop().time() == 2.0, "its deadline, and half of the audio's second"
        assert slow.calls[0].outcome == "cancelled"
        assert isinstance(events.events[0].error, EngineTimeout) and " 2 s" in str(events.events[0].error)

    run_virtual(main())


def test_a_broken_engine_is_left_alone_then_tried_by_one_request_at_a_time() -> None:
    async def main() -> None:
        events = Heeded()
        first = ScriptedSTT([EngineFailed("1"), EngineFailed("2"), Heard("a is back", 1), Heard("a again")])
        second = ScriptedSTT(lambda _: Heard("b"))
        async with FallbackSTT([("a", first, None), ("b", second, None)], on_event=events, recovery_s=30) as stt:
            assert [await heard(stt) for _ in range(3)] == ["b", "b", "b"]
            assert len(first.calls) == 1
            await asyncio.sleep(30)
            assert [await heard(stt), await heard(stt)] == ["b", "b"]  # tried, still broken, left alone again
            assert len(first.calls) == 2
            await asyncio.sleep(30)
            assert list(await asyncio.gather(heard(stt), heard(stt))) == ["a is back", "b"]
            assert await heard(stt) == "a again"
        assert events.texts == ["switched a -> b", "switched a -> b", "recovered a"]

    run_virtual(main())


def test_a_cancelled_try_leaves_the_next_request_free_to_try() -> None:
    async def main() -> None:
        first = ScriptedSTT([EngineFailed("1"), Heard("never", 100), Heard("a is back")])
        async with FallbackSTT([("a", first, None), ("b", ScriptedSTT([Heard("b")]), None)]) as stt:
            assert await heard(stt) == "b"
            await asyncio.sleep(30)
            task = asyncio.create_task(heard(stt))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert await heard(stt) == "a is back"
            del caught  # its traceback held the frames of the cancelled request until here

    run_virtual(main())


def test_a_pause_that_the_engine_asked_for_is_kept() -> None:
    async def main() -> None:
        first = ScriptedSTT([EngineOverloaded("busy", retry_after_s=2), Heard("a")])
        async with FallbackSTT([("a", first, None), ("b", ScriptedSTT([Heard("b")]), None)]) as stt:
            assert await heard(stt) == "b"
            await asyncio.sleep(2)
            assert await heard(stt) == "a"

    run_virtual(main())


def test_a_refused_request_goes_on_but_does_not_put_the_engine_out_of_order() -> None:
    async def main() -> None:
        first = ScriptedSTT([EngineRequestInvalid("not my language"), Heard("a")])
        async with FallbackSTT([("a", first, None), ("b", ScriptedSTT([Heard("b")]), None)]) as stt:
            assert [await heard(stt), await heard(stt)] == ["b", "a"]

    run_virtual(main())


def test_long_audio_may_take_longer() -> None:
    async def main() -> None:
        audio = AudioFrame(np.zeros(20 * 16000, np.float32), 16000)
        first, second = ScriptedSTT([Heard("a", 14), Heard("late", 1e6)]), ScriptedSTT([Heard("b")])
        async with FallbackSTT([("a", first, 4.5), ("b", second, 4.5)]) as stt:
            assert await heard(stt, audio) == "a"
            began_s = asyncio.get_running_loop().time()
            assert await heard(stt, audio) == "b"
            assert asyncio.get_running_loop().time() - began_s == 14.5, "in time, if both share 10 s and the audio's 20"

    run_virtual(main())


def test_a_full_queue_of_ours_goes_on_but_does_not_put_the_engine_out_of_order() -> None:
    async def main() -> None:
        first = ScriptedSTT([EngineOverloaded("16 wait already"), Heard("a")])
        async with FallbackSTT([("a", first, None), ("b", ScriptedSTT([Heard("b")]), None)]) as stt:
            assert [await heard(stt), await heard(stt)] == ["b", "a"]

    run_virtual(main())


@pytest.mark.parametrize(("pauses_s", "least_s"), [((None, None), None), ((4, None), None), ((4, 3), 3)])
def test_when_none_has_room_the_whole_chain_has_none(pauses_s: Any, least_s: float | None) -> None:
    async def main() -> None:
        full = [ScriptedSTT([EngineOverloaded("full", retry_after_s=pause_s)]) for pause_s in pauses_s]
        async with FallbackSTT([("a", full[0], None), ("b", full[1], None)]) as stt:
            with pytest.raises(EngineOverloaded, match=r"every stt engine .*a: full; b: full") as caught:
                await heard(stt)
            assert caught.value.retryable and caught.value.retry_after_s == least_s

    run_virtual(main())


def test_when_all_fail_one_error_names_each_and_says_whether_to_retry() -> None:
    async def main() -> None:
        events = Heeded()
        bad, worse = ScriptedSTT([EngineFailed("burnt")]), ScriptedSTT([EngineOverloaded("full")])
        async with FallbackSTT([("a", bad, None), ("b", worse, None)], on_event=events) as stt:
            with pytest.raises(EngineFailed, match=r"every stt engine .*a: burnt; b: full") as caught:
                await heard(stt)
            assert caught.value.retryable
        assert events.texts == ["switched a -> b", "failed b"]

        refusing = [ScriptedSTT([EngineRequestInvalid("no")]) for _ in range(2)]
        async with FallbackSTT([("a", refusing[0], None), ("b", refusing[1], None)]) as stt:
            with pytest.raises(EngineRequestInvalid):
                await heard(stt)

    run_virtual(main())


def test_engines_out_of_order_are_the_last_resort() -> None:
    async def main() -> None:
        first = ScriptedSTT([EngineFailed("once"), Heard("a after all")])
        second = ScriptedSTT([Heard("b"), EngineFailed("now b")])
        async with FallbackSTT([("a", first, None), ("b", second, None)]) as stt:
            assert [await heard(stt), await heard(stt)] == ["b", "a after all"]

    run_virtual(main())


def test_an_unexpected_exception_is_a_failure_and_its_traceback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def buggy(_: STTCall) -> Heard:
        raise LookupError("a bug")

    async def main() -> str:
        async with FallbackSTT([("a", ScriptedSTT(buggy), None), ("b", ScriptedSTT([Heard("b")]), None)]) as stt:
            return await heard(stt)

    assert run_virtual(main()) == "b"
    assert any(record.exc_info and record.exc_info[0] is LookupError for record in caplog.records)


@pytest.mark.parametrize("stop", [StaleRequest("replaced"), None])
def test_cancellation_and_staleness_never_go_on(stop: Exception | None) -> None:
    async def main() -> None:
        first = ScriptedSTT([stop or Heard("late", 10)])
        async with FallbackSTT([("a", first, None), ("b", ScriptedSTT(), None)]) as stt:
            task = asyncio.create_task(heard(stt))
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(type(stop) if stop else asyncio.CancelledError):
                await task

    run_virtual(main())  # a call of b would fail as unexpected


def test_a_wrong_chain_is_refused() -> None:
    with pytest.raises(ValueError, match="different names"):
        FallbackSTT([])
    with pytest.raises(ValueError, match="different names"):
        FallbackSTT([("a", ScriptedSTT(), None), ("a", ScriptedSTT(), None)])


# -------------------------------------------------------------------------------------------- loading


def test_an_engine_that_does_not_load_is_loaded_later_without_delaying_anyone() -> None:
    async def main() -> None:
        events = Heeded()
        first = ScriptedSTT([Heard("a")], load_s=5, load_errors=[ModelMissing("no file", hint="pull it")])
        second = ScriptedSTT(lambda _: Heard("b"))
        async with FallbackSTT([("a", first, 1), ("b", second, 1)], on_event=events) as stt:
            loop = asyncio.get_running_loop()
            assert events.texts == ["load_failed a"]
            await asyncio.sleep(30)
            asked_s = loop.time()
            assert [await heard(stt), await heard(stt)] == ["b", "b"]
            assert loop.time() == asked_s
            await asyncio.sleep(6)
            assert first.loads == 1
            assert await heard(stt) == "a"
        assert events.texts == ["load_failed a", "recovered a"]
        with pytest.raises(EngineError, match="not entered"):
            await heard(first)

    run_virtual(main())


def test_leaving_stops_a_load_in_the_background() -> None:
    async def main() -> None:
        first = ScriptedSTT(load_s=1000, load_errors=[EngineFailed("first try")])
        async with FallbackSTT([("a", first, None), ("b", ScriptedSTT(lambda _: Heard("b")), None)]) as stt:
            await asyncio.sleep(30)
            await heard(stt)
            await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert first.loads == 0

    run_virtual(main())


def test_when_none_loads_one_error_names_each_with_its_hint() -> None:
    async def main() -> None:
        first = ScriptedSTT(load_errors=[ModelMissing("no file", hint="pull it")])
        second = ScriptedSTT(load_errors=[RuntimeError("odd")])
        with pytest.raises(EngineLoadFailed, match=r"a: no file; b: RuntimeError: odd\na: pull it"):
            async with FallbackSTT([("a", first, None), ("b", second, None)]):
                pass

    run_virtual(main())


def test_use_before_entering_after_leaving_and_entering_again() -> None:
    async def main() -> None:
        stt = FallbackSTT([("a", ScriptedSTT([Heard("one"), Heard("two")], repeat=True), None)])
        for expected in ("one", "two"):
            with pytest.raises(EngineError, match="not loaded"):
                await heard(stt)
            async with stt:
                assert await heard(stt) == expected
                with pytest.raises(EngineError, match="already"):
                    await stt.__aenter__()

    run_virtual(main())


# ------------------------------------------------------------------------------------------------ STT


def test_stt_resamples_for_an_engine_of_another_rate_and_combines_capabilities() -> None:
    async def main() -> None:
        first = ScriptedSTT([EngineFailed("x")], capabilities=STTCapabilities(languages=("en",), local=True))
        second = ScriptedSTT([Heard("b")], rate_hz=8000, capabilities=STTCapabilities(languages=("de",), local=False))
        async with FallbackSTT([("a", first, None), ("b", second, None)]) as stt:
            assert stt.rate_hz == 16000
            assert stt.capabilities == STTCapabilities(languages=("en", "de"), local=False)
            assert await heard(stt) == "b"
            assert second.calls[0].audio.rate_hz == 8000 and second.calls[0].audio_s == pytest.approx(1, abs=1e-3)

    run_virtual(main())


def test_only_engines_that_translate_are_asked_to() -> None:
    async def main() -> None:
        deaf = ScriptedSTT([], capabilities=STTCapabilities(languages=("en",)))
        capable = ScriptedSTT([Heard("noon")], capabilities=STTCapabilities(translates=True))
        async with FallbackSTT([("a", deaf, None), ("b", capable, None)]) as stt:
            assert stt.capabilities.translates
            assert (await stt.transcribe(SECOND, STTOptions(translate=True))).text == "noon"
        async with FallbackSTT([("a", ScriptedSTT([]), None)]) as stt:
            assert not stt.capabilities.translates
            with pytest.raises(EngineRequestInvalid, match="translate"):
                await stt.transcribe(SECOND, STTOptions(translate=True))

    run_virtual(main())


# ------------------------------------------------------------------------------------------------ LLM


def test_llm_goes_on_while_nothing_was_given_out() -> None:
    async def main() -> None:
        first = ScriptedLLM([Reply(["", "x"], error_after=1)])
        second = ScriptedLLM([Reply(["Hel", "lo."])])
        async with FallbackLLM([("a", first, None), ("b", second, None)]) as llm:
            assert await said(llm) == "Hello."

    run_virtual(main())


@pytest.mark.parametrize("stalls", [False, True])
def test_llm_ends_where_it_broke_and_the_next_request_goes_elsewhere(stalls: bool) -> None:
    async def main() -> None:
        events = Heeded()
        broken = Reply(["Half a ", "sentence."], delta_delay_s=60) if stalls else Reply(["Half a ", "x"], error_after=1)
        first, second = ScriptedLLM([broken]), ScriptedLLM([Reply(["Whole."])])
        async with FallbackLLM([("a", first, 2), ("b", second, 2)], on_event=events) as llm:
            got: list[object] = []
            with pytest.raises(EngineTimeout if stalls else EngineFailed):
                async for event in llm.stream(ASK):
                    got.append(event)
            assert got == [TextDelta("Half a ")]
            assert await said(llm) == "Whole."
        assert events.texts == ["failed a"]

    run_virtual(main())


def test_llm_deadline_is_for_the_engine_not_for_a_slow_reader() -> None:
    async def main() -> None:
        reply = Reply(["a", "b"], first_delay_s=1.9, delta_delay_s=1.9)
        async with FallbackLLM([("a", ScriptedLLM([reply]), 2)]) as llm:
            async for _ in llm.stream(ASK):
                await asyncio.sleep(10)

    run_virtual(main())


def test_llm_a_tool_call_cannot_be_taken_back() -> None:
    class BreaksAfterTool(ScriptedLLM):
        async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            yield ToolCall("1", "send_mail", "{}")
            raise EngineFailed("then it broke")

    async def main() -> None:
        async with FallbackLLM([("a", BreaksAfterTool(), None), ("b", ScriptedLLM(), None)]) as llm:
            with pytest.raises(EngineFailed, match="then it broke"):
                await said(llm)

    run_virtual(main())


def test_llm_an_engine_without_tools_is_asked_without_and_another_model_name_stays_behind() -> None:
    async def main() -> None:
        first = ScriptedLLM([EngineFailed("x")])
        second = ScriptedLLM([Reply(["b"])], capabilities=LLMCapabilities(tools=False))
        tool = ToolSpec("clock", "the time", {"type": "object"})
        async with FallbackLLM([("a", first, None), ("b", second, None)]) as llm:
            assert llm.capabilities.tools
            await said(llm, tools=[tool], options=LLMOptions(model="big", seed=1), session_key="s")
        assert first.calls[0].tools == (tool,) and first.calls[0].options.model == "big"
        call = second.calls[0]
        assert (call.tools, call.options, call.session_key) == ((), LLMOptions(seed=1), "s")

    run_virtual(main())


def test_llm_prefill_goes_where_the_next_request_will_go() -> None:
    async def main() -> None:
        first, second = ScriptedLLM([EngineFailed("x")]), ScriptedLLM([Reply(["b"])])
        async with FallbackLLM([("a", first, None), ("b", second, None)]) as llm:
            await llm.prefill(ASK, "s")
            await said(llm)
            await llm.prefill(ASK, "s")
        assert (len(first.prefills), len(second.prefills)) == (1, 1)

    run_virtual(main())


def test_llm_a_failing_prefill_is_not_raised_but_counts() -> None:
    class BadPrefill(ScriptedLLM):
        async def prefill(self, messages: Sequence[Message], session_key: str = "") -> None:
            raise EngineFailed("cannot")

    async def main() -> None:
        events = Heeded()
        async with FallbackLLM([("a", BadPrefill(), None), ("b", ScriptedLLM([Reply(["b"])]), None)],
                               on_event=events) as llm:  # fmt: skip
            await llm.prefill(ASK)
            assert await said(llm) == "b"
        assert events.texts == ["failed a"]

    run_virtual(main())


def test_llm_closing_the_chain_closes_the_engine() -> None:
    async def main() -> None:
        first = ScriptedLLM([Reply.of("one two three", delta_delay_s=1)])
        async with FallbackLLM([("a", first, None), ("b", ScriptedLLM(), None)]) as llm:
            async with aclosing(cast("Any", llm.stream(ASK))) as stream:
                await anext(stream)
            assert first.calls[0].outcome == "cancelled"

    run_virtual(main())


def test_llm_an_error_after_the_finish_is_nobodys_concern() -> None:
    class BreaksAfterFinish(ScriptedLLM):
        async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            yield TextDelta("all said")
            yield Finish()
            raise EngineFailed("connection reset")

    async def main() -> None:
        async with FallbackLLM([("a", BreaksAfterFinish(), None), ("b", ScriptedLLM(), None)]) as llm:
            assert await said(llm) == "all said"

    run_virtual(main())


# ------------------------------------------------------------------------------------------------ TTS


def parts(text: str, chunks: Sequence[SpeechChunk]) -> list[str]:
    return [text[chunk.char_start : chunk.char_end] for chunk in chunks]


def assert_joined(chunks: Sequence[SpeechChunk], rate_hz: int) -> None:
    samples = 0
    for chunk in chunks:
        assert chunk.frame.rate_hz == rate_hz
        assert chunk.frame.start_s == pytest.approx(samples / rate_hz)
        samples += len(chunk.frame.samples)


def test_tts_the_next_voice_speaks_the_rest_from_the_next_word() -> None:
    async def main() -> None:
        text = "The bridge opened in 1883."
        # 14 characters are out when it breaks: in the middle of "opened", whose rest is lost rather than repeated.
        first = ScriptedTTS([Speak(error_after=2)], seconds_per_char=0.1, chunk_s=0.7)
        second = ScriptedTTS([Speak(" in 1883.")], seconds_per_char=0.1, chunk_s=0.7)
        async with FallbackTTS([("a", first, None), ("b", second, None)]) as tts:
            chunks = await spoken(tts, text, TTSOptions(context_before="Well. "))
        assert parts(text, chunks) == ["The bri", "dge ope", " in 188", "3."]
        words = [word for chunk in chunks for word in chunk.words or ()]
        assert [word.text for word in words] == ["The", "bridge", "opened", "in", "1883."]
        assert [word.start_s for word in words[-2:]] == pytest.approx([1.5, 1.8])
        assert second.calls[0].options.context_before == "Well. The bridge opened"
        assert_joined(chunks, 24000)

    run_virtual(main())


def test_tts_text_without_spaces_goes_on_at_the_next_character() -> None:
    async def main() -> None:
        first, second = ScriptedTTS([Speak(error_after=1)], chunk_s=0.12), ScriptedTTS([Speak("很好。")])
        async with FallbackTTS([("a", first, None), ("b", second, None)]) as tts:
            await spoken(tts, "天气很好。")

    run_virtual(main())


def test_tts_that_breaks_after_the_last_word_is_done() -> None:
    async def main() -> None:
        first = ScriptedTTS([Speak(error_after=1)], chunk_s=10)
        async with FallbackTTS([("a", first, None), ("b", ScriptedTTS([]), None)]) as tts:
            chunks = await spoken(tts, "All of it. ")
            assert parts("All of it. ", chunks) == ["All of it. "]

    run_virtual(main())


def test_tts_first_chunk_deadline_and_stall() -> None:
    async def main() -> None:
        slow_start = ScriptedTTS([Speak(first_delay_s=3)])
        stalls = ScriptedTTS([Speak(chunk_delay_s=3)], chunk_s=0.06)
        last = ScriptedTTS([Speak("ello there")], chunk_s=10)
        async with FallbackTTS([("a", slow_start, 1), ("b", stalls, 1), ("c", last, None)]) as tts:
            with pytest.raises(Exception, match="was to speak 'ello there'"):
                await spoken(tts, "hello there")
            assert asyncio.get_running_loop().time() == 2
            last.unexpected.clear()
        assert last.calls[0].text == " there"

    run_virtual(main())


def test_tts_an_unknown_voice_is_not_asked_of_the_next_engine() -> None:
    async def main() -> None:
        first, second = ScriptedTTS([EngineFailed("x")]), ScriptedTTS()
        async with FallbackTTS([("a", first, None), ("b", second, None)]) as tts:
            await spoken(tts, "hi", TTSOptions(voice="joe", speed=2))
        assert first.calls[0].options.voice == "joe"
        assert second.calls[0].options == TTSOptions(speed=2)

    run_virtual(main())


@settings(deadline=None, max_examples=30)
@given(
    breaks=st.integers(0, 12),
    chunk_s=st.floats(0.03, 0.5),
    rates=st.sampled_from([(24000, 16000), (16000, 22050), (22050, 22050)]),
)
def test_tts_different_rates_join_without_loss(breaks: int, chunk_s: float, rates: tuple[int, int]) -> None:
    text = "One, two, three, four, five."

    async def main() -> None:
        first = ScriptedTTS([Speak(error_after=breaks)], rate_hz=rates[0], chunk_s=chunk_s)
        second = ScriptedTTS(rate_hz=rates[1], chunk_s=chunk_s, tone_hz=1000)
        async with FallbackTTS([("a", first, None), ("b", second, None)]) as tts:
            assert tts.rate_hz == rates[0]
            chunks = await spoken(tts, text)
        assert_joined(chunks, rates[0])
        said_by_first = min(breaks * chunk_s, len(text) * 0.06)
        said_by_second = sum(len(call.text) for call in second.calls) * 0.06
        assert sum(chunk.frame.duration_s for chunk in chunks) == pytest.approx(
            said_by_first + said_by_second, abs=2e-3
        )
        assert chunks[-1].char_end == len(text) or (not second.calls and chunks[-1].char_end > text.rindex(" "))
        starts = [chunk.char_start for chunk in chunks]
        assert starts == sorted(starts)
        assert all(word in text.split() for chunk in chunks for word in [w.text for w in chunk.words or ()])
        if second.calls:
            tail = np.concatenate([c.frame.samples for c in chunks])[-round(0.05 * rates[0]) :]
            peak_hz = np.argmax(np.abs(np.fft.rfft(tail))) * rates[0] / len(tail)
            assert peak_hz == pytest.approx(1000, abs=25)

    run_virtual(main())


# ------------------------------------------------------------------------------------------ probes


class Probed(ScriptedSTT):
    """Can be asked whether it works: `answers` are what becomes of the probes, each after a second."""

    def __init__(self, *args: Any, answers: Sequence[Exception | None]) -> None:
        super().__init__(*args)
        self.answers = list(answers)
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        await asyncio.sleep(1)
        if (error := self.answers.pop(0)) is not None:
            raise error


def test_an_engine_with_a_probe_is_used_again_only_after_it_and_no_request_waits() -> None:
    async def main() -> None:
        events = Heeded()
        first = Probed([EngineFailed("1"), Heard("a is back")], answers=[EngineFailed("still down"), None])
        second = ScriptedSTT(lambda _: Heard("b"))
        async with FallbackSTT([("a", first, None), ("b", second, None)], on_event=events, recovery_s=30) as stt:
            assert await heard(stt) == "b"
            await asyncio.sleep(29)
            assert await heard(stt) == "b" and first.probes == 0
            await asyncio.sleep(1)
            began_s = asyncio.get_running_loop().time()
            assert [await heard(stt), await heard(stt)] == ["b", "b"]
            assert asyncio.get_running_loop().time() == began_s
            await asyncio.sleep(2)
            assert first.probes == 1
            assert await heard(stt) == "b" and first.probes == 1  # it failed: left alone for another while
            await asyncio.sleep(30)
            assert await heard(stt) == "b"
            await asyncio.sleep(2)
            assert first.probes == 2 and len(first.calls) == 1
            assert await heard(stt) == "a is back"
        assert events.texts == ["switched a -> b", "recovered a"]

    run_virtual(main())


def test_a_probe_without_an_end_is_given_up_and_one_under_way_ends_with_the_chain() -> None:
    class Hanging(Probed):
        cancelled = 0

        async def probe(self) -> None:
            self.probes += 1
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.cancelled += 1

    async def main() -> None:
        first = Hanging([EngineFailed("1")], answers=[])
        second = ScriptedSTT(lambda _: Heard("b"))
        async with FallbackSTT([("a", first, None), ("b", second, None)], recovery_s=1) as stt:
            for _ in range(2):
                assert await heard(stt) == "b"
                await asyncio.sleep(1)
            await asyncio.sleep(10)
            assert (first.probes, first.cancelled) == (1, 1)
            await asyncio.sleep(1)
            assert await heard(stt) == "b"
            await asyncio.sleep(0)
            assert (first.probes, first.cancelled) == (2, 1)
        assert first.cancelled == 2

    run_virtual(main())


def test_without_another_engine_a_request_does_not_wait_for_the_probe() -> None:
    async def main() -> None:
        events = Heeded()
        first = Probed([EngineFailed("1"), Heard("a")], answers=[EngineFailed("too late to count")])
        second = ScriptedSTT([EngineFailed("b"), EngineFailed("b")])
        async with FallbackSTT([("a", first, None), ("b", second, None)], on_event=events, recovery_s=30) as stt:
            with pytest.raises(EngineFailed):
                await heard(stt)
            await asyncio.sleep(30)
            assert await heard(stt) == "a"  # the probe was still under way
            await asyncio.sleep(2)
            assert first.probes == 1
        assert events.texts[-1] == "recovered a"

    run_virtual(main())
