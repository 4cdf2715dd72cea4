"""Compares VAD engines on labelled clips, at the level of detection: misses, false starts, onset, end, hold, cost.

    python -m antiphon.benchmarks.vad_compare --clips DIR

`DIR` has an `index.tsv` (columns file, kind, speech_start_s, speech_end_s; kind "noise" for clips without speech) and
the 16 kHz mono WAVs that it names. Every engine works behind the pipeline's own gate with its default settings.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from antiphon.engines.audio import AudioFrame, Samples, resample
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import VAD
from antiphon.engines.registry import EngineContext, find
from antiphon.pipeline.gate import Gate, SpeechOpened

RATE_HZ = 16000
FRAME = RATE_HZ // 100
TAIL_S = 1.0
"""Silence put after every clip, so that each has an end to find."""
SLIDING_MS = 600.0
"""The window in which speech is added up, to see how far speech and noise lie apart."""
LABEL_REACH_S = 0.3
"""What happens earlier than this before a label is background, not the labelled speech."""

ENGINES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("silero", "silero", {}),
    ("silero, 8 kHz", "silero", {"rate_hz": 8000}),
    *((f"webrtcvad, mode {mode}", "webrtcvad", {"mode": mode, "frame_ms": 20}) for mode in range(4)),
)


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    name: str
    samples: Samples
    """float32 mono at 16 kHz."""
    start_s: float | None
    """Labelled first and last speech sample; None for noise."""
    end_s: float | None


@dataclass(frozen=True, slots=True)
class Energy:
    """Where a clip can be heard, without any VAD."""

    start_s: float
    end_s: float
    contrast_db: float
    """Between the loud frames and the floor."""

    @property
    def trusted(self) -> bool:
        """With less contrast the times mean little."""
        return self.contrast_db >= 25.0


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What one engine and the gate made of a clip."""

    decisions: NDArray[np.bool_]
    """Speech or not, window by window, with hysteresis."""
    openings: int
    """How often the gate opened."""
    last_speech_s: float
    """The gate's estimate of the last speech sample."""


@dataclass(frozen=True, slots=True)
class Row:
    """One engine's measurements; times in ms, (10th percentile, median, 90th percentile)."""

    engine: str
    missed: int
    """Speech clips that did not open the gate."""
    false_starts: int
    """Openings on the noise clips."""
    onset_label: tuple[float, ...]
    """First speech window less the labelled (audible) first sample."""
    onset_energy: tuple[float, ...]
    end_label: tuple[float, ...]
    """The gate's estimate of the last sample less the labelled (audible) one."""
    end_energy: tuple[float, ...]
    hold: tuple[float, ...]
    least_speech_ms: float
    """The least that any speech clip has within a sliding window."""
    most_noise_ms: float
    """The most that any noise clip has."""
    cpu_percent: float
    """Of one core, in real time."""


def read_clips(folder: Path) -> list[Clip]:
    """The clips that `index.tsv` names.

    :raises SystemExit: no index, or a clip of another rate.
    """
    index = folder / "index.tsv"
    if not index.is_file():
        raise SystemExit(f"no index.tsv in '{folder}': --clips names a folder with labelled clips")
    clips = []
    with index.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            samples, rate_hz = soundfile.read(folder / row["file"], dtype="float32", always_2d=True)
            if rate_hz != RATE_HZ:
                raise SystemExit(f"{row['file']} has {rate_hz} Hz; the labels' clips are expected at {RATE_HZ} Hz")
            noise = row["kind"] == "noise"
            start_s, end_s = (None, None) if noise else (float(row["speech_start_s"]), float(row["speech_end_s"]))
            clips.append(Clip(row["file"], samples.mean(axis=1), start_s, end_s))
    return clips


def level_db(samples: Samples) -> NDArray[np.float64]:
    """RMS of each 10 ms in dB of full scale, shape (n // 160,)."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.asarray(20.0 * np.log10(np.sqrt((frames.astype(np.float64) ** 2).mean(axis=1)) + 1e-6))


def audible(samples: Samples) -> Energy | None:
    """First and last 30 ms in a row that are 10 dB above the floor and at most 35 dB under the peak; None: nowhere."""
    level = level_db(samples)
    floor, peak = np.percentile(level, 5), np.percentile(level, 95)
    loud = level > max(floor + 10.0, peak - 35.0)
    runs = np.flatnonzero(loud[:-2] & loud[1:-1] & loud[2:])
    if not len(runs):
        return None
    return Energy(runs[0] / 100, (runs[-1] + 3) / 100, float(peak - floor))


def decide(probabilities: Sequence[float], threshold: float, release_threshold: float) -> NDArray[np.bool_]:
    """Speech or not, window by window, with hysteresis."""
    speaking = False
    decisions = []
    for probability in probabilities:
        speaking = probability >= (release_threshold if speaking else threshold)
        decisions.append(speaking)
    return np.array(decisions, dtype=np.bool_)


def most_within(decisions: NDArray[np.bool_], window_ms: float, sliding_ms: float = SLIDING_MS) -> float:
    """The most speech, in ms, within any `sliding_ms` in a row."""
    count = max(1, int(sliding_ms // window_ms))
    total = np.concatenate([[0], np.cumsum(decisions)])
    if len(decisions) <= count:
        return float(total[-1] * window_ms)
    return float((total[count:] - total[:-count]).max() * window_ms)


class Listener:
    """Runs one VAD behind a gate over whole clips and adds up the processor time."""

    def __init__(self, vad: VAD) -> None:
        self._vad = vad
        self.window_ms = 1000.0 * vad.window_samples / vad.rate_hz
        self.cpu_s = 0.0
        self.audio_s = 0.0

    def hear(self, samples: Samples) -> Heard:
        """Listen to a clip at 16 kHz and :data:`TAIL_S` of digital silence after it."""
        tail = np.zeros(int(TAIL_S * RATE_HZ), dtype=np.float32)
        audio = resample(np.concatenate([samples, tail]), RATE_HZ, self._vad.rate_hz)
        gate = Gate(self._vad)
        began = time.process_time()
        windows = list(gate.push(AudioFrame(audio, self._vad.rate_hz)))
        self.cpu_s += time.process_time() - began
        self.audio_s += len(windows) * self.window_ms / 1000
        probabilities = [window.probability for window in windows]
        return Heard(
            decide(probabilities, self._vad.threshold, self._vad.release_threshold),
            sum(isinstance(window.change, SpeechOpened) for window in windows),
            gate.last_speech_s,
        )


def cuts_in_speech(samples: Samples) -> list[int]:
    """Two places, in samples, where a clip is loud for 30 ms before: after a third and two thirds of such places."""
    level = level_db(samples)
    loud = level > np.percentile(level, 95) - 10.0
    places = np.flatnonzero(loud[:-2] & loud[1:-1] & loud[2:]) + 3
    places = places[places > 40]
    return [int(places[len(places) * third // 3]) * FRAME for third in (1, 2)] if len(places) else []


def hold_ms(listener: Listener, clip: Clip) -> list[float]:
    """How long speech is held when it stops in mid-word and digital silence follows."""
    size = round(listener.window_ms * RATE_HZ / 1000)
    held = []
    for cut in cuts_in_speech(clip.samples):
        lead = np.zeros(-cut % size, dtype=np.float32)  # brings the cut to the edge of a window
        speech = np.flatnonzero(listener.hear(np.concatenate([lead, clip.samples[:cut]])).decisions)
        if len(speech):
            held.append(max(0.0, (speech[-1] + 1) * listener.window_ms - 1000 * (len(lead) + cut) / RATE_HZ))
    return held


def spread(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.percentile(values, (10, 50, 90))) if values else ()


def measure(name: str, vad: VAD, clips: Sequence[Clip]) -> Row:
    """All measurements of one engine."""
    listener = Listener(vad)
    onset_label, onset_energy, end_label, end_energy, hold = [], [], [], [], []
    speech_ms, noise_ms, missed, false_starts = [], [], 0, 0
    for clip in clips:
        heard = listener.hear(clip.samples)
        most = most_within(heard.decisions, listener.window_ms)
        if clip.start_s is None or clip.end_s is None:
            noise_ms.append(most)
            false_starts += heard.openings
            continue
        speech_ms.append(most)
        missed += not heard.openings
        times_s = np.arange(len(heard.decisions)) * listener.window_ms / 1000
        near = times_s[heard.decisions & (times_s >= clip.start_s - LABEL_REACH_S)]
        if not heard.openings or not len(near):
            continue
        onset_label.append(1000 * (near[0] - clip.start_s))
        end_label.append(1000 * (heard.last_speech_s - clip.end_s))
        energy = audible(clip.samples)
        if energy is not None and energy.trusted and abs(energy.start_s - clip.start_s) < LABEL_REACH_S:
            onset_energy.append(1000 * (near[0] - energy.start_s))
            end_energy.append(1000 * (heard.last_speech_s - energy.end_s))
        hold.extend(hold_ms(listener, clip))
    return Row(
        engine=name,
        missed=missed,
        false_starts=false_starts,
        onset_label=spread(onset_label),
        onset_energy=spread(onset_energy),
        end_label=spread(end_label),
        end_energy=spread(end_energy),
        hold=spread(hold),
        least_speech_ms=min(speech_ms, default=0.0),
        most_noise_ms=max(noise_ms, default=0.0),
        cpu_percent=100 * listener.cpu_s / listener.audio_s,
    )


HEADINGS = (
    "engine",
    "missed",
    "false starts",
    "onset - label",
    "onset - energy",
    "end - label",
    "end - energy",
    "hold after a cut",
    "least in speech",
    "most in noise",
    "one core",
)


def table(rows: Sequence[Row]) -> str:
    """A Markdown table of the rows."""

    def three(values: tuple[float, ...]) -> str:
        return " / ".join(f"{value:.0f}" for value in values) or "-"

    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    for row in rows:
        cells = (
            row.engine,
            str(row.missed),
            str(row.false_starts),
            three(row.onset_label),
            three(row.onset_energy),
            three(row.end_label),
            three(row.end_energy),
            three(row.hold),
            f"{row.least_speech_ms:.0f}",
            f"{row.most_noise_ms:.0f}",
            f"{row.cpu_percent:.2f} %",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


async def compare(clips: Sequence[Clip]) -> list[Row]:
    """A row for each engine of :data:`ENGINES`.

    :raises AntiphonError: an engine cannot be loaded.
    """
    context = EngineContext(EngineHost(), ModelStore())
    rows = []
    for label, engine, options in ENGINES:
        spec = find("vad", engine)
        async with spec.create(spec.options_class()(**options), context) as vad:
            rows.append(measure(label, vad, clips))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: prints the table."""
    parser = argparse.ArgumentParser(prog="python -m antiphon.benchmarks.vad_compare", description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder with index.tsv and the WAVs that it names")
    clips = read_clips(parser.parse_args(arguments).clips)
    speech = sum(clip.start_s is not None for clip in clips)
    rows = asyncio.run(compare(clips))
    sys.stdout.write(f"{speech} clips of speech, {len(clips) - speech} of noise; times in ms: p10 / median / p90\n\n")
    sys.stdout.write(table(rows) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
