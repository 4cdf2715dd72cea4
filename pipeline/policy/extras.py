"""Packages that only some checks need."""

from __future__ import annotations

import importlib
from typing import Any

from antiphon.pipeline.errors import PolicyError


def needs(module: str, package: str, extra: str = "policy") -> Any:
    """Import an optional package's module.

    :raises PolicyError: it is not installed; the hint has the command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise PolicyError(
            f"the package '{package}' is not installed", hint=f'pip install "antiphon[{extra}]"'
        ) from error
