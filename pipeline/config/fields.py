"""Trees to pydantic models: every problem is found, placed and put in words; pydantic's own words stay inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from antiphon.pipeline.config import kinds
from antiphon.pipeline.config.errors import Problem, nearest
from antiphon.pipeline.config.interpolate import join
from antiphon.pipeline.config.sources import expanded
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
    text_paths: bool = False,
) -> Any:
    """An instance of a pydantic model from a tree, or None.

    :param also: further keys to consider when a key looks mistyped.
    :param elsewhere: keys that another engine has, to say so.
    :param text_paths: text that begins with "./", "../" or "~/" is a path, relative to the file that it stands in.
    """
    found_here: list[Problem] = []
    reader = _Reader(found_here, text_paths)
    data = reader.model(model, section, path, also, elsewhere)
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


class _Reader:
    """Reads plain data for pydantic out of a tree; reports and leaves out unknown keys and impossible values."""

    def __init__(self, problems: list[Problem], text_paths: bool) -> None:
        self.problems = problems
        self.text_paths = text_paths
        """Text that begins with "./", "../" or "~/" is a path."""

    def model(
        self,
        model: type[BaseModel],
        section: Section,
        path: str,
        also: tuple[str, ...] = (),
        elsewhere: Mapping[str, str] = NOWHERE,
    ) -> dict[str, Any]:
        fields = fields_by_key(model)
        is_open = model.model_config.get("extra") == "allow"
        data: dict[str, Any] = {}
        for key, entry in section.entries.items():
            info = fields.get(key)
            if info is not None:
                value = self.value(entry.node, kinds.field_annotation(info), info, join(path, key))
                if value is not _WRONG:
                    data[key] = value
            elif is_open:
                data[key] = value_of(entry.node)
            else:
                self.problems.append(_unknown_key(key, entry, path, (*fields, *also), elsewhere))
        return data

    def value(self, node: Node, annotation: Any, info: FieldInfo, path: str) -> Any:
        """What pydantic is to see at a place. `info` is the field that the place belongs to."""
        if isinstance(node, Scalar):
            return self.scalar(node, annotation, info, path)
        if isinstance(node, Items):
            inner = kinds.element(annotation)
            items = [self.value(item, inner, info, join(path, str(index))) for index, item in enumerate(node.items)]
            return _WRONG if any(item is _WRONG for item in items) else items
        if nested := kinds.nested_model(annotation):
            return self.model(nested, node, path)
        inner = kinds.mapping_value(annotation)
        mapping = {key: self.value(entry.node, inner, info, join(path, key)) for key, entry in node.entries.items()}
        return _WRONG if any(value is _WRONG for value in mapping.values()) else mapping

    def scalar(self, node: Scalar, annotation: Any, info: FieldInfo, path: str) -> Any:
        """The text or the typed value of a scalar, whichever the field wants."""
        if node.broken:
            return _WRONG
        value = node.value
        text_is_meant = kinds.takes_text(annotation)
        is_number = isinstance(value, float) or (isinstance(value, str) and kinds.takes_numbers(annotation))
        if is_number and not text_is_meant and _not_finite(value):
            return self.refuse(node, "a finite number", info, path)
        if value is None and kinds.takes(annotation, value):
            return None
        if isinstance(value, str) or (value is not None and text_is_meant and not kinds.takes(annotation, value)):
            return self.text(node, annotation, info)
        if kinds.takes(annotation, value):
            return value
        if value is None and kinds.nested_model(annotation):
            return {}
        if value is None or isinstance(value, bool):  # pydantic would take true for 1
            return self.refuse(node, kinds.describe(annotation, kinds.unit(info)), info, path)
        return value

    def refuse(self, node: Scalar, allowed: str, info: FieldInfo, path: str) -> object:
        near = nearest(node.text, kinds.choices(info.annotation))
        message = f"found {found(node, kinds.is_secret(info))}; allowed: {allowed}{near}"
        self.problems.append(Problem(message, node.origin, path))
        return _WRONG

    def text(self, node: Scalar, annotation: Any, info: FieldInfo) -> str:
        """The scalar's text; a path is made relative to the file in which it was written."""
        text = node.text
        is_path = kinds.takes_paths_only(annotation)
        if self.text_paths and not is_path:
            marked = text.startswith(("./", "../", "~/")) and "\n" not in text
            is_path = marked or (kinds.names_a_model(info) and _lies_beside(node))
        return str(node.directory / expanded(text)) if text and is_path else text


def _lies_beside(node: Scalar) -> bool:
    """Whether "models/x.gguf" is a file or folder beside the configuration; else it may be a name in the catalog."""
    try:
        return "/" in node.text and (node.directory / node.text).exists()
    except (OSError, ValueError):  # too long, or with characters that no path has
        return False


def _unknown_key(key: str, entry: Entry, path: str, known: tuple[str, ...], elsewhere: Mapping[str, str]) -> Problem:
    remark = f" (an option of '{elsewhere[key]}')" if key in elsewhere else nearest(key, known)
    hint = f"Known here: {', '.join(sorted(known))}." if known else "Nothing can be set here."
    return Problem(f"unknown key{remark}", entry.origin, join(path, key), hint)


def _not_finite(value: object) -> bool:
    try:
        return not math.isfinite(float(str(value)))
    except ValueError:
        return False
