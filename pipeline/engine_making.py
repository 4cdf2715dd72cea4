"""From blocks of a configuration to engines and chains of them, not yet entered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from antiphon.engines.breaker import with_breaker
from antiphon.engines.fallback import FallbackEvent, FallbackLLM, FallbackSTT, FallbackTTS, Link
from antiphon.engines.host import EngineHost
from antiphon.engines.metering import metered
from antiphon.engines.models.store import ModelStore, default_catalog
from antiphon.engines.net import forbid_network
from antiphon.engines.registry import EngineContext
from antiphon.pipeline.config import Config, EngineBlock

_CHAINS: dict[str, Callable[..., Any]] = {"stt": FallbackSTT, "llm": FallbackLLM, "tts": FallbackTTS}


def make_store(config: Config) -> ModelStore:
    """The model store that a configuration names."""
    return ModelStore(config.models.store, default_catalog(config.models.catalogs))


@asynccontextmanager
async def engine_context(config: Config) -> AsyncIterator[EngineContext]:
    """What a configuration's engines share, for use without a session: host, models, and the network shut if offline.

    Leave the engines first.
    """
    async with AsyncExitStack() as stack:
        if config.session.offline:
            stack.enter_context(forbid_network())
        host = EngineHost()
        stack.push_async_callback(host.close)
        yield EngineContext(host, make_store(config), offline=config.session.offline)


def make_engine(
    blocks: Sequence[EngineBlock],
    context: EngineContext,
    *,
    deadline_s: float | None = None,
    on_event: Callable[[FallbackEvent], None] | None = None,
    recovery_s: float = 30.0,
) -> Any:
    """The engine of a stage, or the chain of them, not yet entered.

    :param deadline_s: how long whoever asks the stage waits. The engines of a chain whose blocks name no deadline share
        it, so that the last of them is still asked in time (for `stt` it counts besides the audio's length, which they
        share too). An engine that stands alone gets a circuit breaker. None: no limit, and no breaker.
    :param recovery_s: how long an engine that failed is left alone.
    """
    if len(blocks) == 1:
        engine = _metered(blocks[0], context)
        if deadline_s is None:
            return engine
        return with_breaker(
            blocks[0].stage,
            blocks[0].engine,
            engine,
            deadline_s=deadline_s,
            recovery_s=recovery_s,
            on_event=on_event,
        )
    share_s = None if deadline_s is None else 0.9 * deadline_s / len(blocks)
    links = [
        Link(f"{number}:{block.engine}", _metered(block, context), block.deadline_s or share_s)
        for number, block in enumerate(blocks, 1)
    ]
    return _CHAINS[blocks[0].stage](links, on_event=on_event, recovery_s=recovery_s)


def _metered(block: EngineBlock, context: EngineContext) -> Any:
    model = getattr(block.options, "model", None) or getattr(block.options, "voice", None)
    name = f"{block.engine}:{model}" if isinstance(model, str) else block.engine
    return metered(block.stage, create_engine(block, context), name)


def create_engine(block: EngineBlock, context: EngineContext) -> Any:
    """The engine of a block; the voices that `tts.voices` names are loaded with it."""
    options = block.options
    more = getattr(options, "more_voices", None)
    if block.voices and more is not None:
        options = options.model_copy(update={"more_voices": tuple(dict.fromkeys([*more, *block.voices.values()]))})
    return block.spec.create(options, context)
