"""A session's own lines, which are no part of the conversation: an apology, a notice, a goodbye.

A session must be able to say them when the voice is what broke: they are made into audio while it still works.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Sequence

import numpy as np

from antiphon.engines.audio import AudioFrame, resample
from antiphon.engines.protocols import TTS, Usage
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.patience import within
from antiphon.pipeline.reply import TransportBroken, ends_session
from antiphon.pipeline.reporting import Reporting
from antiphon.pipeline.run import Run
from antiphon.pipeline.speech_check import ChunkCheck
from antiphon.pipeline.voicing import Voicing

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


class OwnLines:
    """One per session: says its lines, each within a run. What was not prepared is synthesised."""

    def __init__(self, makings: Makings, voicing: Voicing, reporting: Reporting) -> None:
        self._session = makings.session_id
        self._prepared = makings.prepared
        self._transport = makings.transport
        self._front = makings.front
        self._voicing = voicing
        self._reporting = reporting

    async def say(self, run: Run, line: str) -> None:
        """Say a line once the run has the floor; "": nothing.

        Where it has to be synthesised and that fails, there is nothing more to say.

        :raises TransportBroken: the transport failed.
        """
        await run.floor.wait()
        if run.muted or not self._voicing.speaks:
            return
        if line:
            self._front.line(run.turn, line)
        try:
            if frames := self._prepared.get(line, ()):
                await self._play(run, frames)
            elif line:
                # It may be said off the record: the record may be what failed.
                reply = self._voicing.reply(run, self._reporting.emitter(run, quiet=True), None, on_record=False)
                await reply.speak(once(line))
        except TransportBroken:
            raise
        except Exception as error:
            about = {"session": self._session, "turn": run.turn, "code": type(error).__name__}
            logger.warning("a line of the session's own could not be spoken", extra=about)
        if not run.turn:
            self._front.complete(0, Usage())

    async def _play(self, run: Run, frames: Sequence[AudioFrame]) -> None:
        with ends_session():
            for frame in frames:
                at_s = await self._transport.play(frame, run.turn)
                run.audible_s = at_s if run.audible_s is None else run.audible_s
            await self._transport.drain()


async def once(text: str) -> AsyncIterator[str]:
    """A text that is there already, as a workflow would give it."""
    yield text
