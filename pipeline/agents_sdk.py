"""Where the pipeline and the `openai-agents` package meet: the session's LLM, in reach of a workflow's own agent runs.

A workflow of the user's may call `Runner.run_streamed(agent, ...)` itself, as workflows of `agents.voice` do. While it
runs, :data:`session_llm` holds its session's LLM; the default runner that :mod:`antiphon.adapters.openai_agents`
installs looks there. Nothing here imports `agents`: who does not use it pays nothing.
"""

from __future__ import annotations

import importlib
import logging
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from antiphon.engines.protocols import LLM
from antiphon.pipeline.workflow import TurnContext, Workflow, WorkflowEvent, pieces

logger = logging.getLogger(__name__)

_ADAPTER = "antiphon.adapters.openai_agents"


@dataclass(frozen=True, slots=True)
class SessionLLM:
    """The engine on which a session's agents run."""

    llm: LLM
    key: str
    """Names the conversation, for the engine's prompt cache."""


session_llm: ContextVar[SessionLLM | None] = ContextVar("antiphon_session_llm", default=None)
"""Set while a workflow of the user's runs; None elsewhere."""


class OnSessionLLM:
    """A user's workflow, with the session's LLM in :data:`session_llm` for all that it calls."""

    def __init__(self, workflow: Workflow, llm: LLM) -> None:
        self.workflow = workflow
        self.speculative = workflow.speculative
        self._value = SessionLLM(llm, f"agent-{uuid.uuid4().hex[:12]}")
        if (on_start := getattr(workflow, "on_start", None)) is not None:
            self.on_start = lambda: self._within(on_start, may_be_silent=True)

    def __getattr__(self, name: str) -> Any:
        """What else the workflow has: what is optional in the contract, and what an application asks it."""
        if name == "workflow":  # not made yet
            raise AttributeError(name)
        return getattr(self.workflow, name)

    def respond(self, turn: TurnContext) -> AsyncIterator[str | WorkflowEvent]:
        return self._within(lambda: self.workflow.respond(turn))

    async def _within(self, ask: Any, *, may_be_silent: bool = False) -> AsyncIterator[str | WorkflowEvent]:
        # Set for each step and taken back before each yield: the reader shares the context, and may change task.
        end = object()
        async with aclosing(pieces(ask, may_be_silent=may_be_silent)) as answer:  # type: ignore[type-var]  # an async generator
            while True:
                outside = session_llm.get()
                session_llm.set(self._value)
                try:
                    piece: Any = await anext(answer, end)
                finally:
                    session_llm.set(outside)
                if piece is end:
                    return
                yield piece


def sdk_in_use() -> bool:
    """Whether this process has imported `openai-agents` (and not just some other module named `agents`)."""
    return hasattr(sys.modules.get("agents.run"), "set_default_agent_runner")


def bridge_sdk() -> None:
    """Let agent runs inside workflows find the session's LLM. May be called any number of times."""
    if not sdk_in_use():
        return
    try:
        importlib.import_module(_ADAPTER).install_runner()
    except ImportError as error:
        logger.warning(
            'agents in workflows will not run on the configured LLM: pip install "antiphon[agents]"',
            extra={"missing": error.name},
        )
