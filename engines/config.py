"""How an engine declares its options: one pydantic model, whose fields document themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EngineOptions(BaseModel):
    """Base of every engine's options. Unknown keys are refused; values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


def option(
    default: Any, meaning: str, *, unit: str = "", secret: bool = False, model: bool = False, **constraints: Any
) -> Any:
    """A documented option field.

    :param default: the default value, or `...` for a required option.
    :param meaning: one sentence for `antiphon engines show`, the schema and the generated docs.
    :param unit: unit of the value: "ms", "s", "Hz", "threads", "tokens", "bytes", ...
    :param secret: the value is masked wherever configuration is shown.
    :param model: the value names a model: a catalog name, a path, or hub:owner/name@revision. That is how
        `antiphon models pull --for` and `antiphon doctor` know what a configuration needs.
    :param constraints: passed on to :func:`pydantic.Field` (ge, le, min_length, examples, ...).
    """
    extra: dict[str, Any] = {}
    if unit:
        extra["unit"] = unit
    if secret:
        extra["secret"] = True
    if model:
        extra["model_reference"] = True
    return Field(default, description=meaning, json_schema_extra=extra or None, **constraints)
