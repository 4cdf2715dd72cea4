"""One set of loaded models for several variants of a configuration that are measured side by side.

Two variants that ask for the same model get the same one, unless it remembers: an LLM keeps the prompts that it has
evaluated, so the second variant to hear a clip would find its question evaluated already. Such a model is loaded once
for each variant.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from antiphon.engines.host import EngineHost, Isolation, Runtime, Worker
from antiphon.engines.host_part import HostPart

FORGETFUL = frozenset({"turn", "faster_whisper", "tts"})
"""First items of the keys of models that keep nothing from one request to the next. Of any other nobody knows."""


class SharedHost:
    """Hands out engine hosts, one a variant, whose models live in one. An async context manager."""

    def __init__(self) -> None:
        self._host = EngineHost()
        self._parts = 0

    async def __aenter__(self) -> SharedHost:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._host.close()

    def part(self) -> EngineHost:
        """The host of one more variant."""
        self._parts += 1
        return _Part(self._host, self._parts)


class _Part(HostPart):
    """A variant's."""

    def __init__(self, whole: EngineHost, number: int) -> None:
        super().__init__(whole)
        self._number = number

    async def acquire(
        self, key: Hashable, factory: Callable[[], Runtime], *, name: str = "", isolation: Isolation = "thread"
    ) -> Worker:
        forgetful = isinstance(key, tuple) and bool(key) and key[0] in FORGETFUL
        shared_key = key if forgetful else (f"variant {self._number}", key)
        return await super().acquire(shared_key, factory, name=name, isolation=isolation)
