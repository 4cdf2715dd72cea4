"""Secrets: only from environment variables, by name. They are in no configuration, no log and no message."""

from __future__ import annotations

import os
from collections.abc import Mapping

from antiphon.pipeline.errors import WorkflowError


def secret(variable: str, place: str) -> str:
    """The value of an environment variable.

    :param place: the key of the configuration that names it, for the message.
    :raises WorkflowError: it is not set.
    """
    value = os.environ.get(variable, "")
    if not value:
        raise WorkflowError(
            f"{place}: the environment variable {variable} is not set", hint=f"export {variable}=... and start again"
        )
    return value


def secret_headers(variables: Mapping[str, str], place: str) -> dict[str, str]:
    """Header values by header name."""
    return {header: secret(variable, f"{place}.headers_env.{header}") for header, variable in variables.items()}
