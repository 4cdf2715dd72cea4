"""What an answer is held to: which grammar a request asks for, and the text that it is made to begin with."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.llm.llama_grammar import (
    NO_CALL,
    arguments_grammar,
    call_grammar,
    loose_arguments_grammar,
    loose_call_grammar,
    schema_grammar,
)
from antiphon.engines.llm.llama_native import NativeModel
from antiphon.engines.llm.llama_sampler import Sampler, Sampling
from antiphon.engines.protocols import Message, ToolSpec

_log = logging.getLogger(__name__)
_GRAMMARS_KEPT = 16


@dataclass(frozen=True, slots=True)
class LlamaRequest:
    """One answer asked for, every option settled."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    session_key: str
    sampling: Sampling
    max_tokens: int
    stop: tuple[str, ...] = ()
    tool_choice: str = "auto"
    json_schema: Mapping[str, Any] | None = None
    tool_help: bool = True
    """False: the model's own template and calls, as they come."""
    tool_threshold: float = 0.0
    """Nats by which a request must speak for a tool, where the choice is made for the model."""


class Constraints:
    """Makes grammars for requests, and remembers those of recent tools.

    :param tagged: the model writes its calls between `<tool_call>` tags.
    """

    def __init__(self, model: NativeModel, *, tagged: bool) -> None:
        self._model = model
        self._tagged = tagged
        self._kept: dict[str, str] = {}

    def of(self, request: LlamaRequest) -> tuple[str | None, str]:
        """The grammar that the whole answer must follow (None: none), and the text that it is made to begin with.

        :raises EngineRequestInvalid: the schema or the tool choice cannot be used.
        """
        if request.json_schema is not None:
            return schema_grammar(request.json_schema), ""
        choice = request.tool_choice
        if choice == "auto" or (choice == "none" and not request.tools):
            return None, ""
        if choice == "none":
            return NO_CALL, ""
        tools = [tool for tool in request.tools if choice in ("required", tool.name)]
        if not tools:
            names = ", ".join(tool.name for tool in request.tools) or "no tool at all"
            raise EngineRequestInvalid(
                f"tool_choice '{choice}' cannot be met: the request has {names}",
                stage="llm",
                engine="llama_cpp",
                hint='give "auto", "none", "required", or the name of one of the request\'s tools',
            )
        if len(tools) > 1:
            return self.call(tools), "<tool_call>\n" if self._tagged else ""
        # What is certain anyway is put into the prompt: a prompt token costs a fraction of a generated one.
        return self.arguments(tools[0])

    def call(self, tools: Sequence[ToolSpec]) -> str:
        """The grammar of a call of one of the tools."""
        return self._grammar("call", tools, lambda: call_grammar(tools), lambda: loose_call_grammar(tools))

    def arguments(self, tool: ToolSpec) -> tuple[str, str]:
        """The grammar of a tool's arguments, and the text that such an answer is made to begin with."""
        opening = "<tool_call>\n" if self._tagged else ""
        return self._arguments(tool), f'{opening}{{"name": {json.dumps(tool.name)}, "arguments":'

    def _arguments(self, tool: ToolSpec) -> str:
        return self._grammar("arguments", (tool,), lambda: arguments_grammar(tool), loose_arguments_grammar)

    def _grammar(self, kind: str, tools: Sequence[ToolSpec], exact: Callable[[], str], loose: Callable[[], str]) -> str:
        """The exact grammar, or the loose one where a schema fits none; remembered."""
        key = json.dumps([kind, *((tool.name, tool.parameters) for tool in tools)], default=dict)
        grammar = self._kept.get(key)
        if grammar is None:
            try:
                grammar = exact()
                if not Sampler.readable(self._model, grammar):
                    raise no_grammar("llama.cpp cannot read it")
            except EngineRequestInvalid as error:
                _log.warning("a tool's schema fits no grammar", extra={"reason": error.message})
                grammar = loose()
            if len(self._kept) >= _GRAMMARS_KEPT:
                self._kept.clear()
            self._kept[key] = grammar
        return grammar


def no_grammar(reason: str) -> EngineRequestInvalid:
    """The error of a schema that cannot be enforced."""
    return EngineRequestInvalid(
        f"no grammar can be made of the JSON schema: {reason}",
        stage="llm",
        engine="llama_cpp",
        hint="simplify the schema",
        about="schema",
    )
