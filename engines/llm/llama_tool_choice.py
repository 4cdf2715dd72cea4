"""Which tool a request needs, if any: the one under which the request is most likely. Runs on the model's worker.

Each tool has two contexts (:mod:`antiphon.engines.llm.tool_prompts`), evaluated once and kept in sequences of their own
in the KV cache. A request costs its own tokens under every context, many contexts a batch, and nothing is generated.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from antiphon.engines.llm.llama_native import NativeContext, NativeModel
from antiphon.engines.llm.tool_prompts import CHAT, REPLY_CONTEXT, tool_contexts
from antiphon.engines.protocols import ToolSpec

CONTEXTS_A_TOOL = 2
_LONGEST_REQUEST_TOKENS = 60
"""Of a longer request its end counts."""

Piece = tuple[int, int, Sequence[int]]
"""(sequence, position of its first token, tokens)"""


@dataclass(slots=True)
class _Context:
    """An evaluated text."""

    sequence: int
    length: int
    after: np.ndarray[Any, np.dtype[np.float32]]
    """Log-probabilities of the token that follows it."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How well a tool fits a request."""

    tool: ToolSpec
    nats: float
    """How much likelier the request is as one for the tool than as talk, against what talk itself gets."""


class ToolChooser:
    """Scores tools.

    :param sequences: sequences of the cache that it may use; they limit how many tools it can tell apart.
    :param evaluate: evaluates pieces, with the logits of every token.
    """

    def __init__(
        self,
        model: NativeModel,
        context: NativeContext,
        sequences: Sequence[int],
        evaluate: Callable[[Sequence[Piece]], None],
    ) -> None:
        self._model, self._context, self._evaluate = model, context, evaluate
        self._free = list(sequences)
        self.most_tools = (len(self._free) - 1) // CONTEXTS_A_TOOL
        self._contexts: OrderedDict[str, _Context] = OrderedDict()
        self._talk: dict[str, list[float]] = {}
        """What talk gets, by tool: one number for each text of `CHAT`."""

    def ready(self, tools: Sequence[ToolSpec]) -> bool:
        """Whether nothing is left to :meth:`prepare`."""
        return all(len(self._talk.get(_key(tool), ())) == len(CHAT) for tool in tools) and all(
            text in self._contexts for text in _texts(tools)
        )

    def prepare(self, tools: Sequence[ToolSpec]) -> Generator[None, None, None]:
        """Evaluate what is always the same for these tools; a yield is a moment at which other work may be done."""
        texts = _texts(tools)
        for text in texts:
            if text in self._contexts:
                self._contexts.move_to_end(text)
            else:
                self._add(text, keep=texts)
                yield
        for done, said in enumerate(CHAT):
            fresh = [tool for tool in tools if len(self._talk.setdefault(_key(tool), [])) == done]
            if not fresh:
                continue
            for tool, nats in zip(fresh, (yield from self._raw(fresh, said)), strict=True):
                if len(known := self._talk[_key(tool)]) == done:  # unless another request was quicker
                    known.append(nats)

    def scores(self, tools: Sequence[ToolSpec], said: str) -> Generator[None, None, list[Scored]]:
        """The tools with their scores, the best first; at a tie, in the order given."""
        yield from self.prepare(tools)
        raw = yield from self._raw(tools, said)
        scored = [Scored(tool, nats - median(self._talk[_key(tool)])) for tool, nats in zip(tools, raw, strict=True)]
        return sorted(scored, key=lambda one: -one.nats)

    # ---------------------------------------------------------------------------------------------- inside

    def _raw(self, tools: Sequence[ToolSpec], said: str) -> Generator[None, None, list[float]]:
        """Nats by which each tool's contexts make the request likelier than the reply's context does."""
        texts = _texts(tools)
        tokens = self._model.tokenize(said.strip())[-_LONGEST_REQUEST_TOKENS:]
        if not tokens:
            return [0.0] * len(tools)
        likely = yield from self._likelihoods([self._contexts[text] for text in texts], tokens)
        reply, rest = likely[0], likely[1:]
        return [
            sum(rest[at : at + CONTEXTS_A_TOOL]) / CONTEXTS_A_TOOL - reply
            for at in range(0, len(rest), CONTEXTS_A_TOOL)
        ]

    def _likelihoods(self, contexts: Sequence[_Context], tokens: Sequence[int]) -> Generator[None, None, list[float]]:
        """The log-probability of the tokens after each context."""
        found = [float(context.after[tokens[0]]) for context in contexts]
        given, wanted = tokens[:-1], tokens[1:]
        if not given:
            return found
        at_once = max(1, self._context.shape.batch_tokens // len(given))
        width = min(len(given), self._context.shape.batch_tokens)
        for first in range(0, len(contexts), at_once):
            group = range(first, min(first + at_once, len(contexts)))
            try:
                for start in range(0, len(given), width):
                    part = given[start : start + width]
                    self._evaluate([(contexts[at].sequence, contexts[at].length + start, part) for at in group])
                    for place, at in enumerate(group):
                        for offset in range(len(part)):
                            row = self._context.log_probabilities(place * len(part) + offset)
                            found[at] += float(row[wanted[start + offset]])
            finally:
                for at in group:
                    self._context.remove(contexts[at].sequence, contexts[at].length)
            yield
        return found

    def _add(self, text: str, keep: Sequence[str]) -> None:
        while not self._free:
            old = next(known for known in self._contexts if known not in keep)
            gone = self._contexts.pop(old)
            self._context.remove(gone.sequence, 0)
            self._free.append(gone.sequence)
        sequence, tokens = self._free.pop(), self._model.tokenize(text)
        try:
            size = self._context.shape.batch_tokens
            for start in range(0, len(tokens), size):
                part = tokens[start : start + size]
                self._evaluate([(sequence, start, part)])
            after = self._context.log_probabilities(len(part) - 1)
        except BaseException:
            self._context.remove(sequence, 0)
            self._free.append(sequence)
            raise
        self._contexts[text] = _Context(sequence, len(tokens), after)


def _texts(tools: Sequence[ToolSpec]) -> list[str]:
    """The reply's context, and then those of each tool."""
    return [REPLY_CONTEXT, *(text for tool in tools for text in tool_contexts(tool))]


def _key(tool: ToolSpec) -> str:
    return json.dumps(tool_contexts(tool))
