"""JSON as small models write it: read if it can be, and written so that every reader takes it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BRACKETS = re.compile(r"[\[\]{}]")
_DEEPEST = 100
"""Levels of nesting; far more than any tool's arguments have."""


def load_json(text: str, *, repair: bool = True) -> Any:
    """A JSON value from text that is nearly JSON; None, or what `json_repair` makes of it, where it is none.

    Never raises: what is nested too deeply, or holds a number of thousands of digits, is None.
    """
    if _nesting(text) > _DEEPEST:
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        if not repair:
            return None
    from json_repair import loads

    try:
        return loads(text)
    except (ValueError, RecursionError):
        return None


def _nesting(text: str) -> int:
    """No less than how deeply a JSON text is nested: brackets in strings count, too."""
    depth = deepest = 0
    for match in _BRACKETS.finditer(text):
        depth += 1 if match.group() in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def as_json(arguments: Mapping[str, Any]) -> str | None:
    """Arguments as JSON that every reader takes; None: they hold a number that JSON has no word for."""
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return text.encode("utf-8", "replace").decode()
