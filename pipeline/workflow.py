"""Workflows: any code that takes what the user said and yields what to say.

The full contract is :class:`Workflow`. Simpler forms are adapted by :func:`as_workflow`: a class with
`run(transcription)` (:class:`VoiceWorkflowBase`), an async generator function of one text, or a coroutine function that
returns the whole answer.
"""

from __future__ import annotations

import abc
import asyncio
import dataclasses
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from antiphon.engines.protocols import LLM, LLMOptions, Message, TextDelta, ToolCall, Usage
from antiphon.pipeline.errors import WorkflowError


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gave back."""

    call_id: str
    name: str
    output: str


class Filler(str):
    """Text that bridges a wait ("One moment."): spoken in its place, but no part of the answer or of the history."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class EndCall:
    """The conversation is over: the session ends when this answer has been heard."""

    reason: str = ""


WorkflowEvent = ToolCall | ToolResult | Usage | EndCall
"""What a workflow may yield besides text. (More kinds join with the capabilities that need them.)"""


@dataclass(frozen=True, slots=True)
class CallPermit:
    """Whether a tool call may run, and how."""

    allowed: bool
    arguments: str
    """A JSON object as text: what to run it with."""
    reason: str = ""
    """If not allowed: what to tell the model."""


async def _permit(call: ToolCall) -> CallPermit:
    return CallPermit(True, call.arguments)


@dataclass(frozen=True, slots=True, eq=False)
class TurnContext:
    """What a workflow is told about the turn that it answers."""

    session: str
    turn: int
    revision: int
    """When it was asked; an answer may stand in for a later one whose words are the same."""
    transcript: str
    """What the user said."""
    history: tuple[Message, ...]
    """The conversation before this turn, oldest first; without the system prompt and without `transcript`."""
    language: str | None = None
    """ISO 639-1, if the STT engine knows it."""
    _committed: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _on_committed: Callable[[], None] = field(default=lambda: None, repr=False)
    _recorded: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)
    _before_call: Callable[[ToolCall], Awaitable[CallPermit]] = field(default=_permit, repr=False)

    async def before_call(self, call: ToolCall) -> CallPermit:
        """Await it before a tool runs, and run the tool only as it says.

        The turn is sure then, the call is on record, and the checks of `policy.tool_call` have allowed it. Sends the
        `tool_call` event; a `ToolCall` of the same id that the workflow yields later is not sent again.
        """
        await self.committed()
        return await self._before_call(call)

    async def committed(self) -> None:
        """Wait until the turn is sure. Await it before any side effect: a tool, a database, a message to somebody.

        From then on the turn cannot be reopened by speech that follows closely.

        :raises asyncio.CancelledError: it was reopened just now.
        """
        await self._committed.wait()
        self._on_committed()
        if self._recorded is not None:
            await self._recorded()

    @property
    def is_committed(self) -> bool:
        return self._committed.is_set()


@runtime_checkable
class Workflow(Protocol):
    """The agent of a session. One object serves one session at a time.

    Optional: `on_start()`, an async generator of what to say when a live session begins; `async prepare(turn)`, called
    while the user speaks with the words that are likely so far (at first none): evaluate what the next prompt will
    begin with, and have no side effect; `on_interrupted(heard, unheard)`, called when the user spoke into the answer.
    """

    speculative: bool
    """True: may be started before commit, and awaits `turn.committed()` before any side effect."""

    def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        """Answer one turn. An async generator; `aclose()` cancels it."""
        ...


class VoiceWorkflowBase(abc.ABC):
    """The workflow class that users of `agents.voice` know: override :meth:`run`."""

    @abc.abstractmethod
    def run(self, transcription: str) -> AsyncIterator[str]:
        """Answer what the user said, piece by piece."""

    async def on_start(self) -> AsyncIterator[str]:
        """What to say when a live session begins. Nothing by default."""
        nothing: tuple[str, ...] = ()
        for text in nothing:
            yield text


class ChatWorkflow:
    """The built-in workflow "chat": instructions, the history and what the user said go to the LLM."""

    speculative = True

    def __init__(self, llm: LLM, instructions: str, *, options: LLMOptions | None = None) -> None:
        self.llm = llm
        self.instructions = instructions
        self.options = options or LLMOptions()

    def prompt(self, history: Sequence[Message], transcript: str) -> list[Message]:
        """Byte-stable from turn to turn: each prompt begins with the one before."""
        system = [Message("system", self.instructions)] if self.instructions else []
        return list(alternating([*system, *history, Message("user", transcript)]))

    async def prepare(self, turn: TurnContext) -> None:
        """Evaluate the prompt's sure beginning into the LLM's cache."""
        if not self.llm.capabilities.prefill:
            return
        prompt = self.prompt(turn.history, turn.transcript)
        if not turn.transcript:
            prompt.pop()
        if prompt:
            await self.llm.prefill(prompt, turn.session)

    async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        said = False
        stream = self.llm.stream(self.prompt(turn.history, turn.transcript), (), self.options, turn.session)
        async with _closing(stream):
            async for event in stream:
                if isinstance(event, TextDelta):
                    said = said or bool(event.text.strip())
                    yield event.text
                elif isinstance(event, Usage):
                    yield event
        if not said:
            raise WorkflowError("the model ended its answer without a word", hint="ask again, or try another model")


def alternating(messages: Sequence[Message]) -> Iterator[Message]:
    """Join what one side said in a row (a turn that failed has no reply): many chat templates insist on alternation."""
    last: Message | None = None
    for message in messages:
        plain = not message.tool_calls and message.role in ("user", "assistant")
        if last is not None and plain and last.role == message.role and not last.tool_calls:
            last = dataclasses.replace(last, content=f"{last.content}\n{message.content}")
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


RunFunction = Callable[[str], Any]


class _Adapted:
    """A workflow made of a function of the user's text. Starts at commit: its side effects are not ours to know."""

    speculative = False

    def __init__(
        self,
        run: RunFunction,
        on_start: Callable[[], Any] | None = None,
        bind_llm: Callable[[LLM], None] | None = None,
    ) -> None:
        self._run = run
        self.on_start = on_start
        if bind_llm is not None:
            self.bind_llm = bind_llm

    def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        return pieces(lambda: self._run(turn.transcript))


async def pieces(ask: Callable[[], Any], *, may_be_silent: bool = False) -> AsyncIterator[str | WorkflowEvent]:
    """What a user's function answers, piece by piece, whatever its form; also what it raises comes out of here.

    :param may_be_silent: None is an answer: nothing to say.
    :raises WorkflowError: the answer is neither text nor an async iterator of it.
    """
    answer = ask()
    if inspect.isawaitable(answer):
        answer = await answer
    if isinstance(answer, str):
        yield answer
        return
    if answer is None and may_be_silent:
        return
    if not hasattr(answer, "__aiter__"):
        raise WorkflowError(
            f"the workflow gave a {type(answer).__name__}, not text",
            hint="return a str from a coroutine, or yield str pieces from an async generator",
        )
    async with _closing(answer):
        async for piece in answer:
            yield piece


class _closing:
    """`contextlib.aclosing` for iterators of which only some have `aclose`."""

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator

    async def __aenter__(self) -> Any:
        return self._iterator

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()


def as_workflow(thing: Any) -> Workflow:
    """Make a workflow of what a user wrote.

    :raises WorkflowError: it has none of the known forms.
    """
    if isinstance(thing, type):
        try:
            thing = thing()
        except TypeError as error:
            raise WorkflowError(
                f"{thing.__name__} cannot be made without arguments: {error}", hint="give an object of it"
            ) from error
    if hasattr(thing, "respond") and hasattr(thing, "speculative"):
        workflow: Workflow = thing
        return workflow
    if hasattr(thing, "run"):
        return _Adapted(thing.run, getattr(thing, "on_start", None), getattr(thing, "bind_llm", None))
    if callable(thing):
        return _Adapted(thing)
    is_agent = type(thing).__module__.partition(".")[0] == "agents"
    raise WorkflowError(
        f"{type(thing).__name__} is no workflow",
        hint="wrap it: SingleAgentVoiceWorkflow(agent)"
        if is_agent
        else "give a class with run(transcription), an async generator function, or a coroutine function of one text",
    )
