"""Trees to pydantic models: every problem is found, placed and put in words; pydantic's own words stay inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from antiphon.pipeline.config import kinds
from antiphon.pipeline.config.errors import Problem, nearest
from antiphon.pipeline.config.interpolate import join
from antiphon.pipeline.config.tree import Entry, Items, Node, Scalar, Section
from antiphon.pipeline.config.words import found, report

NOWHERE: Mapping[str, str] = MappingProxyType({})

_WRONG = object()
"""A value that was reported and is left out."""


def check_model(
    model: type[BaseModel],
    section: Section,
    path: str,
    problems: list[Problem],
    *,
    also: tuple[str, ...] = (),
    elsewhere: Mapping[str, str] = NOWHERE,
) -> Any:
    """An instance of a pydantic model from a tree, or None.

    :param also: further keys to consider when a key looks mistyped.
    :param elsewhere: keys that another engine has, to say so.
    """
    found_here: list[Problem] = []
    data = _data(model, section, path, found_here, also, elsewhere)
    broken = has_broken(section)
    instance: BaseModel | None = None
    try:
        instance = model.model_validate(data)
    except ValidationError as error:
        report(error, model, section, path, found_here, broken)
    except Exception as error:  # a validator of somebody's options that raises what it should not
        message = f"{model.__name__} cannot check these values: {type(error).__name__}"
        found_here.append(Problem(message, section.origin, path))
    problems.extend(found_here)
    return None if found_here or broken else instance


def fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model under the names that YAML has for them."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def has_broken(node: Node) -> bool:
    """Whether some value below could not be interpolated (which was reported already)."""
    if isinstance(node, Scalar):
        return node.broken
    below = node.items if isinstance(node, Items) else (entry.node for entry in node.entries.values())
    return any(has_broken(child) for child in below)


def value_of(node: Node) -> Any:
    """Plain data where no field says what is wanted: typed scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [value_of(item) for item in node.items]
    return {key: value_of(entry.node) for key, entry in node.entries.items()}


def _data(
    model: type[BaseModel],
    section: Section,
    path: str,
    problems: list[Problem],
    also: tuple[str, ...] = (),
    elsewhere: Mapping[str, str] = NOWHERE,
) -> dict[str, Any]:
    """Plain data for pydantic; unknown keys and values of an impossible kind are reported and left out."""
    fields = fields_by_key(model)
    is_open = model.model_config.get("extra") == "allow"
    data: dict[str, Any] = {}
    for key, entry in section.entries.items():
        info = fields.get(key)
        if info is not None:
            value = _value(entry.node, kinds.field_annotation(info), info, join(path, key), problems)
            if value is not _WRONG:
                data[key] = value
        elif is_open:
            data[key] = value_of(entry.node)
        else:
            problems.append(_unknown_key(key, entry, path, (*fields, *also), elsewhere))
    return data


def _unknown_key(key: str, entry: Entry, path: str, known: tuple[str, ...], elsewhere: Mapping[str, str]) -> Problem:
    remark = f" (an option of '{elsewhere[key]}')" if key in elsewhere else nearest(key, known)
    hint = f"Known here: {', '.join(sorted(known))}." if known else "Nothing can be set here."
    return Problem(f"unknown key{remark}", entry.origin, join(path, key), hint)


def _value(node: Node, annotation: Any, info: FieldInfo, path: str, problems: list[Problem]) -> Any:
    """What pydantic is to see at a place. `info` is the field that the place belongs to."""
    if isinstance(node, Scalar):
        return _scalar(node, annotation, info, path, problems)
    if isinstance(node, Items):
        inner = kinds.element(annotation)
        items = [_value(item, inner, info, join(path, str(index)), problems) for index, item in enumerate(node.items)]
        return _WRONG if any(item is _WRONG for item in items) else items
    if nested := kinds.nested_model(annotation):
        return _data(nested, node, path, problems)
    inner = kinds.mapping_value(annotation)
    mapping = {key: _value(entry.node, inner, info, join(path, key), problems) for key, entry in node.entries.items()}
    return _WRONG if any(value is _WRONG for value in mapping.values()) else mapping


def _scalar(node: Scalar, annotation: Any, info: FieldInfo, path: str, problems: list[Problem]) -> Any:
    """The text or the typed value of a scalar, whichever the field wants."""
    if node.broken:
        return _WRONG
    value = node.value
    text_is_meant = kinds.takes_text(annotation)
    is_number = isinstance(value, float) or (isinstance(value, str) and kinds.takes_numbers(annotation))
    if is_number and not text_is_meant and _not_finite(value):
        allowed = f"a finite number{f' ({kinds.unit(info)})' if kinds.unit(info) else ''}"
        problems.append(Problem(f"found {found(node, kinds.is_secret(info))}; allowed: {allowed}", node.origin, path))
        return _WRONG
    if kinds.takes(annotation, value):
        return value
    if isinstance(value, str) or (value is not None and text_is_meant):
        return _text(node, annotation)
    if value is None and kinds.nested_model(annotation):
        return {}
    if value is None or isinstance(value, bool):  # pydantic would take true for 1
        allowed = kinds.describe(annotation, kinds.unit(info))
        near = nearest(node.text, kinds.choices(annotation))
        problems.append(
            Problem(f"found {found(node, kinds.is_secret(info))}; allowed: {allowed}{near}", node.origin, path)
        )
        return _WRONG
    return value


def _not_finite(value: object) -> bool:
    try:
        return not math.isfinite(float(str(value)))
    except ValueError:
        return False


def _text(node: Scalar, annotation: Any) -> str:
    """The scalar's text; a path is made relative to the file in which it was written."""
    text = node.text
    only_paths = kinds.takes_paths_only(annotation)
    if text and (only_paths or (text.startswith(("./", "../", "~/")) and "\n" not in text)):
        return str(node.directory / _expanded(text))
    return text


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # "~nobody": no such user; then it is a name like any other
        return Path(text)
