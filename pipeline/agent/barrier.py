"""Nothing that a model asks for is done before the turn is sure.

An answer may be begun before its turn has ended. The one way from an answer to the world is a call in the model's
response: of a function, of an MCP server, to hand over to another agent. :class:`BarrierModel` keeps each such call
back until the turn is committed and the input guardrails have spoken, so that the SDK never sees it before. Tools that
a vendor runs inside its own model are part of the request itself: it is not made any sooner.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from agents import FunctionTool, Model, ModelProvider, ModelResponse, ModelSettings
from agents.exceptions import AgentsException
from agents.items import TResponseStreamEvent

from antiphon.engines.host import Priority, current_ticket
from antiphon.pipeline.workflow import TurnContext

_HARMLESS = ("message", "reasoning")
"""What a response may hold without anything being done."""


class Objection(AgentsException):
    """Raised instead of a call that an input guardrail objects to."""


@dataclass(slots=True)
class TurnState:
    """One answer on its way."""

    turn: TurnContext
    max_steps: int
    steps: int = 0
    """Model calls so far."""
    guards: int = 0
    """Input guardrails that have not spoken yet."""
    objected: bool = False
    """One of them objects."""
    _judged: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if not self.guards:
            self._judged.set()

    @property
    def may_speak(self) -> bool:
        """Whether all input guardrails have spoken, and none objected."""
        return self._judged.is_set() and not self.objected

    def guard_spoke(self, *, objected: bool) -> None:
        self.guards -= 1
        self.objected = self.objected or objected
        if self.objected or self.guards <= 0:
            self._judged.set()

    async def sure(self) -> None:
        """Wait until something may be done.

        :raises asyncio.CancelledError: the turn was reopened just now.
        :raises Objection: an input guardrail objects.
        """
        await self.turn.committed()
        await self._judged.wait()
        if self.objected:
            raise Objection("an input guardrail objects")


current_turn: ContextVar[TurnState | None] = ContextVar("antiphon_agent_turn", default=None)
"""The answer that the SDK's tasks work on."""


class BarrierModel(Model):
    """Another model, with its calls kept back, and made to speak when its steps are used up."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    async def get_response(  # the parameters are the contract's
        self,
        system_instructions: Any,
        input: Any,
        model_settings: ModelSettings,
        tools: list[Any],
        *args: Any,
        **more: Any,
    ) -> ModelResponse:
        state = current_turn.get()
        if state is not None:
            model_settings = await _begin(state, model_settings, tools)
        response = await self.inner.get_response(system_instructions, input, model_settings, tools, *args, **more)
        if state is not None and any(item.type not in _HARMLESS for item in response.output):
            await state.sure()
        return response

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,
        model_settings: ModelSettings,
        tools: list[Any],
        *args: Any,
        **more: Any,
    ) -> AsyncIterator[TResponseStreamEvent]:
        state = current_turn.get()
        if state is not None:
            model_settings = await _begin(state, model_settings, tools)
        events: Any = self.inner.stream_response(system_instructions, input, model_settings, tools, *args, **more)
        async with contextlib.aclosing(events):
            async for event in events:
                if state is not None and event.type == "response.output_item.added":
                    if event.item.type not in _HARMLESS:
                        await state.sure()
                yield event

    async def close(self) -> None:
        await self.inner.close()

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self.inner._cleanup_on_run_end(owner)

    def get_retry_advice(self, request: Any) -> Any:
        return self.inner.get_retry_advice(request)


class BarrierProvider(ModelProvider):
    """A provider whose models are behind the barrier."""

    def __init__(self, inner: ModelProvider) -> None:
        self.inner = inner

    def get_model(self, model_name: str | None) -> Model:
        return BarrierModel(self.inner.get_model(model_name))


async def _begin(state: TurnState, settings: ModelSettings, tools: list[Any]) -> ModelSettings:
    """Before a model is asked. The settings that it gets."""
    if not all(isinstance(tool, FunctionTool) for tool in tools):
        await state.sure()
    if state.turn.is_committed:
        ticket = current_ticket.get()
        if ticket.priority is not Priority.COMMITTED:
            current_ticket.set(dataclasses.replace(ticket, priority=Priority.COMMITTED))
    state.steps += 1
    if state.steps > state.max_steps:
        return dataclasses.replace(settings, tool_choice="none")
    return settings
