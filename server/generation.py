"""One configuration with its engines: a server has one, and, after a reload, the one before until it is not used."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from antiphon.engines.dotted import load_dotted
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config
from antiphon.pipeline.own_lines import Lines, spoken_lines


class Generation:
    """Engines are entered and left by one and the same task, as some of them need it."""

    def __init__(self, config: Config, assembly: Assembly) -> None:
        self.config = config
        self.assembly = assembly
        self.lines: Lines = {}
        """The server's own lines as audio, by their text."""
        self._leave = asyncio.Event()
        self._loaded: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> bool:
        """Whether its engines are there."""
        return self._loaded is not None and self._loaded.done() and self._task is not None and not self._task.done()

    async def load(self) -> None:
        """Load the engines.

        :raises AntiphonError: one cannot be loaded.
        """
        self._loaded = asyncio.get_running_loop().create_future()
        # In a context of its own: what asked for it must not rule over what outlives it.
        self._task = asyncio.create_task(self._hold(self._loaded), name="engines", context=contextvars.Context())
        try:
            await asyncio.shield(self._loaded)
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait({self._task})
            raise

    async def leave(self) -> None:
        """Free the engines. Nothing happens where they are not there.

        :raises Exception: what one of them raises.
        """
        self._leave.set()
        if self._task is not None:
            task, self._task = self._task, None
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()

    async def _hold(self, loaded: asyncio.Future[None]) -> None:
        try:
            async with self.assembly:
                await self._prepare_lines()
                loaded.set_result(None)
                await self._leave.wait()
        except BaseException as error:
            if loaded.done():
                raise
            if isinstance(error, asyncio.CancelledError):
                loaded.cancel()
                raise
            loaded.set_exception(error)

    async def _prepare_lines(self) -> None:
        """What is said to those who wait: the voice has enough to do when it is needed."""
        server, config, engines = self.config.server, self.config, self.assembly.engines
        if server.when_full != "wait" or engines is None:
            return
        self.lines = await spoken_lines(
            engines.tts,
            (server.full_notice, server.wait_over_notice),
            output_hz=config.audio.output_hz,
            deadline_s=config.session.tts_deadline_s,
        )

    def adjust(self, arguments: dict[str, Any]) -> None:
        """Give a session those lines."""
        if self.lines:
            arguments["prepared"] = {**(arguments.get("prepared") or {}), **self.lines}


def import_engines(config: Config) -> None:
    """Import what the engines of a configuration are made with. Takes seconds: for a thread, before they are made.

    :raises AntiphonError: a package is missing.
    """
    for block in (config.vad, config.turn, *config.stt, *config.llm, *config.tts):
        block.spec.require_packages()
        load_dotted(block.spec.factory)
