"""What is said on a call: audio handed over as it is made, taken away one frame at a time as it is heard.

A frame that was taken is on its way to the caller and will be heard; one that was not can be paused, resumed and thrown
away. So what was heard is known to the frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from antiphon.engines.audio import AudioFrame, StreamResampler, to_pcm16
from antiphon.server.realtime.webrtc.opus import FRAME_S, FRAME_SAMPLES, RATE_HZ, Pcm

MAX_AHEAD_S = 20.0
"""Audio that may wait to be heard; past that the voice waits."""
REMEMBERED = 64
"""Turns of which it is known how much was heard."""
FADE_SAMPLES = 240
"""Speech that is cut off ends within 5 ms, not with a click."""


class Listener(Protocol):
    """Told what happens to what is said. None of these waits."""

    def playing(self, mark: int) -> None:
        """The first frame of this mark's audio is on its way, after silence or another mark's."""
        ...

    def played(self, mark: int) -> None:
        """All of it was heard."""
        ...

    def cleared(self, mark: int) -> None:
        """What was left of it was thrown away."""
        ...


@dataclass(slots=True, eq=False)
class _Piece:
    mark: int
    samples: Pcm


class Playout:
    """The output half of a transport (:class:`~antiphon.pipeline.transports.base.Transport`), at 48 kHz."""

    def __init__(self, listener: Listener | None = None) -> None:
        self.listener = listener
        self._pieces: deque[_Piece] = deque()
        self._waiting = 0
        """Samples in them."""
        self._given = 0
        """Samples that were ever handed over, those included."""
        self._heard: dict[int, int] = {}
        """Samples by mark."""
        self._sounding: int | None = None
        """The mark of the audio that is being heard."""
        self._paused = False
        self._next_s = 0.0
        """When the next frame is due, on the event loop's clock."""
        self._last = 0
        """The last sample that was heard; 0 in silence."""
        self._resampler: StreamResampler | None = None
        self._resampled = 0
        """The mark of what was handed over last."""
        self._moved = asyncio.Event()

    # ------------------------------------------------------------------------ what the session asks for

    async def play(self, frame: AudioFrame, mark: int) -> float:
        resampler = self._resampler
        if resampler is None or resampler.from_hz != frame.rate_hz or self._resampled != mark:
            self._flush()
            resampler = self._resampler = StreamResampler(frame.rate_hz, RATE_HZ)
            self._resampled = mark
        before_s = self._waiting / RATE_HZ
        piece = self._put(mark, to_pcm16(resampler.push(frame.samples)))
        starts_s = max(self._next_s, asyncio.get_running_loop().time()) + before_s
        while piece in self._pieces and self._waiting > MAX_AHEAD_S * RATE_HZ:
            await self._change()
        return starts_s

    async def drain(self) -> None:
        self._flush()
        given, mark = self._given, self._resampled
        while given > self._given - self._waiting:
            await self._change()
        await asyncio.sleep(max(0.0, self._next_s - asyncio.get_running_loop().time()))
        if self._sounding == mark and not self._pieces:
            self._settle()

    def clear(self) -> None:
        lost = self._sounding if self._sounding is not None else next((one.mark for one in self._pieces), None)
        self._resampler = None  # what is left in its filter belongs to what is thrown away
        self._pieces.clear()
        self._waiting = 0
        self._sounding = None
        self._move()
        if lost is not None and self.listener is not None:
            self.listener.cleared(lost)

    def pause(self) -> None:
        self._paused = True
        self._move()

    def resume(self) -> None:
        self._paused = False
        self._move()

    def heard_s(self, mark: int) -> float:
        return self._heard.get(mark, 0) / RATE_HZ

    # ------------------------------------------------------------------------ what the line asks for

    def take(self, due_s: float) -> Pcm | None:
        """The frame that is heard from `due_s` on: :data:`FRAME_SAMPLES` int16 samples; None: silence."""
        self._next_s = due_s + FRAME_S
        if self._paused or not self._pieces:
            return self._fade()
        out = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        filled = 0
        while filled < FRAME_SAMPLES and self._pieces:
            piece = self._pieces[0]
            self._tell_of(piece.mark)
            taken = piece.samples[: FRAME_SAMPLES - filled]
            out[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._heard[piece.mark] = self._heard.get(piece.mark, 0) + len(taken)
            if len(taken) < len(piece.samples):
                piece.samples = piece.samples[len(taken) :]
            else:
                self._pieces.popleft()
        self._waiting -= filled
        self._last = int(out[-1])
        while len(self._heard) > REMEMBERED:
            del self._heard[next(iter(self._heard))]
        self._move()
        return out

    # ------------------------------------------------------------------------ inside

    def _put(self, mark: int, samples: Pcm) -> _Piece:
        piece = _Piece(mark, samples)
        if len(samples):
            self._pieces.append(piece)
            self._waiting += len(samples)
            self._given += len(samples)
        return piece

    def _flush(self) -> None:
        """Take what a resampler still holds: nothing will come behind it."""
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            self._put(self._resampled, to_pcm16(resampler.push(np.empty(0, dtype=np.float32), last=True)))

    def _fade(self) -> Pcm | None:
        last, self._last = self._last, 0
        if not last:
            return None
        out = np.zeros(FRAME_SAMPLES, dtype=np.int16)
        out[:FADE_SAMPLES] = last * np.linspace(1, 0, FADE_SAMPLES)
        return out

    def _tell_of(self, mark: int) -> None:
        if self._sounding != mark:
            self._settle()
            self._sounding = mark
            if self.listener is not None:
                self.listener.playing(mark)

    def _settle(self) -> None:
        """Nothing more will come of what was sounding."""
        sounding, self._sounding = self._sounding, None
        if sounding is not None and self.listener is not None:
            self.listener.played(sounding)

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _change(self) -> None:
        await self._moved.wait()
