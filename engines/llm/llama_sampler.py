"""Chooses the next token: llama.cpp's sampler chain, with a grammar in front of it when one is set."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.engines.errors import EngineFailed
from antiphon.engines.llm.llama_native import NativeContext, NativeModel

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_PENALTY_WINDOW = 64
"""Tokens of the answer that the repetition penalty looks back on."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. Temperature 0 always takes the most probable one."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int | None = None


class Sampler:
    """Samples for one answer. Close it after use."""

    def __init__(self, model: NativeModel, context: NativeContext, sampling: Sampling) -> None:
        self._model, self._context, self._lib = model, context, model.lib
        self._chain = self._make_chain(sampling)
        self._grammar: Any = None
        self._candidates = np.zeros(model.vocab_size, dtype=_CANDIDATE)

    def close(self) -> None:
        self.drop_grammar()
        if self._chain:
            self._lib.llama_sampler_free(self._chain)
            self._chain = None

    @staticmethod
    def readable(model: NativeModel, gbnf: str) -> bool:
        """Whether llama.cpp can read a grammar."""
        grammar = model.lib.llama_sampler_init_grammar(model.vocab, gbnf.encode(), b"root")
        if not grammar:
            return False
        model.lib.llama_sampler_free(grammar)
        return True

    @property
    def constrained(self) -> bool:
        return self._grammar is not None

    def set_grammar(self, gbnf: str, written: str = "") -> bool:
        """Allow only what the grammar allows from here on. False: llama.cpp cannot read it, or `written` breaks it.

        :param written: text that the model has written already and that the grammar covers.
        """
        self.drop_grammar()
        grammar = self._lib.llama_sampler_init_grammar(self._model.vocab, gbnf.encode(), b"root")
        if not grammar:
            return False
        self._grammar = grammar
        for token in self._model.tokenize(written):
            if not self._allows(token):
                self.drop_grammar()
                return False
            self._lib.llama_sampler_accept(grammar, token)
        return True

    def drop_grammar(self) -> None:
        if self._grammar:
            self._lib.llama_sampler_free(self._grammar)
            self._grammar = None

    def sample(self, bonus: Mapping[int, float] | None = None) -> int:
        """The next token, from the logits of the last evaluation.

        :param bonus: added to the logits of tokens; only under a grammar.
        :raises EngineFailed: the grammar allows no token of the vocabulary.
        """
        if not self._grammar:
            return int(self._lib.llama_sampler_sample(self._chain, self._context.handle, -1))
        # Most of the time the model's own choice fits; only else is the whole vocabulary matched against the grammar.
        token = self._choose(bonus, with_grammar=False)
        if not self._allows(token):
            token = self._choose(bonus, with_grammar=True)
            if not self._allows(token):
                raise EngineFailed(
                    "the grammar of the answer leaves the model no token to write", stage="llm", engine="llama_cpp"
                )
        # Accepting a token that the grammar forbids would end the process: both ways here have checked it.
        self._lib.llama_sampler_accept(self._grammar, token)
        self._lib.llama_sampler_accept(self._chain, token)
        return token

    def _choose(self, bonus: Mapping[int, float] | None, *, with_grammar: bool) -> int:
        logits = self._lib.llama_get_logits_ith(self._context.handle, -1)
        self._candidates["id"] = np.arange(len(self._candidates), dtype=np.int32)
        self._candidates["logit"] = np.ctypeslib.as_array(logits, shape=(len(self._candidates),))
        for token, more in (bonus or {}).items():
            self._candidates["logit"][token] += more
        array = self._array(self._candidates)
        if with_grammar:
            self._lib.llama_sampler_apply(self._grammar, ctypes.byref(array))
        self._lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        return int(array.data[array.selected].id)

    def _allows(self, token: int) -> bool:
        one = np.zeros(1, dtype=_CANDIDATE)
        one["id"], one["logit"] = token, 1.0
        self._lib.llama_sampler_apply(self._grammar, ctypes.byref(self._array(one)))
        return bool(np.isfinite(one["logit"][0]))

    def _array(self, candidates: np.ndarray[Any, Any]) -> Any:
        data = ctypes.cast(candidates.ctypes.data, self._lib.llama_token_data_p)
        return self._lib.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)

    def _make_chain(self, sampling: Sampling) -> Any:
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())

        def add(sampler: Any) -> None:
            lib.llama_sampler_chain_add(chain, sampler)

        if sampling.repeat_penalty != 1.0:
            size = self._model.vocab_size
            add(lib.llama_sampler_init_penalties(size, _PENALTY_WINDOW, sampling.repeat_penalty, 0.0, 0.0))
        if sampling.temperature <= 0:
            add(lib.llama_sampler_init_greedy())
            return chain
        if sampling.top_k > 0:
            add(lib.llama_sampler_init_top_k(sampling.top_k))
        add(lib.llama_sampler_init_top_p(sampling.top_p, 1))
        add(lib.llama_sampler_init_min_p(sampling.min_p, 1))
        add(lib.llama_sampler_init_temp(sampling.temperature))
        seed = 0xFFFFFFFF if sampling.seed is None else sampling.seed & 0x7FFFFFFF
        add(lib.llama_sampler_init_dist(seed))
        return chain
