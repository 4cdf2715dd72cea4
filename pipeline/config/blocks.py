"""The blocks of the stages: one engine each, with what stands beside that engine's own options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.protocols import Stage
from antiphon.engines.registry import EngineSpec, find
from antiphon.pipeline.config.section import Section

CHAIN_STAGES: tuple[Stage, ...] = ("stt", "llm", "tts")
"""Stages that may have a list of blocks, each the fallback of the one before it."""

LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]


class BlockKeys(Section):
    """What a stage's block may have besides `engine` and that engine's own options."""

    deadline_s: float | None = option(
        None,
        "How long one request may take before the next block of a fallback chain gets it; null: as long as the session "
        "allows. For `stt` an equal share of the audio's length is added; for `llm` and `tts` it is the time to the "
        "first piece of the answer, and between two pieces.",
        unit="s",
        gt=0,
    )


class SpeechBlockKeys(BlockKeys):
    """The same for `tts`."""

    voices: dict[LanguageCode, Annotated[str, Field(min_length=1)]] = option(
        {},
        "Voice by language, as ISO 639-1 code to voice name, for replies to speech whose language was detected. "
        "Empty: the engine's `voice` speaks everything. With entries, a language that has none gets a warning and a "
        "text-only reply.",
    )


@dataclass(frozen=True, slots=True)
class EngineBlock:
    """One engine of one stage, with its validated options."""

    stage: Stage
    engine: str
    """The name in the registry, or a dotted path."""
    options: EngineOptions = field(repr=False)
    spec: EngineSpec = field(repr=False)
    deadline_s: float | None = None
    """How long one request may take before the next block of the chain gets it; None: as long as the session allows."""
    voices: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """`tts` only: language code to voice name; empty: the engine's own voice speaks every language."""


def engine_block(
    stage: Stage,
    engine: str,
    options: Mapping[str, Any] | EngineOptions | None = None,
    *,
    deadline_s: float | None = None,
    voices: Mapping[str, str] | None = None,
) -> EngineBlock:
    """A block made in code instead of YAML.

    :raises UnknownEngine: the stage has no such engine.
    :raises pydantic.ValidationError: an option is wrong.
    """
    spec = find(stage, engine)
    if not isinstance(options, EngineOptions):
        options = spec.options_class().model_validate(dict(options or {}))
    return EngineBlock(stage, engine, options, spec, deadline_s, MappingProxyType(dict(voices or {})))


def block_keys(stage: Stage) -> type[BlockKeys]:
    """The model of a stage's keys besides the engine's own options."""
    return SpeechBlockKeys if stage == "tts" else BlockKeys
