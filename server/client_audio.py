"""The audio of a client on the other end of a connection, as a transport of the pipeline.

The client plays what it is sent as soon as it comes, and can be told to drop what it has not played yet. That is enough
for a pause, too: it is told to drop, and is sent the rest again, from the sample at which it stopped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, to_mono_float32
from antiphon.pipeline.transports.base import Playhead, TransportCapabilities

FULL_SCALE = 32768
AHEAD_S = 0.5
"""Input may come so much sooner than it was spoken; what is sent in a hurry is heard at its own pace."""
DRIFT = 0.02
"""A client's clock may be so much faster than ours without being held up."""
ROUNDING_S = 1e-6
"""Times that were added up differ by so much at most."""
REMEMBERED = 32
"""Pieces of talk of which a client may still say how much was played."""
LEAST_BOOKED_S = 0.002
"""A piece of input counts for this much at least."""
MAX_UNHEARD_S = 60.0
"""Input that waits to be heard; past that the connection is not read."""


def pcm16(samples: Samples) -> bytes:
    """float32 in [-1, 1] as little-endian PCM16; what is out of range is clipped.

    The exact inverse of :func:`from_pcm16`; :func:`~antiphon.engines.audio.to_pcm16`, for files, is symmetric instead.
    """
    scaled = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1)
    return scaled.astype("<i2").tobytes()


def from_pcm16(data: bytes) -> Samples:
    """Little-endian PCM16 as float32 in [-1, 1).

    :raises ValueError: an odd number of bytes.
    """
    return to_mono_float32(np.frombuffer(data, dtype="<i2").astype(np.int16))


class ClientSink(Protocol):
    """The way to the client; neither method waits."""

    def audio(self, frame: AudioFrame) -> None:
        """Send audio of a reply, behind what was sent before."""
        ...

    def flush(self) -> None:
        """The reply is complete: send what a resampler still holds of it."""
        ...

    def drop(self) -> None:
        """Drop what has not been sent, and tell the client to drop what it has not played."""
        ...

    async def room(self) -> None:
        """Wait while the client takes what it is sent more slowly than it comes."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    mark: int
    offset_s: float
    """Where it begins in its mark's audio."""
    frame: AudioFrame


@dataclass(slots=True, eq=False)
class _Span:
    """Audio of one mark in a row."""

    mark: int
    given_s: float = 0.0
    """Handed over, less what was taken back."""
    cut: bool = False
    """Something was taken back."""


class ClientInput:
    """What a client says: pushed as it comes (:meth:`push`, :meth:`end`), heard no faster than it was spoken."""

    def __init__(self, *, rate_hz: int) -> None:
        """
        :param rate_hz: of the input.
        """
        self._rate_hz = rate_hz
        self._heard: asyncio.Queue[AudioFrame | Callable[[], None] | None] = asyncio.Queue()
        self._waiting_s = 0.0
        self._taken = asyncio.Event()

    async def push(self, samples: Samples, rate_hz: int | None = None) -> None:
        """Audio from the client; waits while too much of it has not been heard yet.

        :param rate_hz: None: the transport's.
        """
        while self._waiting_s > MAX_UNHEARD_S:
            self._taken.clear()
            await self._taken.wait()
        frame = AudioFrame(samples, rate_hz or self._rate_hz)
        self._waiting_s += _booked_s(frame)
        self._heard.put_nowait(frame)

    def when_heard(self, then: Callable[[], None]) -> None:
        """Call this once all audio that was pushed before has been heard."""
        self._heard.put_nowait(then)

    def forget_unheard(self) -> None:
        """Drop the audio that waits to be heard."""
        kept = []
        while not self._heard.empty():
            if not isinstance(entry := self._heard.get_nowait(), AudioFrame):
                kept.append(entry)
        for entry in kept:
            self._heard.put_nowait(entry)
        self._waiting_s = 0.0
        self._taken.set()

    def end(self) -> None:
        """The client says no more."""
        self._heard.put_nowait(None)

    async def all_heard(self) -> None:
        """Wait until what was pushed so far has been heard."""
        while self._waiting_s > ROUNDING_S:
            self._taken.clear()
            await self._taken.wait()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        loop = asyncio.get_running_loop()
        end_s, origin_s = 0.0, None
        while (heard := await self._heard.get()) is not None:
            if not isinstance(heard, AudioFrame):
                heard()
                continue
            start_s = end_s
            end_s += heard.duration_s
            now_s = loop.time()
            due_s = end_s / (1 + DRIFT)
            if origin_s is None or now_s - origin_s > due_s:
                origin_s = now_s - due_s  # the client has paused, or is slower than we are: from here on anew
            await asyncio.sleep(max(0.0, origin_s + due_s - AHEAD_S - now_s))
            self._waiting_s = max(0.0, self._waiting_s - _booked_s(heard))
            self._taken.set()
            yield AudioFrame(heard.samples, heard.rate_hz, start_s)


def _booked_s(frame: AudioFrame) -> float:
    """What a piece counts for in the bound: pieces of a sample each take far more room than their sound."""
    return max(frame.duration_s, LEAST_BOOKED_S)


class ClientTransport(ClientInput):
    """Input is pushed (:meth:`push`, :meth:`end`); replies go to the sink as they are made."""

    def __init__(self, sink: ClientSink, *, rate_hz: int, aec: bool = True) -> None:
        """
        :param rate_hz: of the input.
        :param aec: the client cancels its own echo, or has none.
        """
        super().__init__(rate_hz=rate_hz)
        self.capabilities = TransportCapabilities(paced=True, greets=True, pauses=True, aec=aec)
        self._sink = sink
        self._playhead = Playhead(max_ahead_s=float("inf"))
        self._pieces: deque[_Piece] = deque()
        """What was handed over and may not have been heard."""
        self._complete = False
        """Nothing more will come behind it for now."""
        self._given_s: dict[int, float] = {}
        """How much of each mark was handed over, less what was taken back."""
        self._spans: list[_Span] = []
        """What the client was sent, in order, as far as it matters still."""
        self._past_s = 0.0
        """Audio before those."""

    # ------------------------------------------------------------------------ what the client says

    def played(self, total_s: float) -> tuple[int, float]:
        """What the client says it has played of all that it was sent.

        :returns: the mark that was played last, and how many seconds of it were; mark 0 where there is none.
        """
        if not self._spans:
            return 0, 0.0
        *before, last = self._spans
        heard_s = min(max(0.0, total_s - self._past_s - sum(span.given_s for span in before)), last.given_s)
        if last.cut:  # what was heard of it was an estimate until now
            last.given_s = heard_s
        return last.mark, heard_s + sum(span.given_s for span in before if span.mark == last.mark)

    # ------------------------------------------------------------------------ what the session asks for

    async def play(self, frame: AudioFrame, mark: int) -> float:
        await self._sink.room()
        offset_s = self._given_s.get(mark, 0.0)
        self._given_s[mark] = offset_s + frame.duration_s
        self._span(mark).given_s += frame.duration_s
        self._pieces.append(_Piece(mark, offset_s, frame))
        self._complete = False
        if not self._playhead.paused:
            self._sink.audio(frame)
        at_s = await self._playhead.book(frame.duration_s, mark)
        self._forget_what_was_heard()
        return at_s

    async def drain(self) -> None:
        self._complete = True
        if not self._playhead.paused:
            self._sink.flush()
        await self._playhead.drain()

    def clear(self) -> None:
        if self._playhead.playing and not self._playhead.paused:
            self._sink.drop()
        for mark in {piece.mark for piece in self._pieces}:  # what is left of these will never be heard
            lost_s = self._given_s[mark] - self._playhead.heard_s(mark)
            self._given_s[mark] -= lost_s
            for span in reversed(self._spans):
                if span.mark == mark:
                    span.given_s -= (taken_s := min(lost_s, span.given_s))
                    span.cut |= taken_s > 0
                    lost_s -= taken_s
        self._playhead.clear()
        self._pieces.clear()

    def pause(self) -> None:
        if self._playhead.playing and not self._playhead.paused:
            self._sink.drop()
        self._playhead.pause()

    def resume(self) -> None:
        if self._playhead.paused:
            self._playhead.resume()
            self._forget_what_was_heard()
            for piece in self._pieces:
                if len((rest := self._unheard(piece)).samples):
                    self._sink.audio(rest)
            if self._complete:
                self._sink.flush()

    def heard_s(self, mark: int) -> float:
        return self._playhead.heard_s(mark)

    # ------------------------------------------------------------------------ inside

    def _forget_what_was_heard(self) -> None:
        while self._pieces:
            first = self._pieces[0]
            if first.offset_s + first.frame.duration_s > self._playhead.heard_s(first.mark) + ROUNDING_S:
                return
            self._pieces.popleft()

    def _span(self, mark: int) -> _Span:
        """Where audio of this mark is counted now."""
        if not self._spans or self._spans[-1].mark != mark:
            self._spans.append(_Span(mark))
            while len(self._spans) > REMEMBERED:
                self._past_s += self._spans.pop(0).given_s
        return self._spans[-1]

    def _unheard(self, piece: _Piece) -> AudioFrame:
        frame = piece.frame
        heard = round((self._playhead.heard_s(piece.mark) - piece.offset_s) * frame.rate_hz)
        if heard <= 0:
            return frame
        return AudioFrame(frame.samples[heard:], frame.rate_hz, frame.start_s + heard / frame.rate_hz)
