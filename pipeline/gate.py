"""The gate: cuts a frame stream into VAD windows, and says where speech begins and ends. Pure, on the stream clock.

Speech opens the gate when enough of the last few windows are speech; a short dip does not close it. The estimates of
"first speech sample" and "last speech sample" take the VAD's own hangover off.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.protocols import VAD


@dataclass(frozen=True, slots=True)
class GateSettings:
    """How speech opens and closes the gate."""

    start_ms: float = 96.0
    """Speech within the last `start_window_ms` that opens the gate."""
    start_window_ms: float = 320.0
    pre_roll_ms: float = 300.0
    """Audio from before the opening that belongs to the turn, so that the first phoneme is kept."""
    stop_ms: float = 64.0
    """Unbroken silence that closes it (a candidate end; the turn machine decides what it means)."""


@dataclass(frozen=True, slots=True, eq=False)
class SpeechOpened:
    """Speech began."""

    at_s: float
    """Estimated first speech sample."""
    audio: AudioFrame
    """Pre-roll and everything since, up to and including the window that opened the gate."""


@dataclass(frozen=True, slots=True)
class SpeechClosed:
    """Speech paused."""

    at_s: float
    """Estimated last speech sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One VAD window and what it changed."""

    frame: AudioFrame
    probability: float
    speaking: bool
    """Whether the gate is open after this window."""
    change: SpeechOpened | SpeechClosed | None
    failure: Exception | None = None
    """The VAD failed on this window, which was then taken for more of the same; only the first of a row has it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """A window of late, and what the VAD said of it."""

    frame: AudioFrame
    is_speech: bool
    is_sure: bool


class VADBroken(Exception):
    """Raised when the VAD has failed on so many windows in a row that nothing can be heard; `__cause__` is why."""


MAX_FAILURES = 30
"""Windows in a row that the VAD may fail on: about a second."""
SURE = 0.9
"""At this probability the VAD has no doubt. Voices get there within 0.1 s, coughs seldom and not for long: measured in
docs/decisions/0015. Engines that only know yes and no are always sure."""


class Gate:
    """One per session. Feed it frames at the VAD's rate, in order."""

    def __init__(self, vad: VAD, settings: GateSettings | None = None) -> None:
        self.settings = settings or GateSettings()
        self.rate_hz = vad.rate_hz
        self.speaking = False
        self.threshold: float | None = None
        """Speech begins at this probability; None: where the VAD says."""
        self._vad = vad
        self._stream = vad.stream()
        self._size = vad.window_samples
        self._window_ms = 1000 * self._size / self.rate_hz
        self._pending: Samples = np.empty(0, dtype=np.float32)
        self._next_start_s: float | None = None
        self._ring = self._new_ring()
        self._first_speech_s = 0.0
        self._last_speech_end_s = 0.0
        self._silent_windows = 0
        self._sure_windows = 0
        self._failures = 0

    def push(self, frame: AudioFrame) -> Iterator[Window]:
        """Take a frame of any length; yields each VAD window that it completes.

        :raises ValueError: the frame's rate is not the VAD's.
        :raises VADBroken: the VAD fails again and again.
        """
        if frame.rate_hz != self.rate_hz:
            raise ValueError(f"the gate wants {self.rate_hz} Hz, not {frame.rate_hz}")
        if self._next_start_s is None:
            self._next_start_s = frame.start_s
        self._pending = np.concatenate([self._pending, frame.samples]) if len(self._pending) else frame.samples
        while len(self._pending) >= self._size:
            samples, self._pending = self._pending[: self._size], self._pending[self._size :]
            yield self._window(samples)

    def flush(self) -> Iterator[Window]:
        """End of input: the rest, padded with silence to a whole window."""
        if len(self._pending) and self._next_start_s is not None:
            samples = np.pad(self._pending, (0, self._size - len(self._pending)))
            self._pending = self._pending[:0]
            yield self._window(samples)

    def adjust(self, settings: GateSettings, threshold: float | None = None) -> None:
        """Other settings, from the next window on."""
        self.settings = settings
        self.threshold = threshold
        self._ring = self._new_ring(self._ring)

    def reset(self) -> None:
        """Close without a word: what was heard so far is somebody else's. The VAD's own state goes on."""
        self.speaking = False
        self._silent_windows = 0
        self._sure_windows = 0
        self._ring.clear()

    @property
    def hears_speech(self) -> bool:
        """Whether the gate is open and the last window was speech."""
        return self.speaking and self._silent_windows == 0

    @property
    def suspects_speech(self) -> bool:
        """Whether the gate is closed and the last window was speech: it may be about to open."""
        return not self.speaking and bool(self._ring) and self._ring[-1].is_speech

    @property
    def silence_ms(self) -> float:
        """Unbroken silence up to now, while the gate is open."""
        return self._silent_windows * self._window_ms

    @property
    def first_speech_s(self) -> float:
        """Estimated first speech sample since the gate opened last."""
        return self._first_speech_s

    @property
    def last_speech_s(self) -> float:
        """Estimated last speech sample so far, the VAD's own hangover taken off."""
        return self._last_speech_end_s

    @property
    def sure_ms(self) -> float:
        """How much of what was heard since the gate opened is speech beyond doubt (:data:`SURE`), the VAD's own
        hangover taken off."""
        return max(0.0, self._sure_windows * self._window_ms - self._vad.hidden_hangover_ms) if self.speaking else 0.0

    # ---------------------------------------------------------------------------- inside

    def _new_ring(self, kept: Iterable[_Heard] = ()) -> deque[_Heard]:
        return deque(kept, maxlen=self._windows(self.settings.pre_roll_ms) + self._recent)

    @property
    def _begins_at(self) -> float:
        return self._vad.threshold if self.threshold is None else self.threshold

    @property
    def _ends_below(self) -> float:
        if self.threshold is None:
            return self._vad.release_threshold
        return self.threshold * self._vad.release_threshold / self._vad.threshold

    @property
    def _recent(self) -> int:
        return max(1, self._windows(self.settings.start_window_ms))

    def _windows(self, ms: float) -> int:
        return round(ms / self._window_ms)

    def _window(self, samples: Samples) -> Window:
        assert self._next_start_s is not None
        frame = AudioFrame(samples, self.rate_hz, self._next_start_s)
        self._next_start_s = frame.end_s
        probability, failure = self._probability(samples)
        change = self._while_speaking(frame, probability) if self.speaking else self._while_silent(frame, probability)
        return Window(frame, probability, self.speaking, change, failure)

    def _probability(self, samples: Samples) -> tuple[float, Exception | None]:
        """The VAD's word; where it fails, what was is taken to go on, and a fresh stream is begun."""
        try:
            probability = float(self._stream.probability(samples))
            if not 0.0 <= probability <= 1.0:
                raise ValueError(f"the VAD gave {probability:g}, not a probability")
        except Exception as error:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                raise VADBroken(f"the VAD failed on {self._failures} windows in a row") from error
            with contextlib.suppress(Exception):  # if there is none to be had, the next window fails, and counts
                self._stream = self._vad.stream()
            return (self._begins_at if self.speaking else 0.0), (error if self._failures == 1 else None)
        self._failures = 0
        return probability, None

    def _while_silent(self, frame: AudioFrame, probability: float) -> SpeechOpened | None:
        self._ring.append(self._judged(frame, probability))
        recent = list(self._ring)[-self._recent :]
        speech = [one for one in recent if one.is_speech]
        if len(speech) < max(1, self._windows(self.settings.start_ms)) or not recent[-1].is_speech:
            return None
        first = speech[0].frame.start_s
        pre_roll_s = self.settings.pre_roll_ms / 1000
        kept = [one.frame for one in self._ring if one.frame.start_s >= first - pre_roll_s - 1e-9]
        self._ring.clear()
        self.speaking = True
        self._silent_windows = 0
        self._sure_windows = sum(one.is_sure for one in speech)
        self._first_speech_s = first
        self._speech_until(frame)
        audio = AudioFrame(np.concatenate([window.samples for window in kept]), self.rate_hz, kept[0].start_s)
        return SpeechOpened(first, audio)

    def _while_speaking(self, frame: AudioFrame, probability: float) -> SpeechClosed | None:
        # Silent windows go to the ring too: speech that begins again soon finds its pre-roll there.
        is_silent = probability < self._ends_below
        if not is_silent:
            self._silent_windows = 0
            self._sure_windows += self._judged(frame, probability).is_sure
            self._ring.clear()
            self._speech_until(frame)
            return None
        self._ring.append(_Heard(frame, is_speech=False, is_sure=False))
        self._silent_windows += 1
        if self._silent_windows < max(1, self._windows(self.settings.stop_ms)):
            return None
        self.speaking = False
        return SpeechClosed(self._last_speech_end_s)

    def _judged(self, frame: AudioFrame, probability: float) -> _Heard:
        is_speech = probability >= self._begins_at
        return _Heard(frame, is_speech, is_speech and probability >= SURE)

    def _speech_until(self, frame: AudioFrame) -> None:
        """The engine says speech for this window: it may still be holding on to what has ended."""
        self._last_speech_end_s = max(self._first_speech_s, frame.end_s - self._vad.hidden_hangover_ms / 1000)
