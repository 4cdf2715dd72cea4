"""Code of the user's that a configuration names: found, made, and bound to the session's LLM."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from antiphon.engines.dotted import load_dotted
from antiphon.engines.protocols import LLM
from antiphon.pipeline.agents_sdk import OnSessionLLM, sdk_in_use
from antiphon.pipeline.config import Config
from antiphon.pipeline.config.model import WORKFLOW_KINDS
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.workflow import Workflow, as_workflow


def may_use_llm(workflow: Any) -> bool:
    """Whether a user's workflow needs the configured LLM: it asks for it, or may run agents of `openai-agents`."""
    return hasattr(workflow, "bind_llm") or sdk_in_use()


def workflow_uses_llm(config: Config) -> bool:
    """Whether the configured workflow needs the configured LLM, or may.

    :raises WorkflowError: its dotted path cannot be imported.
    """
    return config.workflow.kind in WORKFLOW_KINDS or may_use_llm(_workflow_target(config))


def make_user_workflow(config: Config, llm: LLM | None) -> Workflow:
    """The workflow that `workflow.kind` names by its dotted path, for one session.

    :raises WorkflowError: it cannot be imported or made, or is no workflow.
    """
    settings = config.workflow
    target = _workflow_target(config)
    if isinstance(target, type):
        try:
            target = target(**settings.options)
        except TypeError as error:
            raise WorkflowError(
                f"workflow.kind: '{settings.kind}' cannot be made with workflow.options "
                f"{sorted(settings.options)}: {error}"
            ) from error
    return bound(as_workflow(target), llm)


def bound(workflow: Workflow, llm: LLM | None) -> Workflow:
    """Give the LLM to a workflow that asks for it, and put it in reach of the agents that one runs."""
    bind = getattr(workflow, "bind_llm", None)
    if bind is not None:
        bind(llm)
    return workflow if llm is None else OnSessionLLM(workflow, llm)


def unwrapped(workflow: Workflow) -> Workflow:
    """The user's own object, where :func:`bound` has put one around it."""
    return workflow.workflow if isinstance(workflow, OnSessionLLM) else workflow


def _workflow_target(config: Config) -> Any:
    try:
        return load_user_object(config.workflow.kind)
    except ImportError as error:
        raise WorkflowError(
            f"workflow.kind: '{config.workflow.kind}' cannot be imported: {error}",
            hint="write 'module:Name'; modules in the current folder are found",
        ) from error


def load_user_object(path: str) -> Any:
    """Import a dotted path of the user's; the current folder counts, as for `python -m`.

    :raises ImportError: it does not exist.
    """
    folder = str(Path.cwd())
    module = path.partition(":")[0] if ":" in path else path.rpartition(".")[0]
    if folder not in sys.path and importlib.util.find_spec(module.partition(".")[0]) is None:
        sys.path.insert(0, folder)
    return load_dotted(path)
