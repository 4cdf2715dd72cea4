"""A room in numbers: what a microphone hears of a loudspeaker. For tests and measurements of echo control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, resample
from antiphon.engines.protocols import VAD
from antiphon.pipeline.frontend import AudioFrontEnd
from antiphon.pipeline.gate import Gate, GateSettings, SpeechOpened

RATE_HZ = 16000


@dataclass(frozen=True, slots=True)
class Room:
    """How a loudspeaker is heard."""

    level_db: float = -20.0
    """Of the echo, against what is played (both as root mean square over the whole)."""
    delay_ms: float = 60.0
    """From the loudspeaker's sample to its first sound at the microphone."""
    rt60_s: float = 0.3
    """Until the reverberation is 60 dB down."""
    drift_ppm: float = 0.0
    """By how much faster the sink's sample clock runs than the microphone's."""
    noise_db: float = -65.0
    """White noise at the microphone, against full scale."""
    seed: int = 1

    def response(self) -> Samples:
        """Impulse response at 16 kHz, of energy 1: the direct sound and a decaying tail of noise."""
        t = np.arange(round(self.rt60_s * RATE_HZ)) / RATE_HZ
        tail = np.random.default_rng(self.seed).standard_normal(len(t)) * 10 ** (-3 * t / self.rt60_s)
        tail[0] = 6.0
        tail /= np.sqrt(np.sum(tail**2))
        return np.concatenate([np.zeros(round(self.delay_ms * RATE_HZ / 1000)), tail]).astype(np.float32)

    def heard(self, played: Samples) -> Samples:
        """What the microphone hears of `played`, without the noise: as long, 16 kHz."""
        positions = np.arange(len(played), dtype=np.float64)
        drifted = np.interp(positions * (1 + 1e-6 * self.drift_ppm), positions, played)
        size = 1 << (2 * len(played)).bit_length()
        echo = np.fft.irfft(np.fft.rfft(drifted, size) * np.fft.rfft(self.response(), size), size)[: len(played)]
        scale = np.sqrt(np.mean(np.square(played)) / max(1e-20, float(np.mean(np.square(echo)))))
        return np.asarray(echo * scale * 10 ** (self.level_db / 20), dtype=np.float32)

    def noise(self, count: int) -> Samples:
        noise = np.random.default_rng(self.seed + 1000).standard_normal(count)
        return (noise * 10 ** (self.noise_db / 20)).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Replies:
    """What an assistant says, and when it is at the sink."""

    pieces: tuple[tuple[float, AudioFrame], ...]

    @property
    def end_s(self) -> float:
        at_s, frame = self.pieces[-1]
        return at_s + frame.duration_s

    def timeline(self, seconds: float) -> Samples:
        """All of it on one time line of 16 kHz."""
        line = np.zeros(round(seconds * RATE_HZ), dtype=np.float32)
        for at_s, frame in self.pieces:
            if at_s >= seconds:
                break
            samples = resample(frame.samples, frame.rate_hz, RATE_HZ)
            place = line[round(at_s * RATE_HZ) :][: len(samples)]
            place += samples[: len(place)]
        return line


def in_a_row(speech: Sequence[AudioFrame], *, first_s: float = 0.5, pause_s: float = 1.0) -> Replies:
    """One utterance after the other."""
    pieces, at_s = [], first_s
    for frame in speech:
        pieces.append((at_s, frame))
        at_s += frame.duration_s + pause_s
    return Replies(tuple(pieces))


def cleaned(
    front_end: AudioFrontEnd,
    near: AudioFrame,
    replies: Replies,
    *,
    chunk_ms: float = 20.0,
    told_late_s: float = 0.0,
    clock_s: float = 1000.0,
) -> Samples:
    """What a session hears, piece by piece as in life: 16 kHz (half-duplex and "off": the input's rate).

    :param told_late_s: by how much the transport is wrong about when something sounds.
    :param clock_s: what the clock shows at the beginning of the input's stream.
    """
    told = [
        (at_s + at / frame.rate_hz, AudioFrame(frame.samples[at : at + frame.rate_hz // 5], frame.rate_hz))
        for at_s, frame in replies.pieces
        for at in range(0, len(frame.samples), frame.rate_hz // 5)
    ]
    out, next_told = [], 0
    size = round(near.rate_hz * chunk_ms / 1000)
    for at in range(0, len(near.samples), size):
        frame = AudioFrame(near.samples[at : at + size], near.rate_hz, at / near.rate_hz)
        while next_told < len(told) and told[next_told][0] - 0.3 <= frame.end_s:  # the sink keeps 0.3 s in store
            at_s, piece = told[next_told]
            front_end.played(piece, clock_s + at_s + told_late_s)
            next_told += 1
        out.append(front_end.clean(frame, clock_s + frame.end_s).samples)
    return np.concatenate([*out, front_end.flush().samples])


def erle_db(before: Samples, after: Samples, sounding: Samples) -> float:
    """Echo return loss enhancement: by how much the input has become quieter where something was played."""
    count = min(map(len, (before, after, sounding)))
    where = np.abs(sounding[:count]) > 0
    power_before, power_after = (float(np.mean(np.square(x[:count][where], dtype=np.float64))) for x in (before, after))
    return float(10 * np.log10(power_before / max(power_after, 1e-12)))


def openings(vad: VAD, heard: Samples, settings: GateSettings | None = None) -> list[float]:
    """Stream times at which the gate opens, in seconds."""
    gate = Gate(vad, settings or GateSettings())
    windows = gate.push(AudioFrame(heard, RATE_HZ))
    return [window.frame.end_s for window in windows if isinstance(window.change, SpeechOpened)]
