"""A loaded GGUF at work: slots of KV cache, prefix reuse, generation. Plain and synchronous, for the engine host."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

from antiphon.engines.errors import AntiphonError, EngineFailed, EngineLoadFailed, EngineRequestInvalid
from antiphon.engines.host import abandoned
from antiphon.engines.llm.llama_answer import AnswerParser
from antiphon.engines.llm.llama_constraints import Constraints, LlamaRequest, no_grammar
from antiphon.engines.llm.llama_native import MEMORY_HINT, ContextShape, NativeContext, NativeModel
from antiphon.engines.llm.llama_prompt import PromptBuilder
from antiphon.engines.llm.llama_sampler import Sampler
from antiphon.engines.llm.llama_slots import Slot, SlotTable, common
from antiphon.engines.llm.llama_threads import ThreadGovernor
from antiphon.engines.llm.llama_tool_choice import Piece
from antiphon.engines.llm.llama_tool_help import CACHE_TOKENS, MOST_TOOLS, SEQUENCES, ToolHelp
from antiphon.engines.llm.llama_watchdog import ABORTED
from antiphon.engines.protocols import Finish, FinishReason, LLMEvent, Message, ToolSpec, Usage

_log = logging.getLogger(__name__)

_JSON_TAGS = ("<tool_call>", "<tool_calls>", "<toolcall>", "<tools>", "<function_call>", "<|tool_call|>")
"""Tags after which `{"name": ..., "arguments": ...}` is due, so that a grammar can take over."""
_ROOM_TOKENS = 2000
"""What a conversation takes of the cache while it is answered: the history that a session keeps, and an answer."""
_SMALL_PARAMETERS = 3_000_000_000
"""Models below this choose tools badly by themselves."""
_PREFILL_BATCHES = 2
"""Batches a step of :meth:`LlamaRuntime.prefill`: between steps, more urgent requests go first."""


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """What makes two runtimes the same."""

    path: str
    context_tokens: int
    cache_tokens: int
    slots: int
    threads: int
    """While others are at work."""
    most_threads: int
    """While nobody else is."""
    batch_tokens: int
    gpu_layers: int
    flash_attention: bool | None
    chat_template: str
    thinking: bool
    guided: bool | None = False
    """Choose tools for the model and write their arguments apart (None: if it is a small one)."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """One KV-cache slot."""

    session_key: str | None
    tokens: int
    """Tokens that the next request of the session can reuse."""
    cached: int
    """Positions that llama.cpp holds; always the same number."""


def load(config: LlamaConfig, alone: Callable[[], bool] | None = None) -> LlamaRuntime:
    """Load and warm a runtime.

    :param alone: whether no other engine is at work; None: not known.
    :raises EngineLoadFailed: the model cannot be loaded.
    """
    try:
        return LlamaRuntime(config, alone)
    except AntiphonError:
        raise
    except MemoryError as error:
        message = f"not enough memory to load '{config.path}'"
        raise EngineLoadFailed(message, stage="llm", engine="llama_cpp", hint=MEMORY_HINT) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineLoadFailed(
            f"llama.cpp cannot be used: {error}",
            stage="llm",
            engine="llama_cpp",
            hint="run `antiphon doctor`; the build flags are in docs/engines-llm.md",
        ) from error


class LlamaRuntime:
    """One model, one context, K slots. Methods run one at a time, on the worker that made it.

    Answers of several conversations may be under way; a generator is resumed where no logits are awaited.
    """

    items_a_turn = 24
    """Tokens: more than a first clause has."""

    def __init__(self, config: LlamaConfig, alone: Callable[[], bool] | None = None) -> None:
        self._governor = ThreadGovernor(config.threads, max(config.threads, config.most_threads), alone)
        self._threads = config.threads
        self._model = NativeModel(config.path, gpu_layers=config.gpu_layers)
        self._context: NativeContext | None = None
        try:
            self._limit = self._context_limit(config)
            cache = max(config.cache_tokens, self._limit)
            small = self._model.parameters < _SMALL_PARAMETERS
            guided = small if config.guided is None else config.guided
            shape = ContextShape(
                cache + guided * CACHE_TOKENS,
                config.slots + guided * SEQUENCES,
                min(config.batch_tokens, cache),
                config.threads,
                config.flash_attention,
            )
            self._context = NativeContext(self._model, shape)
            if not self._context.can_abort:
                self._governor = ThreadGovernor(config.threads, config.threads)
            self._prompts = PromptBuilder(self._model, config.chat_template, config.thinking)
            self._warm()
        except BaseException:
            self.close()
            raise
        self._batch = shape.batch_tokens
        # Each must find room for a whole conversation; what is being written cannot be moved out.
        self.streams_at_once = max(1, min(config.slots, cache // _ROOM_TOKENS))
        self._table = SlotTable(self._context, config.slots)
        self._constraints = Constraints(self._model, tagged=self._prompts.tagged_calls)
        self._help: ToolHelp | None = None
        if guided:
            self._help = ToolHelp(
                self._model,
                self._context,
                self._prompts,
                self._constraints,
                range(config.slots, config.slots + SEQUENCES),
                lambda slot, tokens, logits: self._evaluate(slot, tokens, logits=logits),
                self._evaluate_each,
                self._batch,
            )

    def close(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None
        self._model.close()

    def inspect(self) -> list[SlotState]:
        """What each slot holds, by our own books and by llama.cpp's."""
        return [SlotState(slot.key, len(slot.tokens), self._native.length(slot.sequence)) for slot in self._table.slots]

    # ------------------------------------------------------------------------------------- work

    def generate(self, request: LlamaRequest) -> Iterator[LLMEvent | None]:
        """The events of one answer. None between them is a tick: a moment at which the work can be abandoned.

        :raises EngineRequestInvalid: the prompt is too long, the schema or the tool choice cannot be used.
        :raises EngineFailed: llama.cpp failed; the slot is emptied.
        """
        if self._help is not None and self._help.applies(request):
            call, usage = yield from self._help.call(request)
            if call is not None:
                yield call
                yield usage
                yield Finish("tool_calls")
                return
            request = _talk(request)
        elif self._help is not None and request.tool_choice == "none" and len(request.tools) <= MOST_TOOLS:
            request = _talk(request)
        grammar, opening = self._constraints.of(request)
        prompt, thinking = self._prompts.answer(
            request.messages, request.tools, opening, close_thinking=grammar is not None
        )
        self._check_length(len(prompt))
        slot = self._table.prepare(request.session_key, prompt, len(prompt) - 1)
        slot.busy = True
        try:
            yield from self._answer(request, slot, prompt, opening, grammar, thinking)
        finally:
            slot.busy = False

    def _answer(
        self,
        request: LlamaRequest,
        slot: Slot,
        prompt: Sequence[int],
        opening: str,
        grammar: str | None,
        thinking: str,
    ) -> Iterator[LLMEvent | None]:
        slot.answers += 1
        cached = len(slot.tokens)
        while len(slot.tokens) < len(prompt):
            start = len(slot.tokens)
            end = start + self._governor.step(self._batch)
            last = end >= len(prompt)
            self._evaluate(slot, prompt[start:end], logits=last)
            if not last:
                # Others may be served at a yield, and there is one place for logits: no yield before the sampling.
                yield None
        parser = AnswerParser(
            None if request.json_schema is not None else [tool.name for tool in request.tools],
            request.stop,
            thinking,
            call_allowed=request.tool_choice != "none",
            plain=not request.tool_help,
        )
        parser.feed(opening.encode())
        count, reason = yield from self._write(request, slot, parser, grammar)
        yield Usage(len(prompt), count, cached)
        yield Finish("tool_calls" if parser.called else reason)

    def prefill(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], session_key: str, answers: int | None
    ) -> tuple[bool, int | None]:
        """One step of evaluating a prompt prefix: (nothing is left to do, value for `answers` at the next step).

        :param answers: from the step before; if the session has begun an answer since, its slot is left alone.
        """
        if self._help is not None and tools:
            if not self._help.ready(tools):
                for _ in zip(range(_PREFILL_BATCHES), self._help.prepare(tools), strict=False):
                    if abandoned():
                        break
                return False, answers
            tools = () if len(tools) <= MOST_TOOLS else tools
        prefix = self._prompts.sure_prefix(messages, tools)
        slot = self._table.find(session_key)
        if slot is not None and (slot.busy or (answers is not None and slot.answers != answers)):
            return True, slot.answers
        if not self._table.free:
            return True, 0
        held = common(slot.tokens, prefix) if slot else 0
        if not prefix or len(prefix) >= self._limit or held == len(prefix):
            return True, slot.answers if slot else 0
        slot = self._table.prepare(session_key, prefix, len(prefix))
        for _ in range(_PREFILL_BATCHES):
            start = len(slot.tokens)
            if start < len(prefix) and not abandoned():
                self._evaluate(slot, prefix[start : start + self._batch], logits=False)
        return len(slot.tokens) >= len(prefix), slot.answers

    # ----------------------------------------------------------------------------------- inside

    @property
    def _native(self) -> NativeContext:
        if self._context is None:
            raise EngineFailed("the model was closed", stage="llm", engine="llama_cpp", retryable=False)
        return self._context

    def _write(
        self, request: LlamaRequest, slot: Slot, parser: AnswerParser, grammar: str | None
    ) -> Generator[LLMEvent | None, None, tuple[int, FinishReason]]:
        """Generate until the model, a stop string or a limit ends it. Returns how many tokens, and why it ended."""
        sampler = Sampler(self._model, self._native, request.sampling)
        forced = request.tool_choice not in ("auto", "none")
        try:
            if grammar is not None and not sampler.set_grammar(grammar):
                raise no_grammar("llama.cpp cannot read the grammar made of the JSON schema")
            count = 0
            reason: FinishReason = "length"
            while count < request.max_tokens:
                token = sampler.sample()
                if self._model.is_end(token):
                    reason = "stop"
                    break
                count += 1
                events = parser.feed(self._prompts.visible(token))
                yield from events or (None,)
                if parser.done or (forced and parser.called):
                    reason = "stop"
                    break
                if len(slot.tokens) >= self._limit or count == request.max_tokens:
                    break
                if grammar is None and request.tool_help:
                    self._guide(sampler, parser, request.tools)
                self._evaluate(slot, [token], logits=True)
            yield from parser.finish(truncated=reason == "length")
            return count, reason
        finally:
            sampler.close()

    def _guide(self, sampler: Sampler, parser: AnswerParser, tools: Sequence[ToolSpec]) -> None:
        """Put the grammar of a call in force while the model is inside a tagged call."""
        marked = parser.marked
        if marked is None:
            sampler.drop_grammar()
        elif not sampler.constrained and marked[0] in _JSON_TAGS:
            # False is no error: what was written already may not fit, and the parser repairs what it can.
            sampler.set_grammar(self._constraints.call(tools), marked[1])

    def _check_length(self, tokens: int) -> None:
        if tokens >= self._limit:
            raise EngineRequestInvalid(
                f"the prompt has {tokens} tokens, and the context holds {self._limit}, the answer included",
                stage="llm",
                engine="llama_cpp",
                hint="raise llm.context_tokens (more memory), or trim the history or the instructions",
                about="length",
            )

    def _context_limit(self, config: LlamaConfig) -> int:
        trained = self._model.trained_context
        if 0 < trained < config.context_tokens:
            _log.warning(
                "context_tokens is more than the model was trained for; its own limit is used",
                extra={"context_tokens": config.context_tokens, "limit": trained},
            )
            return trained
        return config.context_tokens

    def _warm(self) -> None:
        """Run a whole batch and a single token, so that the first request pays for no set-up.

        Twice: the second time it takes what it will take, as a measure for the governor.
        """
        context = self._native
        tokens = [0] * context.shape.batch_tokens
        for part in (tokens, tokens[:1], tokens[:16], tokens[:1]):
            context.clear()
            began_s = time.perf_counter()
            if (status := context.decode(0, part, 0, logits=True)) != 0:
                raise EngineLoadFailed(
                    f"the model loads, but its first evaluation failed (status {status})",
                    stage="llm",
                    engine="llama_cpp",
                    hint="run `antiphon doctor`",
                )
            if part is not tokens:
                self._governor.took(self._threads, len(part), time.perf_counter() - began_s)
        context.clear()

    def _evaluate(self, slot: Slot, tokens: Sequence[int], *, logits: bool) -> None:
        """Add tokens to a slot; other sessions' slots make room, the longest unused first.

        :raises EngineFailed: llama.cpp failed; the slot is emptied.
        """
        threads, limit_s = self._governor.choose(len(tokens))
        status = self._decode(slot, tokens, logits, threads, limit_s)
        if status == ABORTED:
            status = self._decode(slot, tokens, logits, self._governor.few, None)
        while status == 1 and self._table.make_room(slot):
            status = self._decode(slot, tokens, logits, self._governor.few, None)
        if status == 1:
            self._table.clear(slot)
            raise EngineFailed(
                "the KV cache is full: too many long conversations are answered at once",
                stage="llm",
                engine="llama_cpp",
                hint="raise llm.cache_tokens (more memory), or serve fewer at once (llm.slots)",
            )
        if status != 0:
            self._table.clear(slot)
            raise EngineFailed(
                f"llama.cpp failed to evaluate {len(tokens)} tokens (status {status})", stage="llm", engine="llama_cpp"
            )
        slot.tokens.extend(tokens)

    def _evaluate_each(self, pieces: Sequence[Piece]) -> None:
        """Evaluate pieces of sequences that are no slots, with all logits.

        :raises EngineFailed: llama.cpp failed.
        """
        threads, limit_s = self._governor.choose(sum(len(tokens) for _, _, tokens in pieces))
        context = self._native
        if threads != self._threads:
            context.use_threads(threads)
            self._threads = threads
        began_s = time.perf_counter()
        status = context.decode_each(pieces, limit_s=limit_s)
        if status == ABORTED:
            count = sum(len(tokens) for _, _, tokens in pieces)
            self._governor.took(threads, count, time.perf_counter() - began_s, aborted=True)
            context.use_threads(self._governor.few)
            self._threads = self._governor.few
            status = context.decode_each(pieces)
        while status == 1 and self._table.make_room(Slot(-1)):
            status = context.decode_each(pieces)
        if status != 0:
            raise EngineFailed(
                f"llama.cpp failed to score the tools (status {status})", stage="llm", engine="llama_cpp"
            )

    def _decode(self, slot: Slot, tokens: Sequence[int], logits: bool, threads: int, limit_s: float | None) -> int:
        context = self._native
        if threads != self._threads:
            context.use_threads(threads)
            self._threads = threads
        began_s = time.perf_counter()
        status = context.decode(slot.sequence, tokens, len(slot.tokens), logits=logits, limit_s=limit_s)
        if status in (0, ABORTED):
            self._governor.took(threads, len(tokens), time.perf_counter() - began_s, aborted=status == ABORTED)
        return status


def _talk(request: LlamaRequest) -> LlamaRequest:
    """A request that is to be answered in words: those are better, and begin as before, without tools in the prompt."""
    return replace(request, tools=(), tool_choice="auto")
