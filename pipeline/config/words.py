"""What is wrong with a value, in words. Never a secret, never the value of an environment variable."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from antiphon.pipeline.config import kinds
from antiphon.pipeline.config.errors import Problem, nearest
from antiphon.pipeline.config.interpolate import join
from antiphon.pipeline.config.tree import Items, Node, Scalar, Section

_SHOWN_CHARS = 60
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_HIDDEN_FROM_CHARS = 4
"""Values of environment variables this long are hidden inside the messages of validators; "1" would hide any 1."""


def found(node: Node, secret: bool = False) -> str:
    """What stands at a place."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Section):
        return "a mapping"
    if secret:
        return "a value (not shown: it is a secret)"
    if node.written is None and node.value is None:
        return node.text or "nothing"
    text = node.text if node.written is None else node.written
    text = _URL_LOGIN.sub("***", text)
    shown = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
    return repr(shown) if node.written is not None or isinstance(node.value, str) else shown


def what_was_raised(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def report(
    error: ValidationError,
    model: type[BaseModel],
    section: Section,
    path: str,
    problems: list[Problem],
    broken: bool,
) -> None:
    """Add what pydantic found, one problem a place, and none where something was said already.

    :param broken: some value could not be interpolated: rules that look at several values at once would only guess.
    """
    said = {problem.key for problem in problems}
    about_all = bool(said) or broken
    for details in error.errors(include_url=False, include_context=False):
        node, key, info, annotation = _locate(details["loc"], model, section, path)
        is_broken = isinstance(node, Scalar) and node.broken
        if key in said or is_broken or (not details["loc"] and about_all):
            continue
        if details["type"] == "missing" and broken and _is_written(details["loc"], section):
            continue
        said.add(key)
        problems.append(Problem(_words(details, node, info, annotation, section, model), node.origin, key))


def _is_written(loc: tuple[int | str, ...], section: Section) -> bool:
    return bool(loc) and str(loc[0]) in section.entries


def _locate(
    loc: tuple[int | str, ...], model: type[BaseModel], section: Section, path: str
) -> tuple[Node, str, FieldInfo | None, Any]:
    """The deepest node that an error's location names; its key path, field and annotation.

    Where a key is missing the node is the mapping that lacks it. Pydantic's marks for the members of a union, which
    name no place, end the walk.
    """
    node: Node = section
    info: FieldInfo | None = None
    annotation: Any = model
    for part in loc:
        name = str(part)
        nested = kinds.nested_model(annotation)
        if nested is not None and isinstance(node, Section):
            fields = {field.alias or key: field for key, field in nested.model_fields.items()}
            if name not in fields:
                break
            info = fields[name]
            annotation = kinds.field_annotation(info)
            path = join(path, name)
            if name not in node.entries:
                break
            node = node.entries[name].node
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            annotation = kinds.element(annotation)
            path = join(path, name)
            node = node.items[part]
        elif isinstance(node, Section) and name in node.entries:
            annotation = kinds.mapping_value(annotation)
            path = join(path, name)
            node = node.entries[name].node
        else:
            break
    return node, path, info, annotation


def _words(
    details: ErrorDetails, node: Node, info: FieldInfo | None, annotation: Any, section: Section, model: type[BaseModel]
) -> str:
    secret = info is not None and kinds.is_secret(info)
    unit = kinds.unit(info) if info is not None else ""
    kind = details["type"]
    if kind == "missing":
        return f"this key is missing; it takes {kinds.describe(annotation, unit)}"
    if kind in ("value_error", "assertion_error"):
        reason = _without_prefix(details["msg"])
        if not isinstance(node, Scalar):
            return _redact(reason, section, model)
        hidden = secret or node.written is not None
        return f"found {found(node, secret)}: {'not a valid value' if hidden and node.text in reason else reason}"
    if len(details["loc"]) and details["loc"][-1] == "[key]":
        pattern = kinds.key_pattern(info.annotation) if info is not None else ""
        return f"no valid key{f'; a key has the form {pattern}' if pattern else ''}"
    allowed = kinds.describe(annotation, unit)
    if kind == "string_pattern_mismatch" and (pattern := kinds.pattern(annotation)):
        allowed = f"text of the form {pattern}"
    near = nearest(node.text, kinds.choices(annotation)) if isinstance(node, Scalar) and not secret else ""
    return f"found {found(node, secret)}; allowed: {allowed}{near}"


def _without_prefix(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _redact(message: str, section: Section, model: type[BaseModel]) -> str:
    """The message of a validator that saw several values, without the secret ones."""
    for key, entry in section.entries.items():
        node = entry.node
        info = model.model_fields.get(key)
        if not isinstance(node, Scalar) or not node.text:
            continue
        from_environment = node.written is not None and len(node.text) >= _HIDDEN_FROM_CHARS
        if from_environment or (info is not None and kinds.is_secret(info)):
            message = message.replace(node.text, "***")
    return message
