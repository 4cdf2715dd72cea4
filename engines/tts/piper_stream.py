"""The stream of one text: slice after slice off the worker, the next always in the making."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from antiphon.engines.protocols import SpeechChunk
from antiphon.engines.tts.piper_chunks import SpeechAssembler
from antiphon.engines.tts.piper_runtime import Cursor, Decoded, Opened, Prosody
from antiphon.engines.worker import Worker


async def chunks(
    worker: Worker, assembler: SpeechAssembler, text: str, prosody: Prosody
) -> AsyncGenerator[SpeechChunk, None]:
    """The chunks of a text.

    Each slice is a call of its own, not an item of one long stream: so several texts take turns on the voice, a
    committed turn passes a speculation between two slices, and memory holds two slices however long the text is.

    :param text: as :func:`~antiphon.engines.tts.piper_text.clean` returned it.
    """
    cursor = Cursor()
    index = 0
    heard_from_s: float | None = None

    def runs_dry_s() -> float | None:
        return None if heard_from_s is None else heard_from_s + assembler.duration_s

    while True:
        opened: Opened | None = await worker.call("open", text, cursor, prosody, index, runs_dry_s())
        if opened is None:
            break
        assembler.begin(opened)
        decoded: Decoded = opened.first
        while True:
            index += 1
            if chunk := assembler.push(decoded):
                if heard_from_s is None:
                    heard_from_s = time.monotonic()
                yield chunk
            if decoded.stop >= opened.frames:
                break
            decoded = await worker.call("decode", opened.latent, decoded.stop, prosody, index, runs_dry_s())
        cursor = opened.cursor
    if chunk := assembler.finish():
        yield chunk


async def one_ahead(source: AsyncGenerator[SpeechChunk, None]) -> AsyncGenerator[SpeechChunk, None]:
    """Pass chunks on, the next one being made while the listener has the one before. Closes `source`."""
    coming = asyncio.ensure_future(anext(source, None))
    try:
        while (chunk := await coming) is not None:
            coming = asyncio.ensure_future(anext(source, None))
            yield chunk
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await source.aclose()
