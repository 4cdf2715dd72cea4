"""The engine `llm: {engine: llama_cpp}`: a GGUF model in this process, by llama.cpp."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Literal, cast

from pydantic import Field

from antiphon.engines.config import EngineOptions, option
from antiphon.engines.crash_hints import install_command
from antiphon.engines.errors import EngineLoadFailed, EngineRequestInvalid, EngineTimeout, EngineUnavailable
from antiphon.engines.host import Isolation, current_ticket
from antiphon.engines.lifecycle import Hosted
from antiphon.engines.llm.llama_constraints import LlamaRequest
from antiphon.engines.llm.llama_runtime import LlamaConfig, load
from antiphon.engines.llm.llama_sampler import Sampling
from antiphon.engines.protocols import (
    LLMCapabilities,
    LLMEvent,
    LLMOptions,
    Message,
    ModelFiles,
    Stage,
    ToolSpec,
)
from antiphon.engines.registry import EngineContext

_log = logging.getLogger(__name__)
_PACKAGES = ("llama_cpp", "jinja2", "json_repair", "jsonschema")
_SESSIONS_REMEMBERED = 1024
_AS_CONFIGURED = LLMOptions()
_Count = Annotated[int, Field(ge=1)]


class LlamaCppOptions(EngineOptions):
    """Options of the `llama_cpp` engine."""

    model: str = option(
        "qwen2.5-coder-0.5b-instruct",
        "A catalog name, a path to a GGUF file, or hub:owner/name@revision.",
        model=True,
        min_length=1,
    )
    context_tokens: int = option(
        4096, "The longest conversation, answer included; not above what the model was trained for.", unit="tokens",
        ge=64,
    )  # fmt: skip
    slots: int = option(
        4, "Conversations kept evaluated in the KV cache; the longest unused one gives way.", unit="conversations",
        ge=1, le=64,
    )  # fmt: skip
    cache_tokens: _Count | Literal["auto"] = option(
        "auto",
        "Size of the KV cache that all slots share; auto: one whole context. Give more on a server: about what "
        "the live conversations need together.",
        unit="tokens",
    )
    threads: _Count | Literal["auto"] = option(
        "auto",
        "CPU threads; auto: by the machine's plan, and more of them while no other engine is at work.",
        unit="threads",
    )
    batch_tokens: int = option(
        64, "Prompt tokens evaluated at a time: work stops only between two such batches.", unit="tokens",
        ge=1, le=2048,
    )  # fmt: skip
    temperature: float = option(0.0, "0 always takes the most probable token; higher is more varied.", ge=0, le=5)
    top_p: float = option(0.95, "Sample from the most probable tokens that sum to this; 1 is off.", gt=0, le=1)
    top_k: int = option(40, "Sample from this many most probable tokens; 0 is off.", unit="tokens", ge=0)
    min_p: float = option(
        0.05, "Leave out tokens below this share of the best one's probability; 0 is off.", ge=0, le=1
    )
    repeat_penalty: float = option(
        1.0, "Divides the score of tokens among the last 64 of the answer; 1 is off.", gt=0, le=2
    )
    seed: int | None = option(None, "Makes sampling above temperature 0 repeatable; null: a new one each time.", ge=0)
    max_tokens: int = option(200, "The longest answer, thinking included.", unit="tokens", ge=1)
    stop: tuple[str, ...] = option((), "Texts that end an answer; they are not part of it.")
    gpu_layers: int = option(0, "Layers to put on a GPU; -1 is all. Needs a llama-cpp-python built for it.", ge=-1)
    flash_attention: bool | Literal["auto"] = option("auto", "Fused attention; auto: as llama.cpp sees fit.")
    chat_template: str = option("", "Jinja text, or chatml, instead of the model's own chat template.")
    thinking: bool = option(
        False, "Let models with that switch think before they answer. Thinking is never spoken, but it takes its time."
    )
    tool_help: Literal["auto", "guided", "native", "none"] = option(
        "auto",
        "How tools are called. `guided`: they are chosen for the model, and their arguments written apart. `native`: "
        "it chooses itself; a grammar and repairs keep its calls valid. `none`: its calls as they come. `auto`: "
        "`guided` if it has fewer than 3 billion parameters, else `native`.",
    )
    tool_threshold: float = option(
        8.0,
        "When guided: how much likelier words must be as a request for a tool than as talk, signs in their wording "
        "included. Higher calls less.",
        unit="nats",
    )
    isolation: Isolation = option(
        "thread", "Where the model runs: process is safe from a crash of llama.cpp, at some cost a token."
    )


def create(options: LlamaCppOptions, context: EngineContext) -> LlamaCppLLM:
    """The factory named in the registry."""
    return LlamaCppLLM(options, context)


class LlamaCppLLM(Hosted):
    """An :class:`~antiphon.engines.protocols.LLM` over a GGUF file. Loaded once for all engines that share it."""

    stage: Stage = "llm"
    engine = "llama_cpp"

    def __init__(self, options: LlamaCppOptions, context: EngineContext) -> None:
        super().__init__(context.host)
        self._options = options
        self._models, self._plan = context.models, context.plan
        self._tools: OrderedDict[str, tuple[ToolSpec, ...]] = OrderedDict()

    @property
    def capabilities(self) -> LLMCapabilities:
        # The granularity is one prompt batch of the default size on one slow core; while answering it is one token.
        return LLMCapabilities(tools=True, json_schema=True, prefill=True, local=True, cancel_granularity_ms=500.0)

    async def _load(self) -> None:
        """Load and warm.

        :raises EngineUnavailable: a package is missing.
        :raises ModelError: the model is unknown or not in the store.
        :raises EngineLoadFailed: the file cannot be loaded.
        """
        if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
            raise EngineUnavailable(
                f"the llm engine 'llama_cpp' needs the Python package {', '.join(missing)}, which is not installed",
                stage="llm",
                engine="llama_cpp",
                hint=install_command("antiphon[local-core]", missing),
            )
        files = await asyncio.to_thread(self._models.resolve, self._options.model)
        config = self._config(_gguf(files))
        # A process of its own cannot ask the host who is at work; there, measuring decides.
        alone = self._host.at_most_one_at_work if self._options.isolation == "thread" else None
        self._worker = await self._host.acquire(
            ("llm", "llama_cpp", config),
            partial(load, config, alone),
            name="llama_cpp",
            isolation=self._options.isolation,
        )

    async def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = _AS_CONFIGURED,
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        """See :meth:`antiphon.engines.protocols.LLM.stream`.

        :raises EngineRequestInvalid: no messages, a prompt longer than the context, an option out of range, a schema
            or tool choice that cannot be met.
        :raises EngineTimeout: no event within the ticket's `timeout_s`.
        :raises EngineFailed: llama.cpp failed, or the answer was an unusable tool call.
        """
        worker = self._loaded()
        request = self._request(messages, tools, options, session_key)
        self._remember(session_key, request.tools)
        timeout_s = current_ticket.get().timeout_s
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        async with contextlib.aclosing(
            cast("AsyncGenerator[LLMEvent | None]", worker.stream("generate", request))
        ) as items:
            async for item in items:
                if item is not None:
                    deadline = None
                    yield item
                elif deadline is not None and loop.time() > deadline:
                    raise EngineTimeout(
                        f"'llama_cpp' gave no answer within {timeout_s:g} s", stage="llm", engine="llama_cpp"
                    )

    async def prefill(
        self, messages: Sequence[Message], session_key: str = "", tools: Sequence[ToolSpec] | None = None
    ) -> None:
        """Evaluate what is sure to begin the session's next prompt. See :meth:`antiphon.engines.protocols.LLM.prefill`.

        Done in small steps, each queued by the ticket's priority, so that more urgent work goes between them. It gives
        way for good to an answer that begins in the same session.

        :param tools: the tools of the prompt to come; None: those that the session's last answer had.
        """
        worker = self._loaded()
        if not messages:
            return
        chosen = self._tools.get(session_key, ()) if tools is None else tuple(tools)
        done, answers = False, None
        while not done:
            done, answers = await worker.call("prefill", tuple(messages), chosen, session_key, answers)

    # ---------------------------------------------------------------------------------- inside

    def _config(self, path: str) -> LlamaConfig:
        options = self._options
        context = options.context_tokens
        return LlamaConfig(
            path=path,
            context_tokens=context,
            cache_tokens=context if options.cache_tokens == "auto" else options.cache_tokens,
            slots=options.slots,
            threads=self._plan.llm if options.threads == "auto" else options.threads,
            most_threads=self._plan.llm_alone if options.threads == "auto" else options.threads,
            batch_tokens=options.batch_tokens,
            gpu_layers=options.gpu_layers,
            flash_attention=None if options.flash_attention == "auto" else options.flash_attention,
            chat_template=options.chat_template,
            thinking=options.thinking,
            guided=None if options.tool_help == "auto" else options.tool_help == "guided",
        )

    def _request(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], asked: LLMOptions, session_key: str
    ) -> LlamaRequest:
        ours = self._options
        if not messages:
            raise _invalid("there are no messages to answer")
        temperature = ours.temperature if asked.temperature is None else asked.temperature
        top_p = ours.top_p if asked.top_p is None else asked.top_p
        max_tokens = ours.max_tokens if asked.max_tokens is None else asked.max_tokens
        if not 0 <= temperature <= 5:
            raise _invalid(f"temperature {temperature} is not within 0 and 5")
        if not 0 < top_p <= 1:
            raise _invalid(f"top_p {top_p} is not above 0 and at most 1")
        if max_tokens < 1:
            raise _invalid(f"max_tokens {max_tokens} leaves no room for an answer")
        seed = ours.seed if asked.seed is None else asked.seed
        return LlamaRequest(
            messages=tuple(messages),
            tools=tuple(tools),
            session_key=session_key,
            sampling=Sampling(temperature, top_p, ours.top_k, ours.min_p, ours.repeat_penalty, seed),
            max_tokens=max_tokens,
            stop=(*ours.stop, *asked.stop),
            tool_choice=asked.tool_choice or "auto",
            json_schema=asked.json_schema,
            tool_help=ours.tool_help != "none",
            tool_threshold=ours.tool_threshold,
        )

    def _remember(self, session_key: str, tools: tuple[ToolSpec, ...]) -> None:
        """Keep a session's tools for its next prefill: they are part of the prompt's beginning."""
        self._tools[session_key] = tools
        self._tools.move_to_end(session_key)
        if len(self._tools) > _SESSIONS_REMEMBERED:
            self._tools.popitem(last=False)


def _gguf(files: ModelFiles) -> str:
    """The GGUF among a model's files; of a split one the first part, from which llama.cpp finds the others."""
    found = sorted(name for name in files.files if name.lower().endswith(".gguf"))
    if not found:
        raise EngineLoadFailed(
            f"the model '{files.name}' has no GGUF file (it has: {', '.join(sorted(files.files)) or 'nothing'})",
            stage="llm",
            engine="llama_cpp",
            hint="llm.model must name a model in llama.cpp's format; see `antiphon models list`",
        )
    return files.files[found[0]]


def _invalid(message: str) -> EngineRequestInvalid:
    return EngineRequestInvalid(message, stage="llm", engine="llama_cpp")
