"""Facts about keys and options, read from the models: for `antiphon engines`, and for the reference pages."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from antiphon.engines import registry
from antiphon.engines.errors import UnknownEngine
from antiphon.engines.protocols import STAGES, Stage
from antiphon.engines.registry import EngineSpec
from antiphon.pipeline.config import kinds
from antiphon.pipeline.config.errors import nearest
from antiphon.pipeline.config.fields import fields_by_key


@dataclass(frozen=True, slots=True)
class OptionFacts:
    """One key of a section, or one option of an engine."""

    name: str
    type: str
    """In words: "whole number from 0 to 3", "one of low, high", "text or null"."""
    unit: str
    default: str
    """As one would write it in YAML; empty where the option is required."""
    required: bool
    secret: bool
    meaning: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def option_facts(model: type[BaseModel]) -> list[OptionFacts]:
    """What every field of a model says of itself, in the order of the model."""
    return [_facts(name, info) for name, info in fields_by_key(model).items()]


def _facts(name: str, info: FieldInfo) -> OptionFacts:
    words = kinds.describe(kinds.field_annotation(info)).replace(" a ", " ")
    return OptionFacts(
        name=name,
        type=words.removeprefix("a "),
        unit=kinds.unit(info),
        default="" if info.is_required() else as_written(info.get_default(call_default_factory=True)),
        required=info.is_required(),
        secret=kinds.is_secret(info),
        meaning=info.description or "",
    )


def as_written(value: Any) -> str:
    """A default as YAML would have it, on one line."""
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str | PurePath):
        return str(value) if str(value).strip() else '""'
    if isinstance(value, tuple | frozenset | set):
        value = list(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def find_specs(name: str) -> list[EngineSpec]:
    """The engines that "stage.name", a bare name (in every stage that has it), or a dotted path "module:Class" means.

    :raises UnknownEngine: none.
    """
    if ":" in name:
        return [registry.find("stt", name)]  # where a class of somebody's own is used does not change its options
    stage, _, rest = name.partition(".")
    known = [f"{kind}.{engine}" for kind, engine in registry.specs()]
    found = [spec for (kind, engine), spec in registry.specs().items() if name in (engine, f"{kind}.{engine}")]
    if found:
        return found
    near = nearest(name, [*known, *(engine for _, engine in registry.specs())])
    if rest and stage in STAGES:
        near = near or nearest(rest, registry.names(_stage(stage)))
    raise UnknownEngine(f"no engine is named '{name}'{near}", hint=f"There are: {', '.join(known)}.")


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage == name)
