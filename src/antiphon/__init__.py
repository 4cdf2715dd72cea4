"""Antiphon: a chained voice pipeline that you run yourself. Speech in, an agent in plain text, speech out.

from antiphon import AudioInput, VoicePipeline

pipeline = VoicePipeline()                       # the packaged local.yaml
result = await pipeline.run(AudioInput(buffer=samples, frame_rate=16000))
async for event in result.stream(): ...

Names are imported when they are first used: `import antiphon` needs no engine package and is fast.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime reports its use to its vendor, over the network and with a persistent id, from its first import on,
# unless this is set by then. Nothing here phones home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from antiphon.adapters.openai_agents import (
        SingleAgentVoiceWorkflow,
        SingleAgentWorkflowCallbacks,
        VoiceWorkflowHelper,
    )
    from antiphon.engines.errors import AntiphonError
    from antiphon.pipeline.config import Config, load_config
    from antiphon.pipeline.conversation import Conversation
    from antiphon.pipeline.events import Event
    from antiphon.pipeline.voice import StreamedAudioResult, VoicePipeline
    from antiphon.pipeline.voice_types import (
        AudioInput,
        StreamedAudioInput,
        STTModelSettings,
        TTSModelSettings,
        VoicePipelineConfig,
        VoiceStreamEvent,
        VoiceStreamEventAudio,
        VoiceStreamEventError,
        VoiceStreamEventLifecycle,
        VoiceStreamEventSpoken,
        VoiceStreamEventTranscript,
        VoiceStreamEventWarning,
        get_sentence_based_splitter,
    )
    from antiphon.pipeline.workflow import TurnContext, VoiceWorkflowBase, Workflow

_HOMES = {
    "antiphon.adapters.openai_agents": (
        "SingleAgentVoiceWorkflow",
        "SingleAgentWorkflowCallbacks",
        "VoiceWorkflowHelper",
    ),
    "antiphon.engines.errors": ("AntiphonError",),
    "antiphon.pipeline.config": ("Config", "load_config"),
    "antiphon.pipeline.conversation": ("Conversation",),
    "antiphon.pipeline.events": ("Event",),
    "antiphon.pipeline.voice": ("StreamedAudioResult", "VoicePipeline"),
    "antiphon.pipeline.voice_types": (
        "AudioInput",
        "STTModelSettings",
        "StreamedAudioInput",
        "TTSModelSettings",
        "VoicePipelineConfig",
        "VoiceStreamEvent",
        "VoiceStreamEventAudio",
        "VoiceStreamEventError",
        "VoiceStreamEventLifecycle",
        "VoiceStreamEventSpoken",
        "VoiceStreamEventTranscript",
        "VoiceStreamEventWarning",
        "get_sentence_based_splitter",
    ),
    "antiphon.pipeline.workflow": ("TurnContext", "VoiceWorkflowBase", "Workflow"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AntiphonError",
    "AudioInput",
    "Config",
    "Conversation",
    "Event",
    "STTModelSettings",
    "SingleAgentVoiceWorkflow",
    "SingleAgentWorkflowCallbacks",
    "StreamedAudioInput",
    "StreamedAudioResult",
    "TTSModelSettings",
    "TurnContext",
    "VoicePipeline",
    "VoicePipelineConfig",
    "VoiceStreamEvent",
    "VoiceStreamEventAudio",
    "VoiceStreamEventError",
    "VoiceStreamEventLifecycle",
    "VoiceStreamEventSpoken",
    "VoiceStreamEventTranscript",
    "VoiceStreamEventWarning",
    "VoiceWorkflowBase",
    "VoiceWorkflowHelper",
    "Workflow",
    "get_sentence_based_splitter",
    "load_config",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'antiphon' has no attribute '{name}'")
    try:
        module = importlib.import_module(home)
    except ModuleNotFoundError as error:
        if home == "antiphon.adapters.openai_agents" and (error.name or "").partition(".")[0] in ("agents", "openai"):
            needed = 'the Python package openai-agents: pip install "antiphon[agents]"'
            raise ImportError(f"antiphon.{name} needs {needed}", name=error.name) from error
        raise
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
