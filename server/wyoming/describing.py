"""What the server says of itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from antiphon.pipeline.config import EngineBlock
from antiphon.pipeline.config.wyoming import WyomingService
from antiphon.server.service import Service

if TYPE_CHECKING:
    from wyoming.info import Info

_ABSENT = "none"


def offered(service: Service) -> frozenset[WyomingService]:
    """What is configured, less what has no engine."""
    config = service.config
    stages = {stage for stage in ("stt", "llm", "tts") if getattr(config, stage)[0].engine != _ABSENT}
    agent = "llm" in stages or config.workflow.kind not in ("chat", "agent")
    there: dict[WyomingService, bool] = {
        "asr": "stt" in stages,
        "tts": "tts" in stages,
        "handle": agent,
        "pipeline": agent and {"stt", "tts"} <= stages,
    }
    return frozenset(name for name in service.settings.wyoming.services if there[name])


def describe(service: Service) -> Info:
    """The answer to `describe`. The service is ready."""
    from wyoming.info import Info

    services = offered(service)
    return Info(
        asr=[_asr(service)] if "asr" in services else [],
        tts=[_tts(service)] if "tts" in services else [],
        handle=[_handle(service)] if "handle" in services else [],
    )


def _asr(service: Service) -> Any:
    from wyoming.info import AsrModel, AsrProgram

    block = service.config.stt[0]
    languages = list(service.engines.stt.capabilities.languages or _fallback_languages(service))
    model = AsrModel(**_artifact(_model_name(block), f"Speech to text by {block.engine}"), languages=languages)
    return AsrProgram(
        **_artifact(service.settings.wyoming.name, "Antiphon, speech to text"),
        models=[model],
        supports_transcript_streaming=True,
    )


def _tts(service: Service) -> Any:
    from wyoming.info import TtsProgram, TtsVoice

    block = service.config.tts[0]
    can = service.engines.tts.capabilities
    languages = list(can.languages or _fallback_languages(service))
    names = list(dict.fromkeys([_model_name(block, "voice"), *can.voices]))
    voices = [TtsVoice(**_artifact(name, f"{name}, by {block.engine}"), languages=languages) for name in names]
    return TtsProgram(
        **_artifact(service.settings.wyoming.name, "Antiphon, text to speech"),
        voices=voices,
        supports_synthesize_streaming=True,
    )


def _handle(service: Service) -> Any:
    from wyoming.info import HandleModel, HandleProgram

    name = service.config.workflow.kind
    # No language: the agent is asked in any.
    model = HandleModel(**_artifact(name, "The configured agent"), languages=[])
    return HandleProgram(
        **_artifact(service.settings.wyoming.name, "Antiphon, the agent"),
        models=[model],
        supports_handled_streaming=True,
    )


def _model_name(block: EngineBlock, first: str = "model") -> str:
    value = getattr(block.options, first, None) or getattr(block.options, "model", None)
    return str(value or block.engine)


def _fallback_languages(service: Service) -> tuple[str, ...]:
    return service.settings.wyoming.languages or ("en",)


def _artifact(name: str, description: str) -> dict[str, Any]:
    from wyoming.info import Attribution

    return {
        "name": name,
        "description": description,
        "attribution": Attribution(name="Antiphon", url=""),
        "installed": True,
        "version": version("antiphon"),
    }
