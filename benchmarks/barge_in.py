"""How soon a reply falls silent when somebody speaks into it, and what noise does to it.

A clip is played into a long reply, in real time, with the configured VAD, turn detector, STT and TTS. Time zero is the
first speech sample of the clip, by ground truth; the end is the last audible sample of the reply. A clip without speech
must stop nothing: its reply has to go on to its end. The room has no echo here: see docs/echo.md for that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import numpy as np

from antiphon.benchmarks.clips import RATE_HZ, Clip
from antiphon.benchmarks.records import BargeInRecord
from antiphon.engines.audio import AudioFrame, Samples
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.events import Event, Interrupted, PlaybackPaused, PlaybackResumed, TranscriptEvent
from antiphon.pipeline.reply import AUDIBLE
from antiphon.pipeline.transports.recording import PlayedFrame, RecordingTransport
from antiphon.pipeline.workflow import as_workflow

LONG = (
    "The lighthouse stands at the end of a narrow path. Every evening its keeper climbs the stairs and lights the "
    "lamp. Ships see it from far away, and they turn before the rocks. In the morning he goes down again and makes tea."
)
INTO_S = 1.5
"""So far into the reply the clip begins."""
TOO_EARLY = "the reply ended before the clip began"
PATIENCE_S = 30.0
"""How long the reply may go on after the clip."""


async def barge_in(assembly: Assembly, clip: Clip) -> BargeInRecord:
    """Play one clip into a reply, in a session of its own.

    :raises ClipError: the clip cannot be read.
    """
    samples = clip.samples()
    listener = _Listener()
    transport = RecordingTransport(listener.frames(samples), paced=True)
    transport.capabilities = replace(transport.capabilities, greets=False)
    session = assembly.session(transport, workflow=as_workflow(_nothing), sinks=[listener.watch])
    running = asyncio.create_task(session.run())
    try:
        await asyncio.sleep(0.1)
        session.say(LONG)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(INTO_S + len(samples) / RATE_HZ + PATIENCE_S):
                over = asyncio.ensure_future(listener.reply_over.wait())
                await asyncio.wait({over, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()  # raises what ended the session
    finally:
        running.cancel()
        await asyncio.wait({running})
    if listener.clip_began_s is None:
        return BargeInRecord(clip=clip.name, speech=clip.has_speech, right=False, why=TOO_EARLY)
    return _judged(clip, listener.events, transport.played, listener.clip_began_s)


class _Listener:
    """Watches the reply, and speaks into it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reply_over = asyncio.Event()
        self.clip_began_s: float | None = None
        """On the stream clock."""
        self._due_s: float | None = None

    def watch(self, event: Event) -> None:
        self.events.append(event)
        if event.type == "audio_started":
            self._due_s = event.t_s + INTO_S
        elif isinstance(event, Interrupted) or (isinstance(event, TranscriptEvent) and event.turn == 0):
            self.reply_over.set()

    async def frames(self, clip: Samples) -> AsyncIterator[AudioFrame]:
        """Silence until the reply has played for a while, then the clip, then silence for ever; paced."""
        loop = asyncio.get_running_loop()
        origin_s, position, size = loop.time(), 0, RATE_HZ // 50
        left: Samples = np.empty(0, dtype=np.float32)
        while True:
            if self.clip_began_s is None and self._due_s is not None and loop.time() >= self._due_s:
                self.clip_began_s = position / RATE_HZ
                left = clip
            block = np.zeros(size, dtype=np.float32)
            block[: len(left[:size])] = left[:size]
            left = left[size:]
            position += size
            await asyncio.sleep(max(0.0, origin_s + position / RATE_HZ - loop.time()))
            yield AudioFrame(block, RATE_HZ, (position - size) / RATE_HZ)


async def _nothing(text: str) -> str:
    return "Yes?"


def _judged(clip: Clip, events: Sequence[Event], played: Sequence[PlayedFrame], began_s: float) -> BargeInRecord:
    first_s = began_s + (clip.speech_start_s or 0.0)
    paused = any(isinstance(event, PlaybackPaused) for event in events)
    resumed = any(isinstance(event, PlaybackResumed) for event in events)
    stopped = next((event for event in events if isinstance(event, Interrupted)), None)
    silent_s = None if stopped is None else _last_audible_s([piece for piece in played if piece.mark == 0])
    whole = stopped is None and (resumed or not paused)
    return BargeInRecord(
        clip=clip.name,
        speech=clip.has_speech,
        stop_ms=None if silent_s is None else round(1000 * (silent_s - first_s), 1),
        decided_ms=None if stopped is None else round(1000 * (stopped.audio_s - first_s), 1),
        right=stopped is not None if clip.has_speech else whole,
    )


def _last_audible_s(pieces: Sequence[PlayedFrame]) -> float | None:
    for piece in reversed(pieces):
        loud = np.flatnonzero(np.abs(piece.frame.samples) > AUDIBLE)
        if len(loud):
            return piece.start_s + float(loud[-1] + 1) / piece.frame.rate_hz
    return None
