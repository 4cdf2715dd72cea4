"""A tree to a :class:`Config`: every problem is found, placed and put in words; pydantic's own words stay inside."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from antiphon.engines import registry
from antiphon.engines.config import EngineOptions
from antiphon.engines.errors import UnknownEngine
from antiphon.engines.protocols import STAGES, Stage
from antiphon.pipeline.config import kinds
from antiphon.pipeline.config.errors import Problem, nearest
from antiphon.pipeline.config.interpolate import join
from antiphon.pipeline.config.model import CHAIN_STAGES, SECTIONS, Config, EngineBlock, SessionConfig, block_keys
from antiphon.pipeline.config.tree import Entry, Items, Node, Scalar, Section

_SHOWN_CHARS = 60
_REDACTED_FROM_CHARS = 4
_WRONG = object()


def check(tree: Section, problems: list[Problem]) -> Config | None:
    """The configuration that a merged and interpolated tree stands for; what is wrong is added to `problems`."""
    known = (*SECTIONS, *STAGES)
    for key, entry in tree.entries.items():
        if key not in known:
            message = f"unknown key{nearest(key, known)}"
            problems.append(Problem(message, entry.origin, key, f"A configuration has: {', '.join(known)}."))
    parts: dict[str, Any] = {
        name: check_model(model, _section(tree, name, problems), name, problems) for name, model in SECTIONS.items()
    }
    for stage in STAGES:
        blocks = _stage_blocks(stage, tree, problems)
        parts[stage] = blocks if stage in CHAIN_STAGES else next(iter(blocks), None)
    if isinstance(parts["session"], SessionConfig) and parts["session"].offline:
        for stage in STAGES:
            _check_offline(stage, parts[stage], tree, problems)
    return None if problems else Config(**parts)


def _section(tree: Section, name: str, problems: list[Problem]) -> Section:
    """A section's tree; empty where the key is missing or has nothing below it."""
    entry = tree.entries.get(name)
    if entry is None:
        return Section({}, tree.origin)
    if isinstance(entry.node, Section):
        return entry.node
    if not (isinstance(entry.node, Scalar) and entry.node.value is None):
        problems.append(Problem(f"found {found(entry.node)}; allowed: a mapping", entry.origin, name))
    return Section({}, entry.origin)


# --------------------------------------------------------------------------------------------- stages


def _stage_blocks(stage: Stage, tree: Section, problems: list[Problem]) -> tuple[EngineBlock, ...]:
    entry = tree.entries.get(stage)
    empty = entry is not None and isinstance(entry.node, Scalar) and entry.node.value is None
    if entry is None or empty:
        hint = f"Add '{stage}: {{engine: ...}}', or 'extends: local.yaml' to take all stages from there."
        problems.append(Problem("this stage is missing", entry.origin if entry else tree.origin, stage, hint))
        return ()
    node = entry.node
    if isinstance(node, Items) and stage in CHAIN_STAGES:
        if not node.items:
            problems.append(Problem("an empty list; a fallback chain has at least one block", entry.origin, stage))
        blocks = [_block(stage, item, f"{stage}.{index}", problems) for index, item in enumerate(node.items)]
    else:
        blocks = [_block(stage, node, stage, problems)]
    return tuple(block for block in blocks if block is not None)


def _block(stage: Stage, node: Node, path: str, problems: list[Problem]) -> EngineBlock | None:
    if not isinstance(node, Section):
        allowed = "a block, or a list of blocks" if stage in CHAIN_STAGES and "." not in path else "one block"
        hint = f"For the defaults of an engine write '{stage}: {{engine: {found_text(node) or '...'}}}'."
        problems.append(Problem(f"found {found(node)}; allowed: {allowed} with 'engine'", node.origin, path, hint))
        return None
    spec = _spec(stage, node, path, problems)
    if spec is None:
        return None
    options_class = _options_class(spec, node, path, problems)
    if options_class is None:
        return None
    own = block_keys(stage)
    shared = {key: entry for key, entry in node.entries.items() if key in own.model_fields}
    rest = {key: entry for key, entry in node.entries.items() if key not in shared and key != "engine"}
    keys = check_model(own, Section(shared, node.origin), path, problems)
    other = (
        _other_engines_options(stage, spec.name) if any(key not in options_class.model_fields for key in rest) else {}
    )
    options = check_model(
        options_class, Section(rest, node.origin), path, problems, also=("engine", *own.model_fields), elsewhere=other
    )
    if keys is None or not isinstance(options, EngineOptions):
        return None
    values = keys.model_dump()
    voices = MappingProxyType(dict(values.get("voices", {})))
    return EngineBlock(stage, spec.name, options, spec, values["deadline_s"], voices)


def _spec(stage: Stage, block: Section, path: str, problems: list[Problem]) -> registry.EngineSpec | None:
    entry = block.entries.get("engine")
    key = join(path, "engine")
    names = registry.names(stage)
    if entry is None:
        wrong = "this block names no engine"
        problems.append(Problem(wrong, block.origin, path, f"Write 'engine:' with one of: {', '.join(names)}."))
        return None
    node = entry.node
    if not isinstance(node, Scalar) or not node.text.strip():
        problems.append(Problem(f"found {found(node)}; allowed: {', '.join(names)}", entry.origin, key))
        return None
    if node.broken:
        return None
    name = node.text.strip()
    try:
        spec = registry.find(stage, name)
    except UnknownEngine as error:
        problems.append(Problem(_unknown_engine(stage, name, node, names, error), node.origin, key))
        return None
    except Exception as error:  # importing a user's module runs the user's code: it may raise anything
        wrong = f"importing {found(node)} failed with {type(error).__name__}: {_first_line(error)}"
        problems.append(Problem(wrong, node.origin, key))
        return None
    if spec.stage != stage:
        problems.append(Problem(f"{found(node)} is an engine for '{spec.stage}', not for '{stage}'", node.origin, key))
        return None
    return spec


def _unknown_engine(stage: Stage, name: str, node: Scalar, names: list[str], error: UnknownEngine) -> str:
    if ":" in name or "." in name:
        return _first_line(error) if node.written is None else f"{found(node)} cannot be imported"
    return f"found {found(node)}; allowed: {', '.join(names)}, or a path 'module:Class'{nearest(name, names)}"


def _options_class(
    spec: registry.EngineSpec, block: Section, path: str, problems: list[Problem]
) -> type[EngineOptions] | None:
    try:
        loaded = spec.options_class()
    except Exception as error:  # as above: the module may be a user's, or need a package that is not there
        wrong = f"the options of '{spec.name}' cannot be loaded: {type(error).__name__}: {_first_line(error)}"
        hint = f'pip install "antiphon[{spec.extra}]"' if spec.extra else ""
        problems.append(Problem(wrong, block.entries["engine"].origin, join(path, "engine"), hint))
        return None
    if isinstance(loaded, type) and issubclass(loaded, EngineOptions):
        return loaded
    wrong = f"'{spec.options}' must be a subclass of antiphon.engines.config.EngineOptions"
    problems.append(Problem(wrong, block.entries["engine"].origin, join(path, "engine")))
    return None


def _other_engines_options(stage: Stage, name: str) -> dict[str, str]:
    """Option name to the engine of this stage that has it, other than `name`."""
    found_in: dict[str, str] = {}
    for (kind, other), spec in registry.specs().items():
        if kind == stage and other != name:
            try:
                fields = spec.options_class().model_fields
            except Exception:
                continue
            found_in.update(dict.fromkeys(fields, other))
    return found_in


def _check_offline(stage: Stage, part: Any, tree: Section, problems: list[Problem]) -> None:
    blocks: tuple[EngineBlock, ...] = part if isinstance(part, tuple) else (part,) if part else ()
    node = tree.entries[stage].node if stage in tree.entries else None
    listed = isinstance(node, Items)
    if listed and isinstance(node, Items) and len(node.items) != len(blocks):
        return  # a block of the chain is wrong in itself: say that first
    for index, block in enumerate(blocks):
        if block.spec.local or is_loopback(getattr(block.options, "base_url", None)):
            continue
        block_node = node.items[index] if isinstance(node, Items) else node
        origin = block_node.origin if block_node is not None else tree.origin
        if isinstance(block_node, Section):
            origin = block_node.entries["engine"].origin
        path = f"{stage}.{index}" if listed else stage
        problems.append(
            Problem(
                f"'{block.engine}' would leave this machine, which 'session.offline: true' forbids",
                origin,
                join(path, "engine"),
                "Set 'session: {offline: false}', or a 'base_url' on this machine (localhost), or a local engine.",
            )
        )


def is_loopback(base_url: object) -> bool:
    """Whether a URL points to this machine."""
    if not base_url:
        return False
    try:
        host = urlsplit(str(base_url)).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --------------------------------------------------------------------------------------------- models


def check_model(
    model: type[BaseModel],
    section: Section,
    path: str,
    problems: list[Problem],
    *,
    also: tuple[str, ...] = (),
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """An instance of a pydantic model from a tree, or None.

    :param also: further keys to consider when a key looks mistyped.
    :param elsewhere: keys that another engine has, to say so.
    """
    before = len(problems)
    data = _data(model, section, path, problems, also, elsewhere)
    try:
        instance = model.model_validate(data)
    except ValidationError as error:
        _report(error, model, section, path, problems)
        return None
    return instance if len(problems) == before else None


def _data(
    model: type[BaseModel],
    section: Section,
    path: str,
    problems: list[Problem],
    also: tuple[str, ...] = (),
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Plain data for pydantic; unknown keys and values of an impossible kind are reported and left out."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    is_open = model.model_config.get("extra") == "allow"
    data: dict[str, Any] = {}
    for key, entry in section.entries.items():
        info = fields.get(key)
        if info is None:
            if is_open:
                data[key] = value_of(entry.node)
            else:
                problems.append(_unknown_key(key, entry, path, (*fields, *also), elsewhere))
            continue
        value = _field_value(entry.node, kinds.field_annotation(info), join(path, key), problems, kinds.is_secret(info))
        if value is not _WRONG:
            data[key] = value
    return data


def _unknown_key(key: str, entry: Entry, path: str, known: tuple[str, ...], elsewhere: Mapping[str, str]) -> Problem:
    near = nearest(key, known)
    if not near and key in elsewhere:
        near = f" (it is an option of '{elsewhere[key]}')"
    return Problem(f"unknown key{near}", entry.origin, join(path, key), f"Known here: {', '.join(sorted(known))}.")


def value_of(node: Node) -> Any:
    """Plain data where no field says what is wanted: typed scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [value_of(item) for item in node.items]
    return {key: value_of(entry.node) for key, entry in node.entries.items()}


def _field_value(node: Node, annotation: Any, path: str, problems: list[Problem], secret: bool) -> Any:
    if isinstance(node, Scalar):
        return _scalar_value(node, annotation, path, problems, secret)
    if isinstance(node, Items):
        inner = kinds.element(annotation)
        values = [
            _field_value(item, inner, join(path, str(index)), problems, secret) for index, item in enumerate(node.items)
        ]
        return _WRONG if any(value is _WRONG for value in values) else values
    if nested := kinds.nested_model(annotation):
        return _data(nested, node, path, problems)
    inner = kinds.mapping_value(annotation)
    mapping = {
        key: _field_value(entry.node, inner, join(path, key), problems, secret) for key, entry in node.entries.items()
    }
    return _WRONG if any(value is _WRONG for value in mapping.values()) else mapping


def _scalar_value(node: Scalar, annotation: Any, path: str, problems: list[Problem], secret: bool) -> Any:
    """The text or the typed value of a scalar, whichever the field wants."""
    if node.broken:
        return _WRONG
    value = node.value
    if isinstance(value, str):
        if kinds.takes_numbers(annotation) and _is_number_word(value) and not kinds.takes_text(annotation):
            value = float("nan")
        else:
            return _path_text(node, value, annotation)
    if isinstance(value, float) and not math.isfinite(value) and not kinds.takes_text(annotation):
        problems.append(Problem(f"found {found(node, secret)}; allowed: a finite number", node.origin, path))
        return _WRONG
    if kinds.takes(annotation, value):
        return value
    if value is not None and kinds.takes_text(annotation):
        return _path_text(node, node.text, annotation)
    if value is None and kinds.nested_model(annotation):
        return {}
    if isinstance(value, bool) or value is None:
        allowed = kinds.describe(annotation)
        problems.append(Problem(f"found {found(node, secret)}; allowed: {allowed}", node.origin, path))
        return _WRONG
    return value


def _is_number_word(text: str) -> bool:
    return text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")


def _path_text(node: Scalar, text: str, annotation: Any) -> str:
    """Text; a path made relative to the file that it was written in."""
    if kinds.takes_paths_only(annotation) and text:
        return str(node.directory / Path(text).expanduser())
    if text.startswith(("./", "../", "~/")) and "\n" not in text:
        return str(node.directory / Path(text).expanduser())
    return text


# --------------------------------------------------------------------------------------------- reports


def _report(
    error: ValidationError, model: type[BaseModel], section: Section, path: str, problems: list[Problem]
) -> None:
    """Add pydantic's findings in our own words: one a place, none where something was said already."""
    said = {problem.key for problem in problems}
    for details in error.errors(include_url=False, include_context=False):
        node, key, info, annotation = _locate(details["loc"], model, section, path)
        if key in said or (not details["loc"] and _anything_broken(section, path, said)):
            continue
        said.add(key)
        secret = info is not None and kinds.is_secret(info)
        unit = kinds.unit(info) if info is not None else ""
        problems.append(Problem(_words(details, node, annotation, unit, secret, section, model), node.origin, key))


def _locate(
    loc: tuple[int | str, ...], model: type[BaseModel], section: Section, path: str
) -> tuple[Node, str, Any, Any]:
    """The deepest node that an error's location names; its key path, field and annotation."""
    node: Node = section
    info: Any = None
    annotation: Any = model
    for part in loc:
        name = str(part)
        nested = kinds.nested_model(annotation)
        if nested is not None:
            fields = {field.alias or key: field for key, field in nested.model_fields.items()}
            if name not in fields:
                break
            info = fields[name]
            annotation = kinds.field_annotation(info)
        elif isinstance(node, Items) and isinstance(part, int):
            annotation = kinds.element(annotation)
        elif isinstance(node, Section) and name in node.entries:
            annotation = kinds.mapping_value(annotation)
        else:
            break
        path = join(path, name)
        if isinstance(node, Section) and name in node.entries:
            node = node.entries[name].node
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            break  # a missing key: the place is the mapping that lacks it
    return node, path, info, annotation


def _anything_broken(section: Section, path: str, said: set[str]) -> bool:
    return any(key.startswith(path) for key in said)


def _words(
    details: ErrorDetails,
    node: Node,
    annotation: Any,
    unit: str,
    secret: bool,
    section: Section,
    model: type[BaseModel],
) -> str:
    kind = details["type"]
    if kind == "missing":
        return f"this key is missing; it takes {kinds.describe(annotation, unit)}"
    if kind in ("value_error", "assertion_error"):
        reason = details["msg"].split(", ", 1)[-1]
        if isinstance(node, Scalar):
            hidden = secret or node.written is not None
            return f"found {found(node, secret)}: {'not a valid value' if hidden and node.text in reason else reason}"
        return redact(reason, section, model)
    allowed = kinds.describe(annotation, unit)
    near = nearest(node.text, kinds.choices(annotation)) if isinstance(node, Scalar) else ""
    pattern = _pattern(annotation)
    if kind == "string_pattern_mismatch" and pattern:
        allowed = f"text of the form {pattern}"
    return f"found {found(node, secret)}; allowed: {allowed}{near}"


def _pattern(annotation: Any) -> str:
    for _, constraints in kinds.members(annotation):
        for constraint in constraints:
            if pattern := getattr(constraint, "pattern", None):
                return str(pattern)
            for inner in getattr(constraint, "metadata", ()):
                if pattern := getattr(inner, "pattern", None):
                    return str(pattern)
    return ""


def redact(message: str, section: Section, model: type[BaseModel]) -> str:
    """A message without the values of secret fields and environment variables."""
    for key, entry in section.entries.items():
        node = entry.node
        info = model.model_fields.get(key)
        secret = info is not None and kinds.is_secret(info)
        if isinstance(node, Scalar) and node.text and (secret or _from_environment(node)):
            message = message.replace(node.text, "***")
    return message


def _from_environment(node: Scalar) -> bool:
    return node.written is not None and len(node.text) >= _REDACTED_FROM_CHARS


def found(node: Node, secret: bool = False) -> str:
    """What stands at a place, for an error: never a secret, never the value of an environment variable."""
    if isinstance(node, Items):
        return "a list"
    if isinstance(node, Section):
        return "a mapping"
    if secret:
        return "a value (not shown: it is a secret)"
    if node.written is None and node.value is None:
        return "nothing" if not node.text else node.text
    text = node.written if node.written is not None else node.text
    text = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
    quoted = node.written is not None or isinstance(node.value, str)
    return repr(text) if quoted else text


def found_text(node: Node) -> str:
    return node.text if isinstance(node, Scalar) and node.written is None and len(node.text) <= _SHOWN_CHARS else ""


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
