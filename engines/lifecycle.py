"""Entering and leaving, the same for every engine: once at a time, and nothing left behind when entering fails."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from antiphon.engines.errors import EngineFailed
from antiphon.engines.host import EngineHost, Worker
from antiphon.engines.protocols import Stage


class Loadable:
    """An engine that loads in `_load` and frees in `_free`.

    `_free` also follows a `_load` that failed or was cancelled: it must cope with what is half loaded.
    """

    stage: Stage
    engine: str
    """Its name in the registry."""
    _held = False

    @property
    def entered(self) -> bool:
        """Whether somebody has entered it, or is about to, or is about to have left."""
        return self._held

    async def __aenter__(self) -> Self:
        """Load and warm.

        :raises EngineFailed: it is entered already.
        :raises AntiphonError: see `_load`.
        """
        if self._held:
            raise EngineFailed(
                f"the {self.stage} engine '{self.engine}' is entered already",
                stage=self.stage,
                engine=self.engine,
                hint="several sessions can use one entered engine; or make another one: it shares the loaded model",
                retryable=False,
            )
        self._held = True
        try:
            await self._load()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        try:
            await self._free()
        finally:
            self._held = False

    async def _load(self) -> None: ...

    async def _free(self) -> None: ...

    def _require_entered(self) -> None:
        """:raises EngineFailed: it is not entered."""
        if not self._held:
            raise self._not_entered()

    def _not_entered(self) -> EngineFailed:
        return EngineFailed(
            f"the {self.stage} engine '{self.engine}' is not entered",
            stage=self.stage,
            engine=self.engine,
            hint="use it inside `async with engine:`",
            retryable=False,
        )


class Hosted(Loadable):
    """An engine whose model lives on a worker of the engine host. Its `_load` sets `_worker`."""

    def __init__(self, host: EngineHost) -> None:
        self._host = host
        self._worker: Worker | None = None

    async def _free(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await self._host.release(worker)

    def _loaded(self) -> Worker:
        """:raises EngineFailed: it is not entered."""
        if self._worker is None:
            raise self._not_entered()
        return self._worker
