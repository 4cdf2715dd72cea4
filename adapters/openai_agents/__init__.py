"""Bridges to the `openai-agents` package: its agents run on Antiphon's LLM engines, and its voice pipeline on our ears
and voices.

`SingleAgentVoiceWorkflow` keeps the name and the arguments that users of `agents.voice` know; inside an Antiphon
pipeline its agent runs on the configured LLM, whatever model name the agent carries, unless the agent was given a
model *object* of its own. So do agents that a workflow runs itself with `Runner`. `AgentWorkflow` is the workflow
`agent` of a configuration, for use in code: it starts before the turn has ended, and knows rules for tools. The other
way round, `AntiphonVoiceModelProvider` plugs our engines into the vendor's own `VoicePipeline`.

Nothing is traced: the first import of this module turns the SDK's tracing off for the process, unless the environment
variable OPENAI_AGENTS_DISABLE_TRACING is set to a false value ("false", "0", "no", "off").
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from antiphon.adapters.openai_agents.runner import SessionRunner, _has_own_provider, install_runner, stop_tracing
from antiphon.adapters.openai_agents.workflow import (
    SingleAgentVoiceWorkflow,
    SingleAgentWorkflowCallbacks,
    VoiceWorkflowHelper,
)
from antiphon.pipeline.agent.contracts import Announcer, ApprovalNeeded, Approver
from antiphon.pipeline.agent.desk import ToolFailed
from antiphon.pipeline.agent.model import AntiphonModel, AntiphonModelProvider
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.agent.workflow import AgentWorkflow
from antiphon.pipeline.workflow import Filler

if TYPE_CHECKING:
    from antiphon.adapters.openai_agents.voice import (
        AntiphonSTTModel,
        AntiphonTTSModel,
        AntiphonVoiceModelProvider,
    )

__all__ = [
    "AgentWorkflow",
    "Announcer",
    "AntiphonModel",
    "AntiphonModelProvider",
    "AntiphonSTTModel",
    "AntiphonTTSModel",
    "AntiphonVoiceModelProvider",
    "ApprovalNeeded",
    "Approver",
    "Filler",
    "SessionRunner",
    "SingleAgentVoiceWorkflow",
    "SingleAgentWorkflowCallbacks",
    "ToolFailed",
    "ToolRules",
    "VoiceWorkflowHelper",
    "_has_own_provider",
    "install_runner",
]

_VOICE = ("AntiphonSTTModel", "AntiphonTTSModel", "AntiphonVoiceModelProvider")

stop_tracing()
install_runner()


def __getattr__(name: str) -> Any:
    if name in _VOICE:  # they need the SDK's voice extra
        return getattr(importlib.import_module("antiphon.adapters.openai_agents.voice"), name)
    raise AttributeError(f"module 'antiphon.adapters.openai_agents' has no attribute '{name}'")
