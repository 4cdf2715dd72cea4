"""One answer on its way out: order, look-ahead, failures, and nothing heard before it is sure."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import EngineFailed, EngineTimeout
from antiphon.engines.protocols import ToolCall, Usage
from antiphon.engines.testing import ScriptedTTS, Speak, run_virtual
from antiphon.pipeline.errors import StageError
from antiphon.pipeline.reply import Reply, ReplySettings
from antiphon.pipeline.text import make_splitter
from antiphon.pipeline.transports.base import TransportCapabilities
from antiphon.pipeline.workflow import ToolResult


class Words:
    """Each word with its space is a piece; a stall gives what there is."""

    def __init__(self) -> None:
        self.kept = ""

    def push(self, delta: str) -> list[str]:
        *whole, self.kept = (self.kept + delta).split(" ")
        return [word + " " for word in whole]

    def stall(self) -> list[str]:
        return self.finish()

    def hurry(self) -> list[str]:
        return []

    def finish(self) -> list[str]:
        rest, self.kept = self.kept, ""
        return [rest] if rest else []


class Sink:
    """A transport's output half. `slow`: each frame takes as long as it lasts."""

    capabilities = TransportCapabilities()

    def __init__(self, *, slow: bool = False) -> None:
        self.slow = slow
        self.frames: list[tuple[float, AudioFrame]] = []
        self.drained = 0

    async def play(self, frame: AudioFrame, mark: int) -> float:
        assert mark == 7
        start_s = asyncio.get_running_loop().time()
        self.frames.append((start_s, frame))
        if self.slow:
            await asyncio.sleep(frame.duration_s)
        return start_s

    def heard_s(self, mark: int) -> float:
        return sum(frame.duration_s for _, frame in self.frames)

    async def drain(self) -> None:
        self.drained += 1

    @property
    def seconds(self) -> float:
        return sum(frame.duration_s for _, frame in self.frames)


class Rig:
    def __init__(
        self,
        tts: ScriptedTTS | None = None,
        *,
        voiceless: bool = False,
        slow: bool = False,
        sink: Sink | None = None,
        **options: Any,
    ) -> None:
        self.tts = tts or ScriptedTTS()
        self.sink = sink or Sink(slow=slow)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.calls = 0
        self.committed = asyncio.Event()
        speakable = options.pop("speakable", str.strip)
        self.reply = Reply(
            tts=None if voiceless else self.tts,
            transport=self.sink,  # type: ignore[arg-type]
            splitter=options.pop("splitter", Words()),
            speakable=speakable,
            emit=lambda kind, **fields: self.events.append((kind.type, fields)),
            mark=7,
            before_call=self._called,
            committed=self.committed,
            settings=ReplySettings(**options),
        )

    def _called(self, *, foremost: bool = False) -> None:
        self.calls += 1

    async def run(self, source: Any, commit_after_s: float | None = 0.0) -> Rig:
        async with self.tts:
            if commit_after_s is not None:
                asyncio.get_running_loop().call_later(commit_after_s, self.committed.set)
            await self.reply.speak(source)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return self

    def texts(self, kind: str) -> list[str]:
        return [fields["text"] for name, fields in self.events if name == kind]


async def says(*items: Any, delay_s: float = 0.0) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(delay_s)
        if isinstance(item, Exception):
            raise item
        yield item


def spoken(*items: Any, delay_s: float = 0.0, commit_after_s: float | None = 0.0, **options: Any) -> Rig:
    async def main() -> Rig:
        return await Rig(**options).run(says(*items, delay_s=delay_s), commit_after_s)

    return run_virtual(main())


def failed(*items: Any, **options: Any) -> tuple[StageError, Rig]:
    async def main() -> tuple[StageError, Rig]:
        rig = Rig(**options)
        with pytest.raises(StageError) as info:
            await rig.run(says(*items))
        return info.value, rig

    return run_virtual(main())


# --------------------------------------------------------------------------------------------- the way


def test_all_text_is_spoken_in_order() -> None:
    rig = spoken("One two ", "three ", "fo", "ur")
    assert [call.text for call in rig.tts.calls] == ["One", "two", "three", "four"]
    assert rig.texts("text_delta") == ["One two ", "three ", "fo", "ur"]
    assert rig.texts("spoken") == ["One ", "two ", "three ", "four"]
    assert rig.reply.text == rig.reply.spoken == "One two three four"
    assert rig.sink.seconds == pytest.approx(0.06 * len("Onetwothreefour"))
    assert rig.sink.drained == 1 and rig.calls == 1 + 4, "one ticket for the workflow, one for each synthesis"


@given(st.lists(st.text(st.sampled_from("ab .!"), max_size=6), max_size=12))
def test_no_character_is_lost(deltas: list[str]) -> None:
    rig = spoken(*deltas)
    assert rig.reply.text == rig.reply.spoken == "".join(deltas)
    said = "".join(call.text for call in rig.tts.calls)
    assert [c for c in said if c.isalnum()] == [c for c in "".join(deltas) if c.isalnum()]


def test_an_empty_answer_is_no_failure() -> None:
    for items in ((), ("",), ("", "")):
        rig = spoken(*items)
        assert rig.reply.text == "" and rig.sink.frames == [] and rig.events == []
        assert rig.reply.times.first_token_s is None


def test_pieces_without_sound_count_as_said() -> None:
    rig = spoken("Yes ", "— ", "🙂 ", "no ", "…")
    assert [call.text for call in rig.tts.calls] == ["Yes", "no"]
    assert rig.texts("spoken") == ["Yes ", "no "], "only what was heard is told"
    assert rig.reply.spoken == "Yes — 🙂 no …"


def test_what_is_not_speakable_is_not_asked_for() -> None:
    rig = spoken("a b c", speakable=lambda text: "" if text == "b " else text)
    assert [call.text for call in rig.tts.calls] == ["a ", "c"]
    assert rig.reply.spoken == "a b c"


def test_without_a_voice_the_text_is_taken_in() -> None:
    rig = spoken("One two ", "three", voiceless=True)
    assert rig.reply.text == rig.reply.spoken == "One two three" and rig.sink.frames == []


def test_the_answer_comes_out_at_the_output_rate() -> None:
    rig = spoken("a" * 50, output_hz=48000, tts=ScriptedTTS(rate_hz=22050))
    assert {frame.rate_hz for _, frame in rig.sink.frames} == {48000}
    assert rig.sink.seconds == pytest.approx(3.0, abs=1e-3)
    whole = np.concatenate([frame.samples for _, frame in rig.sink.frames])
    assert np.abs(np.diff(whole[1000:-1000])).max() < 0.3 * 2 * np.pi * 440 / 48000 * 1.05, "no seam between chunks"


def test_times_are_told_as_they_happen() -> None:
    rig = spoken("One ", "two ", delay_s=0.1, tts=ScriptedTTS(first_delay_s=0.05))
    times = rig.reply.times
    assert times.first_token_s == times.first_clause_s == pytest.approx(0.1)
    assert times.first_audio_s == times.audible_s == pytest.approx(0.15)
    started = [fields for name, fields in rig.events if name == "audio_started"]
    assert [fields["t_s"] for fields in started] == [pytest.approx(0.15)]


def test_silence_before_the_voice_is_not_audible() -> None:
    class LeadingSilence(ScriptedTTS):
        async def synthesize(self, text: str, options: Any = None) -> Any:
            async for chunk in super().synthesize(text):
                samples = np.concatenate([np.full(2400, 0.009, dtype=np.float32), chunk.frame.samples])
                yield type(chunk)(AudioFrame(samples, 24000), 0, len(text))

    rig = spoken("One", tts=LeadingSilence())
    assert rig.reply.times.audible_s == pytest.approx(0.1)
    assert rig.reply.times.first_audio_s == 0.0


def test_usage_and_tool_events() -> None:
    call, result = ToolCall("1", "weather", "{}"), ToolResult("1", "weather", "sunny")
    rig = spoken(call, result, "Sunny.", Usage(10, 2, 5), Usage(1, 1, 1))
    assert rig.reply.usage == Usage(11, 3, 6)
    assert [name for name, _ in rig.events[:3]] == ["tool_call", "tool_result", "text_delta"]
    assert rig.events[0][1] == {"call_id": "1", "name": "weather", "arguments": "{}"}
    assert rig.events[1][1] == {"call_id": "1", "name": "weather", "output": "sunny"}


# ------------------------------------------------------------------------------------ held until sure


def test_nothing_is_heard_before_the_commit() -> None:
    rig = spoken("One two", commit_after_s=5.0)
    assert [start_s for start_s, _ in rig.sink.frames] == pytest.approx([5.0] * len(rig.sink.frames))
    assert rig.reply.times.first_audio_s == 0.0, "but it was made"
    assert rig.texts("text_delta") == ["One two"]


def test_a_speculation_makes_no_more_than_its_look_ahead() -> None:
    async def main() -> None:
        rig = Rig(look_ahead=2)
        words = " ".join(["x" * 100] * 30)  # six seconds each, 24 chunks
        speaking = asyncio.create_task(rig.run(says(words), commit_after_s=None))
        await asyncio.sleep(60)
        assert rig.sink.frames == [] and rig.reply.spoken == ""
        assert sum(call.chunks for call in rig.tts.calls) <= 2 * 16 + 1
        speaking.cancel()
        await asyncio.wait({speaking})
        assert rig.tts.calls[-1].outcome == "cancelled"

    run_virtual(main())


def test_a_slow_sink_holds_everything_back() -> None:
    async def main() -> None:
        rig = Rig(slow=True, look_ahead=1)
        given_out = 0

        async def many() -> AsyncIterator[str]:
            nonlocal given_out
            for _ in range(500):
                given_out += 1
                yield "x" * 20 + " "

        speaking = asyncio.create_task(rig.run(many()))
        await asyncio.sleep(3.0)
        # 1.2 s a word: two are out, one is at the sink, few are made, and the workflow waits
        assert len(rig.tts.calls) <= 9 and given_out <= 85
        speaking.cancel()
        await asyncio.wait({speaking})

    run_virtual(main())


def test_making_and_hearing_overlap() -> None:
    rig = spoken("aaaa bbbb cccc", slow=True, tts=ScriptedTTS(first_delay_s=0.2))
    starts = [start_s for start_s, _ in rig.sink.frames]
    assert starts == pytest.approx([0.2, 0.44, 0.68]), "each piece is made while the one before is heard"


# -------------------------------------------------------------------------------------------- failures


def test_what_came_before_a_failing_workflow_is_heard() -> None:
    error, rig = failed("One two ", "thr", EngineFailed("broken", stage="llm"))
    assert (error.stage, error.code, error.message) == ("llm", "EngineFailed", "broken")
    assert rig.reply.text == "One two thr" == rig.reply.spoken
    assert [call.text for call in rig.tts.calls] == ["One", "two", "thr"] and rig.sink.drained == 1


def test_any_error_of_a_workflow_is_the_workflows() -> None:
    error, _ = failed(ZeroDivisionError("division by zero"))
    assert (error.stage, error.code) == ("workflow", "ZeroDivisionError")
    assert isinstance(error.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("thing", [None, 7, b"x", ["a"]])
def test_a_workflow_that_gives_no_text(thing: Any) -> None:
    error, rig = failed("One ", thing)
    assert error.code == "WorkflowError" and f"gave a {type(thing).__name__}" in error.message
    assert rig.reply.spoken == "One "


def test_what_came_before_a_failing_voice_is_heard() -> None:
    tts = ScriptedTTS([Speak(), Speak(error_after=1), Speak()], chunk_s=0.1, repeat=True)
    error, rig = failed("aaaa bbbb cccc", tts=tts)
    assert (error.stage, error.code) == ("tts", "EngineFailed")
    assert rig.texts("spoken") == ["aaaa ", "bbbb "], "a piece whose sound began has been spoken"
    assert rig.reply.spoken == "aaaa bbbb " and rig.reply.text == "aaaa bbbb cccc"
    assert rig.sink.seconds == pytest.approx(0.24 + 0.1, abs=0.01)


def test_a_splitter_or_a_speakable_that_breaks_is_a_failed_stage() -> None:
    def broken(text: str) -> str:
        raise LookupError(text)

    class Broken(Words):
        def push(self, delta: str) -> list[str]:
            raise LookupError(delta)

    assert failed("One two", speakable=broken)[0].stage == "tts"
    assert failed("One two", splitter=Broken())[0].code == "LookupError"


def test_a_workflow_that_never_answers_times_out() -> None:
    error, rig = failed_late(first_s=100.0, workflow_timeout_s=5.0)
    assert error.code == EngineTimeout.__name__ and "no text for 5 s" in error.message
    assert rig.reply.text == ""


def test_a_workflow_that_stops_in_the_middle_times_out() -> None:
    error, rig = failed_late("One two", first_s=100.0, workflow_gap_s=5.0, stall_s=0.25)
    assert "no text for 5 s" in error.message
    assert rig.reply.spoken == "One two", "the stall gave the last word out"


def failed_late(*items: Any, first_s: float, **options: Any) -> tuple[StageError, Rig]:
    async def late() -> AsyncIterator[Any]:
        for item in items:
            yield item
        await asyncio.sleep(first_s)
        yield "late"

    async def main() -> tuple[StageError, Rig]:
        rig = Rig(**options)
        with pytest.raises(StageError) as info:
            await rig.run(late())
        assert asyncio.get_running_loop().time() < first_s
        return info.value, rig

    return run_virtual(main())


@pytest.mark.parametrize("step", [Speak(first_delay_s=100.0), Speak(chunk_delay_s=100.0)])
def test_a_voice_that_hangs_times_out(step: Speak) -> None:
    error, rig = failed("a" * 50, tts=ScriptedTTS([step]), tts_timeout_s=5.0)
    assert (error.stage, error.code) == ("tts", "EngineTimeout") and "within 5 s" in error.message
    assert rig.tts.calls[0].outcome == "cancelled"


def test_a_stall_is_spoken_at_once() -> None:
    async def slow() -> AsyncIterator[str]:
        yield "Let me see"
        await asyncio.sleep(3.0)
        yield " now."

    async def main() -> Rig:
        return await Rig(stall_s=0.25).run(slow())

    rig = run_virtual(main())
    assert rig.tts.calls[2].text == "see" and rig.tts.calls[2].began_s == pytest.approx(0.25)
    assert rig.reply.spoken == "Let me see now."


@pytest.mark.parametrize("at_s", [0.0, 0.05, 0.15, 0.3, 0.6, 1.0])
def test_cancelling_closes_all_of_it(at_s: float) -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                await asyncio.sleep(0.1)
                yield "word "
        finally:
            closed.append(True)

    async def main() -> None:
        rig = Rig(slow=True, tts=ScriptedTTS(first_delay_s=0.1, chunk_s=0.05, chunk_delay_s=0.05))
        speaking = asyncio.create_task(rig.run(endless()))
        await asyncio.sleep(at_s)
        speaking.cancel()
        await asyncio.wait({speaking})
        assert speaking.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert all(call.outcome in ("done", "cancelled") for call in rig.tts.calls)
        assert closed or at_s == 0.0

    run_virtual(main())


def test_the_callers_own_code_at_the_sink_fails_the_answer() -> None:
    class Breaking(Sink):
        async def play(self, frame: AudioFrame, mark: int) -> float:
            raise StageError("transform_data", ZeroDivisionError("no"))

    async def main() -> None:
        rig = Rig(sink=Breaking())
        with pytest.raises(StageError, match="no") as info:
            await rig.run(says("One"))
        assert info.value.stage == "transform_data"

    run_virtual(main())


def test_a_broken_transport_is_no_failed_stage() -> None:
    class Broken(Sink):
        async def play(self, frame: AudioFrame, mark: int) -> float:
            raise ConnectionResetError("gone")

    async def main() -> None:
        rig = Rig(sink=Broken())
        with pytest.raises(ExceptionGroup) as info:
            await rig.run(says("One"))
        assert isinstance(info.value.exceptions[0], ConnectionResetError)

    run_virtual(main())


def test_an_answer_without_aclose_is_fine() -> None:
    class Bare:
        def __init__(self) -> None:
            self.left = ["One ", "two"]

        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> str:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    async def main() -> Rig:
        return await Rig().run(Bare())

    assert run_virtual(main()).reply.spoken == "One two"


def test_words_that_can_stand_alone_are_spoken_while_a_slow_clause_goes_on() -> None:
    async def slow() -> AsyncIterator[str]:
        for word in "I am ready to assist you with any problem.".split():
            yield f" {word}"
            await asyncio.sleep(0.04)

    async def first_clause_s(hurry_s: float) -> tuple[float, str]:
        rig = Rig(hurry_s=hurry_s, stall_s=1.0, splitter=make_splitter("en"))
        await rig.run(slow())
        times = rig.reply.times
        assert times.first_clause_s is not None and times.first_token_s is not None
        return times.first_clause_s - times.first_token_s, rig.reply.spoken

    hurried_s, spoken = run_virtual(first_clause_s(0.15))
    assert hurried_s == pytest.approx(0.16, abs=0.05) and spoken.strip() == "I am ready to assist you with any problem."
    assert run_virtual(first_clause_s(math.inf))[0] == pytest.approx(0.36, abs=0.05)
