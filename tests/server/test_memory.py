"""What an exchange of engines gives back: the objects themselves, and the C library's heaps."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import subprocess
import sys
import weakref
import xml.etree.ElementTree as tree
from typing import Any

import pytest
from operated import call, operating
from scripted_config import GivenOptions
from served import config

from antiphon.engines.testing import Reply, run_virtual
from antiphon.pipeline.config import Config, engine_block
from antiphon.server.service import Service

GLIBC = hasattr(ctypes.CDLL(None), "mallopt")
THREADS_AND_HEAPS = """
import ctypes, os, threading
{}
together = threading.Barrier(12)
def work():
    together.wait()
    kept = [bytearray(5000) for _ in range(100)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for one in threads: one.start()
for one in threads: one.join()
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
out = c.fopen(b"/dev/fd/%d" % os.dup(1), b"w")
c.malloc_info(0, ctypes.c_void_p(out))
c.fclose(ctypes.c_void_p(out))
"""


class Weights(bytearray):
    """Something that can be asked for whether it is still there."""

    __slots__ = ("__weakref__",)


class Owner:
    """An engine that holds some, and a part that points back at it, as engines' callbacks do."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.weights = Weights(1 << 20)
        self.back = [self]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def __aenter__(self) -> Any:
        await self._engine.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._engine.__aexit__(*error)


def test_engines_that_were_exchanged_are_collected_with_what_they_hold() -> None:
    alive: list[Any] = []

    def heavy(text: str) -> Config:
        made = config(llm=[Reply.of(text)])
        blocks = {}
        for stage in ("stt", "llm", "tts"):
            owner = Owner(getattr(made, stage)[0].options.engine)
            alive.append(weakref.ref(owner.weights))
            blocks[stage] = (engine_block(stage, "scripted_config:given", GivenOptions(engine=owner)),)
        return made.model_copy(update=blocks)

    async def main() -> None:
        made = iter(["One.", "Two.", "Three."])
        service = Service(heavy("Zero."), source=lambda: heavy(next(made)))
        async with operating(config(), service):  # which would keep the configuration that it is given
            for _ in range(3):
                caller = await call(service)
                await caller.ask()
                await service.reloading.reload()
                await caller.ask()
                await caller.hang_up()
                async with asyncio.timeout(600):
                    while service.reloading.leaving or service.reloading.tidying:  # noqa: ASYNC110
                        await asyncio.sleep(1)
            assert [one() is not None for one in alive] == [False] * 9 + [True] * 3, "without a further collection"

    gc.disable()
    try:
        run_virtual(main())
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.skipif(not GLIBC, reason="another C library than glibc")
@pytest.mark.parametrize("own", [False, True])
def test_threads_share_a_few_heaps_unless_the_operator_says_otherwise(own: bool) -> None:
    few = "from antiphon.server.memory import keep_few_arenas; keep_few_arenas()"
    environ = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run(
        [sys.executable, "-c", THREADS_AND_HEAPS.format(few)],
        env={**environ, **({"MALLOC_ARENA_MAX": "1"} if own else {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    heaps = tree.fromstring(done.stdout).findall("heap")
    most = max(4, 2 * len(os.sched_getaffinity(0)))
    assert len(heaps) == 1 if own else 2 <= len(heaps) <= most
