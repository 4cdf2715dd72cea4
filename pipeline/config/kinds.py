"""What a field takes, read from its annotation; and how to say it in words."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

_SEQUENCES: tuple[Any, ...] = (list, tuple, set, frozenset, Sequence, Set)
_MAPPINGS: tuple[Any, ...] = (dict, Mapping)


def field_annotation(info: FieldInfo) -> Any:
    """The annotation of a field, with the constraints that pydantic has taken off it."""
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def members(annotation: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every alternative of an annotation: (type without `Annotated` and unions, its constraints)."""
    yield from _members(annotation, ())


def _members(annotation: Any, constraints: tuple[Any, ...]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        yield from _members(inner, (*constraints, *more))
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member, constraints)
    else:
        yield annotation, constraints


def nested_model(annotation: Any) -> type[BaseModel] | None:
    for kind, _ in members(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def element(annotation: Any) -> Any:
    """The annotation of a list's elements; Any if the field takes no list."""
    for kind, _ in members(annotation):
        if (get_origin(kind) or kind) in _SEQUENCES and (arguments := get_args(kind)):
            return arguments[0]
    return Any


def mapping_value(annotation: Any) -> Any:
    """The annotation of a mapping's values; Any if the field takes no typed mapping."""
    for kind, _ in members(annotation):
        if (get_origin(kind) or kind) in _MAPPINGS and len(arguments := get_args(kind)) == 2:
            return arguments[1]
    return Any


def takes_text(annotation: Any) -> bool:
    """Whether text itself is meant (not: text that stands for a number)."""
    for kind, _ in members(annotation):
        if kind in (str, bytes, Path, SecretStr, SecretBytes):
            return True
        if get_origin(kind) is Literal and any(isinstance(value, str) for value in get_args(kind)):
            return True
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return True
    return False


def takes_paths_only(annotation: Any) -> bool:
    kinds = [kind for kind, _ in members(annotation) if kind is not type(None)]
    return bool(kinds) and all(kind is Path for kind in kinds)


def takes(annotation: Any, value: object) -> bool:
    """Whether a typed scalar can be what the field wants. Unknown kinds are left to pydantic."""
    for kind, _ in members(annotation):
        if kind is Any or kind is object:
            return True
        if get_origin(kind) is Literal:
            if any(type(choice) is type(value) and choice == value for choice in get_args(kind)):
                return True
        elif value is None:
            if kind in (None, type(None)):
                return True
        elif isinstance(value, bool):
            if kind is bool:
                return True
        elif isinstance(value, int):
            if kind in (int, float):
                return True
        elif isinstance(value, float) and (kind is float or (kind is int and value.is_integer())):
            return True
    return False


def takes_numbers(annotation: Any) -> bool:
    return any(kind in (int, float) for kind, _ in members(annotation))


def choices(annotation: Any) -> list[str]:
    """The names that a field takes, where it takes names."""
    found: list[str] = []
    for kind, _ in members(annotation):
        if get_origin(kind) is Literal:
            found.extend(str(value) for value in get_args(kind))
        elif isinstance(kind, type) and issubclass(kind, enum.Enum):
            found.extend(str(member.value) for member in kind)
        elif kind is bool:
            found.extend(("true", "false"))
    return found


def is_secret(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    if isinstance(extra, dict) and extra.get("secret"):
        return True
    return any(kind in (SecretStr, SecretBytes) for kind, _ in members(info.annotation))


def names_a_model(info: FieldInfo) -> bool:
    extra = info.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("model_reference"))


def unit(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def describe(annotation: Any, unit_name: str = "") -> str:
    """What a field takes, in words: "a whole number of at least 1 (threads) or 'auto'"."""
    parts: list[str] = []
    for kind, constraints in members(annotation):
        text = _describe_one(kind, constraints)
        if unit_name and kind in (int, float):
            text = f"{text} ({unit_name})"
        if text not in parts:
            parts.append(text)
    parts.sort(key=lambda part: part == "null")
    if len(parts) == 1:
        return parts[0]
    separator = ", or " if any(", " in part for part in parts) else " or "
    return ", ".join(parts[:-1]) + separator + parts[-1]


def _describe_one(kind: Any, constraints: tuple[Any, ...]) -> str:
    origin = get_origin(kind) or kind
    if kind in (None, type(None)):
        return "null"
    if origin is Literal or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return " or ".join(choices(kind)) if len(choices(kind)) < 3 else "one of " + ", ".join(choices(kind))
    if origin in _SEQUENCES:
        return _sized("a list", "item", constraints)
    if origin in _MAPPINGS or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return _sized("a mapping", "entry", constraints)
    if kind in (str, SecretStr, bytes, SecretBytes):
        return _sized("text", "character", constraints)
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", Any: "any value"}
    name = names.get(kind) or str(getattr(kind, "__name__", kind))
    return name + _range(constraints) if kind in (int, float) else name


def _range(constraints: tuple[Any, ...]) -> str:
    low, high = "", ""
    for constraint in _flat(constraints):
        if isinstance(constraint, annotated_types.Ge):
            low = f"at least {_number(constraint.ge)}"
        elif isinstance(constraint, annotated_types.Gt):
            low = f"more than {_number(constraint.gt)}"
        elif isinstance(constraint, annotated_types.Le):
            high = f"at most {_number(constraint.le)}"
        elif isinstance(constraint, annotated_types.Lt):
            high = f"less than {_number(constraint.lt)}"
    if low.startswith("at least ") and high.startswith("at most "):
        return f" from {low.removeprefix('at least ')} to {high.removeprefix('at most ')}"
    both = " and ".join(part for part in (low, high) if part)
    return f", {both}" if both else ""


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sized(name: str, of_what: str, constraints: tuple[Any, ...]) -> str:
    low: int | None = None
    high: int | None = None
    for constraint in _flat(constraints):
        if isinstance(constraint, annotated_types.MinLen):
            low = constraint.min_length
        elif isinstance(constraint, annotated_types.MaxLen):
            high = constraint.max_length
    if low and high is not None:
        return f"{name} of {low} to {high} {_plural(of_what, high)}"
    if low:
        return f"{name} of at least {low} {_plural(of_what, low)}"
    return f"{name} of at most {high} {_plural(of_what, high)}" if high is not None else name


def _plural(word: str, count: int) -> str:
    if count == 1:
        return word
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


def pattern(annotation: Any) -> str:
    """The regular expression that a text field asks for, if it asks for one."""
    for _, constraints in members(annotation):
        for constraint in _flat(constraints):
            if found := getattr(constraint, "pattern", None):
                return str(getattr(found, "pattern", found))
    return ""


def key_pattern(annotation: Any) -> str:
    """The same for the keys of a mapping field."""
    for kind, _ in members(annotation):
        if (get_origin(kind) or kind) in _MAPPINGS and len(arguments := get_args(kind)) == 2:
            return pattern(arguments[0])
    return ""


def _flat(constraints: tuple[Any, ...]) -> Iterator[Any]:
    for constraint in constraints:
        if isinstance(constraint, FieldInfo):
            yield from _flat(tuple(constraint.metadata))
        elif isinstance(constraint, annotated_types.GroupedMetadata):
            yield from constraint
        else:
            yield constraint
