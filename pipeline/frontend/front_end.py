"""The front end of one session's input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.pipeline.frontend.capture_clock import CaptureClock
from antiphon.pipeline.frontend.far_end import FarEnd
from antiphon.pipeline.frontend.webrtc import BLOCK, RATE_HZ, WebRTCProcessor

_GAP_S = 0.02
"""A frame that begins so much later or earlier than the last one ended begins a new stretch of the stream."""
_MIN_HZ, _MAX_HZ = 8000, 48000
_NOTHING: Samples = np.empty(0, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class FrontEndSettings:
    """What a front end does."""

    echo: Literal["aec", "half_duplex", "off"] = "aec"
    delay_ms: float | None = None
    """How long after a sample is told to sound its echo comes back, at least; None: up to 0.3 s, found by the AEC."""
    noise_suppression: Literal["off", "low", "moderate", "high"] = "off"
    gain_control: bool = False
    tail_ms: float = 250.0
    """Half-duplex: the room goes on sounding after the speaker has stopped; the session stays deaf this much longer."""

    @property
    def processes(self) -> bool:
        """Whether the package with the signal processing is needed."""
        return self.echo == "aec" or self.noise_suppression != "off" or self.gain_control

    @property
    def idle(self) -> bool:
        """Whether the input passes as it is."""
        return self.echo == "off" and not self.processes


class AudioFrontEnd:
    """One per session, for frames in order.

    Tell it what is played (:meth:`played`, :meth:`stopped`, :meth:`paused`, :meth:`resumed`) and let it clean what is
    captured. Both sides are brought together by time: `at_s` and `arrived_s` are of one clock, the event loop's. Not
    safe for use in several threads at once.
    """

    def __init__(self, settings: FrontEndSettings | None = None) -> None:
        """:raises EngineUnavailable: the settings need a package that is not installed."""
        self.settings = settings = settings or FrontEndSettings()
        self._far = FarEnd(RATE_HZ)
        self._clock = CaptureClock()
        self._stream: _Stream | None = None
        if settings.processes:
            processor = WebRTCProcessor(
                cancel_echo=settings.echo == "aec",
                noise_suppression=settings.noise_suppression,
                gain_control=settings.gain_control,
            )
            self._stream = _Stream(processor, self._far_at)

    # ---------------------------------------------------------------------------- what is played

    def played(self, frame: AudioFrame, at_s: float) -> None:
        """A frame (mono, any rate) whose first sample sounds at `at_s`; tell it before its echo can come back."""
        if self.settings.echo != "off":
            self._far.add(frame, at_s)

    def stopped(self, at_s: float) -> None:
        """What was told for `at_s` and later will not sound."""
        self._far.cut(at_s)

    def paused(self, at_s: float) -> None:
        """Playback stands still from `at_s` on."""
        self._far.hold(at_s)

    def resumed(self, at_s: float) -> None:
        """Playback goes on at `at_s`, at the sample where it was paused."""
        self._far.release(at_s)

    # ---------------------------------------------------------------------------- what is captured

    def clean(self, frame: AudioFrame, arrived_s: float | None = None) -> AudioFrame:
        """What the session may hear of a frame.

        Half-duplex and "off" give the frame at its own rate and length. Otherwise whole blocks of 10 ms at 16 kHz are
        given: so the answer to a short frame may be empty, and the last 10-20 ms (more if the input is resampled) come
        with the next frame, or with :meth:`flush`. Stream times stay true: `start_s` says where the samples belong.

        :param frame: mono, 8 to 48 kHz, any length.
        :param arrived_s: when the frame's last sample was there; None: no echo is looked for.
        :raises ValueError: the rate is out of range.
        """
        if not _MIN_HZ <= frame.rate_hz <= _MAX_HZ:
            raise ValueError(f"the input has {frame.rate_hz} Hz; allowed: {_MIN_HZ} to {_MAX_HZ} Hz")
        if arrived_s is not None and self.settings.echo != "off":
            self._clock.arrived(frame.end_s, arrived_s, quiet=not self._sounds(frame.start_s, frame.end_s))
        if self.settings.echo == "half_duplex":
            frame = self._muted(frame)
        return self._stream.push(frame) if self._stream is not None else frame

    def flush(self) -> AudioFrame:
        """What is still inside at the end of the input; afterwards a new stream may begin."""
        if self._stream is None:
            return AudioFrame(_NOTHING, RATE_HZ)
        return self._stream.flush()

    # ---------------------------------------------------------------------------- inside

    @property
    def _delay_s(self) -> float:
        return (self.settings.delay_ms or 0.0) / 1000

    def _far_at(self, start_s: float, count: int) -> Samples:
        """What sounded (and whose echo may begin) at a time of the input's stream."""
        if self._clock.offset_s is None:
            return np.zeros(count, dtype=np.float32)
        return self._far.read(round((start_s + self._clock.offset_s - self._delay_s) * RATE_HZ), count)

    def _sounds(self, from_s: float, until_s: float) -> bool:
        """Whether a reply, or the room after it, sounds in that part of the input's stream."""
        if self._clock.offset_s is None:
            return False
        tail_s = self._delay_s + self.settings.tail_ms / 1000
        return self._far.sounds(from_s + self._clock.offset_s - tail_s, until_s + self._clock.offset_s)

    def _muted(self, frame: AudioFrame) -> AudioFrame:
        size = max(1, frame.rate_hz // 100)
        samples = frame.samples
        for at in range(0, len(samples), size):
            start_s = frame.start_s + at / frame.rate_hz
            if self._sounds(start_s, start_s + 0.01):
                if samples is frame.samples:
                    samples = samples.copy()
                samples[at : at + size] = 0.0
        return AudioFrame(samples, frame.rate_hz, frame.start_s)


class _Stream:
    """Cuts a stream into the processor's blocks and keeps its times."""

    def __init__(self, processor: WebRTCProcessor, far_at: Callable[[float, int], Samples]) -> None:
        """:param far_at: what sounded at a stream time: as many samples as asked for."""
        self._processor = processor
        self._far_at = far_at
        self._resampler: StreamResampler | None = None
        self._pending = _NOTHING
        self._pending_s = 0.0
        """Stream time of the first pending sample."""
        self._end_s = 0.0
        """Where the next frame should begin."""
        self._skip = processor.delay_samples
        """What comes out first is older than the stream."""

    def push(self, frame: AudioFrame) -> AudioFrame:
        goes_on = self._resampler is not None and self._resampler.from_hz == frame.rate_hz
        if not goes_on or abs(frame.start_s - self._end_s) > _GAP_S:
            # The few milliseconds inside from before a gap come out as if they stood at its end.
            self._drain_resampler()
            self._resampler = StreamResampler(frame.rate_hz, RATE_HZ)
            self._pending_s = frame.start_s - len(self._pending) / RATE_HZ
        self._end_s = frame.end_s
        assert self._resampler is not None
        self._pending = np.concatenate([self._pending, self._resampler.push(frame.samples)])
        return self._process()

    def flush(self) -> AudioFrame:
        self._drain_resampler()
        delay = self._processor.delay_samples
        wanted = len(self._pending) + delay - self._skip
        self._pending = np.pad(self._pending, (0, delay + -(len(self._pending) + delay) % BLOCK))
        rest = self._process()
        self._pending = _NOTHING
        self._skip = delay
        return AudioFrame(rest.samples[:wanted], RATE_HZ, rest.start_s)

    def _drain_resampler(self) -> None:
        resampler, self._resampler = self._resampler, None
        if resampler is not None:
            self._pending = np.concatenate([self._pending, resampler.push(_NOTHING, last=True)])

    def _process(self) -> AudioFrame:
        """The whole blocks of what is pending."""
        count = len(self._pending) // BLOCK * BLOCK
        start_s = self._pending_s
        near, self._pending = self._pending[:count], self._pending[count:]
        self._pending_s += count / RATE_HZ
        if not count:
            return AudioFrame(_NOTHING, RATE_HZ, start_s)
        out = self._processor.process(near, self._far_at(start_s, count))
        skipped = min(self._skip, count)
        self._skip -= skipped
        start_s += (skipped - self._processor.delay_samples) / RATE_HZ
        return AudioFrame(out[skipped:], RATE_HZ, start_s)
