"""Frames in, speech and turn actions out. Holds the turn's audio and the stream clock.

Starts no tasks: the session feeds it, and the actions that come back through the callbacks are carried out elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler
from antiphon.engines.live_resampler import LiveResampler
from antiphon.pipeline import turns
from antiphon.pipeline.gate import Gate, SpeechClosed, SpeechOpened, Window

OnAction = Callable[[turns.TurnAction], None]
OnSpeech = Callable[[SpeechOpened | SpeechClosed], None]


class Intake:
    """One per session."""

    def __init__(
        self,
        gate: Gate,
        machine: turns.TurnMachine,
        *,
        paced: bool,
        dip_ms: float,
        fading: float,
        on_action: OnAction,
        on_speech: OnSpeech,
        on_fade: Callable[[], None],
        on_dip: Callable[[], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        """
        :param paced: audio comes in real time, so time also passes while none comes.
        :param dip_ms: `on_dip` is called after this much silence, before the gate closes: the turn may be ending.
        :param fading: `on_fade` is called when the VAD is less sure of speech than this (a probability): it may be
            about to end.
        :param on_failure: told when the VAD begins to fail.
        """
        self.gate = gate
        self.machine = machine
        self.audio_end_s = 0.0
        """How much input audio was taken in, on the stream clock."""
        self._paced = paced
        self._on_action = on_action
        self._on_speech = on_speech
        self._dip_ms = dip_ms
        self._on_dip = on_dip
        self._in_dip = False
        self._fading = fading
        self._on_fade = on_fade
        self._in_fade = False
        self._on_failure = on_failure
        self._resampler: StreamResampler | LiveResampler | None = None
        self._turn: list[Samples] = []
        self.turn_start_s = 0.0
        """Where the open turn's audio begins, on the stream clock."""
        self._started = False
        self._arrived_s = 0.0
        self._rearmed = asyncio.Event()
        """Set when the turn machine may want its tick at another time."""

    def take(self, frame: AudioFrame) -> None:
        """Take input audio of any rate and length."""
        if not self._started:
            self._started = True
            self.audio_end_s = frame.start_s
        resampler = self._resampler
        if resampler is None or resampler.from_hz != frame.rate_hz:
            self._end_resampler()
            kind = LiveResampler if self._paced else StreamResampler  # nobody waits for a finished recording
            resampler = self._resampler = kind(frame.rate_hz, self.gate.rate_hz)
        self._take(resampler.push(frame.samples))
        self.feed(turns.AudioArrived())

    def finish(self) -> None:
        """The input has ended: whatever turn is open is over."""
        self._end_resampler()
        for window in self.gate.flush():
            if window.change is not None or self.machine.state is not turns.State.IDLE:  # a padded rest begins no turn
                self._hear(window)
        if self.gate.speaking:
            self.feed(turns.SpeechPaused(self.gate.last_speech_s))
        self.feed(turns.EndOfInput())

    def feed(self, event: turns.TurnInput) -> None:
        """Give the turn machine an event and carry out what it says."""
        self.rearm()
        for action in self.machine.feed(event, self.now_s()):
            ends = isinstance(action, turns.CommitTurn | turns.DiscardTurn)
            if ends and self.gate.speaking:
                self._on_speech(SpeechClosed(self.gate.last_speech_s))  # nothing else will tell: see below
            self._on_action(action)
            if ends and self.gate.speaking:
                self.gate.reset()  # a voice that goes on opens the next turn by the same evidence as any other

    def now_s(self) -> float:
        """The stream clock: audio taken in, and (paced) the time since it came.

        After a gap in the input it goes back to where the audio is: silence is judged where it was heard.
        """
        now_s = self.audio_end_s
        if self._paced and self._started:
            now_s += asyncio.get_running_loop().time() - self._arrived_s
        return now_s

    def rearm(self) -> None:
        """The turn machine was changed from outside: its deadline may be another one."""
        self._rearmed.set()

    async def keep_time(self) -> None:
        """Feed the turn machine the time when no audio does, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._rearmed.clear()
            wait_s = self._tick_in_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if wait_s is None else loop.time() + wait_s):
                    await self._rearmed.wait()
            if not self._rearmed.is_set():
                self.feed(turns.Tick())

    def snapshot(self) -> AudioFrame:
        """The open turn's audio so far, pre-roll included."""
        audio = np.concatenate(self._turn) if self._turn else np.empty(0, dtype=np.float32)
        self._turn = [audio]
        return AudioFrame(audio, self.gate.rate_hz, self.turn_start_s)

    @property
    def turn_end_s(self) -> float:
        """Where the open turn's audio ends, on the stream clock."""
        return self.turn_start_s + sum(map(len, self._turn)) / self.gate.rate_hz

    # ------------------------------------------------------------------------ inside

    def _tick_in_s(self) -> float | None:
        """How long until the turn machine wants a tick; None: it does not."""
        deadline_s = self.machine.deadline()
        return None if deadline_s is None else max(0.0, deadline_s - self.now_s())

    def _end_resampler(self) -> None:
        if self._resampler is not None:
            self._take(self._resampler.push(np.empty(0, dtype=np.float32), last=True))

    def _take(self, samples: Samples) -> None:
        frame = AudioFrame(samples, self.gate.rate_hz, self.audio_end_s)
        self.audio_end_s = frame.end_s
        self._arrived_s = asyncio.get_running_loop().time()
        for window in self.gate.push(frame):
            self._hear(window)

    def _hear(self, window: Window) -> None:
        if window.failure is not None:
            self._on_failure(window.failure)
        idle = self.machine.state is turns.State.IDLE
        match window.change:
            case SpeechOpened(at_s, audio) as opened:
                if self.machine.reopens(at_s):
                    self._rejoin(audio)
                elif idle:
                    self._begin(audio)
                else:
                    self._turn.append(window.frame.samples)
                self.feed(turns.SpeechBegan(at_s))
                self._on_speech(opened)
            case SpeechClosed(at_s) as closed:
                self._turn.append(window.frame.samples)
                self._on_speech(closed)
                self.feed(turns.SpeechPaused(at_s))
            case None if not idle:
                self._turn.append(window.frame.samples)
                self._watch_fading(window.probability)
                self._watch_dips()
                if self.machine.state is turns.State.PAUSED and self.gate.suspects_speech:
                    self.feed(turns.SpeechSuspected())
                if self.machine.state is turns.State.PAUSED and self.gate.hears_speech:
                    # The machine took a gap in the input for silence; the voice goes on.
                    self.feed(turns.SpeechBegan(window.frame.start_s))

    def _begin(self, audio: AudioFrame) -> None:
        self._turn = [audio.samples]
        self.turn_start_s = audio.start_s

    def _rejoin(self, audio: AudioFrame) -> None:
        """Speech just after a commit belongs to the turn: append it, without what the turn has already."""
        gap = round((audio.start_s - self.turn_end_s) * self.gate.rate_hz)
        if gap > 0:  # longer than the pre-roll; nothing was said there
            self._turn.append(np.zeros(gap, dtype=np.float32))
        self._turn.append(audio.samples[max(0, -gap) :])

    def _watch_fading(self, probability: float) -> None:
        if not self.gate.hears_speech or probability >= self._fading:
            self._in_fade = False
        elif not self._in_fade:
            self._in_fade = True
            self._on_fade()

    def _watch_dips(self) -> None:
        if not self.gate.speaking or self.gate.silence_ms < self._dip_ms:
            self._in_dip = False
        elif not self._in_dip:
            self._in_dip = True
            self._on_dip()
