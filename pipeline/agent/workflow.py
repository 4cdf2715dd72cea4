"""The workflow `agent`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

from agents import Agent, ModelProvider, RunConfig, RunContextWrapper, Runner, RunState
from agents.exceptions import (
    AgentsException,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)
from agents.items import ToolApprovalItem, TResponseInputItem
from agents.result import RunResultStreaming
from agents.stream_events import StreamEvent

from antiphon.engines.protocols import LLM, Message
from antiphon.pipeline.agent.answer import SIGN_OF_LIFE, Answer
from antiphon.pipeline.agent.barrier import BarrierProvider, Objection, TurnState, current_turn
from antiphon.pipeline.agent.contracts import NOT_APPROVED, Announcer, ApprovalNeeded, Approver, NobodyApproves
from antiphon.pipeline.agent.desk import ToolDesk
from antiphon.pipeline.agent.graph import Graph, make_graph
from antiphon.pipeline.agent.items import input_items, prompt_messages
from antiphon.pipeline.agent.model import AntiphonModelProvider, tool_specs
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.agents_sdk import SessionLLM, session_llm
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.workflow import TurnContext, WorkflowEvent

logger = logging.getLogger(__name__)

REFUSAL = "Sorry, I can't help with that."
MAX_STEPS = 5
SIGN_OF_LIFE_S = 5.0
"""While a tool runs or an approval is waited for, an empty text this often says that the workflow is at work."""

_TRIPWIRES = (
    Objection,
    InputGuardrailTripwireTriggered,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)


class AgentWorkflow:
    """An agent of the SDK answers every turn; whom it handed over to goes on from turn to turn.

    The session's history is what the agent sees of earlier turns; it keeps none of its own. An answer may start before
    its turn has ended: whatever has an effect waits (:mod:`antiphon.pipeline.agent.barrier`). Functions that make
    instructions, and guardrails, must therefore have no effect.

    Yields, besides text: `ToolCall`, `ToolResult` and `Usage` events, and :class:`Filler` text. A result that comes
    late is yielded as a `ToolResult` at the beginning of the next answer.
    """

    speculative = True

    def __init__(
        self,
        agent: Agent[Any],
        llm: LLM | None = None,
        *,
        rules: Mapping[str, ToolRules] | None = None,
        max_steps: int = MAX_STEPS,
        refusal: str = REFUSAL,
        context: Any = None,
        approver: Approver | None = None,
        announcer: Announcer | None = None,
    ) -> None:
        """
        :param agent: with its tools, handoffs, guardrails and (connected) MCP servers; never changed
        :param llm: the engine for every agent that has no model object of its own; None: :meth:`bind_llm` brings it.
        :param rules: by tool name.
        :param max_steps: how many times in a turn tools may be called, one after another; then the agent must speak.
        :param refusal: said where a guardrail objects.
        :param context: the application's context object, given to every run.
        :param approver: decides on calls that need a yes; None: they are refused.
        :param announcer: speaks results that come late, where a tool's rules say so.
        """
        self.agent = agent
        self.approver: Approver = approver or NobodyApproves()
        self.desk = ToolDesk(announcer)
        self._llm = llm
        self._rules = dict(rules or {})
        self._max_steps = max_steps
        self._refusal = refusal
        self._context = context
        self._graph: Graph | None = None
        self._building = asyncio.Lock()
        self._current: Agent[Any] | None = None
        """Whom the user talks with; changed where a handover takes place, which is after commit."""

    def bind_llm(self, llm: LLM) -> None:
        """Called by the pipeline: the engine on which the agents run."""
        self._llm = llm

    @property
    def current_agent(self) -> str:
        """The name of the agent that the user talks with."""
        return self.agent.name if self._current is None else self._current.name

    async def prepare(self, turn: TurnContext) -> None:
        """Evaluate the prompt's sure beginning (instructions, tools, history, words) into the LLM's cache."""
        llm = self._required_llm()
        if not llm.capabilities.prefill:
            return
        await self._ready()
        agent = self._required_agent()
        if agent.model is not None and not isinstance(agent.model, str):
            return  # another model answers
        context = RunContextWrapper(self._context)
        system, tools = await agent.get_system_prompt(context), await agent.get_all_tools(context)
        handoffs = [one for one in agent.handoffs if await _is_enabled(one, context, agent)]
        said = [*turn.history, Message("user", turn.transcript)] if turn.transcript else turn.history
        messages = prompt_messages(system, input_items(said))
        if messages:
            await llm.prefill(messages, turn.session, tool_specs(tools, cast(Any, handoffs)))

    async def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        """See :class:`~antiphon.pipeline.workflow.Workflow`.

        :raises WorkflowError: the agent failed, or said nothing.
        :raises EngineError: its LLM did.
        """
        graph = await self._ready()
        late = self.desk.late
        for result in late:
            yield result
        answer = Answer(graph.rules_of)
        try:
            async for piece in self._answered(graph, turn, answer, late):
                yield piece
        except _TRIPWIRES as error:
            logger.info("a guardrail objected", extra={"session": turn.session, "code": type(error).__name__})
            if (refusal := answer.refused(self._refusal)) is not None:
                yield refusal
        except MaxTurnsExceeded as error:
            raise WorkflowError(
                f"the agent was not done after {self._max_steps} rounds of tool calls", hint="raise `max_steps`"
            ) from error
        except AgentsException as error:
            raise WorkflowError(f"the agent failed: {error}") from error
        finally:
            if turn.is_committed:
                self.desk.taken(late)

    async def aclose(self) -> None:
        """The session is over: tools in the background get a few seconds to finish, then they are cancelled."""
        await self.desk.close()

    # ------------------------------------------------------------------------ inside

    async def _answered(
        self, graph: Graph, turn: TurnContext, answer: Answer, late: tuple[Any, ...]
    ) -> AsyncGenerator[str | WorkflowEvent]:
        agent = self._required_agent()
        answer.agent_is(agent)
        state = TurnState(turn, self._max_steps, guards=len(agent.input_guardrails))
        outputs = [Message("tool", result.output, tool_call_id=result.call_id, name=result.name) for result in late]
        source: list[TResponseInputItem] | RunState[Any] = input_items(
            [*turn.history, Message("user", turn.transcript), *outputs]
        )
        while True:
            result = self._start(graph, agent, source, state)
            async with contextlib.aclosing(_events(result)) as events:
                async for event in events:
                    for piece in answer.take(event, guarded=state.may_speak):
                        yield piece
                    if event is not None and event.type == "agent_updated_stream_event":
                        self._hand_over(event.new_agent, turn)
            if not result.interruptions:
                break
            asking = asyncio.create_task(self._with_approvals(result, turn, state))
            try:
                while not (await asyncio.wait((asking,), timeout=SIGN_OF_LIFE_S))[0]:
                    yield SIGN_OF_LIFE
                source = asking.result()
            finally:
                asking.cancel()
        for piece in answer.end(result.final_output):
            yield piece

    def _start(self, graph: Graph, agent: Agent[Any], source: Any, state: TurnState) -> RunResultStreaming:
        llm = self._required_llm()
        provider: ModelProvider = BarrierProvider(AntiphonModelProvider(llm, session_key=state.turn.session))
        config = RunConfig(
            model_provider=provider,
            tracing_disabled=not tracing_is_wanted(),
            tool_error_formatter=graph.error_text,
            tool_not_found_behavior="return_error_to_model",
            tool_name_collision_policy="error",
        )
        # The run's tasks take these with them; the caller's own context stays as it was.
        kept = current_turn.set(state), session_llm.set(SessionLLM(llm, f"{state.turn.session}-tools"))
        try:
            return Runner.run_streamed(
                agent, source, context=self._context, run_config=config, max_turns=self._max_steps + 1
            )
        finally:
            current_turn.reset(kept[0])
            session_llm.reset(kept[1])

    async def _with_approvals(self, result: RunResultStreaming, turn: TurnContext, state: TurnState) -> RunState[Any]:
        """Ask for each call that needs a yes, one after another. The run as it goes on."""
        run = result.to_state()
        await state.sure()
        for item in result.interruptions:
            if await self._approves(_asked(item, turn, run)):
                run.approve(item)
            else:
                run.reject(item, rejection_message=NOT_APPROVED)
        return run

    async def _approves(self, call: ApprovalNeeded) -> bool:
        try:
            return await self.approver.approve(call)
        except Exception as error:  # an approver is the application's code: what fails is no yes
            logger.warning("an approver failed", extra={"tool": call.name, "code": type(error).__name__})
            return False

    def _hand_over(self, agent: Agent[Any], turn: TurnContext) -> None:
        if agent is not self._current and turn.is_committed:
            self._current = agent

    async def _ready(self) -> Graph:
        async with self._building:
            if self._graph is None:
                graph = await make_graph(self.agent, self.desk, self._rules, RunContextWrapper(self._context))
                self._graph, self._current = graph, graph.copy_of(self.agent)
        return self._graph

    def _required_agent(self) -> Agent[Any]:
        assert self._current is not None
        return self._current

    def _required_llm(self) -> LLM:
        if self._llm is None:
            raise WorkflowError("the agent has no LLM", hint="give it to a VoicePipeline: VoicePipeline(workflow=...)")
        return self._llm


def _asked(item: ToolApprovalItem, turn: TurnContext, run: RunState[Any]) -> ApprovalNeeded:
    raw: Any = item.raw_item
    get = raw.get if isinstance(raw, dict) else lambda name, default="": getattr(raw, name, default)
    return ApprovalNeeded(
        call_id=str(get("call_id", "") or get("id", "")),
        name=item.tool_name or "",
        arguments=str(get("arguments", "") or "{}"),
        agent=item.agent.name,
        session=turn.session,
        turn=turn.turn,
        state=run.to_json,
    )


async def _is_enabled(handoff: Any, context: RunContextWrapper[Any], agent: Agent[Any]) -> bool:
    if isinstance(handoff.is_enabled, bool):
        return handoff.is_enabled
    found = handoff.is_enabled(context, agent)
    return bool(await found if asyncio.iscoroutine(found) or asyncio.isfuture(found) else found)


def tracing_is_wanted() -> bool:
    """Whether the SDK's tracing was asked for; by itself nothing leaves this process."""
    return os.environ.get("OPENAI_AGENTS_DISABLE_TRACING", "").strip().lower() in ("false", "0", "no", "off")


async def _events(result: RunResultStreaming) -> AsyncGenerator[StreamEvent | None]:
    """A run's events; None as a sign of life. The run, and all that it started, ends with who reads them.

    :raises Exception: what the run raised.
    """
    queue: asyncio.Queue[StreamEvent | Exception | None] = asyncio.Queue()

    async def pump() -> None:
        try:
            async for event in result.stream_events():
                queue.put_nowait(event)
            queue.put_nowait(None)
        except Exception as error:
            queue.put_nowait(error)

    pumping = asyncio.create_task(pump())
    try:
        while True:
            try:
                async with asyncio.timeout(SIGN_OF_LIFE_S):
                    item = await queue.get()
            except TimeoutError:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        if not pumping.done():
            result.cancel()
        pumping.cancel()
        running = [pumping, *([result.run_loop_task] if result.run_loop_task is not None else [])]
        await asyncio.gather(*running, return_exceptions=True)
