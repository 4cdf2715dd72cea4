"""A server on a socket of this machine, on scripted engines, inside the test's own event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
from loud_vad import LoudVad
from network_clock import run_networked
from scripted_config import GivenOptions, Script

from antiphon.engines.testing import Heard, Reply
from antiphon.pipeline.config import Config, engine_block
from antiphon.pipeline.config.model import ServerConfig
from antiphon.server.service import Service
from antiphon.server.serving import listen, serve

NO_KEYS = Path(__file__).with_name("no-such-keys.json")
"""The keys of whoever runs the tests are not those of the tests."""


def config(server: dict[str, Any] | None = None, **fields: Any) -> Config:
    made = Script(**{"stt": [Heard("what time is it")], "llm": [Reply.of("It is noon.")], "repeat": True, **fields})
    vad = engine_block("vad", "scripted_config:given", GivenOptions(engine=LoudVad()))
    settings = ServerConfig(**{"port": 0, "drain_s": 5.0, "keys_file": NO_KEYS, **(server or {})})
    return made.config(server=settings).model_copy(update={"vad": vad})


@asynccontextmanager
async def serving(given: Config, service: Service | None = None) -> AsyncIterator[tuple[str, Service]]:
    """A server; its address and its service."""
    listener = listen(given.server)
    service = service or Service(given)
    ready = asyncio.Event()
    task = asyncio.create_task(serve(given, listener, service=service, on_ready=lambda _: ready.set()))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
    try:
        yield "{}:{}".format(*listener.getsockname()[:2]), service
    finally:
        if not service.draining:  # a second signal would end this process, too
            signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await task


def with_client(use: Callable[[openai.AsyncOpenAI], Awaitable[Any]], given: Config | None = None) -> Any:
    """What OpenAI's client gets from a server; on the virtual clock, where its engines are scripted."""

    async def main() -> Any:
        async with serving(given or config()) as (address, _):
            async with openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0) as client:
                return await use(client)

    blocks = () if given is None else (*given.stt, *given.llm, *given.tts)
    scripted = all(":" in block.engine for block in blocks)  # a class of the tests, by its place
    return run_networked(main()) if scripted else asyncio.run(main())
