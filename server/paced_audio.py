"""Audio to a line that plays what it is sent when it is sent: we keep the time, so a pause is exact to a frame.

For telephone lines and satellites that cannot be told to drop what they have: nothing goes out before it is due.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.live_resampler import LiveResampler
from antiphon.pipeline.transports.base import TransportCapabilities
from antiphon.server.client_audio import ClientInput

MAX_AHEAD_S = 0.5
"""Audio of a reply that waits to be sent; past that the voice waits."""
_CATCHING_UP_S = 0.1
"""Frames that are late by less are sent at once, one after the other; what is later stays late."""
_ROUNDING_S = 1e-6
_NOTHING: Samples = np.zeros(0, np.float32)


@dataclass(slots=True, eq=False)
class _Piece:
    mark: int
    samples: Samples
    """At the line's rate."""


class PacedTransport(ClientInput):
    """A transport of the pipeline. Run :meth:`run` beside the session: it sends one frame after the other, in time."""

    def __init__(
        self,
        send: Callable[[Samples | None], Awaitable[None]],
        *,
        input_hz: int,
        output_hz: int,
        frame_ms: float = 20.0,
        lead_s: float = 0.0,
        continuous: bool = False,
        aec: bool = True,
    ) -> None:
        """
        :param send: takes a frame at `output_hz` to the line; None: what was being said is over.
        :param lead_s: so much of a reply is sent before it is due, for lines that would stutter otherwise. A pause
            does not take it back.
        :param continuous: send silence where there is nothing to say (telephone lines want frames all the time).
        :param aec: what is played does not come back in the input.
        """
        super().__init__(rate_hz=input_hz)
        self.capabilities = TransportCapabilities(paced=True, greets=True, pauses=True, aec=aec)
        self._send = send
        self._output_hz = output_hz
        self._frame = max(1, round(output_hz * frame_ms / 1000))
        self._lead_s = lead_s
        self._continuous = continuous
        self._waiting: deque[_Piece] = deque()
        self._waiting_samples = 0
        self._complete = True
        """Nothing more will come behind what waits: an incomplete frame is not waited for."""
        self._sent: dict[int, int] = {}
        """Samples of each mark that have gone out."""
        self._last_mark = 0
        """Of what went out last."""
        self._resampler: LiveResampler | None = None
        self._paused = False
        self._sounding = False
        """Something went out, and its end was not told."""
        self._due_s = 0.0
        """When the next frame is due at the line, on the event loop's clock."""
        self._heard_until_s = 0.0
        """When what has gone out will have been heard."""
        self._changed = asyncio.Event()
        self._closed = False

    # ------------------------------------------------------------------------ what the session asks for

    async def play(self, frame: AudioFrame, mark: int) -> float:
        while self._waiting_samples > MAX_AHEAD_S * self._output_hz and not self._closed:
            await self._change(None)
        resampler = self._resampler
        if resampler is None or resampler.from_hz != frame.rate_hz:
            self._flush()
            resampler = self._resampler = LiveResampler(frame.rate_hz, self._output_hz)
        at_s = max(self._now_s(), self._heard_until_s) + self._waiting_samples / self._output_hz
        self._complete = False
        self._put(resampler.push(frame.samples), mark)
        return at_s

    async def drain(self) -> None:
        self._flush()
        self._complete = True
        self._move()
        while not self._closed:
            rest_s = self._heard_until_s - self._now_s()
            if not self._waiting and rest_s <= _ROUNDING_S:
                return
            await self._change(None if self._waiting else rest_s)

    def clear(self) -> None:
        self._waiting.clear()
        self._waiting_samples = 0
        self._resampler = None  # what is left in its filter belongs to what is dropped
        self._complete = True
        self._move()

    def pause(self) -> None:
        self._paused = True
        self._move()

    def resume(self) -> None:
        self._paused = False
        self._move()

    def heard_s(self, mark: int) -> float:
        """What has gone out, less what was sent before its time has come."""
        sent_s = self._sent.get(mark, 0) / self._output_hz
        ahead_s = max(0.0, self._heard_until_s - self._now_s()) if mark == self._last_mark else 0.0
        return max(0.0, sent_s - ahead_s)

    # ------------------------------------------------------------------------ the line

    async def run(self) -> None:
        """Send until :meth:`close`.

        :raises Exception: what sending raises.
        """
        self._due_s = self._now_s()
        while not self._closed:
            playable = self._playable()
            if not playable and not self._continuous:
                if self._sounding and self._complete and not self._waiting:
                    self._sounding = False
                    await self._send(None)
                else:
                    await self._change(None)
                continue
            now_s = self._now_s()
            if now_s > self._due_s + _CATCHING_UP_S:  # silence, or the process was held up: from here on anew
                self._due_s = now_s
            if (early_s := self._due_s - self._lead_s - now_s) > _ROUNDING_S:
                await self._change(early_s)
                continue
            frame = self._take() if playable else np.zeros(self._frame, np.float32)
            self._due_s += self._frame / self._output_hz
            if playable:
                self._sounding = True
                self._heard_until_s = self._due_s
            await self._send(frame)

    def close(self) -> None:
        """Nothing more is sent; nobody waits."""
        self._closed = True
        self._move()

    def _playable(self) -> bool:
        if self._paused or not self._waiting:
            return False
        return self._complete or self._waiting_samples >= self._frame

    def _take(self) -> Samples:
        """The next frame of what waits; an incomplete one is filled up with silence."""
        frame = np.zeros(self._frame, np.float32)
        filled = 0
        while filled < self._frame and self._waiting:
            piece = self._waiting[0]
            part = piece.samples[: self._frame - filled]
            frame[filled : filled + len(part)] = part
            filled += len(part)
            self._last_mark = piece.mark
            self._sent[piece.mark] = self._sent.get(piece.mark, 0) + len(part)
            piece.samples = piece.samples[len(part) :]
            if not len(piece.samples):
                self._waiting.popleft()
        self._waiting_samples -= filled
        self._move()
        return frame

    def _put(self, samples: Samples, mark: int) -> None:
        if len(samples):
            self._waiting.append(_Piece(mark, samples))
            self._waiting_samples += len(samples)
            self._move()

    def _flush(self) -> None:
        if self._resampler is not None and self._resampler.from_hz != self._resampler.to_hz:
            mark = self._waiting[-1].mark if self._waiting else self._last_mark
            self._put(self._resampler.push(_NOTHING, last=True), mark)
        self._resampler = None

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _move(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, within_s: float | None) -> None:
        """Wait until something changes, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()
