"""Instructions that a client gives for its own conversation, in place of the configured ones."""

from __future__ import annotations

from typing import Any

from antiphon.pipeline.build import Assembly
from antiphon.pipeline.workflow import ChatWorkflow

NOT_INSTRUCTED = "instructions can be set for the workflow kind 'chat' only"


def instruct(instructions: str, assembly: Assembly, arguments: dict[str, Any]) -> bool:
    """Have the language model follow them in the session that is being made.

    :param arguments: of the session; its workflow is changed.
    :returns: whether they count: a workflow other than `chat` has its own.
    """
    if assembly.config.workflow.kind != "chat":
        return False
    assert assembly.llm is not None, "the workflow kind 'chat' has a language model"
    arguments["workflow"] = ChatWorkflow(assembly.llm, instructions)
    return True
