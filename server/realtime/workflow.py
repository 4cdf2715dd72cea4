"""The workflow of a Realtime session: the client's instructions and tools, or the configured workflow."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from antiphon.engines.protocols import LLM, Finish, LLMOptions, Message, TextDelta, ToolCall, Usage
from antiphon.pipeline.conversation import Conversation, new_id
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.user_code import unwrapped
from antiphon.pipeline.workflow import ToolResult, TurnContext, Workflow, WorkflowEvent, alternating, pieces
from antiphon.server.realtime.mcp.calls import Calls
from antiphon.server.realtime.mcp.toolbox import until
from antiphon.server.realtime.protocol import McpChoice, NamedTool, ResponseConfig

logger = logging.getLogger(__name__)

NOBODY_SPOKE = "(The user says nothing, and waits for you to speak.)"
"""What the model reads in the place of the user's words where an answer is asked for and nothing was said since the
last one: few chat templates take two messages of the assistant in a row, or none of the user."""
MAX_REFUSALS = 3
"""So many calls in one answer may be refused by the policy before the answer must do without."""


class RealtimeWorkflow:
    """One per session.

    The configured agent answers with what the client adds to it. Other workflows know nothing of clients: where one
    sets instructions or tools, the language model answers with those in their place. (With the kind `chat` it does so
    in any case: the client begins with the configured instructions.)
    """

    def __init__(
        self,
        configured: Workflow,
        llm: LLM | None,
        *,
        is_chat: bool,
        config_of: Callable[[int], ResponseConfig],
        items_of: Callable[[int], Conversation | None],
        on_limit: Callable[[int], None],
        ready: Callable[[ResponseConfig], AsyncIterator[str]],
        hosting: Calls,
    ) -> None:
        """
        :param llm: None: the client's instructions and tools have no effect.
        :param is_chat: the configured workflow is of the kind `chat`.
        :param config_of: by turn, what is effective for its answer.
        :param items_of: by turn, what is read in place of the conversation; None: nothing.
        :param on_limit: told where the model was not done when it had written all it may.
        :param ready: waits until it is known what the MCP servers of an answer offer; yields signs of life.
        :param hosting: makes calls of their tools.
        """
        self._ready = ready
        self._hosting = hosting
        self._configured = configured
        self._llm = llm
        self._is_chat = is_chat
        self._is_agent = hasattr(unwrapped(configured), "current_agent")
        self._config_of = config_of
        self._items_of = items_of
        self._on_limit = on_limit

    def __getattr__(self, name: str) -> Any:
        """What whoever makes the session looks for in the configured workflow (`desk`, `aclose`, ...)."""
        if name.startswith("_") or name == "on_start":
            raise AttributeError(name)
        return getattr(unwrapped(self._configured), name)

    @property
    def approver(self) -> Any:
        """Of the configured workflow; an AttributeError where it asks nobody."""
        return unwrapped(self._configured).approver  # type: ignore[attr-defined]

    @approver.setter
    def approver(self, approver: Any) -> None:
        unwrapped(self._configured).approver = approver  # type: ignore[attr-defined]

    @property
    def speculative(self) -> bool:
        """Whether an answer may be begun before it is sure that the turn is over."""
        return self._configured.speculative or self.answers_itself(self._config_of(0))

    def answers_itself(self, config: ResponseConfig) -> bool:
        """Whether the language model answers, with what the client has set."""
        wanted = self._is_chat or bool(config.instructions or config.tools or config.mcp)
        return self._llm is not None and wanted and not self._is_agent

    async def prepare(self, turn: TurnContext) -> None:
        """Evaluate the prompt's sure beginning into the LLM's cache."""
        config = self._config_of(turn.turn)
        if self._is_agent:
            return await unwrapped(self._configured).prepare(turn, self._guest(config))  # type: ignore[attr-defined, no-any-return]
        if not self.answers_itself(config):
            if (prepare := getattr(self._configured, "prepare", None)) is not None:
                await prepare(turn)
            return
        assert self._llm is not None
        if not self._llm.capabilities.prefill:
            return
        prompt = self._prompt(config, turn.history, turn.transcript, complete=False)
        if prompt:
            await self._llm.prefill(prompt, turn.session, self._tools(config))

    async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        """See :class:`~antiphon.pipeline.workflow.Workflow`.

        :raises WorkflowError: the model said nothing.
        :raises EngineError: it failed.
        """
        async for sign in self._ready(self._config_of(turn.turn)):
            yield sign
        config = self._config_of(turn.turn)
        if (given := self._items_of(turn.turn)) is not None:
            turn = dataclasses.replace(turn, history=given.messages(), transcript="")
        ours: Callable[[ToolCall], bool] = lambda call: False  # noqa: E731 - which calls are of the client's side
        if self._is_agent:
            guest = self._guest(config)
            answer = self._agents_answer(guest, turn)
            ours = guest.handed.__contains__
        elif self.answers_itself(config):
            answer = self._answered(config, turn, self._prompt(config, turn.history, turn.transcript))
            ours = lambda call: True  # noqa: E731
        else:
            asked = _with_words(turn)
            answer = pieces(lambda: self._configured.respond(asked))  # type: ignore[assignment]
        async with aclosing(self._hosted(config, answer, ours)) as answered:
            async for piece in answered:
                yield piece

    async def beside(
        self,
        config: ResponseConfig,
        read: Callable[[], Awaitable[Sequence[Message]]],
        session: str,
        *,
        on_call: Callable[[ToolCall], None],
        on_limit: Callable[[], None],
    ) -> AsyncIterator[str | WorkflowEvent]:
        """An answer that is no part of the conversation. Only the language model gives those.

        :param read: gives what is answered.
        :param session: a key of its own for the LLM's cache: it must not push the conversation out.
        """
        if self._llm is None:
            raise WorkflowError("the configured workflow has no language model for answers beside the conversation")
        prompt = self._prompt(config, await read(), "")
        stream = self._llm.stream(prompt, self._tools(config), _options(config), session)
        async with aclosing(stream) as events:  # type: ignore[type-var]
            async for event in events:
                match event:
                    case TextDelta(text):
                        yield text
                    case ToolCall():
                        on_call(_named(event))
                    case Usage():
                        yield event
                    case Finish("length"):
                        on_limit()

    # ------------------------------------------------------------------------ inside

    def _guest(self, config: ResponseConfig) -> Any:
        from antiphon.pipeline.agent.guest import Guest

        return Guest(config.instructions, () if config.tool_choice == "none" else config.tools)

    async def _hosted(
        self, config: ResponseConfig, answer: AsyncGenerator[str | WorkflowEvent], ours: Callable[[ToolCall], bool]
    ) -> AsyncGenerator[str | WorkflowEvent]:
        """An answer that is over when its calls of MCP tools are: they are made where it is told of them.

        :param ours: whether a call is of a tool that the client has offered, and of no other of that name.
        """
        under_way: dict[str, asyncio.Future[None]] = {}
        try:
            async with aclosing(answer):
                async for piece in answer:
                    if isinstance(piece, ToolCall) and piece.name in config.hosted and ours(piece):
                        under_way[piece.id] = self._hosting.expect(piece.id, config.hosted[piece.name])
                    yield piece
            async for sign in until(tuple(under_way.values())):
                yield sign
        finally:
            for call_id in under_way:
                self._hosting.forget(call_id)

    async def _agents_answer(self, guest: Any, turn: TurnContext) -> AsyncGenerator[str | WorkflowEvent]:
        """The configured agent, with its own tools and the client's. It does its own; the client is told of its own."""
        if not turn.transcript and (not turn.history or turn.history[-1].role in ("assistant", "system")):
            turn = dataclasses.replace(turn, transcript=NOBODY_SPOKE)
        agent: Any = unwrapped(self._configured)
        async with aclosing(agent.respond(turn, guest)) as answer:
            async for piece in answer:
                if not (isinstance(piece, ToolCall | ToolResult) and guest.runs(piece.name)):
                    yield piece
        for call in guest.handed:
            yield call

    async def _answered(
        self, config: ResponseConfig, turn: TurnContext, prompt: list[Message]
    ) -> AsyncGenerator[str | WorkflowEvent]:
        """Ask the model, again where the policy has refused all that it wanted to do."""
        assert self._llm is not None
        for attempt in range(MAX_REFUSALS + 1):
            said, called, refused = "", False, []
            tools = self._tools(config) if attempt < MAX_REFUSALS else ()
            stream = self._llm.stream(prompt, tools, _options(config, tools=bool(tools)), turn.session)
            async with aclosing(stream) as events:  # type: ignore[type-var]
                async for event in events:
                    match event:
                        case TextDelta(text):
                            said += text
                            yield text
                        case ToolCall():
                            call = _named(event)
                            permit = await turn.before_call(call)
                            if not permit.allowed:
                                refused.append((call, permit.reason))
                                continue
                            called = True
                            yield dataclasses.replace(call, arguments=permit.arguments)
                        case Usage():
                            yield event
                        case Finish("length"):
                            self._on_limit(turn.turn)
            if called or (said.strip() and not refused):
                return
            if not refused:
                raise WorkflowError("the model ended its answer without a word", hint="ask again, or try another model")
            prompt = [*prompt, Message("assistant", said, tuple(call for call, _ in refused))]
            prompt += [Message("tool", why, tool_call_id=call.id, name=call.name) for call, why in refused]

    def _tools(self, config: ResponseConfig) -> tuple[Any, ...]:
        assert self._llm is not None
        if config.tools and not self._llm.capabilities.tools:
            logger.warning("the language model cannot call tools: those of the client are not offered")
            return ()
        return () if config.tool_choice == "none" else config.tools

    def _prompt(
        self, config: ResponseConfig, history: Sequence[Message], words: str, *, complete: bool = True
    ) -> list[Message]:
        """Byte-stable from turn to turn: each prompt begins with the one before.

        :param complete: the answer follows; False: as far as it is sure.
        """
        messages = [*history, Message("user", words)] if words else list(history)
        if complete and (not messages or messages[-1].role in ("assistant", "system")):
            if not any(message.role == "user" for message in messages) or messages[-1].role == "assistant":
                messages.append(Message("user", NOBODY_SPOKE))
        system = [Message("system", config.instructions)] if config.instructions else []
        return list(alternating([*system, *messages]))


def _with_words(turn: TurnContext) -> TurnContext:
    """For workflows that answer the transcript: without one, it is what the user said last in the history."""
    if turn.transcript:
        return turn
    if turn.history and turn.history[-1].role == "user":
        return dataclasses.replace(turn, history=turn.history[:-1], transcript=turn.history[-1].content)
    return dataclasses.replace(turn, transcript=NOBODY_SPOKE)


def _options(config: ResponseConfig, *, tools: bool = True) -> LLMOptions:
    choice = config.tool_choice
    if not config.tools or not tools:
        wanted = None
    else:
        wanted = choice.name if isinstance(choice, NamedTool) else "auto" if isinstance(choice, McpChoice) else choice
    return LLMOptions(max_tokens=config.max_output_tokens, tool_choice=wanted)


def _named(call: ToolCall) -> ToolCall:
    """Models repeat their ids, from answer to answer; to a client, each names one call."""
    return dataclasses.replace(call, id=new_id("call"))
