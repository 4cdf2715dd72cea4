"""What a session must be able to say when the voice is what broke: made into audio while it still works."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np

from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.protocols import TTS
from antiphon.pipeline.patience import within
from antiphon.pipeline.speech_check import ChunkCheck

logger = logging.getLogger(__name__)

Lines = dict[str, tuple[AudioFrame, ...]]
"""Audio by its text, at the session's output rate; a line that could not be made is not there."""


async def spoken_lines(tts: TTS, lines: Collection[str], *, output_hz: int, deadline_s: float) -> Lines:
    """Each line as audio, one after the other. A voice that fails at it is warned of: sessions may go on without.

    :param deadline_s: for each line as a whole.
    """
    made: Lines = {}
    for line in sorted(set(lines) - {""}):
        try:
            frame = await within(deadline_s, _spoken(tts, line, output_hz))
        except Exception as error:
            logger.warning("a line of the session's own could not be prepared", extra={"code": type(error).__name__})
            continue
        if frame is not None:
            made[line] = (frame,)
    return made


async def _spoken(tts: TTS, line: str, output_hz: int) -> AudioFrame | None:
    check = ChunkCheck(line)
    frames = [check(chunk).frame async for chunk in tts.synthesize(line)]
    if not frames:
        return None
    joined = np.concatenate([frame.samples for frame in frames])
    return AudioFrame(resample(joined, frames[0].rate_hz, output_hz), output_hz)
