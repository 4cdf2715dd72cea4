"""Puts requests to an LLM and counts the right calls."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import median
from typing import Any, cast

from antiphon.benchmarks.tools.matching import exact
from antiphon.benchmarks.tools.requests import BenchTool, ToolRequest
from antiphon.engines.errors import EngineError
from antiphon.engines.protocols import LLM, LLMOptions, Message, TextDelta, ToolCall, Usage

_SESSION = "bench-tools"
_WARM_UP = "Good day."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request."""

    id: str
    kind: str
    split: str
    said: str
    needed: str | None
    calls: tuple[tuple[str, str], ...]
    """(tool, arguments) as the engine gave them."""
    text: str
    right: bool
    first_ms: float | None
    """From the request to the first event: a call, or the first words of an answer. None: nothing came."""
    total_ms: float
    output_tokens: int
    cached_tokens: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class KindScore:
    """The requests of one kind in one half of the set."""

    kind: str
    requests: int
    right: int
    right_tool: int
    """Of those that need a tool: called it and no other, whatever the arguments."""
    called: int
    """Requests on which any tool was called; without need it is a false trigger."""

    @property
    def accuracy(self) -> float:
        return self.right / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """A run over one half of the set."""

    split: str
    kinds: tuple[KindScore, ...]
    needing: int
    """Requests that need a tool."""
    exact: int
    not_needing: int
    false_triggers: int
    errors: int
    call_ms_p50: float | None
    """From the request to the call, where a call came."""
    call_ms_max: float | None
    first_words_ms_p50: float | None
    """From the request to the first words, where none came."""


async def measure(
    llm: LLM,
    requests: Sequence[ToolRequest],
    tools: Mapping[str, BenchTool],
    instructions: str,
    *,
    max_tokens: int = 160,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """Put each request to the model as the first message of a conversation, at temperature 0.

    :param llm: an entered engine that can call tools. Its prompt's beginning is evaluated once, before the clock runs.
    """
    specs = [tool.spec for tool in tools.values()]
    system = [Message("system", instructions)] if instructions else []
    await _ask(llm, [*system, Message("user", _WARM_UP)], specs, 1)
    outcomes = []
    for request in requests:
        outcome = await _one(llm, request, tools, [*system, Message("user", request.say)], specs, max_tokens)
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return outcomes


@dataclass(slots=True)
class _Answer:
    calls: list[ToolCall]
    text: str = ""
    usage: Usage = field(default_factory=Usage)
    first_s: float | None = None


async def _ask(llm: LLM, messages: Sequence[Message], specs: Sequence[Any], max_tokens: int) -> _Answer:
    answer = _Answer([])
    options = LLMOptions(temperature=0.0, max_tokens=max_tokens)
    try:
        async with aclosing(cast(Any, llm.stream(messages, specs, options, _SESSION))) as events:
            async for event in events:
                if isinstance(event, TextDelta | ToolCall) and answer.first_s is None:
                    answer.first_s = time.perf_counter()
                if isinstance(event, TextDelta):
                    answer.text += event.text
                elif isinstance(event, ToolCall):
                    answer.calls.append(event)
                elif isinstance(event, Usage):
                    answer.usage = event
    except EngineError as error:
        raise _Failed(answer, error) from error
    return answer


class _Failed(Exception):
    """An answer that ended in an error."""

    def __init__(self, answer: _Answer, error: EngineError) -> None:
        super().__init__(error.message)
        self.answer, self.error = answer, error


async def _one(
    llm: LLM,
    request: ToolRequest,
    tools: Mapping[str, BenchTool],
    messages: Sequence[Message],
    specs: Sequence[Any],
    max_tokens: int,
) -> Outcome:
    began_s = time.perf_counter()
    error = ""
    try:
        answer = await _ask(llm, messages, specs, max_tokens)
    except _Failed as failed:
        answer, error = failed.answer, failed.error.message
    total_ms = (time.perf_counter() - began_s) * 1000
    return Outcome(
        id=request.id,
        kind=request.kind,
        split=request.split,
        said=request.say,
        needed=request.tool,
        calls=tuple((call.name, call.arguments) for call in answer.calls),
        text=answer.text,
        right=not error and exact(answer.calls, request, tools),
        first_ms=None if answer.first_s is None else round((answer.first_s - began_s) * 1000, 1),
        total_ms=round(total_ms, 1),
        output_tokens=answer.usage.output_tokens,
        cached_tokens=answer.usage.cached_tokens,
        error=error,
    )


def score(split: str, outcomes: Sequence[Outcome]) -> Score:
    """Add up a run."""
    kinds = []
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.kind == kind]
        kinds.append(
            KindScore(
                kind,
                len(own),
                sum(one.right for one in own),
                sum(bool(one.calls) and {name for name, _ in one.calls} == {one.needed} for one in own),
                sum(bool(one.calls) for one in own),
            )
        )
    needing = [outcome for outcome in outcomes if outcome.needed is not None]
    rest = [outcome for outcome in outcomes if outcome.needed is None]
    calls_ms = [one.first_ms for one in outcomes if one.calls and not one.text and one.first_ms is not None]
    words_ms = [one.first_ms for one in outcomes if not one.calls and one.first_ms is not None]
    return Score(
        split=split,
        kinds=tuple(kinds),
        needing=len(needing),
        exact=sum(one.right for one in needing),
        not_needing=len(rest),
        false_triggers=sum(bool(one.calls) for one in rest),
        errors=sum(bool(one.error) for one in outcomes),
        call_ms_p50=round(median(calls_ms), 1) if calls_ms else None,
        call_ms_max=max(calls_ms, default=None),
        first_words_ms_p50=round(median(words_ms), 1) if words_ms else None,
    )


def as_json(value: Score | Outcome) -> dict[str, Any]:
    """A JSON-ready mapping."""
    return dataclasses.asdict(value)
