"""A valid configuration back to YAML: complete, secrets masked, and on request with where each value came from."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr

from antiphon.engines.protocols import STAGES
from antiphon.pipeline.config import kinds
from antiphon.pipeline.config.blocks import CHAIN_STAGES, EngineBlock
from antiphon.pipeline.config.interpolate import escape, variables
from antiphon.pipeline.config.model import Config
from antiphon.pipeline.config.tree import Items, Scalar, Section, resolve

MASK = "***"
_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
"""In mappings without a model (a workflow's own options) only the name can tell what is secret."""
_URL_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_COMMENT_COLUMN_MAX = 60
_ORDER = ("audio", *STAGES)
"""As audio passes; the other sections follow in the order of :class:`Config`."""


def dump_config(config: Config, *, mask_secrets: bool = True, origins: Section | None = None) -> str:
    """The whole configuration with all defaults, as YAML.

    Without masks the text loads to an equal configuration.

    :param origins: the tree of :func:`~antiphon.pipeline.config.trace_config`: every value gets a comment with the
        place that it came from.
    """
    data = config_data(config, mask_secrets=mask_secrets)
    pieces = [_yaml({name: value}) for name, value in data.items()]
    text = "\n".join(pieces)
    return text if origins is None else _with_origins(text, origins)


def config_data(config: Config, *, mask_secrets: bool = True) -> dict[str, Any]:
    """The same as plain data: mappings, lists, text, numbers, booleans, None."""
    names = (*_ORDER, *(name for name in Config.model_fields if name not in _ORDER))
    data: dict[str, Any] = {}
    for name in names:
        part = getattr(config, name)
        if isinstance(part, EngineBlock):
            data[name] = _block_data(part, mask_secrets)
        elif name in CHAIN_STAGES:
            blocks = [_block_data(block, mask_secrets) for block in part]
            data[name] = blocks[0] if len(blocks) == 1 else blocks
        else:
            data[name] = _model_data(part, mask_secrets)
    return data


def _block_data(block: EngineBlock, mask: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"engine": block.engine}
    if block.deadline_s is not None:
        data["deadline_s"] = block.deadline_s
    if block.voices:
        data["voices"] = dict(block.voices)
    return data | _model_data(block.options, mask)


def _model_data(model: BaseModel, mask: bool) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        secret = kinds.is_secret(info)
        data[info.alias or name] = _masked(value) if mask and secret else _plain(value, mask)
    for name, value in (model.model_extra or {}).items():
        data[name] = _plain({name: value}, mask)[name]
    return data


def _masked(value: Any) -> Any:
    """That a secret is set, and of a mapping which keys it has; not more."""
    if isinstance(value, Mapping):
        return {str(key): MASK for key in value}
    if isinstance(value, SecretStr | SecretBytes):
        value = value.get_secret_value()
    return MASK if value else value


def _plain(value: Any, mask: bool) -> Any:
    if isinstance(value, BaseModel):
        return _model_data(value, mask)
    if isinstance(value, SecretStr | SecretBytes):
        return _plain(value.get_secret_value(), mask)
    if isinstance(value, Mapping):
        return {
            str(key): MASK if mask and _SECRET_NAME.search(str(key)) and isinstance(item, str) else _plain(item, mask)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, mask) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str | PurePath):
        return _URL_LOGIN.sub(MASK, str(value)) if mask else str(value)
    return value


# ----------------------------------------------------------------------------------------------- yaml


class _Dumper(yaml.SafeDumper):
    """Writes text so that our reader takes it for that text again."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    lines = text.removesuffix("\n")
    if not text.replace("\n", "").isprintable() or lines != lines.strip():
        style = '"'
    elif "\n" in lines:
        style = "|"
    elif lines != text or not isinstance(resolve(text), str):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def _yaml(data: object) -> str:
    return yaml.dump(
        _escaped(data),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=float("inf"),
    )


def _escaped(data: object) -> object:
    """Every `${` in a value as `$${`; keys are not interpolated."""
    if isinstance(data, str):
        return escape(data)
    if isinstance(data, list):
        return [_escaped(item) for item in data]
    return {key: _escaped(value) for key, value in data.items()} if isinstance(data, dict) else data


def _with_origins(text: str, origins: Section) -> str:
    """Put each value's place behind it, as a comment."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    comments: dict[int, str] = {}
    _collect(root, origins, (), comments)
    lines = text.splitlines()
    widths = [len(lines[number]) for number in comments if len(lines[number]) < _COMMENT_COLUMN_MAX]
    column = max(widths, default=0) + 2
    for number, comment in comments.items():
        lines[number] = f"{lines[number]:<{column - 2}}  # {comment}"
    return "\n".join(lines) + "\n"


def _collect(node: yaml.Node | None, origins: Section, path: tuple[str, ...], comments: dict[int, str]) -> None:
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            _collect(value, origins, (*path, key.value), comments)
    elif isinstance(node, yaml.SequenceNode) and node.value:
        for index, value in enumerate(node.value):
            _collect(value, origins, (*path, str(index)), comments)
    elif node is not None:
        comments.setdefault(node.start_mark.line, place(origins, path))


def place(origins: Section, path: tuple[str, ...]) -> str:
    """Where a value was written: "my.yaml:12", "--set", "default"; with the variables that filled it, if any did."""
    node: Any = origins
    for name in path:
        if isinstance(node, Items) and not name.isdigit() and len(node.items) == 1:
            node = node.items[0]  # a chain of one block, which is shown as a block
        if isinstance(node, Section) and name in node.entries:
            node = node.entries[name].node
        elif isinstance(node, Items) and name.isdigit() and int(name) < len(node.items):
            node = node.items[int(name)]
        else:
            return "default"
    if isinstance(node, Scalar) and node.written is not None and (names := variables(node.written)):
        return f"{node.origin}, {', '.join(f'${name}' for name in names)}"  # not the default: it may be a secret
    return str(node.origin)
