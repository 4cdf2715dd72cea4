"""The workflow classes that users of `agents.voice` know."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, RunConfig, Runner
from agents.items import TResponseInputItem
from agents.result import RunResultStreaming

from antiphon.engines.protocols import LLM
from antiphon.pipeline.agent.model import AntiphonModelProvider
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.workflow import VoiceWorkflowBase


class VoiceWorkflowHelper:
    """Helps workflows that run agents themselves."""

    @classmethod
    async def stream_text_from(cls, result: RunResultStreaming) -> AsyncIterator[str]:
        """The text of a streamed agent run, piece by piece. The run ends with who reads it."""
        try:
            async for event in result.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    yield event.data.delta
        except (GeneratorExit, asyncio.CancelledError):
            result.cancel()
            raise


class SingleAgentWorkflowCallbacks:
    """Override what you want to be told of."""

    def on_run(self, workflow: SingleAgentVoiceWorkflow, transcription: str) -> None:
        """The agent is about to answer this."""


class SingleAgentVoiceWorkflow(VoiceWorkflowBase):
    """One agent answers every turn; its history, and whom it handed over to, go on from turn to turn."""

    def __init__(
        self, agent: Agent[Any], callbacks: SingleAgentWorkflowCallbacks | None = None, *, context: Any = None
    ) -> None:
        """
        :param agent: an `agents.Agent`, with its tools, handoffs and guardrails.
        :param context: the application's context object, given to every run.
        """
        self._agent = agent
        self._callbacks = callbacks
        self._context = context
        self._history: list[TResponseInputItem] = []
        self._llm: LLM | None = None
        self._session_key = f"agent-{uuid.uuid4().hex[:12]}"

    def bind_llm(self, llm: LLM) -> None:
        """Called by the pipeline: the engine on which the agent runs."""
        self._llm = llm

    async def run(self, transcription: str) -> AsyncIterator[str]:
        if self._callbacks is not None:
            self._callbacks.on_run(self, transcription)
        if self._llm is None:
            raise WorkflowError(
                "SingleAgentVoiceWorkflow has no LLM", hint="give it to a VoicePipeline: VoicePipeline(workflow=...)"
            )
        asked: list[TResponseInputItem] = [*self._history, {"role": "user", "content": transcription}]
        result = Runner.run_streamed(
            self._agent,
            asked,
            context=self._context,
            run_config=RunConfig(
                model_provider=AntiphonModelProvider(self._llm, session_key=self._session_key), tracing_disabled=True
            ),
        )
        finished = spoke = False
        try:
            async for text in VoiceWorkflowHelper.stream_text_from(result):
                spoke = spoke or bool(text.strip())
                yield text
            finished = True
        finally:
            if not finished:
                result.cancel()
        self._history = result.to_input_list()
        self._agent = result.last_agent
        if not spoke:  # an agent that stops at its first tool has an answer without the model's having said it
            if not isinstance(result.final_output, str) or not result.final_output.strip():
                raise WorkflowError("the agent ended its turn without a word", hint="a bigger model may do better")
            yield result.final_output
