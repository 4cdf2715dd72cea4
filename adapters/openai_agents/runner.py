"""Agents that workflows run themselves, on their session's LLM."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from agents import Agent, RunConfig, RunResult, set_tracing_disabled
from agents.models.multi_provider import MultiProvider
from agents.result import RunResultStreaming
from agents.run import AgentRunner, get_default_agent_runner, set_default_agent_runner

from antiphon.pipeline.agent.model import AntiphonModelProvider
from antiphon.pipeline.agents_sdk import session_llm


class SessionRunner(AgentRunner):
    """The SDK's default runner, on the session's LLM where a workflow of a session calls it.

    A run whose `run_config` has a model provider of its own keeps it, and elsewhere nothing is changed.
    """

    def __init__(self, inner: AgentRunner) -> None:
        self._inner = inner

    async def run(self, starting_agent: Agent[Any], input: Any, **options: Any) -> RunResult:
        return await self._inner.run(starting_agent, input, **_on_session_llm(options))

    def run_sync(self, starting_agent: Agent[Any], input: Any, **options: Any) -> RunResult:
        return self._inner.run_sync(starting_agent, input, **_on_session_llm(options))

    def run_streamed(self, starting_agent: Agent[Any], input: Any, **options: Any) -> RunResultStreaming:
        return self._inner.run_streamed(starting_agent, input, **_on_session_llm(options))


def install_runner() -> None:
    """Make :class:`SessionRunner` the SDK's default runner, around the one that is."""
    current = get_default_agent_runner()
    if not isinstance(current, SessionRunner):
        set_default_agent_runner(SessionRunner(current))


def _on_session_llm(options: dict[str, Any]) -> Any:
    session = session_llm.get()
    config: RunConfig | dict[str, Any] | None = options.get("run_config")
    if session is None or _has_own_provider(config):
        return options
    ours: dict[str, Any] = {
        "model_provider": AntiphonModelProvider(session.llm, session_key=session.key),
        "tracing_disabled": True,
    }
    if isinstance(config, RunConfig):
        return {**options, "run_config": dataclasses.replace(config, **ours)}
    return {**options, "run_config": RunConfig(**ours) if config is None else {**config, **ours}}


def _has_own_provider(config: RunConfig | dict[str, Any] | None) -> bool:
    """Whether somebody chose the model provider: it is not what the SDK makes when nobody does."""
    if config is None or isinstance(config, dict):
        return config is not None and "model_provider" in config
    given = config.model_provider
    if type(given) is not MultiProvider:
        return True
    unchosen = MultiProvider()
    return {**vars(given), "openai_provider": vars(given.openai_provider)} != {
        **vars(unchosen),
        "openai_provider": vars(unchosen.openai_provider),
    }


def stop_tracing() -> None:
    if os.environ.get("OPENAI_AGENTS_DISABLE_TRACING", "").strip().lower() not in ("false", "0", "no", "off"):
        set_tracing_disabled(True)
