"""The circuit breaker of an engine that stands alone: who waits in vain, who is refused, and when it is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from antiphon.engines.audio import AudioFrame
from antiphon.engines.breaker import Breaker, with_breaker
from antiphon.engines.errors import EngineFailed, EngineOutOfOrder, EngineOverloaded, EngineRequestInvalid
from antiphon.engines.fallback import FallbackEvent
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import Message, STTOptions, Transcript
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, ScriptedSTT, ScriptedTTS, run_virtual
from antiphon.pipeline.patience import within

AUDIO = AudioFrame(np.zeros(16000, dtype=np.float32), 16000)
HANGS = Heard("never", delay_s=1e6)


def now_s() -> float:
    return asyncio.get_running_loop().time()


class Bench:
    """An STT engine behind its breaker, asked by somebody who waits for 5 s and the audio's second."""

    def __init__(self, *steps: Any) -> None:
        self.engine = ScriptedSTT(list(steps))
        self.events: list[FallbackEvent] = []
        self.lone = with_breaker(
            "stt", "ears", self.engine, deadline_s=5.0, recovery_s=40.0, on_event=self.events.append
        )

    async def ask(self) -> Any:
        began_s = now_s()
        try:
            async with asyncio.timeout(6.0):
                return (await self.lone.transcribe(AUDIO)).text
        except TimeoutError:
            return "late"
        except Exception as error:
            return type(error).__name__, now_s() - began_s


def test_after_two_waits_in_vain_nobody_waits_and_a_real_request_finds_out() -> None:
    async def main() -> None:
        bench = Bench(HANGS, HANGS, HANGS, Heard("one"), Heard("two"))
        async with bench.lone:
            assert [await bench.ask(), await bench.ask()] == ["late", "late"]
            assert await bench.ask() == ("EngineOutOfOrder", 0.0)
            await asyncio.sleep(9.9)
            assert await bench.ask() == ("EngineOutOfOrder", 0.0), "a quarter of recovery_s, first"
            await asyncio.sleep(0.2)
            assert await bench.ask() == "late"
            await asyncio.sleep(19.9)
            assert await bench.ask() == ("EngineOutOfOrder", 0.0), "then a half"
            await asyncio.sleep(0.2)
            assert [await bench.ask(), await bench.ask()] == ["one", "two"]
        assert [event.kind for event in bench.events] == ["failed", "failed", "recovered"]

    run_virtual(main())


def test_half_open_one_request_tries_and_those_beside_it_are_refused() -> None:
    async def main() -> None:
        bench = Bench(HANGS, HANGS, Heard("one", delay_s=1.0))
        async with bench.lone:
            await bench.ask()
            await bench.ask()
            await asyncio.sleep(11.0)
            answers = await asyncio.gather(bench.ask(), bench.ask(), bench.ask())
            assert answers == ["one", ("EngineOutOfOrder", 0.0), ("EngineOutOfOrder", 0.0)]

    run_virtual(main())


def test_a_trial_that_somebody_cancels_leaves_the_next_one_to_try() -> None:
    async def main() -> None:
        bench = Bench(HANGS, HANGS, HANGS, Heard("one"))
        async with bench.lone:
            await bench.ask()
            await bench.ask()
            await asyncio.sleep(11.0)
            trial = asyncio.create_task(bench.lone.transcribe(AUDIO))
            await asyncio.sleep(0.5)
            trial.cancel()
            await asyncio.wait((trial,))
            assert await bench.ask() == "one"

    run_virtual(main())


@pytest.mark.parametrize("error", [EngineFailed("down"), KeyError("down"), EngineRequestInvalid("no")])
def test_failures_at_once_cost_nobody_time_and_hold_nothing_back(error: Exception) -> None:
    async def main() -> None:
        bench = Bench(*[error] * 5, Heard("one"))
        async with bench.lone:
            assert [await bench.ask() for _ in range(5)] == [(type(error).__name__, 0.0)] * 5
            assert await bench.ask() == "one"
        assert not bench.events

    run_virtual(main())


def test_an_answer_between_two_failures_is_a_new_beginning() -> None:
    async def main() -> None:
        bench = Bench(HANGS, Heard("one"), HANGS, Heard("two"))
        async with bench.lone:
            assert [await bench.ask() for _ in range(4)] == ["late", "one", "late", "two"]

    run_virtual(main())


def test_of_a_stream_the_engines_own_time_counts_and_not_its_readers() -> None:
    async def main() -> None:
        engine = ScriptedLLM([Reply(["a ", "b"])] * 4)
        lone = with_breaker("llm", "mind", engine, deadline_s=5.0)
        async with lone:
            for _ in range(4):
                stream = lone.stream([Message("user", "hello")])
                await anext(stream)
                await asyncio.sleep(60.0)  # playback stands still
                await stream.aclose()
        assert len(engine.calls) == 4

    run_virtual(main())


def test_a_stream_that_dies_in_the_middle_counts() -> None:
    async def main() -> None:
        engine = ScriptedLLM([Reply(["a ", "b"], delta_delay_s=1e6)] * 2)
        lone = with_breaker("llm", "mind", engine, deadline_s=5.0)
        async with lone:
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(5.0):
                        async for _ in lone.stream([Message("user", "hello")]):
                            pass
            with pytest.raises(EngineOutOfOrder, match=r"'mind' .* 2 times in a row") as caught:
                await anext(lone.stream([Message("user", "hello")]))
            assert caught.value.retry_after_s == pytest.approx(7.5)
            await lone.prefill([Message("user", "hello")])
        assert not engine.prefills, "no hints either"

    run_virtual(main())


def test_everything_else_is_the_engines_own() -> None:
    async def main() -> None:
        engine = ScriptedTTS()
        lone = with_breaker("tts", "voice", engine, deadline_s=5.0)
        async with lone:
            assert (lone.rate_hz, lone.capabilities, lone.tone_hz) == (24000, engine.capabilities, 440.0)
            assert len([chunk async for chunk in lone.synthesize("One two.")]) > 1
        assert with_breaker("vad", "gate", engine, deadline_s=5.0) is engine

    run_virtual(main())


def test_slow_errors_count_as_waits() -> None:
    async def main() -> None:
        breaker = Breaker("stt", "ears")
        for _ in range(2):
            with pytest.raises(EngineFailed), breaker.attempt(5.0):
                await asyncio.sleep(1.5)
                raise EngineFailed("no")
        assert breaker.refuses

    run_virtual(main())


# ----------------------------------------------------------------------------- half open, and requests that never end


class Streams:
    """An engine whose answers are sequences of items, and of seconds before the next one."""

    def __init__(self, *answers: tuple[str | float, ...]) -> None:
        self._answers = list(answers)

    async def __aenter__(self) -> Streams:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def stream(self, *_: Any) -> AsyncIterator[str]:
        for item in self._answers.pop(0):
            if isinstance(item, float):
                await asyncio.sleep(item)
            else:
                yield item

    synthesize = stream


async def first_of(stream: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(5.0):
        return await anext(stream)


@pytest.mark.parametrize(("stage", "method"), [("llm", "stream"), ("tts", "synthesize")])
def test_the_first_item_of_a_trial_lets_the_others_in(stage: Any, method: str) -> None:
    async def main() -> None:
        events: list[FallbackEvent] = []
        engine = Streams((1e6,), (1e6,), ("a", "b"), ("c",))
        async with with_breaker(stage, "one", engine, deadline_s=5.0, on_event=events.append) as lone:
            ask = getattr(lone, method)
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await first_of(ask(""))
            await asyncio.sleep(8.0)
            trial = ask("")
            assert await first_of(trial) == "a"  # and its reader takes his time
            assert [event.kind for event in events] == ["failed", "recovered"]
            assert [item async for item in ask("")] == ["c"]
            assert [item async for item in trial] == ["b"]
        assert [event.kind for event in events] == ["failed", "recovered"]

    run_virtual(main())


def test_a_trial_that_breaks_after_its_first_item_begins_the_next_pause() -> None:
    async def main() -> None:
        engine = Streams((1e6,), (1e6,), ("a", 1e6))
        async with with_breaker("llm", "one", engine, deadline_s=5.0, recovery_s=40.0) as lone:
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await first_of(lone.stream([]))
            await asyncio.sleep(11.0)
            trial = lone.stream([])
            assert await first_of(trial) == "a"
            with pytest.raises(TimeoutError):
                await first_of(trial)
            with pytest.raises(EngineOutOfOrder) as caught:
                await first_of(lone.stream([]))
            assert caught.value.retry_after_s == pytest.approx(20.0), "a half of recovery_s, not a quarter again"

    run_virtual(main())


class Deaf(ScriptedSTT):
    """Does not heed being cancelled: it answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()

    async def transcribe(self, audio: AudioFrame, options: STTOptions | None = None) -> Transcript:
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                continue
        return Transcript("at last")


def test_requests_that_never_end_count_all_the_same_and_a_trial_has_its_end() -> None:
    async def main() -> None:
        engine = Deaf()
        async with with_breaker("stt", "ears", engine, deadline_s=5.0, recovery_s=40.0) as lone:

            async def ask() -> str:
                try:
                    return (await within(6.0, lone.transcribe(AUDIO))).text
                except (TimeoutError, EngineOutOfOrder) as error:
                    return type(error).__name__

            assert [await ask(), await ask()] == ["TimeoutError"] * 2
            await asyncio.sleep(1.0)
            assert await ask() == "EngineOutOfOrder"
            await asyncio.sleep(10.0)
            assert await ask() == "TimeoutError", "the trial"
            assert await ask() == "EngineOutOfOrder", "while the trial may still end"
            await asyncio.sleep(18.0)
            assert await ask() == "EngineOutOfOrder", "the trial has failed: the next pause, of 20 s since its deadline"
            engine.may_end.set()
            await asyncio.sleep(0.1)
            assert await ask() == "EngineOutOfOrder", "what comes too late says nothing"
            await asyncio.sleep(2.0)
            assert [await ask(), await ask()] == ["at last", "at last"]

    run_virtual(main())


@pytest.mark.parametrize(("pause_s", "counts"), [(None, False), (5.0, True)])
def test_our_own_full_queue_says_nothing_about_the_engine(pause_s: float | None, counts: bool) -> None:
    async def main() -> None:
        breaker = Breaker("stt", "ears")
        for _ in range(2):
            with pytest.raises(EngineOverloaded), breaker.attempt(5.0):
                await asyncio.sleep(1.5)  # a guess that waited, and had to make room
                raise EngineOverloaded("full", retry_after_s=pause_s)
        assert breaker.refuses is counts

    run_virtual(main())


@pytest.mark.parametrize("priority", list(Priority))
def test_who_lets_all_others_go_first_may_wait_long_in_our_own_queue(priority: Priority) -> None:
    async def main() -> None:
        humble = priority >= Priority.RERUN
        bench = Bench(HANGS, HANGS, *[Heard("one")] * humble)
        current_ticket.set(Ticket(priority=priority))
        async with bench.lone:
            assert [await bench.ask(), await bench.ask()] == ["late", "late"]
            assert await bench.ask() == ("one" if humble else ("EngineOutOfOrder", 0.0))

    run_virtual(main())


def test_a_trial_counts_whoever_asks() -> None:
    async def main() -> None:
        bench = Bench(HANGS, HANGS, HANGS)
        async with bench.lone:
            assert [await bench.ask(), await bench.ask()] == ["late", "late"]
            await asyncio.sleep(11.0)
            current_ticket.set(Ticket(priority=Priority.RERUN))
            assert await bench.ask() == "late"
            assert await bench.ask() == ("EngineOutOfOrder", 0.0)

    run_virtual(main())
