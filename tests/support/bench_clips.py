"""Folders of benchmark clips for tests, made on the spot: a tone where somebody speaks, soft noise elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from antiphon.benchmarks.clips import RATE_HZ, Clip, load_clips, write_index
from antiphon.engines.audio import Samples


@dataclass(frozen=True)
class Made:
    """One clip to make."""

    name: str = "question.wav"
    speech: tuple[float, float] | None = (0.2, 1.0)
    seconds: float = 1.5
    transcript: str = "what time is it"
    dialogue: str = ""
    pauses_ms: tuple[float, ...] = ()
    floor: float = 0.001


def samples(made: Made) -> Samples:
    out = np.random.default_rng(5).normal(0, made.floor, round(made.seconds * RATE_HZ))
    if made.speech is not None:
        begin, end = (round(at * RATE_HZ) for at in made.speech)
        out[begin:end] += 0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(end - begin))
    return out.astype(np.float32)


def write_clips(folder: Path, *clips: Made) -> Path:
    """The WAVs and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for made in clips or (Made(),):
        path = folder / made.name
        soundfile.write(path, samples(made), RATE_HZ, subtype="PCM_16")
        start_s, end_s = made.speech or (None, None)
        listed.append(
            Clip(
                path,
                "noise" if made.speech is None else "made",
                "en",
                made.seconds,
                start_s,
                end_s,
                made.pauses_ms,
                made.transcript if made.speech else "",
                dialogue=made.dialogue,
            )
        )
    write_index(folder, listed)
    return folder


def made_clips(folder: Path, *clips: Made) -> Sequence[Clip]:
    return load_clips(write_clips(folder, *clips))
