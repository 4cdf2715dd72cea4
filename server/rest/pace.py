"""Deadlines for what the REST calls ask of engines: those of a turn. Nobody else would end a request that hangs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

from antiphon.engines.errors import EngineTimeout
from antiphon.engines.protocols import Stage
from antiphon.pipeline.patience import within

T = TypeVar("T")

_END = object()


async def in_time(stage: Stage, limit_s: float, work: Coroutine[Any, Any, T]) -> T:
    """
    :raises EngineTimeout: it was not done in time; so it is told even if `work` does not end.
    """
    try:
        return await within(limit_s, work)
    except TimeoutError:
        raise EngineTimeout(f"no answer within {limit_s:g} s", stage=stage) from None


async def paced(stage: Stage, items: AsyncIterator[T], *, first_s: float, gap_s: float) -> AsyncGenerator[T]:
    """The items of a stream, which is closed in the end. How long they are looked at does not count.

    :param first_s: for the first of them.
    :param gap_s: for each further one.
    :raises EngineTimeout: one did not come in time.
    """
    limit_s = first_s
    try:
        while (item := await in_time(stage, limit_s, _next(items))) is not _END:
            yield item
            limit_s = gap_s
    finally:
        close = getattr(items, "aclose", None)
        # One that does not end when it is cancelled cannot be closed either: it is left behind.
        if close is not None and not getattr(items, "ag_running", False):
            await close()


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)
