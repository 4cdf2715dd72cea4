"""Runs of the SDK: begun with what a turn needs, read as they go on, and ended with who reads them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from typing import Any

from agents import Agent, ModelProvider, RunConfig, Runner, RunState
from agents.items import ToolApprovalItem
from agents.result import RunResultStreaming
from agents.run_config import ToolErrorFormatterArgs
from agents.stream_events import StreamEvent

from antiphon.engines.protocols import LLM
from antiphon.pipeline.agent.barrier import BarrierProvider, TurnState, current_turn
from antiphon.pipeline.agent.contracts import ApprovalNeeded
from antiphon.pipeline.agent.desk import ToolDesk
from antiphon.pipeline.agent.model import AntiphonModelProvider
from antiphon.pipeline.agents_sdk import SessionLLM, session_llm
from antiphon.pipeline.workflow import TurnContext

logger = logging.getLogger(__name__)

SIGN_OF_LIFE_S = 5.0
"""While a tool runs or an approval is waited for, an empty text this often says that the workflow is at work."""
END_PATIENCE_S = 3.0
"""How long an interrupted run may take to end."""


def start_run(
    agent: Agent[Any],
    source: Any,
    state: TurnState,
    *,
    llm: LLM,
    context: Any,
    error_text: Callable[[ToolErrorFormatterArgs[Any]], str | None],
) -> RunResultStreaming:
    """Begin a run, or go on with one.

    :param source: input items, or the state of a run that was interrupted for approvals.
    """
    provider: ModelProvider = BarrierProvider(AntiphonModelProvider(llm, session_key=state.turn.session))
    config = RunConfig(
        model_provider=provider,
        tracing_disabled=not tracing_is_wanted(),
        tool_error_formatter=error_text,
        tool_not_found_behavior="return_error_to_model",
        tool_name_collision_policy="error",
    )
    # The run's tasks take these with them; the caller's own context stays as it was.
    kept = current_turn.set(state), session_llm.set(SessionLLM(llm, f"{state.turn.session}-tools"))
    try:
        own = {} if isinstance(source, RunState) else {"context": context}
        return Runner.run_streamed(agent, source, run_config=config, max_turns=state.max_steps + 1, **own)
    finally:
        current_turn.reset(kept[0])
        session_llm.reset(kept[1])


def tracing_is_wanted() -> bool:
    """Whether the SDK's tracing was asked for; by itself nothing leaves this process."""
    return os.environ.get("OPENAI_AGENTS_DISABLE_TRACING", "").strip().lower() in ("false", "0", "no", "off")


def asked(item: ToolApprovalItem, turn: TurnContext, run: RunState[Any]) -> ApprovalNeeded:
    """What an approver is told of a call that waits for a yes."""
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


async def run_events(result: RunResultStreaming, desk: ToolDesk) -> AsyncGenerator[StreamEvent | None]:
    """A run's events; None as a sign of life while a tool is at work. The run ends with who reads them.

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
                if desk.busy:
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
        _, stuck = await asyncio.wait(running, timeout=END_PATIENCE_S)
        for task in running:
            if task.done() and not task.cancelled():
                task.exception()  # it came out of the stream already, or nobody listens any more
        if stuck:
            logger.warning("an agent's run does not end", extra={"tasks": len(stuck)})
