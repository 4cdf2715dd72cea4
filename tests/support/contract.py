"""What every engine promises (:mod:`antiphon.engines.protocols`), as far as all of a stage can be tested alike.

A :class:`Case` is one engine to test: the scripted ones, the local ones on the small real models (marked `real`), and
the `openai` ones against the stand-in. The tests are `tests/engines/test_contract_*.py`; a new engine joins by one line
in :data:`CASES`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import pytest
from openai_standin import OpenAIStandin
from wyoming_standin import WyomingStandin

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.errors import EngineError
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import Message, Stage
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.testing import (
    Answer,
    Heard,
    Reply,
    ScriptedLLM,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedTurnDetector,
    ScriptedVAD,
)

T = TypeVar("T")

Make = Callable[[EngineHost], Any]
"""Makes the engine, not yet entered."""


@dataclass(frozen=True)
class Case:
    stage: Stage
    name: str
    provide: Callable[[], AbstractContextManager[Make]]
    """What the engine needs around it (a server), while it is tested."""
    real: bool = False
    loads: bool = True
    """False: there is nothing to load and nothing to ask (a policy without a detector)."""


def _scripted(make: Callable[[], Any]) -> Callable[[], AbstractContextManager[Make]]:
    return lambda: nullcontext(lambda _: make())


def _registered(stage: Stage, name: str, **options: Any) -> Make:
    spec = find(stage, name)
    return lambda host: spec.create(spec.options_class()(**options), EngineContext(host, ModelStore()))


def _local(stage: Stage, name: str, **options: Any) -> Callable[[], AbstractContextManager[Make]]:
    return lambda: nullcontext(_registered(stage, name, **options))


@contextmanager
def _openai(stage: Stage) -> Iterator[Make]:
    with OpenAIStandin(replies=["Well, hello there, how are you today?"], delay_s=0.002) as server:
        yield _registered(stage, "openai", base_url=server.base_url, max_retries=0)
        assert not server.invalid, server.invalid


@contextmanager
def _wyoming(stage: Stage) -> Iterator[Make]:
    with WyomingStandin(delay_s=0.001) as server:
        yield _registered(stage, "wyoming", uri=server.uri, max_retries=0)


# One thread: where other work shares the cores, two that wait for each other are many times slower.
_SMALL_LLM = {"model": "smollm2-135m-instruct", "max_tokens": 12, "threads": 1}

CASES: tuple[Case, ...] = (
    Case("vad", "scripted", _scripted(lambda: ScriptedVAD())),
    Case("vad", "webrtcvad", _local("vad", "webrtcvad")),
    Case("vad", "silero", _local("vad", "silero"), real=True),
    Case("turn", "scripted", _scripted(lambda: ScriptedTurnDetector(lambda _: Answer(0.7, 0.005)))),
    Case("turn", "silence", _local("turn", "silence"), loads=False),
    Case("turn", "smart_turn", _local("turn", "smart_turn"), real=True),
    Case("stt", "scripted", _scripted(lambda: ScriptedSTT(lambda _: Heard("", 0.005)))),
    Case("stt", "faster_whisper", _local("stt", "faster_whisper", model="whisper-tiny.en"), real=True),
    Case(
        "stt",
        "faster_whisper-process",
        _local("stt", "faster_whisper", model="whisper-tiny.en", isolation="process"),
        real=True,
    ),
    Case("stt", "openai", partial(_openai, "stt")),
    Case("stt", "wyoming", partial(_wyoming, "stt")),
    Case(
        "llm", "scripted", _scripted(lambda: ScriptedLLM(lambda _: Reply.of("Well, hello there.", delta_delay_s=0.005)))
    ),
    Case("llm", "llama_cpp", _local("llm", "llama_cpp", **_SMALL_LLM), real=True),
    Case("llm", "llama_cpp-process", _local("llm", "llama_cpp", isolation="process", **_SMALL_LLM), real=True),
    Case("llm", "openai", partial(_openai, "llm")),
    Case("tts", "scripted", _scripted(lambda: ScriptedTTS(chunk_delay_s=0.001))),
    Case("tts", "piper", _local("tts", "piper", voice="en_US-joe-medium"), real=True),
    Case("tts", "piper-process", _local("tts", "piper", voice="en_US-joe-medium", isolation="process"), real=True),
    Case("tts", "openai", partial(_openai, "tts")),
    Case("tts", "wyoming", partial(_wyoming, "tts")),
)


def cases(*stages: Stage, loads: bool = False) -> list[Any]:
    """The cases of some stages, for `pytest.mark.parametrize("case", ...)`; on request only those that load."""
    return [
        pytest.param(case, id=f"{case.stage}-{case.name}", marks=[pytest.mark.real] if case.real else [])
        for case in CASES
        if case.stage in stages and case.loads >= loads
    ]


# ---------------------------------------------------------------------------------------- running them


def run(case: Case, check: Callable[[Make, EngineHost], Awaitable[None]]) -> None:
    """Run a check on a fresh loop and host; afterwards no task, no worker and no thread may be left."""
    with no_thread_left(), case.provide() as make, asyncio.Runner() as runner:
        host = EngineHost()

        async def main() -> None:
            await check(make, host)
            await no_task_left()

        runner.run(main())
        assert host.stats() == {}, "a worker was not released"


class Opened:
    """An entered engine that several tests use, one after the other. Made by :func:`opened`."""

    def __init__(self, case: Case, engine: Any, runner: asyncio.Runner) -> None:
        self.case = case
        self._engine = engine
        self._runner = runner

    def run(self, check: Callable[[Any], Awaitable[None]]) -> None:
        """Run a check with the engine; afterwards no task of its may be left."""

        async def main() -> None:
            await check(self._engine)
            await no_task_left()

        self._runner.run(main())


@contextmanager
def opened(case: Case) -> Iterator[Opened]:
    """The case's engine, entered; afterwards no worker and no thread may be left."""
    with no_thread_left(), case.provide() as make, asyncio.Runner() as runner:
        host = EngineHost()
        engine = make(host)
        runner.run(engine.__aenter__())
        yield Opened(case, engine, runner)
        runner.run(engine.__aexit__(None, None, None))
        assert host.stats() == {}, "a worker was not released"


@contextmanager
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(2.0)  # it may be about to end
    left = set(threading.enumerate()) - before
    assert not left, f"threads are left: {left}"


async def no_task_left() -> None:
    """Closing a connection or a generator that nobody holds any more may take the loop a moment."""
    left: set[asyncio.Task[Any]] = set()
    for _ in range(200):
        left = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        if not left:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"tasks are left: {left}")


async def ours(awaitable: Awaitable[T]) -> T | None:
    """The result; None if it was refused by an EngineError with a message. Any other exception is a broken promise."""
    try:
        return await awaitable
    except EngineError as error:
        assert error.message.strip(), "an error without a message"
        return None


async def collected(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


async def first_then_closed(items: AsyncIterator[T]) -> T:
    """The first item; then the stream is closed."""
    async with aclosing(cast("Any", items)) as stream:
        first: T = await anext(stream)
        return first


async def cancelled_after(awaitable: Awaitable[Any], delay_s: float) -> None:
    """Cancel a call on its way: it may have ended before, but must not turn the cancellation into something else."""
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(delay_s)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        assert task.cancelled()


def noise(seconds: float, rate_hz: int = 16000, level: float = 0.1, seed: int = 7) -> AudioFrame:
    """White noise: cheap, and no engine's favourite."""
    samples: Samples = np.random.default_rng(seed).normal(0, level, round(seconds * rate_hz)).astype(np.float32)
    return AudioFrame(np.clip(samples, -1, 1), rate_hz)


def silence(seconds: float, rate_hz: int = 16000) -> AudioFrame:
    return AudioFrame(np.zeros(round(seconds * rate_hz), np.float32), rate_hz)


async def use(stage: Stage, engine: Any) -> None:
    """The shortest use of an engine; raises what it raises."""
    if stage == "vad":
        stream = engine.stream()
        assert 0 <= stream.probability(np.zeros(engine.window_samples, np.float32)) <= 1
    elif stage == "turn":
        assert 0 <= await engine.end_probability(noise(1.0), "hello") <= 1
    elif stage == "stt":
        assert isinstance((await engine.transcribe(noise(0.5, engine.rate_hz))).text, str)
    elif stage == "llm":
        assert await collected(engine.stream([Message("user", "Hello")]))
    else:
        assert await collected(engine.synthesize("Hello there."))
