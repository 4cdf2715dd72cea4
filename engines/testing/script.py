"""Scripted engines for every stage: what they answer, and how long they take, is data.

Each call takes the next step of the script. A step is an answer with its delays, or an exception to raise. A call
for which there is no step raises :class:`UnexpectedCall` (and again when the engine exits, should the code under test
have swallowed it); a step that nobody asked for raises :class:`UnusedStep` when the engine exits cleanly. For
open-ended use give `repeat=True` (the script starts over) or, in place of the list, a function from the call to its
step. Delays pass on the running loop, so on a :class:`~antiphon.engines.testing.clock.VirtualClockLoop` they cost no
time. Every call is recorded with what it was given and when it began and ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Literal, TypeVar

from antiphon.engines.audio import AudioFrame
from antiphon.engines.host import Ticket, current_ticket
from antiphon.engines.lifecycle import Loadable
from antiphon.engines.protocols import (
    FinishReason,
    LLMOptions,
    Message,
    STTOptions,
    ToolCall,
    ToolSpec,
    TTSOptions,
    Usage,
    Word,
)


class UnexpectedCall(AssertionError):
    """Raised when a scripted engine is called more often than its script allows."""


class UnusedStep(AssertionError):
    """Raised when a scripted engine exits cleanly before its script was used up."""


# ---------------------------------------------------------------------------------------------- steps


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a turn detector."""

    probability: float
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One transcript."""

    text: str
    delay_s: float = 0.0
    language: str | None = None
    words: tuple[Word, ...] | None = None
    rejected_text: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a language model."""

    deltas: Sequence[str] = ()
    """The pieces of text, in order. See also :meth:`of`."""
    first_delay_s: float = 0.0
    """Before the first event."""
    delta_delay_s: float = 0.0
    """Before each delta after the first."""
    tool_calls: Sequence[ToolCall] = ()
    """Come after the text."""
    usage: Usage | None = None
    finish: FinishReason | None = None
    """None: "tool_calls" where there are some, else "stop"."""
    error_after: int | None = None
    """Break after so many deltas (0: before the first)."""
    error: Exception | None = None
    """What to raise there; None: an EngineFailed."""

    @classmethod
    def of(cls, text: str, *, first_delay_s: float = 0.0, delta_delay_s: float = 0.0) -> Reply:
        """A reply that comes word by word."""
        return cls(tuple(re.findall(r"\S+\s*|\s+", text)), first_delay_s, delta_delay_s)


@dataclass(frozen=True, slots=True)
class Speak:
    """One synthesis. None means: as set on the engine."""

    text: str | None = None
    """What must be asked for; None: anything."""
    first_delay_s: float | None = None
    chunk_delay_s: float | None = None
    error_after: int | None = None
    """Break after so many chunks (0: before the first)."""
    error: Exception | None = None
    """What to raise there; None: an EngineFailed."""


# -------------------------------------------------------------------------------------------- records

Outcome = Literal["running", "done", "failed", "cancelled"]


@dataclass(slots=True, kw_only=True)
class Call:
    """One call that was made; times are of the running loop's clock."""

    began_s: float
    ended_s: float | None = None
    outcome: Outcome = "running"
    ticket: Ticket = field(default_factory=Ticket)


@dataclass(slots=True, kw_only=True)
class TurnCall(Call):
    audio_s: float
    """Length of the audio that was given."""
    text: str | None


@dataclass(slots=True, kw_only=True)
class STTCall(Call):
    audio: AudioFrame = field(repr=False)
    options: STTOptions

    @property
    def audio_s(self) -> float:
        return self.audio.duration_s


@dataclass(slots=True, kw_only=True)
class LLMCall(Call):
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    options: LLMOptions
    session_key: str
    text: str = ""
    """What was given out so far."""


@dataclass(slots=True, kw_only=True)
class PrefillCall(Call):
    messages: tuple[Message, ...]
    session_key: str
    tools: tuple[ToolSpec, ...] | None = None


@dataclass(slots=True, kw_only=True)
class TTSCall(Call):
    text: str
    options: TTSOptions
    chunks: int = 0
    """How many chunks were given out so far."""


# --------------------------------------------------------------------------------------- what all share

StepT = TypeVar("StepT")
CallT = TypeVar("CallT", bound=Call)


class ScriptedEngine(Loadable, Generic[StepT, CallT]):
    """What all scripted engines share: the script, the records, the life cycle."""

    def __init__(
        self,
        steps: Sequence[StepT | Exception] | Callable[[CallT], StepT | Exception],
        *,
        repeat: bool = False,
        name: str = "scripted",
        load_s: float = 0.0,
        load_errors: Sequence[Exception] = (),
    ) -> None:
        """
        :param steps: the script, or a function from a call to its step.
        :param repeat: after the last step begin again with the first; unused steps are then no error.
        :param load_s: how long entering takes.
        :param load_errors: what the first entries raise, one after the other.
        """
        self.name = self.engine = name
        self.calls: list[CallT] = []
        """Every call, in the order in which they began."""
        self.loads = 0
        """How often the engine was entered with success."""
        self.unexpected: list[str] = []
        """What was asked for beyond the script."""
        self._steps = steps if callable(steps) else list(steps)
        self._repeat = repeat
        self._used = 0
        self._load_s = load_s
        self._load_errors = list(load_errors)

    async def _load(self) -> None:
        await asyncio.sleep(self._load_s)
        if self._load_errors:
            raise self._load_errors.pop(0)
        self.loads += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if kind is None:
            self.assert_done()

    @property
    def unused(self) -> int:
        """How many steps of the script nobody asked for yet."""
        return 0 if callable(self._steps) or self._repeat else len(self._steps) - self._used

    def assert_done(self) -> None:
        """Check that the script was used up, and no more was asked for.

        :raises UnexpectedCall: there was a call beyond the script.
        :raises UnusedStep: a step was not used.
        """
        if self.unexpected:
            raise UnexpectedCall(f"{self.stage} '{self.name}': {len(self.unexpected)} calls beyond the script: "
                                 + "; ".join(self.unexpected))  # fmt: skip
        if self.unused and not callable(self._steps):
            rest = "; ".join(repr(step) for step in self._steps[self._used :])
            raise UnusedStep(f"{self.stage} '{self.name}': {self.unused} unused steps: {rest}")

    def take(self, call: CallT) -> StepT:
        """The call's step; raises it where it is an exception."""
        if callable(self._steps):
            step = self._steps(call)
        elif self._used < len(self._steps):
            step = self._steps[self._used]
            self._used += 1
            if self._repeat:
                self._used %= len(self._steps)
        else:
            self.unexpected.append(repr(call))
            raise UnexpectedCall(f"{self.stage} '{self.name}' has no step for call {len(self.calls)}: {call!r}")
        if isinstance(step, Exception):
            raise step
        return step


def now_s() -> float:
    return asyncio.get_running_loop().time()


@contextlib.contextmanager
def timed(call: Call) -> Iterator[None]:
    call.ticket = current_ticket.get()
    try:
        yield
        call.outcome = "done"
    except (asyncio.CancelledError, GeneratorExit):
        if call.outcome == "running":
            call.outcome = "cancelled"
        raise
    except BaseException:
        call.outcome = "failed"
        raise
    finally:
        call.ended_s = now_s()
        if call.ticket.meter is not None:
            call.ticket.meter.add(call.ended_s - call.began_s)
