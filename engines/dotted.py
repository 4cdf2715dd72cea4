"""Dotted paths: how configuration names a class or function of somebody's code."""

from __future__ import annotations

import importlib
from typing import Any


def load_dotted(path: str) -> Any:
    """Import "package.module:attribute" or "package.module:Class.attribute" (or "package.module.attribute").

    :raises ImportError: the module or the attribute does not exist; the message names the part that is missing.
    """
    module_name, _, attribute = split_dotted(path).partition(":")
    if not module_name or not attribute or module_name.startswith("."):
        raise ImportError(f"'{path}' is no dotted path: write package.module:Name")
    found: Any = importlib.import_module(module_name)
    try:
        for name in attribute.split("."):
            found = getattr(found, name)
    except AttributeError:
        raise ImportError(f"module '{module_name}' has no '{attribute}'") from None
    return found


def split_dotted(path: str) -> str:
    """The path with a colon between the module and what is in it."""
    if ":" in path:
        return path
    module_name, _, attribute = path.rpartition(".")
    return f"{module_name}:{attribute}"
