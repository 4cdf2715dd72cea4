"""A circuit breaker for an engine that stands alone, with no other to go on to (:mod:`antiphon.engines.chain`).

An engine that hangs makes every turn wait for its whole deadline. So:

- A failure counts if somebody waited for it: a deadline that passed, or an error that took a second or longer. An
  error at once costs the user nothing but the answer, and trying again may give that: it is never held back.
- After two of them in a row the engine is *out of order*: requests are refused at once (:class:`EngineOutOfOrder`),
  and the user hears why nothing comes instead of waiting for it.
- After a pause (a quarter of `recovery_s`, then a half, then the whole, for as long as it goes on) the breaker is half
  open: the next real request is tried, and those beside it are refused until its first item is there. That closes it;
  a failure begins the next pause, also one after the first item. So nobody is locked out for longer than `recovery_s`,
  and an idle engine is not bothered.
- A request whose deadline has passed counts as a failure a moment later, even if nothing ends it: an engine may not
  heed being cancelled. What it still gives comes too late to count.
- Requests that were cancelled in time, stale or invalid say nothing about the engine; nor do those for which our own
  queue had no room, and those that wait behind all others (unless they are the one that is tried).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.chain import FallbackEvent, OnEvent
from antiphon.engines.errors import (
    AntiphonError,
    EngineOutOfOrder,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
    StaleRequest,
)
from antiphon.engines.host import Priority, current_ticket
from antiphon.engines.protocols import (
    LLMEvent,
    LLMOptions,
    Message,
    SpeechChunk,
    Stage,
    STTOptions,
    ToolSpec,
    Transcript,
    TTSOptions,
)

logger = logging.getLogger(__name__)

SLOW_S = 1.0
"""A failure that took so long has cost the user something."""

BREAKS_AFTER = 2
"""Such failures in a row put the engine out of order."""

_NEARLY = 0.9
"""A request that is cancelled after this part of its deadline was given up for its sake."""

_GRACE_S = 2.0
"""A request that is given up at its deadline has so long to end."""

_LLM_OPTIONS = LLMOptions()
_STT_OPTIONS = STTOptions()
_TTS_OPTIONS = TTSOptions()


class Attempt:
    """One request under way; says when somebody begins to wait for the engine, and when it has answered."""

    def __init__(self, deadline_s: float, counts: bool, on_first: Callable[[Attempt], None]) -> None:
        """
        :param counts: its failure says something about the engine.
        :param on_first: told of its first answer.
        """
        self.deadline_s = deadline_s
        self.counts = counts
        self._on_first = on_first
        self.since_s: float | None = None
        self.answers = 0
        self.lapsed = False
        """Its deadline has passed, and it has not ended: what becomes of it is no news."""

    def asks(self) -> None:
        self.since_s = _now_s()

    def answered(self) -> None:
        self.since_s = None
        self.answers += 1
        if self.answers == 1:
            self._on_first(self)

    @property
    def waited_s(self) -> float:
        return 0.0 if self.since_s is None else _now_s() - self.since_s

    @property
    def overdue(self) -> bool:
        return self.waited_s > self.deadline_s + _GRACE_S


class Breaker:
    """What is known of one engine.

    :param recovery_s: the longest pause.
    :param on_event: is told when the engine goes out of order, and when it has recovered.
    """

    def __init__(self, stage: Stage, name: str, *, recovery_s: float = 30.0, on_event: OnEvent | None = None) -> None:
        self.stage = stage
        self.name = name
        self._recovery_s = recovery_s
        self._on_event = on_event
        self._failures = 0
        """Slow ones in a row."""
        self._open_until_s: float | None = None
        """None: in order."""
        self._trial: Attempt | None = None
        """Finds out whether the engine works again."""
        self._under_way: list[Attempt] = []

    @property
    def refuses(self) -> bool:
        """Whether a request now would be refused."""
        for attempt in [one for one in self._under_way if one.overdue]:
            self._lapse(attempt)
        return self._open_until_s is not None and (self._trial is not None or _now_s() < self._open_until_s)

    @contextlib.contextmanager
    def attempt(self, deadline_s: float) -> Iterator[Attempt]:
        """A request. Whatever its outcome, the breaker learns of it.

        :param deadline_s: after which whoever asks gives up.
        :raises EngineOutOfOrder: the engine is not asked now.
        """
        if self.refuses:
            raise self._refusal()
        tried = self._open_until_s is not None
        attempt = Attempt(deadline_s, tried or current_ticket.get().priority < Priority.RERUN, self._first)
        self._under_way.append(attempt)
        if tried:
            self._trial = attempt
        attempt.asks()
        try:
            yield attempt
        except (asyncio.CancelledError, GeneratorExit):
            if attempt.waited_s >= _NEARLY * deadline_s:
                self._failed(attempt, self._late(deadline_s), _now_s())
            elif attempt.answers:
                self._works(attempt)
            raise
        except (StaleRequest, EngineRequestInvalid):
            raise
        except Exception as error:
            no_room = isinstance(error, EngineOverloaded) and error.retry_after_s is None
            if attempt.waited_s >= min(SLOW_S, _NEARLY * deadline_s) and not no_room:
                self._failed(attempt, error, _now_s())
            raise
        else:
            self._works(attempt)
        finally:
            self._ended(attempt)

    def _ended(self, attempt: Attempt) -> None:
        if attempt in self._under_way:
            self._under_way.remove(attempt)
        if self._trial is attempt:
            self._trial = None

    def _lapse(self, attempt: Attempt) -> None:
        """Nobody waits any more for a request that has not ended."""
        assert attempt.since_s is not None
        self._ended(attempt)
        self._failed(attempt, self._late(attempt.deadline_s), attempt.since_s + attempt.deadline_s)
        attempt.lapsed = True

    def _late(self, deadline_s: float) -> EngineTimeout:
        return EngineTimeout(f"no answer within {deadline_s:g} s", stage=self.stage, engine=self.name)

    def _failed(self, attempt: Attempt, error: Exception, at_s: float) -> None:
        if attempt.lapsed or not attempt.counts:
            return
        self._failures += 1
        if self._failures < BREAKS_AFTER:
            return
        pause_s = self._recovery_s * min(1.0, 0.25 * 2 ** (self._failures - BREAKS_AFTER))
        self._open_until_s = at_s + pause_s
        about = {"stage": self.stage, "engine": self.name, "error": type(error).__name__, "pause_s": pause_s}
        logger.warning("engine is out of order", extra=about)
        self._tell("failed", error if isinstance(error, AntiphonError) else self._refusal())

    def _works(self, attempt: Attempt) -> None:
        """A request came to a good end."""
        if not attempt.lapsed:
            self._failures = 0
            self._first(attempt)

    def _first(self, attempt: Attempt) -> None:
        """The engine answers: it is in order. Its failures are forgotten only when an answer is whole."""
        if self._trial is attempt:
            self._trial = None
        if self._open_until_s is not None and not attempt.lapsed:
            self._open_until_s = None
            logger.info("engine recovered", extra={"stage": self.stage, "engine": self.name})
            self._tell("recovered", None)

    def _refusal(self) -> EngineOutOfOrder:
        left_s = max(0.0, (self._open_until_s or 0.0) - _now_s())
        return EngineOutOfOrder(
            f"'{self.name}' has kept requests waiting in vain {self._failures} times in a row; it is tried again "
            + (f"in {left_s:.0f} s" if left_s >= 1 else "now"),
            stage=self.stage,
            engine=self.name,
            retry_after_s=left_s,
        )

    def _tell(self, kind: Any, error: AntiphonError | None) -> None:
        if self._on_event is not None:
            self._on_event(FallbackEvent(kind, self.stage, self.name, None, error, _now_s()))


class _Lone:
    """An engine behind its breaker. Everything that is not wrapped here is the engine's own."""

    def __init__(self, engine: Any, breaker: Breaker, deadline_s: float) -> None:
        self._engine = engine
        self._breaker = breaker
        self._deadline_s = deadline_s

    async def __aenter__(self) -> Any:
        await self._engine.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        left: bool | None = await self._engine.__aexit__(kind, error, trace)
        return left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    @property
    def in_order(self) -> dict[str, bool]:
        """The engine's name, and whether requests go to it now."""
        return {self._breaker.name: not self._breaker.refuses}

    async def _items(self, source: Any) -> AsyncIterator[Any]:
        """A stream of the engine's; the time between two items is the engine's, while one is looked at it is not."""
        with self._breaker.attempt(self._deadline_s) as attempt:
            try:
                while True:
                    attempt.asks()
                    try:
                        item = await anext(source)
                    except StopAsyncIteration:
                        break
                    attempt.answered()
                    yield item
            finally:
                close = getattr(source, "aclose", None)
                if close is not None:
                    await close()


class LoneSTT(_Lone):
    """A speech-to-text engine behind its breaker; the deadline counts besides the audio's own length."""

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _STT_OPTIONS) -> Transcript:
        with self._breaker.attempt(self._deadline_s + audio.duration_s):
            heard: Transcript = await self._engine.transcribe(audio, options)
            return heard


class LoneLLM(_Lone):
    """A language model behind its breaker; the deadline is that of the first item, and between two items."""

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = _LLM_OPTIONS,
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        return self._items(self._engine.stream(messages, tools, options, session_key))

    async def prefill(self, *args: Any, **named: Any) -> None:
        """A hint: none is given while the engine is out of order."""
        if not self._breaker.refuses:
            await self._engine.prefill(*args, **named)


class LoneTTS(_Lone):
    """A voice behind its breaker; the deadline is that of the first chunk, and between two chunks."""

    def synthesize(self, text: str, options: TTSOptions = _TTS_OPTIONS) -> AsyncIterator[SpeechChunk]:
        return self._items(self._engine.synthesize(text, options))


_KINDS: dict[str, type[_Lone]] = {"stt": LoneSTT, "llm": LoneLLM, "tts": LoneTTS}


def with_breaker(
    stage: Stage,
    name: str,
    engine: Any,
    *,
    deadline_s: float,
    recovery_s: float = 30.0,
    on_event: OnEvent | None = None,
) -> Any:
    """The engine behind a breaker of its own; engines of stages that nobody waits for (vad, turn) are left alone."""
    kind = _KINDS.get(stage)
    if kind is None:
        return engine
    return kind(engine, Breaker(stage, name, recovery_s=recovery_s, on_event=on_event), deadline_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
