"""Microphone and speaker of this machine (PortAudio by `sounddevice`)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.pipeline.errors import AudioInputError
from antiphon.pipeline.frontend import AudioFrontEnd, FrontEndSettings
from antiphon.pipeline.transports.base import Playhead, TransportCapabilities
from antiphon.pipeline.transports.sound_devices import load_sounddevice

MAX_QUEUED = 250
"""Input blocks that may wait (5 s at 20 ms); past that the oldest are lost."""


def load_microphone() -> Any:
    """The module `sounddevice`.

    :raises EngineUnavailable: it, or its PortAudio library, is missing.
    """
    instead = "or talk from a browser: antiphon serve; or give a recording: antiphon run --in question.wav"
    return load_sounddevice("talking", instead)


class MicrophoneTransport:
    """Async context manager: entering opens the devices.

    The speaker is heard by the microphone, so the input goes through an audio front end, which is told what the device
    really plays, and when.
    """

    def __init__(
        self,
        *,
        input_hz: int = 16000,
        output_hz: int = 24000,
        block_ms: int = 20,
        front_end: AudioFrontEnd | None = None,
    ) -> None:
        """:param front_end: of this transport alone; None: half-duplex, deaf while a reply sounds."""
        self.capabilities = TransportCapabilities(paced=True, greets=True, pauses=True, cleaned=True)
        self._front_end = front_end or AudioFrontEnd(FrontEndSettings(echo="half_duplex"))
        self.input_hz = input_hz
        self.output_hz = output_hz
        self.lost_blocks = 0
        self._block_ms = block_ms
        self._queue: asyncio.Queue[tuple[float, Samples] | None] = asyncio.Queue()
        """Blocks with the loop time at which they were captured."""
        self._playhead = Playhead(0.5)
        self._pending: deque[Samples] = deque()
        self._paused = False
        self._lock = threading.Lock()
        self._streams: list[Any] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> MicrophoneTransport:
        """
        :raises EngineUnavailable: `sounddevice` or its PortAudio library is missing.
        :raises AudioInputError: there is no usable device.
        """
        sounddevice = load_microphone()
        self._loop = asyncio.get_running_loop()
        block_in = self.input_hz * self._block_ms // 1000
        block_out = self.output_hz * self._block_ms // 1000
        try:
            self._streams = [
                sounddevice.InputStream(self.input_hz, block_in, channels=1, dtype="float32", callback=self._on_input),
                sounddevice.OutputStream(
                    self.output_hz, block_out, channels=1, dtype="float32", callback=self._on_output
                ),
            ]
            for stream in self._streams:
                stream.start()
        except sounddevice.PortAudioError as error:
            await self.__aexit__()
            raise AudioInputError(
                f"no usable microphone or speaker: {error}",
                hint="give a recording instead: antiphon run --in question.wav --out answer.wav",
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.close()
        self._streams = []

    def stop(self) -> None:
        """End the input: `frames` finishes."""
        self._queue.put_nowait(None)

    async def frames(self) -> AsyncIterator[AudioFrame]:
        position = 0
        while (block := await self._queue.get()) is not None:
            captured_s, samples = block
            frame = AudioFrame(samples, self.input_hz, position / self.input_hz)
            position += len(samples)
            cleaned = self._front_end.clean(frame, captured_s)
            if len(cleaned.samples):
                yield cleaned
        rest = self._front_end.flush()
        if len(rest.samples):
            yield rest

    async def play(self, frame: AudioFrame, mark: int) -> float:
        with self._lock:
            self._pending.append(frame.samples)
        return await self._playhead.book(frame.duration_s, mark)

    async def drain(self) -> None:
        await self._playhead.drain()

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()
        self._playhead.clear()

    def pause(self) -> None:
        with self._lock:
            self._paused = True
        self._playhead.pause()

    def resume(self) -> None:
        with self._lock:
            self._paused = False
        self._playhead.resume()

    def heard_s(self, mark: int) -> float:
        return self._playhead.heard_s(mark)

    # ------------------------------------------------------------------------ PortAudio's thread

    def _on_input(self, data: Any, frames: int, time: Any, status: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                samples = np.array(data[:, 0], dtype=np.float32)
                self._loop.call_soon_threadsafe(self._take, self._loop.time(), samples)

    def _take(self, captured_s: float, samples: Samples) -> None:
        if self._queue.qsize() >= MAX_QUEUED:
            self._queue.get_nowait()
            self.lost_blocks += 1
        self._queue.put_nowait((captured_s, samples))

    def _on_output(self, data: Any, frames: int, time: Any, status: Any) -> None:
        filled = 0
        with self._lock:
            while filled < frames and self._pending and not self._paused:
                samples = self._pending.popleft()
                taken = samples[: frames - filled]
                data[filled : filled + len(taken), 0] = taken
                filled += len(taken)
                if len(taken) < len(samples):
                    self._pending.appendleft(samples[len(taken) :])
        data[filled:, 0] = 0
        if filled and self._loop is not None:
            sounds_s = self._loop.time() + max(0.0, time.outputBufferDacTime - time.currentTime)
            frame = AudioFrame(np.array(data[:filled, 0], dtype=np.float32), self.output_hz)
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                self._loop.call_soon_threadsafe(self._front_end.played, frame, sounds_s)
