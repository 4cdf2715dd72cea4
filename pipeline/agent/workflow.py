"""The workflow `agent`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, cast

from agents import Agent, RunContextWrapper, RunState
from agents.exceptions import (
    AgentsException,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    OutputGuardrailTripwireTriggered,
    ToolInputGuardrailTripwireTriggered,
    ToolOutputGuardrailTripwireTriggered,
)
from agents.items import ToolApprovalItem, TResponseInputItem
from agents.tool_context import ToolContext

from antiphon.engines.protocols import LLM, Message, ToolCall
from antiphon.pipeline.agent.answer import SIGN_OF_LIFE, Answer
from antiphon.pipeline.agent.barrier import Objection, TurnState, current_turn
from antiphon.pipeline.agent.contracts import NOT_APPROVED, Announcer, ApprovalNeeded, Approver, NobodyApproves
from antiphon.pipeline.agent.desk import ToolDesk, as_text, failure_text
from antiphon.pipeline.agent.graph import Graph, make_graph
from antiphon.pipeline.agent.guest import Guest, with_guest
from antiphon.pipeline.agent.items import input_items, prompt_messages
from antiphon.pipeline.agent.model import tool_specs
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.agent.running import END_PATIENCE_S, SIGN_OF_LIFE_S, asked, run_events, start_run
from antiphon.pipeline.agents_sdk import SessionLLM, session_llm
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.workflow import ToolResult, TurnContext, WorkflowEvent

logger = logging.getLogger(__name__)

REFUSAL = "Sorry, I can't help with that."
MAX_STEPS = 5

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

    Yields, besides text: `ToolCall`, `ToolResult` and `Usage` events, and `Filler` text. A result that comes late is
    yielded as a `ToolResult` at the beginning of the next answer.
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
        self._bases: dict[int, tuple[Agent[Any], Agent[Any]]] = {}
        """The newest agent with what a client has added, by its id, and which of ours it is."""
        self._current: Agent[Any] | None = None
        """Whom the user talks with; changed where a handover takes place, which is after commit."""

    def bind_llm(self, llm: LLM) -> None:
        """Called by the pipeline: the engine on which the agents run."""
        self._llm = llm

    @property
    def current_agent(self) -> str:
        """The name of the agent that the user talks with."""
        return self.agent.name if self._current is None else self._current.name

    async def prepare(self, turn: TurnContext, guest: Guest | None = None) -> None:
        """Evaluate the prompt's sure beginning (instructions, tools, history, words) into the LLM's cache."""
        said = [*turn.history, Message("user", turn.transcript)] if turn.transcript else turn.history
        await self.evaluate_ahead(said, turn.session, guest)

    async def evaluate_ahead(self, said: Sequence[Message] = (), session: str = "", guest: Guest | None = None) -> None:
        """The same for a conversation so far; without one, what every conversation begins with.

        :raises EngineError: the LLM failed.
        """
        llm = self._required_llm()
        if not llm.capabilities.prefill:
            return
        await self._ready()
        agent = self._required_agent(guest)
        if agent.model is not None and not isinstance(agent.model, str):
            return  # another model answers
        context = RunContextWrapper(self._context)
        system, tools = await agent.get_system_prompt(context), await agent.get_all_tools(context)
        handoffs = [one for one in agent.handoffs if await _is_enabled(one, context, agent)]
        messages = prompt_messages(system, input_items(said))
        if messages:
            await llm.prefill(messages, session, tool_specs(tools, cast(Any, handoffs)))

    async def respond(self, turn: TurnContext, guest: Guest | None = None) -> AsyncIterator[str | WorkflowEvent]:
        """See :class:`~antiphon.pipeline.workflow.Workflow`.

        :param guest: what a client adds to the agent, for this answer. Where it has calls for the client in the end,
            the answer may be without a word. A turn without a transcript then answers what the history ends with.
        :raises WorkflowError: the agent failed, or said nothing.
        :raises EngineError: its LLM did.
        """
        await self._ready()
        late = self.desk.late
        for result in late:
            yield result
        outputs = [Message("tool", result.output, tool_call_id=result.call_id, name=result.name) for result in late]
        said = [Message("user", turn.transcript)] if turn.transcript or guest is None else []
        asked_for = input_items([*turn.history, *said, *outputs])
        state = TurnState(turn, self._max_steps, guards=len(self._required_agent().input_guardrails))
        try:
            async with contextlib.aclosing(self._answered(state, asked_for, guest=guest)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            if turn.is_committed:
                self.desk.taken(late)

    async def resume(
        self, turn: TurnContext, stored: Mapping[str, Any], decisions: Mapping[str, bool]
    ) -> AsyncIterator[str | WorkflowEvent]:
        """Go on with a run that waits for a yes, in this process or another; yields as :meth:`respond` does.

        :param turn: the answer that it becomes; must be sure.
        :param stored: what :attr:`ApprovalNeeded.state` gave. From storage of one's own only: it says what may be done.
        :param decisions: by call id; for a call that is not in it the approver is asked.
        :raises WorkflowError: `stored` is no such state, or of other agents; or as :meth:`respond`.
        """
        graph = await self._ready()
        state = TurnState(turn, self._max_steps)
        root = graph.copy_of(self.agent)
        try:
            run: RunState[Any] = await RunState.from_json(
                root, dict(stored), context_override=RunContextWrapper(self._context)
            )
        except (AgentsException, KeyError, TypeError, ValueError) as error:
            raise WorkflowError(f"the stored run cannot be gone on with: {type(error).__name__}: {error}") from error
        waiting = [asked(item, turn, run) for item in run.get_interruptions()]
        await self._decide(run, run.get_interruptions(), state, decisions)
        called = {call.call_id: call.name for call in waiting}
        async with contextlib.aclosing(self._answered(state, run, called)) as pieces:
            async for piece in pieces:
                yield piece

    async def finish_call(
        self, turn: TurnContext, call: ToolCall, refused: str = ""
    ) -> AsyncIterator[str | WorkflowEvent]:
        """Do a call that waited for a yes when its process died, and answer; yields as :meth:`respond` does, but for
        the call itself.

        :param turn: the answer that it becomes; must be sure. Its history ends before the call.
        :param refused: what the agent is told instead of the tool's output; "": the tool runs, past `turn.before_call`.
        :raises WorkflowError: as :meth:`respond`.
        """
        graph = await self._ready()
        state = TurnState(turn, self._max_steps)
        output = refused
        if not refused:
            working = asyncio.create_task(self._do(graph, state, call))
            try:
                while not (await asyncio.wait((working,), timeout=SIGN_OF_LIFE_S))[0]:
                    yield SIGN_OF_LIFE
                output = working.result()
            finally:
                working.cancel()
                await asyncio.wait((working,), timeout=END_PATIENCE_S)
        yield ToolResult(call.id, call.name, output)
        told = [Message("assistant", tool_calls=(call,)), Message("tool", output, tool_call_id=call.id, name=call.name)]
        async with contextlib.aclosing(self._answered(state, input_items([*turn.history, *told]))) as pieces:
            async for piece in pieces:
                yield piece

    async def aclose(self) -> None:
        """The session is over: tools in the background get a few seconds to finish, then they are cancelled."""
        await self.desk.close()

    # ------------------------------------------------------------------------ inside

    async def _do(self, graph: Graph, state: TurnState, call: ToolCall) -> str:
        """Run one tool outside of any run of the SDK."""
        tool = graph.tool(call.name)
        if tool is None:
            return f"There is no {call.name} any more, so it was not done. Tell the user so."
        current_turn.set(state)  # of this task alone
        session_llm.set(SessionLLM(self._required_llm(), f"{state.turn.session}-tools"))
        context: ToolContext[Any] = ToolContext(
            self._context, tool_name=call.name, tool_call_id=call.id, tool_arguments=call.arguments
        )
        try:
            return as_text(await tool.on_invoke_tool(context, call.arguments))
        except Exception as error:
            logger.warning("a tool failed", extra={"tool": call.name, "code": type(error).__name__})
            return failure_text(call.name, error)

    async def _answered(
        self,
        state: TurnState,
        source: list[TResponseInputItem] | RunState[Any],
        called: Mapping[str, str] | None = None,
        guest: Guest | None = None,
    ) -> AsyncGenerator[str | WorkflowEvent]:
        graph = await self._ready()
        answer = Answer(graph.rules_of, called)
        try:
            async with contextlib.aclosing(self._run(graph, state, answer, source, guest)) as pieces:
                async for piece in pieces:
                    yield piece
        except _TRIPWIRES as error:
            logger.info("a guardrail objected", extra={"session": state.turn.session, "code": type(error).__name__})
            if (refusal := answer.refused(self._refusal)) is not None:
                yield refusal
        except MaxTurnsExceeded as error:
            raise WorkflowError(
                f"the agent was not done after {self._max_steps} rounds of tool calls", hint="raise `max_steps`"
            ) from error
        except AgentsException as error:
            raise WorkflowError(f"the agent failed: {error}") from error

    async def _run(
        self,
        graph: Graph,
        state: TurnState,
        answer: Answer,
        source: list[TResponseInputItem] | RunState[Any],
        guest: Guest | None,
    ) -> AsyncGenerator[str | WorkflowEvent]:
        """One run of the SDK, and those that go on with it after somebody was asked."""
        agent = self._required_agent(guest)
        answer.agent_is(agent)
        while True:
            result = self._start(graph, agent, source, state)
            async with contextlib.aclosing(run_events(result, self.desk)) as events:
                async for event in events:
                    for piece in answer.take(event, guarded=state.may_speak):
                        yield piece
                    if event is not None and event.type == "agent_updated_stream_event":
                        self._hand_over(event.new_agent, state.turn)
            if not result.interruptions:
                break
            source = run = result.to_state()
            asking = asyncio.create_task(self._decide(run, result.interruptions, state, {}))
            try:
                while not (await asyncio.wait((asking,), timeout=SIGN_OF_LIFE_S))[0]:
                    yield SIGN_OF_LIFE
                asking.result()
            finally:
                asking.cancel()
                await asyncio.wait((asking,), timeout=END_PATIENCE_S)
        handed_over = guest is not None and bool(guest.handed)
        for piece in answer.handed_over() if handed_over else answer.end(result.final_output):
            yield piece

    def _start(
        self, graph: Graph, agent: Agent[Any], source: list[TResponseInputItem] | RunState[Any], state: TurnState
    ) -> Any:
        return start_run(
            agent,
            source,
            state,
            llm=self._required_llm(),
            context=self._context,
            error_text=graph.error_text,
        )

    async def _decide(
        self,
        run: RunState[Any],
        waiting: Sequence[ToolApprovalItem],
        state: TurnState,
        decisions: Mapping[str, bool],
    ) -> None:
        """Ask for each call that needs a yes, one after another."""
        await state.sure()
        for item in waiting:
            call = asked(item, state.turn, run)
            decision = decisions.get(call.call_id)
            if await self._approves(call) if decision is None else decision:
                run.approve(item)
            else:
                run.reject(item, rejection_message=NOT_APPROVED)

    async def _approves(self, call: ApprovalNeeded) -> bool:
        try:
            return await self.approver.approve(call)
        except Exception as error:  # an approver is the application's code: what fails is no yes
            logger.warning("an approver failed", extra={"tool": call.name, "code": type(error).__name__})
            return False

    def _hand_over(self, agent: Agent[Any], turn: TurnContext) -> None:
        if id(agent) in self._bases:
            agent = self._bases[id(agent)][1]
        if agent is not self._current and turn.is_committed:
            self._current = agent

    async def _ready(self) -> Graph:
        async with self._building:
            if self._graph is None:
                graph = await make_graph(self.agent, self.desk, self._rules, RunContextWrapper(self._context))
                self._graph, self._current = graph, graph.copy_of(self.agent)
        return self._graph

    def _required_agent(self, guest: Guest | None = None) -> Agent[Any]:
        assert self._current is not None
        if guest is None or not (guest.instructions or guest.tools):
            return self._current
        agent = with_guest(self._current, guest)
        self._bases = {id(agent): (agent, self._current)}
        return agent

    def _required_llm(self) -> LLM:
        if self._llm is None:
            raise WorkflowError("the agent has no LLM", hint="give it to a VoicePipeline: VoicePipeline(workflow=...)")
        return self._llm


async def _is_enabled(handoff: Any, context: RunContextWrapper[Any], agent: Agent[Any]) -> bool:
    if isinstance(handoff.is_enabled, bool):
        return handoff.is_enabled
    found = handoff.is_enabled(context, agent)
    return bool(await found if asyncio.iscoroutine(found) or asyncio.isfuture(found) else found)
