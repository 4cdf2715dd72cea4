"""What `antiphon run` reads and where its replies go."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import typer

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.audio_file import check_audio_file
from antiphon.pipeline.errors import AudioInputError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg")
STDIN = "-"
MIN_RATE_HZ, MAX_RATE_HZ = 8000, 48000


def find_recordings(inputs: Sequence[str]) -> list[str]:
    """The recordings that were named, each once; folders become the recordings in them.

    :raises AudioInputError: a folder has none, or nothing of what was named can be read.
    """
    found: list[str] = []
    for given in inputs:
        path = Path(given)
        if given != STDIN and path.is_dir():
            inside = sorted(str(one) for one in path.iterdir() if one.suffix.lower() in AUDIO_SUFFIXES)
            if not inside:
                raise AudioInputError(f"{given}: no recording in this folder", hint="WAV, FLAC and OGG files are read")
            found.extend(inside)
        else:
            found.append(given)
    if found.count(STDIN) > 1:
        raise typer.BadParameter("standard input can be read only once")
    if STDIN in found and sys.stdin.isatty():
        raise typer.BadParameter("standard input is a terminal; pipe raw PCM into it (16 bit, mono, --rate HZ)")
    _check_some(found)
    return list(dict.fromkeys(found))


def _check_some(paths: Sequence[str]) -> None:
    """Engines take seconds to load: what cannot be answered at all is told before.

    :raises AudioInputError: none of them can be read; what is wrong with the first.
    """
    wrong: AudioInputError | None = None
    for path in paths:
        if path == STDIN:
            return
        try:
            check_audio_file(path)
        except AudioInputError as error:
            wrong = wrong or error
        else:
            return
    if wrong is not None:
        raise wrong


def any_folder(inputs: Sequence[str]) -> bool:
    """Whether a folder was named, whatever number of recordings it holds today."""
    return any(given != STDIN and Path(given).is_dir() for given in inputs)


def reply_targets(paths: Sequence[str], out: Path | None, *, into_folder: bool = False) -> list[Path | None]:
    """Where the reply to each recording goes: one file, or one of its name in a folder; same names get a number.

    :param into_folder: `out` is a folder even for one recording.

    :raises typer.BadParameter: a folder is needed and `out` is a file; or a recording would be overwritten.
    """
    if out is None:
        return [None] * len(paths)
    if len(paths) == 1 and not into_folder and not out.is_dir():
        targets = [out]
    elif (out.exists() and not out.is_dir()) or (out.suffix.lower() in AUDIO_SUFFIXES and not out.exists()):
        what = "the recordings of a folder" if into_folder else f"{len(paths)} recordings"
        raise typer.BadParameter(f"--out {out} is a file; {what} need a folder")
    else:
        targets = named_in(out, ["stdin" if path == STDIN else Path(path).stem for path in paths], ".wav")
    read = {Path(path).resolve() for path in paths if path != STDIN}
    for target in targets:
        if target.resolve() in read:
            raise typer.BadParameter(f"--out would overwrite the recording {target}")
    return list(targets)


def named_in(folder: Path, stems: Sequence[str], suffix: str) -> list[Path]:
    """A path in the folder for each stem; what has the name of an earlier one gets a number."""
    targets: list[Path] = []
    for stem in stems:
        name, number = stem, 2
        while folder / f"{name}{suffix}" in targets:
            name, number = f"{stem}-{number}", number + 1
        targets.append(folder / f"{name}{suffix}")
    return targets


async def raw_pcm(rate_hz: int, *, paced: bool) -> AsyncIterator[AudioFrame]:
    """16-bit little-endian mono PCM from standard input, in chunks of 20 ms at most.

    :param paced: no chunk comes before a microphone would have delivered it, counted from the first chunk on. What is
        live anyway is not held up; a file that is piped in takes as long as it lasts.

    :raises AudioInputError: it ends in the middle of a sample.
    """
    size = 2 * (rate_hz // 50)
    position = 0
    rest = b""
    loop = asyncio.get_running_loop()
    origin_s: float | None = None
    while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), size):  # as it comes, not when a buffer is full
        data = rest + data
        whole = len(data) // 2 * 2
        data, rest = data[:whole], data[whole:]
        samples = np.frombuffer(data, dtype="<i2").astype(np.float32) / 32768.0
        frame = AudioFrame(samples, rate_hz, position / rate_hz)
        if origin_s is None:
            origin_s = loop.time() - frame.end_s
        if paced:
            await asyncio.sleep(max(0.0, origin_s + frame.end_s - loop.time()))
        yield frame
        position += len(samples)
    if rest:
        raise AudioInputError("standard input ended in the middle of a 16-bit sample", hint="is it really raw PCM?")
