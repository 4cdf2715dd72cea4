"""Calls of a small model, in two steps: which tool, if any, and then its arguments. Runs on the model's worker."""

from __future__ import annotations

import json
import logging
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence

from antiphon.engines.host import abandoned
from antiphon.engines.llm.copy_bias import CopyBias
from antiphon.engines.llm.llama_answer import new_call_id
from antiphon.engines.llm.llama_constraints import Constraints, LlamaRequest
from antiphon.engines.llm.llama_native import NativeContext, NativeModel
from antiphon.engines.llm.llama_prompt import PromptBuilder
from antiphon.engines.llm.llama_sampler import Sampler, Sampling
from antiphon.engines.llm.llama_slots import Slot, common
from antiphon.engines.llm.llama_tool_choice import CONTEXTS_A_TOOL, CONTEXTS_OF_TALK, Piece, ToolChooser
from antiphon.engines.llm.nearly_json import load_json
from antiphon.engines.llm.spoken_numbers import in_digits
from antiphon.engines.llm.tool_args import Settled, by_unit, settle
from antiphon.engines.llm.tool_prompts import (
    arguments_messages,
    called_since,
    everything_said,
    last_said,
    without_examples,
    worded_arguments,
)
from antiphon.engines.protocols import Message, ToolCall, ToolSpec, Usage

_log = logging.getLogger(__name__)

MOST_TOOLS = 16
"""With more, the model is left to choose by itself."""
_CONTEXTS = CONTEXTS_A_TOOL * MOST_TOOLS + CONTEXTS_OF_TALK
SEQUENCES = _CONTEXTS + MOST_TOOLS + 1
"""Of the KV cache: the contexts of tools and talk; a prompt's beginning a tool, one to write in."""
CACHE_TOKENS = 1536
"""Room in the cache for them, beside the conversations."""
_LONGEST_CALL = 160
"""Tokens of a call's arguments."""
_ROUNDS = 2
"""A call, and one more that mends it."""

Evaluate = Callable[[Slot, Sequence[int], bool], None]
"""(slot, tokens, logits of the last one wanted)"""


class ToolHelp:
    """Decides and writes calls for :class:`~antiphon.engines.llm.llama_runtime.LlamaRuntime`.

    :param sequences: :data:`SEQUENCES` sequences of the cache.
    """

    def __init__(
        self,
        model: NativeModel,
        context: NativeContext,
        prompts: PromptBuilder,
        constraints: Constraints,
        sequences: Sequence[int],
        evaluate: Evaluate,
        evaluate_each: Callable[[Sequence[Piece]], None],
        batch: int,
    ) -> None:
        self._model, self._context, self._prompts, self._constraints = model, context, prompts, constraints
        self._evaluate, self._batch = evaluate, batch
        chooser, begun = sequences[:_CONTEXTS], sequences[_CONTEXTS:-1]
        self._chooser = ToolChooser(model, context, chooser, evaluate_each)
        self._begun: OrderedDict[str, Slot] = OrderedDict()
        """Beginnings of prompts for arguments, by tool."""
        self._free = [Slot(sequence) for sequence in begun]
        self._scratch = Slot(sequences[-1])
        self._closing: list[int] = []
        """Tokens that begin with a quotation mark; looked up with the first call."""
        self._firsts: dict[str, int | None] = {}

    def applies(self, request: LlamaRequest) -> bool:
        """Whether this request is helped: it has tools that can be told apart, and leaves the choice open."""
        return (
            request.tool_help
            and 0 < len(request.tools) <= MOST_TOOLS
            and request.json_schema is None
            and request.tool_choice in ("auto", "required")
            and bool(last_said(request.messages))
        )

    def prepare(self, tools: Sequence[ToolSpec]) -> Generator[None, None, None]:
        """Evaluate ahead what is always the same for these tools."""
        if not 0 < len(tools) <= MOST_TOOLS:
            return
        yield from self._chooser.prepare(tools)
        for tool in tools:
            if _name(tool) not in self._begun:
                self._beginning(tool)
                yield

    def ready(self, tools: Sequence[ToolSpec]) -> bool:
        """Whether :meth:`prepare` has nothing left to do."""
        return not 0 < len(tools) <= MOST_TOOLS or (
            self._chooser.ready(tools) and all(_name(tool) in self._begun for tool in tools)
        )

    def call(self, request: LlamaRequest) -> Generator[None, None, tuple[ToolCall | None, Usage]]:
        """The call that the request needs, or None, and what it took to write it."""
        said = last_said(request.messages)
        forced = request.tool_choice == "required"
        if not forced and called_since(request.messages) & {tool.name for tool in request.tools}:
            return None, Usage()  # the tool was called, and its result is to be told now
        threshold = -math.inf if forced else request.tool_threshold
        best = yield from self._chooser.best(request.tools, said, threshold)
        _log.debug("scored the tools", extra={"best": best.tool.name, "nats": round(best.nats, 2)})
        if best.nats < threshold:
            return None, Usage()
        settled, usage = self._arguments(best.tool, request)
        if settled.problem and not forced:
            _log.warning("a call was given up", extra={"tool": best.tool.name, "reason": "its arguments are not valid"})
            return None, usage
        return ToolCall(new_call_id(), best.tool.name, json.dumps(settled.arguments, ensure_ascii=False)), usage

    # -------------------------------------------------------------------------------------------- arguments

    def _arguments(self, tool: ToolSpec, request: LlamaRequest) -> tuple[Settled, Usage]:
        """Written under the tool's grammar, settled, and written once more if they are not valid."""
        messages = arguments_messages(request.messages)
        said, heard = in_digits(last_said(request.messages)), everything_said(request.messages)
        settled, usage = Settled({}), Usage()
        for _ in range(_ROUNDS):
            text, took = self._write(tool, messages, said, request.sampling)
            usage = Usage(
                usage.input_tokens + took.input_tokens,
                usage.output_tokens + took.output_tokens,
                usage.cached_tokens + took.cached_tokens,
            )
            loaded = load_json(text)
            arguments = by_unit(loaded if isinstance(loaded, dict) else {}, tool.parameters, said)
            settled = settle(arguments, tool.parameters, heard)
            if not settled.problem or abandoned():
                break
            messages = [
                *messages,
                Message("assistant", text),
                Message("user", f"That is not valid: {settled.problem}. Call the function again."),
            ]
        return settled, usage

    def _write(self, tool: ToolSpec, messages: Sequence[Message], said: str, sampling: Sampling) -> tuple[str, Usage]:
        """The JSON text of the arguments as the model writes them."""
        grammar, opening = self._constraints.arguments(tool)
        prompt, _ = self._prompts.answer(messages, [without_examples(tool)], opening, close_thinking=True)
        slot = self._begin(tool, prompt)
        cached = len(slot.tokens)
        while len(slot.tokens) < len(prompt):
            start = len(slot.tokens)
            end = min(start + self._batch, len(prompt))
            self._evaluate(slot, prompt[start:end], end == len(prompt))
        sampler = Sampler(self._model, self._context, sampling)
        if not self._closing:
            vocabulary = range(self._model.vocab_size)
            self._closing = [token for token in vocabulary if self._model.piece(token).startswith(b'"')]
        bias = CopyBias(said, self._first_token, self._closing, worded_arguments(tool))
        written, count = b"", 0
        try:
            sampler.set_grammar(grammar)
            while count < _LONGEST_CALL and not abandoned():
                token = sampler.sample(bias.of(written.decode("utf-8", "ignore")))
                if self._model.is_end(token):
                    break
                count += 1
                written += self._prompts.visible(token)
                if whole := _whole(written.decode("utf-8", "ignore")):
                    return whole, Usage(len(prompt), count, cached)
                self._evaluate(slot, [token], True)
        finally:
            sampler.close()
        return written.decode("utf-8", "ignore"), Usage(len(prompt), count, cached)

    def _begin(self, tool: ToolSpec, prompt: Sequence[int]) -> Slot:
        """The slot to write in, holding as much of the prompt as is evaluated already."""
        beginning = self._beginning(tool)
        size = min(common(beginning.tokens, prompt), len(prompt) - 1)
        slot = self._scratch
        self._context.remove(slot.sequence, 0)
        self._context.copy(beginning.sequence, slot.sequence, size)
        slot.tokens = list(prompt[:size])
        return slot

    def _beginning(self, tool: ToolSpec) -> Slot:
        """The part of the prompts for a tool's arguments that is always the same, evaluated."""
        key = _name(tool)
        if (known := self._begun.get(key)) is not None:
            self._begun.move_to_end(key)
            return known
        if not self._free:
            _, oldest = self._begun.popitem(last=False)
            self._context.remove(oldest.sequence, 0)
            oldest.tokens = []
            self._free.append(oldest)
        slot = self._free.pop()
        try:
            tokens = self._prompts.sure_prefix(arguments_messages(()), [without_examples(tool)])
            if (
                donor := max(self._begun.values(), key=lambda one: common(one.tokens, tokens), default=None)
            ) is not None:
                size = common(donor.tokens, tokens)
                self._context.copy(donor.sequence, slot.sequence, size)
                slot.tokens = list(tokens[:size])
            while len(slot.tokens) < len(tokens):
                start = len(slot.tokens)
                self._evaluate(slot, tokens[start : start + self._batch], False)
        except BaseException:
            self._context.remove(slot.sequence, 0)
            slot.tokens = []
            self._free.append(slot)
            raise
        self._begun[key] = slot
        return slot

    def _first_token(self, text: str) -> int | None:
        """The token that a text goes on with."""
        part = re.match(r"\s*\S+", text)
        key = part.group() if part else text
        if key not in self._firsts:
            if len(self._firsts) > 4096:
                self._firsts.clear()
            self._firsts[key] = next(iter(self._model.tokenize(key)), None)
        return self._firsts[key]


def _whole(text: str) -> str:
    """The JSON object that a text begins with, if it is whole."""
    start = text.find("{")
    if start < 0:
        return ""
    try:
        _, end = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return ""
    return text[start:end]


def _name(tool: ToolSpec) -> str:
    return json.dumps([tool.name, tool.description, tool.parameters], default=dict, sort_keys=True)
