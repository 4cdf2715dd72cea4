"""Places in a YAML text: the line of a key path, and keys that appear twice."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


def line_of(node: yaml.Node | None, path: Sequence[str | int]) -> int | None:
    """Line (from 1) of the deepest part of `path` that is there; None for an empty document."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in path:
        found = _child(node, part)
        if found is None:
            return line
        line, node = found
    return line


def duplicate_key(node: yaml.Node | None) -> tuple[str, int] | None:
    """The first key that appears twice in one mapping, and the line of the second; PyYAML would keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    return key.value, key.start_mark.line + 1
                seen.add(key.value)
            if (inner := duplicate_key(value)) is not None:
                return inner
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if (inner := duplicate_key(item)) is not None:
                return inner
    return None


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line + 1, value
    return None
