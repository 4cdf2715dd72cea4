"""Which tool a request needs, if any: the one under which the request is most likely. Runs on the model's worker.

Each tool has two contexts (:mod:`antiphon.engines.llm.tool_prompts`), evaluated once and kept in sequences of their own
in the KV cache. A request costs its own tokens under the contexts of talk and the first context of each tool, many
contexts a batch, and then under the second one of the best tool. Nothing is generated.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.engines.llm.llama_native import NativeContext, NativeModel
from antiphon.engines.llm.request_signs import bonus
from antiphon.engines.llm.tool_prompts import TALK_CONTEXTS, tool_contexts
from antiphon.engines.protocols import ToolSpec

CONTEXTS_A_TOOL = 2
CONTEXTS_OF_TALK = len(TALK_CONTEXTS)
_HOPELESS_NATS = 4.5
"""Where the best tool is so far below the threshold after its first context, the second is not looked at."""
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
    """How much likelier the request is as one for the tool than as talk, the signs in its wording included."""


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
        self._contexts: OrderedDict[str, _Context] = OrderedDict()

    def ready(self, tools: Sequence[ToolSpec]) -> bool:
        """Whether nothing is left to :meth:`prepare`."""
        return all(text in self._contexts for text in _texts(tools))

    def prepare(self, tools: Sequence[ToolSpec]) -> Generator[None, None, None]:
        """Evaluate what is always the same for these tools; a yield is a moment at which other work may be done."""
        texts = _texts(tools)
        for text in texts:
            if text not in self._contexts:
                self._evaluated(text, texts)
                yield

    def best(self, tools: Sequence[ToolSpec], said: str, threshold: float) -> Generator[None, None, Scored]:
        """The tool that fits best; of equals, the first.

        :param threshold: what a score must reach for the tool to be called: what is far below is not looked into.
        """
        each, keep = [tool_contexts(tool) for tool in tools], _texts(tools)
        texts = [*TALK_CONTEXTS, *(first for first, _ in each)]
        tokens = self._model.tokenize(said.strip())[-_LONGEST_REQUEST_TOKENS:]
        if not tokens:
            return Scored(tools[0], -math.inf)
        likely = yield from self._likelihoods(texts, tokens, keep)
        talk, first = _mean_of_exponents(likely[:CONTEXTS_OF_TALK]), likely[CONTEXTS_OF_TALK:]
        signs = [bonus(tool, said) for tool in tools]
        at = max(range(len(tools)), key=lambda one: first[one] + signs[one])
        nats = first[at] - talk + signs[at]
        if nats >= threshold - _HOPELESS_NATS:
            (second,) = yield from self._likelihoods([each[at][1]], tokens, keep)
            nats += (second - first[at]) / CONTEXTS_A_TOOL
        return Scored(tools[at], nats)

    # ---------------------------------------------------------------------------------------------- inside

    def _likelihoods(
        self, texts: Sequence[str], tokens: Sequence[int], keep: Sequence[str]
    ) -> Generator[None, None, list[float]]:
        """The log-probability of the tokens after each text."""
        given, wanted = tokens[:-1], tokens[1:]
        at_once = max(1, self._context.shape.batch_tokens // max(1, len(given)))
        width = self._context.shape.batch_tokens
        found: list[float] = []
        for first in range(0, len(texts), at_once):
            # Not before: at a yield another request may have taken the place of a text.
            group = [self._evaluated(text, keep) for text in texts[first : first + at_once]]
            sums = [float(one.after[tokens[0]]) for one in group]
            try:
                for start in range(0, len(given), width):
                    part = given[start : start + width]
                    self._evaluate([(one.sequence, one.length + start, part) for one in group])
                    for place in range(len(group)):
                        for offset in range(len(part)):
                            index, token = place * len(part) + offset, wanted[start + offset]
                            sums[place] += self._context.log_probability(index, token)
            finally:
                for one in group:
                    self._context.remove(one.sequence, one.length)
            found += sums
            yield
        return found

    def _evaluated(self, text: str, keep: Sequence[str]) -> _Context:
        """The context of a text; `keep` are texts that must not make room for it."""
        if (known := self._contexts.get(text)) is not None:
            self._contexts.move_to_end(text)
            return known
        if not self._free:
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
        return self._contexts[text]


def _texts(tools: Sequence[ToolSpec]) -> list[str]:
    """The contexts of talk, and then those of each tool."""
    return [*TALK_CONTEXTS, *(text for tool in tools for text in tool_contexts(tool))]


def _mean_of_exponents(logs: Sequence[float]) -> float:
    """The logarithm of the mean of the numbers of which these are the logarithms."""
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))
