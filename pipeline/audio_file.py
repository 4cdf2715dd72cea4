"""Reads recordings: any WAV, FLAC or OGG that libsndfile knows, at any usual rate, to mono float32 at the rate wanted.

A file is read and resampled block by block, so that memory holds the result and not the file. What is wrong with a file
is said in one sentence; what can still be used of a damaged one is used, with a warning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler, to_mono_float32
from antiphon.pipeline.errors import AudioInputError

logger = logging.getLogger(__name__)

MIN_RATE_HZ = 8_000
MAX_RATE_HZ = 192_000
MAX_CHANNELS = 32
MAX_DURATION_S = 2 * 3600.0
"""Two hours at 16 kHz are 460 MB."""
_BLOCK_S = 1.0


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A recording as it was read."""

    frame: AudioFrame
    """Mono float32 at the rate that was asked for."""
    source_rate_hz: int
    channels: int
    warnings: tuple[str, ...] = ()
    """What is wrong with the file, where it could be used all the same."""


def read_audio(path: str | Path, rate_hz: int = 16_000, *, max_s: float = MAX_DURATION_S) -> AudioFrame:
    """The recording in a file, mono at `rate_hz`; warnings are logged. See :func:`read_audio_file`.

    :raises AudioInputError: the file cannot be read as audio.
    """
    return read_audio_file(path, rate_hz, max_s=max_s).frame


def read_audio_file(path: str | Path, rate_hz: int = 16_000, *, max_s: float = MAX_DURATION_S) -> AudioFile:
    """The recording in a WAV, FLAC or OGG file (16 or 24 bit, float; mono or more channels; 8-192 kHz).

    :param rate_hz: the rate wanted.
    :param max_s: longer recordings are refused.
    :raises AudioInputError: no such file, empty, no audio, a broken header, no samples, an absurd rate, too long.
    """
    path = Path(path)
    size = _size(path)
    with _opened(path, size) as file:
        _check_header(path, file, max_s)
        warnings: list[str] = []
        pieces = list(_blocks(path, file, rate_hz, max_s, warnings))
        samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        np.clip(samples, -1.0, 1.0, out=samples)  # a resampler rings beyond full scale
        if not len(samples):
            raise AudioInputError(
                f"{path}: the recording holds no samples", hint="the file ends after its header; record it again"
            )
        missing = _missing_s(path, file, size)
        if missing > 0 and not warnings:
            warnings.append(f"the file is cut off: {missing:.1f} s less than its header says")
        for warning in warnings:
            logger.warning("damaged recording", extra={"path": str(path), "problem": warning})
        return AudioFile(AudioFrame(samples, rate_hz), file.samplerate, file.channels, tuple(warnings))


def check_audio_file(path: str | Path) -> None:
    """Look at a file's header alone: for those who want to know at once whether there is any use in going on.

    :raises AudioInputError: it cannot be read as audio.
    """
    path = Path(path)
    with _opened(path, _size(path)) as file:
        _check_header(path, file, MAX_DURATION_S)


def _opened(path: Path, size: int) -> Any:
    import soundfile

    try:
        return soundfile.SoundFile(os.fspath(path))
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        raise _unreadable(path, size, error) from error


def _size(path: Path) -> int:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise AudioInputError(f"{path}: this is a folder, not a recording", hint="name the files in it")
        if not path.is_file():  # opening a pipe would wait for its writer, for ever if there is none
            raise AudioInputError(
                f"{path}: this is a pipe or a device, not a file", hint="write the recording into a file first"
            )
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise AudioInputError(f"{path}: no such file", hint="check the path") from None
    except OSError as error:
        raise AudioInputError(f"{path}: cannot be read: {error.strerror}") from error
    if size == 0:
        raise AudioInputError(f"{path}: the file is empty (0 bytes)", hint="record it again")
    return size


def _unreadable(path: Path, size: int, error: Exception) -> AudioInputError:
    with path.open("rb") as raw:
        magic = raw.read(12)
    if magic[:4] in (b"RIFF", b"RF64", b"fLaC", b"OggS"):
        kind = {b"fLaC": "FLAC", b"OggS": "OGG"}.get(magic[:4], "WAV")
        return AudioInputError(
            f"{path}: the {kind} header is cut off or broken ({size} bytes)",
            hint="record or copy it again; to see what is in it: ffprobe FILE",
        )
    detail = str(error).rsplit(": ", 1)[-1].strip().rstrip(".")
    return AudioInputError(
        f"{path}: this is no audio that can be read here ({detail})",
        hint="WAV, FLAC and OGG work; convert others: ffmpeg -i FILE out.wav",
    )


def _check_header(path: Path, file: Any, max_s: float) -> None:
    if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
        raise AudioInputError(
            f"{path}: a sample rate of {file.samplerate} Hz is not usable ({MIN_RATE_HZ}-{MAX_RATE_HZ} Hz are)",
            hint="if the header is wrong, set it right: ffmpeg -i FILE -ar 16000 out.wav",
        )
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise AudioInputError(f"{path}: {file.channels} channels are not usable (1-{MAX_CHANNELS} are)")


def _blocks(path: Path, file: Any, rate_hz: int, max_s: float, warnings: list[str]) -> Iterator[Samples]:
    """The file's samples at `rate_hz`, about a second at a time, as far as they can be decoded."""
    import soundfile

    resampler = StreamResampler(file.samplerate, rate_hz)
    frames = max(1, round(_BLOCK_S * file.samplerate))
    done = 0
    while True:
        try:
            block = file.read(frames, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            if not done:
                raise AudioInputError(f"{path}: the audio data cannot be decoded: {error}") from error
            warnings.append(f"the data is broken after {done / file.samplerate:.1f} s; what comes before it is used")
            break
        if not len(block):
            break
        done += len(block)
        if done > max_s * file.samplerate:
            raise AudioInputError(
                f"{path}: the recording is longer than {max_s:g} s", hint="cut it into shorter files first"
            )
        yield resampler.push(to_mono_float32(block))
    if done:
        yield resampler.push(np.zeros(0, np.float32), last=True)
    if not warnings and 0 < done < file.frames < 2**62:
        missing = (file.frames - done) / file.samplerate
        warnings.append(f"the file is cut off: {missing:.1f} s less than its header says")


def _missing_s(path: Path, file: Any, size: int) -> float:
    """How much a WAV's data chunk promises beyond the end of the file, in seconds (libsndfile hides that)."""
    with path.open("rb") as raw:
        head = raw.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return 0.0
        position = 12
        while len(chunk := raw.read(8)) == 8:
            length = int.from_bytes(chunk[4:8], "little")
            position += 8
            if chunk[:4] == b"data":
                missing = position + length - size
                unknown = length >= 0x7FFFFF00  # written by a program that could not seek back: no promise at all
                read = file.tell() / file.samplerate
                return 0.0 if unknown or missing <= 0 else read * missing / max(1, size - position)
            position += length + (length & 1)
            raw.seek(position)
    return 0.0
