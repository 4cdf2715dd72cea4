"""Deadlines of REST calls, with streams that heed them and streams that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from antiphon.engines.errors import EngineTimeout
from antiphon.engines.testing import run_virtual
from antiphon.server.rest.pace import paced


class Source:
    """Gives "a" after 1 s and "b" 3 s later."""

    def __init__(self) -> None:
        self.closed = False

    async def items(self) -> AsyncIterator[str]:
        try:
            await asyncio.sleep(1.0)
            yield "a"
            await asyncio.sleep(3.0)
            yield "b"
        finally:
            self.closed = True


async def taken(source: AsyncIterator[str], *, first_s: float, gap_s: float, reader_s: float = 0.0) -> list[str]:
    found: list[str] = []
    try:
        async for item in paced("llm", source, first_s=first_s, gap_s=gap_s):
            found.append(item)
            await asyncio.sleep(reader_s)
    except EngineTimeout as error:
        found.append(error.message)
    return found


@pytest.mark.parametrize(
    ("first_s", "gap_s", "expected"),
    [
        (2.0, 4.0, ["a", "b"]),
        (0.5, 4.0, ["no answer within 0.5 s"]),
        (2.0, 2.5, ["a", "no answer within 2.5 s"]),
    ],
)
def test_the_first_item_and_the_gaps_have_their_limits_and_the_stream_is_closed(
    first_s: float, gap_s: float, expected: list[str]
) -> None:
    async def main() -> None:
        source = Source()
        assert await taken(source.items(), first_s=first_s, gap_s=gap_s, reader_s=60.0) == expected
        assert source.closed

    run_virtual(main())


def test_a_reader_who_leaves_closes_the_stream() -> None:
    async def main() -> None:
        source = Source()
        items = paced("tts", source.items(), first_s=2.0, gap_s=4.0)
        assert await anext(items) == "a"
        await items.aclose()
        assert source.closed

    run_virtual(main())


def test_one_that_does_not_end_when_it_is_stopped_is_left_behind() -> None:
    async def main() -> None:
        may_end = asyncio.Event()

        async def deaf() -> AsyncIterator[str]:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue
            yield "at last"

        stream = deaf()
        assert await taken(stream, first_s=2.0, gap_s=2.0) == ["no answer within 2 s"]
        may_end.set()
        await asyncio.sleep(0.1)
        await stream.aclose()  # type: ignore[attr-defined]  # a generator

    run_virtual(main())
